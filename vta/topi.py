"""Operators that scripts build schedules around, under the names that VTA's users know."""

from types import SimpleNamespace

from vta.compiler.te.padding import pad

__all__ = ["nn"]

nn = SimpleNamespace(pad=pad)
"""Operators of neural networks: `pad`."""
