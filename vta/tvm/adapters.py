"""Adapters for functions whose parameters differ between TVM and `vta`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from vta import nd
from vta.calls import check_calls
from vta.testing import simulator
from vta.tvm.missing import MissingAttribute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from vta.nd import Context, NDArray

__all__ = ["array", "empty", "enabled", "get_const_tuple", "get_global_func"]

_COUNTERS: dict[str, Callable[..., Any]] = {
    "profiler_clear": simulator.clear_stats,
    "profiler_status": lambda: json.dumps(simulator.stats()),
    "profiler_debug_mode": simulator.debug_mode,
}
_GLOBAL = {
    f"vta.{kind}.{name}": function
    for kind in ("simulator", "tsim")
    for name, function in _COUNTERS.items()
}


def array(source: Any, device: Context | None = None, *, ctx: Context | None = None) -> NDArray:
    """`vta.nd.array`; the second parameter was called `ctx` until TVM 0.7."""
    return nd.array(source, device if device is not None else ctx)


def empty(
    shape: int | Sequence[int],
    dtype: DTypeLike = "float32",
    device: Context | None = None,
    *,
    ctx: Context | None = None,
) -> NDArray:
    """`vta.nd.empty`; the third parameter was called `ctx` until TVM 0.7."""
    return nd.empty(shape, dtype, device if device is not None else ctx)


def enabled(name: str) -> bool:
    """Whether a part of TVM's runtime exists; here, sessions and the two kinds of memory do."""
    return name in ("rpc", "ext_dev", "cpu")


def get_const_tuple(shape: Iterable[int]) -> tuple[int, ...]:
    """A shape as a tuple of integers; our shapes always are."""
    return tuple(int(size) for size in shape)


def get_global_func(name: str, allow_missing: bool = False) -> Callable[..., Any] | None:
    """The simulators' counters, by their names in TVM.

    Raises
    ------
    MissingAttribute
        The name is unknown and `allow_missing` is false; if it is true, the result is None.
    """
    if name not in _GLOBAL and not allow_missing:
        raise MissingAttribute(
            f"there is no global function {name!r}; there are {', '.join(_GLOBAL)}"
        )
    return _GLOBAL.get(name)


check_calls("tvm.", globals(), __all__)
