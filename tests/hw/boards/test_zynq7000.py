"""The Zynq-7000 shell: each port of the PS7, and the whole of it on Verilator."""

from __future__ import annotations

from functools import cache

import pytest

from tests.rtl.primitives import connections, ports_of, stand_in, wrong_connections
from tests.rtl.runner import Design
from vta.config import PRESETS
from vta.hw.boards.zynq7000 import REGISTERS, Zynq7000
from vta.hw.verilog import verilog_of

TINY = PRESETS["tiny"].replace(max_burst=16)


@cache
def shell(ps_pads: bool = False) -> str:
    design = Zynq7000(TINY, ps_pads=ps_pads)
    return verilog_of(design, TINY, ports=design.ports)


@pytest.mark.parametrize("ps_pads", [False, True])
def test_the_primitive_has_the_ports(ps_pads):
    known, used = ports_of("PS7"), connections(shell(ps_pads), "PS7")
    assert set(used) <= set(known)
    pads = {name for name, port in known.items() if port.direction == "inout"}
    assert {name for name in used if name in pads} == (pads if ps_pads else set())
    # Every input of the two ports is connected.
    for name, port in known.items():
        if name.startswith(("MAXIGP0", "SAXIHP0")) and port.direction == "input":
            assert name in used


def test_the_primitive_has_the_widths(tmp_path):
    """Verilator compares each connection with the primitive's port."""
    text = shell() + stand_in("PS7", "FCLKCLK")
    assert wrong_connections(text, tmp_path) == []
    wrong = text.replace("output reg [1:0] MAXIGP0ARSIZE", "output reg [2:0] MAXIGP0ARSIZE")
    [problem] = wrong_connections(wrong, tmp_path)
    assert "MAXIGP0ARSIZE" in problem


ZYNQ = {
    "VTA_BENCH_SYSTEM": "ps7",
    "VTA_BENCH_REGISTERS": hex(REGISTERS),
    "VTA_BENCH_PROCESSOR": "MAXIGP0",
    "VTA_BENCH_MEMORY": "SAXIHP0",
    "VTA_BENCH_RESET": "FCLKRESETN",
    "VTA_BENCH_IRQ": "IRQF2P",
    "VTA_BENCH_BURST": "16",
}


@pytest.mark.parametrize("bench", ["vector_add", "interrupt", "bursts", "reset"])
def test_on_verilator(bench, tmp_path, monkeypatch):
    public = [("vta.reset", "rst"), ("PS7", "*")]
    Design(TINY, shell() + stand_in("PS7", "FCLKCLK"), public).check(
        "tests.rtl.zynq_benches", bench, tmp_path, monkeypatch, **ZYNQ
    )
