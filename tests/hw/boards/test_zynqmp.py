"""The Zynq UltraScale+ shell: each port of the PS8, and the whole of it on Verilator."""

from __future__ import annotations

from functools import cache

import pytest

from tests.rtl.primitives import connections, ports_of, stand_in, wrong_connections
from tests.rtl.runner import Design
from vta.config import PRESETS
from vta.hw.boards.zynqmp import REGISTERS, ZynqMP
from vta.hw.verilog import verilog_of

TINY = PRESETS["tiny"]


@cache
def shell() -> str:
    return verilog_of(ZynqMP(TINY), TINY, ports=[])


def test_the_primitive_has_the_ports():
    known, used = ports_of("PS8"), connections(shell(), "PS8")
    assert set(used) <= set(known)
    # Every input of the two ports is connected, but for what AXI leaves to its users.
    for name, port in known.items():
        if name.startswith(("MAXIGP0", "SAXIGP2")) and port.direction == "input":
            assert name in used or name.endswith("USER")


def test_the_primitive_has_the_widths(tmp_path):
    assert wrong_connections(shell() + stand_in("PS8", "PLCLK"), tmp_path) == []


# The driver sets these ports to 32 and 64 bits; the other bits are not there then.
WIDTHS = {
    **{f"MAXIGP0{name}DATA": 32 for name in "WR"},
    "MAXIGP0WSTRB": 4,
    **{f"SAXIGP2{name}DATA": 64 for name in "WR"},
    "SAXIGP2WSTRB": 8,
}
ZYNQMP = {
    "VTA_BENCH_SYSTEM": "ps8",
    "VTA_BENCH_REGISTERS": hex(REGISTERS),
    "VTA_BENCH_PROCESSOR": "MAXIGP0",
    "VTA_BENCH_MEMORY": "SAXIGP2",
    "VTA_BENCH_RESET": "",
    "VTA_BENCH_IRQ": "PLPSIRQ0",
    "VTA_BENCH_BURST": "256",
}


# The same benches run on the Zynq-7000 in every run of the tests.
@pytest.mark.full
@pytest.mark.parametrize("bench", ["vector_add", "interrupt", "bursts"])
def test_on_verilator(bench, tmp_path, monkeypatch):
    public = [("vta", "held"), ("PS8", "*")]
    text = shell() + stand_in("PS8", "PLCLK", WIDTHS)
    Design(TINY, text, public).check(
        "tests.rtl.zynq_benches", bench, tmp_path, monkeypatch, **ZYNQMP
    )
