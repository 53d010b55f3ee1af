"""The dtypes of tensors and values; numbers and lists as users give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vta.config import Config
from vta.errors import CompileError

__all__ = [
    "ABILITIES",
    "DTYPES",
    "INT8",
    "SCALE",
    "SCALE_RANGE",
    "as_int8",
    "check_requantises",
    "dtype_name",
    "is_scale",
    "items_of",
    "nbytes_of",
    "no_scale",
    "scale_bits",
]

DTYPES = ("int8", "int32")
"""The dtypes that VTA computes with."""

INT8 = (-128, 127)
"""The least and the greatest int8."""

SCALE = "float32"
"""The dtype of scales, which `te.requantize` takes and nothing else does."""

SCALE_RANGE = "positive, finite and at least 2^-126 (the least normal float32)"
"""What `is_scale` asks for, for messages."""

ABILITIES = "VTA computes + - * << >> min max and astype on int8 and int32"
"""Ends every message about something that VTA cannot do."""


def dtype_name(dtype: Any, what: str, *, scale: bool = False) -> str:
    """The name of a dtype, checked; `what` names the value in the error message.

    If `scale`, float32 is allowed too.
    """
    try:
        name = np.dtype(dtype).name if dtype is not None else ""
    except TypeError:
        name = ""
    allowed = (*DTYPES, SCALE) if scale else DTYPES
    if name not in allowed:
        listed = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
        raise CompileError(f"dtype of {what} must be {listed}, not {dtype!r}; {ABILITIES}")
    return name


def no_scale(*dtypes: str) -> None:
    """Raises `CompileError` if one of the dtypes is that of scales: nothing computes on them."""
    if SCALE in dtypes:
        raise CompileError(
            f"a {SCALE} tensor can only be the scale of te.requantize, or be copied; {ABILITIES}"
        )


def nbytes_of(dtype: str) -> int:
    """Bytes of a number."""
    return np.dtype(dtype).itemsize


def scale_bits(value: object) -> int:
    """The bits of a scale, rounded to float32, as an int32.

    Raises
    ------
    CompileError
        The scale is not a number, or not positive, finite and normal in float32.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (int, float, np.integer, np.floating)
    ):
        raise CompileError(f"a scale must be a number or an element of a tensor, not {value!r}")
    try:
        with np.errstate(over="ignore"):
            rounded = np.float32(value)
    except OverflowError:  # an int beyond float64
        rounded = np.float32(np.inf)
    if not is_scale(rounded):
        raise CompileError(f"a scale must be {SCALE_RANGE}, not {value!r}")
    return int(rounded.view(np.int32))


def is_scale(values: Any) -> Any:
    """Whether QNT takes float32 numbers as scales: a bool, or an array of them."""
    return np.isfinite(values) & (values >= np.finfo(np.float32).tiny)


def as_int8(value: object, what: str) -> int:
    """A number that must be an int8.

    Raises
    ------
    CompileError
        `value` is something else; the message calls it `what`.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, np.integer))
        or not INT8[0] <= value <= INT8[1]
    ):
        raise CompileError(f"{what} must be a whole number of -128 to 127, not {value!r}")
    return int(value)


def check_requantises(what: str, config: Config) -> None:
    """Raises `CompileError` for `what`, which needs encoding 0.0.3, on an older machine."""
    if not config.requantises:
        raise CompileError(f"{what} needs HW_VER 0.0.3 in the configuration, not {config.hw_ver}")


def items_of(value: object) -> tuple[Any, ...]:
    """The items of a list, a tuple or an array of one dimension; otherwise the value itself."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(value)
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return tuple(value)
    return (value,)
