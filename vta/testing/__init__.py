"""Helpers for scripts and tests."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vta.testing import programs, simulator, utils
    from vta.testing.utils import run

__all__ = ["programs", "run", "simulator", "utils"]


def __getattr__(name: str) -> Any:
    if name == "run":
        from vta.testing.utils import run

        return run
    if name in __all__:
        return importlib.import_module(f"vta.testing.{name}")
    raise AttributeError(
        f"module 'vta.testing' has no attribute {name!r}; it has {', '.join(__all__)}"
    )
