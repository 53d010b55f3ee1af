"""Tensor expressions and schedules, under the names that VTA's users know."""

from typing import NoReturn

from vta.compiler.expr import const
from vta.compiler.expr import maximum as max
from vta.compiler.expr import minimum as min
from vta.compiler.lower import lower
from vta.compiler.schedule import create_schedule
from vta.compiler.tensor import compute, placeholder

__all__ = ["compute", "const", "create_schedule", "lower", "max", "min", "placeholder"]


def __getattr__(name: str) -> NoReturn:
    raise AttributeError(f"module 'vta.te' has no {name!r}; it has {', '.join(__all__)}")
