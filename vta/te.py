"""Tensor expressions and schedules, by the names that VTA's users know."""

import contextlib
from collections.abc import Iterator
from typing import NoReturn

from vta.calls import check_calls
from vta.compiler.pipeline import lower
from vta.compiler.te.expr import Expr, const
from vta.compiler.te.intrinsics import all_of as all
from vta.compiler.te.intrinsics import (
    floordiv,
    floormod,
    if_then_else,
    max_value,
    min_value,
    reduce_axis,
    requantize,
    truncdiv,
    truncmod,
)
from vta.compiler.te.intrinsics import floordiv as indexdiv
from vta.compiler.te.intrinsics import floormod as indexmod
from vta.compiler.te.intrinsics import maximum as max
from vta.compiler.te.intrinsics import minimum as min
from vta.compiler.te.intrinsics import reduce_sum as sum
from vta.compiler.te.primitives import thread_axis
from vta.compiler.te.schedule import Schedule, create_schedule
from vta.compiler.te.stage import Stage
from vta.compiler.te.tensor import Operation, Tensor, compute, placeholder

__all__ = [
    "all",
    "compute",
    "const",
    "create_schedule",
    "floordiv",
    "floormod",
    "if_then_else",
    "indexdiv",
    "indexmod",
    "lower",
    "max",
    "max_value",
    "min",
    "min_value",
    "placeholder",
    "reduce_axis",
    "requantize",
    "sum",
    "tag_scope",
    "thread_axis",
    "truncdiv",
    "truncmod",
]


@contextlib.contextmanager
def tag_scope(tag: str) -> Iterator[None]:
    """Has no effect; for scripts that tag declarations, with ``with`` or as a decorator."""
    yield


def __getattr__(name: str) -> NoReturn:
    raise AttributeError(f"module 'vta.te' has no {name!r}; it has {', '.join(__all__)}")


check_calls("te.", globals(), __all__, Schedule, Stage, Tensor, Operation, Expr)
