"""The design's own names, out of those that synthesis makes of them."""

from __future__ import annotations

import pytest

from vta.tools.synth import netlist_names


@pytest.mark.parametrize(
    ("name", "signal", "own"),
    [
        ("top.core.l2g.full", "core.l2g.full", True),
        ("top.core.store.requests.beats[7]", "core.store.requests.beats[7]", True),
        ("top.core.dma.i__valid$37", "core.dma.i__valid", True),
        ("top.port$3759$0[150]", "port[150]", True),
        ("top.core.l2g.full_LUT4_C_Z_LUT4_C_Z[2]", "core.l2g.full", False),
        ("top.control.stop_TRELLIS_FF_Q_DI[0]", "control.stop", False),
        ("top.core.dma.i__valid$37_LUT4_C_Z_LUT4_Z[4]", "core.dma.i__valid", False),
        (
            "top.core.store.lengths.fifo.storage.0.0_DI_2_LUT4_Z_C_CCU2C_S0_COUT",
            "core.store.lengths.fifo.storage",
            False,
        ),
        (
            "top.core.store.lengths.fifo.storage.0.12_DI_2[3]",
            "core.store.lengths.fifo.storage",
            False,
        ),
        ("top.core.check.$signal$19_LUT4_A", "core.check", False),
        ("top.core.check.$signal$19[3]", "core.check", False),
        ("o", "o", True),
        ("core.fetch.left$7_LUT6_I2_O[3]", "core.fetch.left", False),
        ("core.fetch.left_MUXF7_O_I0", "core.fetch.left", False),
        ("core.total_CARRY4_O_S", "core.total", False),
        ("core.total_INV_I_O", "core.total", False),
        ("core.delay_SRL16E_Q", "core.delay", False),
        ("core.delay_SRLC32E_Q", "core.delay", False),
        ("core.queue.storage_RAM32M_DOA[1]", "core.queue.storage", False),
        ("core.wgt_RAMB36E1_DOADO[1]", "core.wgt", False),
        ("core.products_DSP48E1_P[17]", "core.products", False),
        ("core.RAM_has_1E1", "core.RAM_has_1E1", True),
    ],
)
def test_names_of_nets(name: str, signal: str, own: bool) -> None:
    assert netlist_names.of_net(name) == (signal, own)


@pytest.mark.parametrize(
    ("name", "signal"),
    [
        ("top.core.monitor.quiet_for_TRELLIS_FF_Q_27", "core.monitor.quiet_for"),
        ("top.core.wgt.data.0.3", "core.wgt.data"),
        ("top.core.wgt.data.0.3_DP16KD_DOA", "core.wgt.data"),
        ("top.core.check.$signal$19_TRELLIS_FF_Q", "core.check"),
        ("top.core.lane_0_1.sum_MULT18X18D_P17", "core.lane_0_1.sum"),
        *((f"core.left_{kind}_Q_27", "core.left") for kind in ("FDRE", "FDSE", "FDCE", "FDPE")),
    ],
)
def test_names_of_registers(name: str, signal: str) -> None:
    assert netlist_names.of_cell(name) == signal
