"""LOAD and STORE before they start: range checks, and the sizes that the engines count down."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.hw.bus.payloads import transfer_layout
from vta.isa import Cause, Isa, MemoryType

__all__ = ["RangeCheck"]


class RangeCheck(wiring.Component):
    """Checks a LOAD's or STORE's whole range and prepares its sizes.

    The instruction is held at `insn` by whoever asks; the outputs are right `LATENCY` cycles
    after it was put there. The multiplications (rows by pitch, rows by stride) get a stage of
    their own, so that each fits one DSP.

    Parameters
    ----------
    config : Config
    kinds : tuple of MemoryType
        Which memory types this module moves; other values of `memory_type` are not checked here.

    Members
    -------
    insn : In(Isa.mem.layout)
    base : In(addr_width)
        The base register of the instruction's memory.
    cause : Out(4)
        `SRAM_RANGE`, `MEMORY_RESPONSE` (past the address width) or `NONE`.
    transfer : Out(transfer_layout)

    Source: docs/isa.md, "LOAD", "STORE" and "Errors".
    """

    LATENCY = 5

    def __init__(self, config: Config, kinds: tuple[MemoryType, ...]) -> None:
        self._config, self._kinds = config, kinds
        super().__init__(
            {
                "insn": In(Isa(config).mem.layout),
                "base": In(config.addr_width),
                "cause": Out(4),
                "transfer": Out(transfer_layout(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, insn, transfer = self._config, self.insn, self.transfer

        # What depends on the memory type: the shift from elements to bytes, and the depth.
        # 45 bits hold 2**32 elements of 4 KiB; sums below have room to spare: addresses never wrap.
        start_offset = Signal(46)
        depth = Signal(17)
        with m.Switch(insn.memory_type):
            for kind in self._kinds:
                with m.Case(kind):
                    shift = config.log_elem_bytes(kind)
                    m.d.comb += [
                        start_offset.eq(insn.dram_base << shift),
                        depth.eq(config.depth(kind)),
                    ]

        # Stage 1: sums of the fields.
        rows, pitch, gap = Signal(17), Signal(17), Signal(5)
        before_last = Signal(16)
        start = Signal(47)
        m.d.sync += [
            rows.eq(insn.y_pad_0 + insn.y_size + insn.y_pad_1),
            pitch.eq(insn.x_pad_0 + insn.x_size + insn.x_pad_1),
            gap.eq(insn.x_pad_0 + insn.x_pad_1),
            before_last.eq(insn.y_size - 1),
            start.eq(self.base + start_offset),
        ]

        # Stage 2: products.
        total, moved, span = Signal(34), Signal(32), Signal(32)
        above, below = Signal(21), Signal(21)
        m.d.sync += [
            total.eq(rows * pitch),
            moved.eq(insn.y_size * insn.x_size),
            span.eq(before_last * insn.x_stride),
            above.eq(insn.y_pad_0 * pitch),
            below.eq(insn.y_pad_1 * pitch),
        ]

        # Stage 3: ends, in elements.
        no_rows = Signal()
        sram_end, span_end = Signal(35), Signal(33)
        lead, tail = Signal(22), Signal(22)
        m.d.sync += [
            no_rows.eq(insn.y_size == 0),
            sram_end.eq(insn.sram_base + total),
            span_end.eq(span + insn.x_size),
            lead.eq(Mux(insn.y_size == 0, total[:22], above + insn.x_pad_0)),
            tail.eq(Mux(insn.y_size == 0, 0, below + insn.x_pad_1)),
        ]

        # Stage 4: ends, in bytes.
        end = Signal(48)
        span_bytes = Signal(46)
        with m.Switch(insn.memory_type):
            for kind in self._kinds:
                with m.Case(kind):
                    shift = config.log_elem_bytes(kind)
                    m.d.comb += span_bytes.eq(span_end << shift)
        past_depth = Signal()
        m.d.sync += [
            end.eq(start + Mux(no_rows, 0, span_bytes)),
            past_depth.eq((total != 0) & (sram_end > depth)),
        ]

        # Stage 5: verdicts. The last byte's successor may equal 2**addr_width, no more.
        past_memory, past_depth_late = Signal(), Signal()
        m.d.sync += [
            past_memory.eq((end > (1 << config.addr_width)) & ~no_rows),
            past_depth_late.eq(past_depth),
        ]
        with m.If(past_depth_late):
            m.d.comb += self.cause.eq(Cause.SRAM_RANGE)
        with m.Elif(past_memory):
            m.d.comb += self.cause.eq(Cause.MEMORY_RESPONSE)

        # Rows that touch in DRAM are one run, however they lie in SRAM. A right transfer moves at
        # most 2**16 elements, which the narrow fields of the layout hold.
        one_run = Signal()
        m.d.sync += one_run.eq((insn.x_stride == insn.x_size) | (insn.y_size == 1))
        m.d.comb += [
            transfer.kind.eq(insn.memory_type),
            transfer.addr.eq(start),
            transfer.runs.eq(Mux(no_rows, 0, Mux(one_run, 1, insn.y_size))),
            transfer.run_elems.eq(Mux(one_run, moved, insn.x_size)),
            transfer.run_stride.eq(insn.x_stride),
            transfer.sram_base.eq(insn.sram_base),
            transfer.data_addr.eq(insn.sram_base + lead),
            transfer.rows.eq(insn.y_size),
            transfer.cols.eq(insn.x_size),
            transfer.gap.eq(gap),
            transfer.lead.eq(lead),
            transfer.tail.eq(tail),
            transfer.tail_addr.eq(sram_end - tail),
            transfer.moved.eq(moved),
            transfer.sram_end.eq(sram_end),
        ]
        return m
