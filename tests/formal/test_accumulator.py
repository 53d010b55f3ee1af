"""What a step of the accumulator reads is what the last write before it left, for any one tile.

Any step may come in every cycle, idle ones included, with any operation, operand and tile. By
induction, seen by one lane of the smallest configuration.
"""

from __future__ import annotations

import pytest
from amaranth import *

from tests.formal.prover import SMALLEST, Proof, fails, planted, prove
from vta.hw.compute import accumulator
from vta.hw.compute.accumulator import Accumulator, acc_step_layout, written_tile
from vta.hw.compute.lane import Lane
from vta.hw.compute.lane_control import LaneOperation, OperandSource

CONFIGS = {version: SMALLEST.replace(hw_ver=version) for version in ("0.0.2", "0.0.3")}
SUM_BITS = 16
USES_OPERAND = (LaneOperation.MIN, LaneOperation.MAX, LaneOperation.ADD, LaneOperation.MOV)


class ReadsWhatWasWritten(Proof):
    """The step's own arithmetic is another matter: `result` is what a step writes."""

    def __init__(self, dut, config, *, hints: bool = True) -> None:
        super().__init__(dut)
        self.config, self.hints = config, hints

    def properties(self, m: Module) -> None:
        dut, config = self.dut, self.config
        tile = self.constant(m, "tile", config.log_acc_depth)
        value, result = (self.inside(self.block, "lane_0_0", name) for name in ("value", "result"))
        self.assume(m, Cat(dut.step.operand == source for source in OperandSource).any())
        # The steps that take, compute and write in this cycle.
        steps = [dut.step]
        for name in ("taking", "computing", "writing"):
            step = Signal(acc_step_layout(config), name=name)
            m.d.sync += step.eq(steps[-1])
            steps.append(step)
        _, taking, computing, writing = steps
        writes = writing.writes & (written_tile(config, writing) == tile)
        # What the tile holds once all steps have written that came before the one that computes.
        written, shadow = Signal(32), Signal(32)
        m.d.comb += shadow.eq(Mux(writes, result, written))
        m.d.sync += written.eq(shadow)
        self.always(
            m,
            ~(computing.reads & (computing.addr == tile)) | (value == shadow),
            "a step reads what the last write before it left",
        )
        self._operations(m, taking, computing, value, result)
        # STORE.
        narrow, any_read = Signal(8), Signal()
        with m.If(dut.out_en):
            m.d.sync += [any_read.eq(dut.out_addr == tile), narrow.eq(written)]
        self.always(
            m,
            ~any_read | (dut.out_data[:8] == narrow),
            "STORE reads what the tile's last write left in the buffer",
        )
        if self.hints:
            self._invariants(m, tile, written)

    def _operations(self, m: Module, taking, computing, value, result) -> None:
        """What a step writes, but for shifts, products and what the requantiser makes."""
        dut, loaded = self.dut, Signal(32)
        m.d.sync += loaded.eq(dut.load[:32])
        operand, has_operand = Signal(signed(32)), Signal()
        wanted, known = Signal(32), Signal()
        with m.Switch(taking.operand):
            with m.Case(OperandSource.SUM):
                m.d.sync += [operand.eq(dut.sums[0][0]), has_operand.eq(1)]
            with m.Case(OperandSource.IMM):
                m.d.sync += [operand.eq(taking.imm), has_operand.eq(1)]
        # Before the first of them the register may hold anything.
        uses = Cat(computing.operation == each for each in USES_OPERAND).any()
        m.d.sync += known.eq(~uses | has_operand)
        is_less = value.as_signed() < operand
        with m.Switch(computing.operation):
            with m.Case(LaneOperation.ZERO):
                m.d.sync += wanted.eq(0)
            with m.Case(LaneOperation.LOAD):
                m.d.sync += wanted.eq(loaded)
            with m.Case(LaneOperation.ADD):
                m.d.sync += wanted.eq(value + operand)
            with m.Case(LaneOperation.MIN):
                m.d.sync += wanted.eq(Mux(is_less, value, operand))
            with m.Case(LaneOperation.MAX):
                m.d.sync += wanted.eq(Mux(is_less, operand, value))
            if self.config.requantises:
                with m.Case(LaneOperation.MOV):
                    m.d.sync += wanted.eq(operand)
            with m.Default():
                m.d.sync += known.eq(0)
        sources = (LaneOperation.SOURCE, LaneOperation.QNT_PUT_SOURCE)
        with m.If(Cat(computing.operation == source for source in sources).any()):
            m.d.sync += [operand.eq(value), has_operand.eq(1)]
        swaps = (LaneOperation.MUL_CROSS_A, LaneOperation.MUL_CROSS_B)
        with m.If(Cat(computing.operation == swap for swap in swaps).any()):
            swapped = Cat(operand[16:], operand[:16])
            m.d.sync += [operand.eq(swapped), has_operand.eq(has_operand)]
        self.always(m, ~known | (result == wanted), "a step writes what its operation says")
        if self.hints:
            inner = self.inside(self.block, "lane_0_0", "operand")
            self.always(m, ~has_operand | (inner == operand.as_unsigned()), "inside: the operand")

    def _invariants(self, m: Module, tile, written) -> None:
        column = self.stored(m, self.block, "lane_0_0", "column", addr=tile)
        out = self.stored(m, self.block, "out", addr=tile)
        self.always(m, column == written, "inside: the buffer")
        self.always(m, out[:8] == written[:8], "inside: the narrow copy")


