"""With encoding 0.0.3 no iteration is offered that touches a tile that is being requantised.

By induction: any iterations, and a pipeline that takes them when it likes. Without LOADs, which
`test_hazards.py` is about.
"""

from __future__ import annotations

import pytest
from amaranth import *

from tests.formal.prover import SMALLEST, Proof, fails, planted, prove
from vta.hw.compute.delay_line import DelayLine
from vta.hw.compute.hazards import AccGuard
from vta.hw.compute.requantiser import Requantiser
from vta.isa import AluOp

CONFIG = SMALLEST.replace(hw_ver="0.0.3")


class WaitsForRequantised(Proof):
    """With encoding 0.0.3: what is offered touches no tile that is being requantised."""

    def __init__(self, guard: AccGuard, *, hints: bool = True) -> None:
        super().__init__(guard)
        self.hints = hints

    def properties(self, m: Module) -> None:
        guard = self.dut
        self.add(m, line := DelayLine(CONFIG, Requantiser.LATENCY), "line")
        self.assume(m, ~guard.i.payload.fault & ~guard.load)
        held = guard.o.payload
        context = held.context
        is_qnt = context.is_alu & (context.alu_opcode == AluOp.QNT)
        if self.hints:
            self.always(m, ~guard.busy | (guard.flags.is_qnt == is_qnt), "inside: what is QNT")
        m.d.comb += [
            line.i.qnt.eq(guard.o.valid & guard.o.ready & is_qnt),
            line.i.tile.addr.eq(held.dst),
            guard.delayed.eq(line.delayed),
        ]
        met = self.inside(self.block, "_meet_delayed.met")
        for number, tile in enumerate(line.delayed):
            src = held.src[: CONFIG.log_acc_depth]
            touches = tile.qnt & (
                (tile.addr == held.dst) | (context.is_alu & ~context.use_imm & (tile.addr == src))
            )
            self.always(m, ~(guard.o.valid & touches), "touches no tile that is being requantised")
            if self.hints:
                self.always(
                    m,
                    ~(guard.busy & touches) | (met[number] & self.inside(self.block, "held")),
                    "inside: the guard remembers where in the line the tile is",
                )


def test_requantised_tiles(tmp_path):
    prove(WaitsForRequantised(AccGuard(CONFIG)), tmp_path, depth=3, induction=True)


@pytest.mark.full
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("full & self.flags.is_qnt", "C(0)"),
        ("later = (met << 1)", "later = (met << 2)"),
        ("met.eq(Mux(moves, hits, later))", "met.eq(hits)"),
        ("(addr == new.src[: len(new.dst)])", "C(0)"),
    ],
)
def test_requantised_tiles_with_a_fault(tmp_path, old, new):
    proof = WaitsForRequantised(planted(AccGuard, {old: new})(CONFIG), hints=False)
    assert "being requantised" in fails(proof, tmp_path, depth=8)
