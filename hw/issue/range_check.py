"""LOAD and STORE before they start: range checks, and the sizes that the engines count down."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.hw.bus.payloads import transfer_layout
from vta.isa import DRAM_BITS, PAD_BITS, SIZE_BITS, SRAM_BITS, Cause, Isa, MemoryType

__all__ = ["RangeCheck"]


class RangeCheck(wiring.Component):
    """Checks a LOAD's or STORE's whole range and prepares its sizes.

    The outputs are valid `LATENCY` cycles after the instruction came to `insn`, and as long as it
    stays there. The multiplications (rows by pitch, rows by stride) get a stage of
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
    failed : Out(1)
        `cause` is not `NONE`.
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
                "failed": Out(1),
                "transfer": Out(transfer_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        insn = self.insn
        # A sum of a size and its pads.
        wide = SIZE_BITS + 1

        # Stage 1: sums of the fields.
        rows, pitch, gap = Signal(wide), Signal(wide), Signal(PAD_BITS + 1)
        before_last = Signal(SIZE_BITS)
        m.d.sync += [
            rows.eq(insn.y_pad_0 + insn.y_size + insn.y_pad_1),
            pitch.eq(insn.x_pad_0 + insn.x_size + insn.x_pad_1),
            gap.eq(insn.x_pad_0 + insn.x_pad_1),
            before_last.eq(insn.y_size - 1),
        ]

        # Stage 2: products.
        total, moved, span = Signal(2 * wide), Signal(2 * SIZE_BITS), Signal(2 * SIZE_BITS)
        above, below = Signal(PAD_BITS + wide), Signal(PAD_BITS + wide)
        m.d.sync += [
            total.eq(rows * pitch),
            moved.eq(insn.y_size * insn.x_size),
            span.eq(before_last * insn.x_stride),
            above.eq(insn.y_pad_0 * pitch),
            below.eq(insn.y_pad_1 * pitch),
        ]

        # Stage 3: ends, in elements.
        no_rows = Signal()
        sram_end, span_end = Signal(2 * wide + 1), Signal(2 * SIZE_BITS + 1)
        lead, tail = Signal(len(above) + 1), Signal(len(above) + 1)
        m.d.sync += [
            no_rows.eq(insn.y_size == 0),
            sram_end.eq(insn.sram_base + total),
            span_end.eq(span + insn.x_size),
            lead.eq(Mux(insn.y_size == 0, total[: len(lead)], above + insn.x_pad_0)),
            tail.eq(Mux(insn.y_size == 0, 0, below + insn.x_pad_1)),
        ]

        start = self._find_cause(m, no_rows, total, sram_end, span_end)

        # Rows that touch in DRAM are one run, however they lie in SRAM. A transfer within range
        # moves at most 2**16 elements, which the narrow fields of the layout hold.
        one_run = Signal()
        m.d.sync += one_run.eq((insn.x_stride == insn.x_size) | (insn.y_size == 1))
        transfer = self.transfer
        m.d.comb += [
            transfer.kind.eq(insn.memory_type),
            transfer.addr.eq(start),
            transfer.moves.eq(~no_rows),
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
        if self._config.requantises:
            m.d.comb += transfer.pad_min.eq(insn.pad_min)
        return m

    def _find_cause(
        self, m: Module, no_rows: Signal, total: Signal, sram_end: Signal, span_end: Signal
    ) -> Signal:
        """Compares both ends with the depth and the address width; the start address in DRAM.

        `no_rows`, `sram_end` and `span_end` are those of stage 3.
        """
        config, insn = self._config, self.insn
        # What depends on the memory type: the shift from elements to bytes, and the depth. An
        # element has 4 KiB at most; the sums have bits to spare, so that no address wraps.
        offset, span_bytes = Signal(DRAM_BITS + 14), Signal(DRAM_BITS + 14)
        depth = Signal(SRAM_BITS + 1)
        with m.Switch(insn.memory_type):
            for kind in self._kinds:
                with m.Case(kind):
                    shift = config.log_elem_bytes(kind)
                    m.d.comb += [
                        offset.eq(insn.dram_base << shift),
                        span_bytes.eq(span_end << shift),
                        depth.eq(config.depth(kind)),
                    ]
        # Stage 1.
        start = Signal(DRAM_BITS + 15)
        m.d.sync += start.eq(self.base + offset)
        # Stage 4: ends, in bytes.
        end, past_depth = Signal(DRAM_BITS + 16), Signal()
        m.d.sync += [
            end.eq(start + Mux(no_rows, 0, span_bytes)),
            past_depth.eq((total != 0) & (sram_end > depth)),
        ]
        # Stage 5: the cause. An end may equal 2**addr_width: it is the address after the last byte.
        past_memory, past_depth_late = Signal(), Signal()
        is_past_memory = (end > (1 << config.addr_width)) & ~no_rows
        m.d.sync += [
            past_memory.eq(is_past_memory),
            past_depth_late.eq(past_depth),
            self.failed.eq(is_past_memory | past_depth),
        ]
        with m.If(past_depth_late):
            m.d.comb += self.cause.eq(Cause.SRAM_RANGE)
        with m.Elif(past_memory):
            m.d.comb += self.cause.eq(Cause.MEMORY_RESPONSE)
        return start