def accumulates(version, *, kind=Accumulator, hints=True):
    config = CONFIGS[version]
    return ReadsWhatWasWritten(kind(config, sum_bits=SUM_BITS), config, hints=hints)


@pytest.mark.parametrize("version", [pytest.param("0.0.2", marks=pytest.mark.full), "0.0.3"])
def test_reads(tmp_path, version):
    prove(accumulates(version), tmp_path, depth=5, induction=True)


LAST_WRITE = "a step reads what the last write before it left"
OPERATION = "a step writes what its operation says"


@pytest.mark.full
@pytest.mark.parametrize(
    ("old", "new", "property"),
    [
        ("taken.writes & (taken_addr == step.addr)", "(taken_addr == step.addr)", LAST_WRITE),
        ("compute.writes & (compute_addr == step.addr)", "0", LAST_WRITE),
        ("forward.eq(Forward.THIRD)", "forward.eq(Forward.NOTHING)", LAST_WRITE),
        ("write_en & (write_addr == step.addr)", "write_en", LAST_WRITE),
        ("write_addr.eq(compute_addr)", "write_addr.eq(compute.addr ^ 1)", "STORE reads"),
        ("taken.operation, step.operand", "taken.operation, taken.operand", OPERATION),
        ("m.d.sync += loaded.eq(self.load)", "m.d.comb += loaded.eq(self.load)", OPERATION),
        ("write.data.eq(Cat(results))", "write.data.eq(Cat(results) + 1)", "STORE reads"),
    ],
)
def test_reads_with_a_fault(tmp_path, old, new, property):
    proof = accumulates("0.0.2", kind=planted(Accumulator, {old: new}), hints=False)
    assert property in fails(proof, tmp_path, depth=8)


@pytest.mark.full
@pytest.mark.parametrize(
    ("old", "new", "property"),
    [
        ("older.eq(result)", "older.eq(older)", LAST_WRITE),
        ("(Forward.SECOND, result)", "(Forward.SECOND, older)", LAST_WRITE),
        ("(Forward.FIRST, changed)", "(Forward.FIRST, result)", LAST_WRITE),
        ("stays & (control.forward == Forward.FIRST)", "stays", LAST_WRITE),
        ("lane_arithmetic.add(value, operand)", "lane_arithmetic.add(operand, operand)", OPERATION),
    ],
)
def test_reads_of_a_lane_with_a_fault(tmp_path, monkeypatch, old, new, property):
    monkeypatch.setattr(accumulator, "Lane", planted(Lane, {old: new}))
    assert property in fails(accumulates("0.0.2", hints=False), tmp_path, depth=8)
