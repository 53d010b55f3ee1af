"""Tensors for the arguments of a call: `vta.nd.array(values, ctx)`."""

from vta.calls import check_calls
from vta.driver.ndarray import Context, NDArray, array, cpu, empty

__all__ = ["Context", "NDArray", "array", "cpu", "empty"]

check_calls("nd.", globals(), __all__)
