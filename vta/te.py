"""Tensor expressions and schedules, under the names that VTA's users know."""

from typing import NoReturn

from vta.compiler.pipeline import lower
from vta.compiler.te.expr import const
from vta.compiler.te.intrinsics import all_of as all
from vta.compiler.te.intrinsics import if_then_else, max_value, min_value, reduce_axis
from vta.compiler.te.intrinsics import maximum as max
from vta.compiler.te.intrinsics import minimum as min
from vta.compiler.te.intrinsics import reduce_sum as sum
from vta.compiler.te.primitives import thread_axis
from vta.compiler.te.schedule import create_schedule
from vta.compiler.te.tensor import compute, placeholder

__all__ = [
    "all",
    "compute",
    "const",
    "create_schedule",
    "if_then_else",
    "lower",
    "max",
    "max_value",
    "min",
    "min_value",
    "placeholder",
    "reduce_axis",
    "sum",
    "thread_axis",
]


def __getattr__(name: str) -> NoReturn:
    raise AttributeError(f"module 'vta.te' has no {name!r}; it has {', '.join(__all__)}")
