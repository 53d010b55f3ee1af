"""The layer: modules with TVM's names, which exist while `layer()` is active."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from vta.tvm.missing import MissingAttribute, MissingModule, explain
from vta.tvm.surface import ROOTS, SURFACE

__all__ = ["LayerModule", "layer"]


class LayerModule(ModuleType):
    """A TVM module whose names resolve to ours when they are used."""

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            return dir(self)
        if name.startswith("__") and name != "__version__":
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        surface = SURFACE[self.__name__]
        if name in surface.names:
            # A name that is missing in ours is missing here too.
            value = _look_up(surface.names[name])
        elif f"{self.__name__}.{name}" in SURFACE:
            value = importlib.import_module(f"{self.__name__}.{name}")
        else:
            value = getattr(_source(surface.source), name, None) if name in dir(self) else None
        if value is None:
            raise MissingAttribute(explain(self.__name__, name, dir(self)), name=name, obj=self)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        surface, prefix = SURFACE[self.__name__], f"{self.__name__}."
        names = {name for name, place in surface.names.items() if _look_up(place) is not None}
        names |= {
            module.removeprefix(prefix)
            for module in SURFACE
            if module.startswith(prefix) and "." not in module.removeprefix(prefix)
        }
        return sorted(names | set(_public(_source(surface.source))))


def _look_up(place: str) -> Any:
    """The object at `module:attribute` or `module`, or None if there is none."""
    module, _, attribute = place.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return None
    return getattr(found, attribute, None) if attribute else found


def _source(place: str) -> Any:
    return _look_up(place) if place else None


def _public(source: Any) -> Sequence[str]:
    """The names that `import *` would take from a module or a class."""
    if source is None:
        return ()
    names: Sequence[str] = getattr(source, "__all__", None) or [
        name for name in vars(source) if not name.startswith("_")
    ]
    return names


class _Finder(MetaPathFinder, Loader):
    """Handles every import below `ROOTS`, so that an installed TVM is never found."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in ROOTS:
            return None
        if fullname not in SURFACE:
            owner, _, name = fullname.rpartition(".")
            raise MissingModule(explain(owner, name, dir(LayerModule(owner))), name=fullname)
        # Every module is a package, so `from tvm.x import y` asks this finder for y too.
        return ModuleSpec(fullname, self, origin="vta.tvm", is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return LayerModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


@contextlib.contextmanager
def layer() -> Iterator[None]:
    """Makes `tvm` and `topi` the layer's modules, and restores the old ones afterwards."""
    before = _take_modules()
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _take_modules()
        sys.modules.update(before)


def _take_modules() -> dict[str, ModuleType]:
    """Removes all modules below `ROOTS` from `sys.modules` and returns them."""
    names = [name for name in sys.modules if name.partition(".")[0] in ROOTS]
    return {name: sys.modules.pop(name) for name in names}
