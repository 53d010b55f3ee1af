"""The load module: LOAD INP and LOAD WGT."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from vta.config import Config
from vta.hw.bus.payloads import beat_layout, burst_layout
from vta.hw.issue.range_check import RangeCheck
from vta.hw.issue.sequencer import ModuleSignature, Sequencer
from vta.hw.transfer.load_engine import LoadEngine, write_layout
from vta.isa import Cause, Isa, MemoryType

__all__ = ["KINDS", "LoadModule"]

KINDS = (MemoryType.INP, MemoryType.WGT)


class LoadModule(wiring.Component):
    """Executes its queue in order; several LOADs are in flight at once.

    Parameters
    ----------
    config : Config

    Members
    -------
    port : Out(ModuleSignature)
        Its instructions are LOADs of `KINDS`.
    inp_base, wgt_base : In(addr_width)
        Constant during a run.
    burst, beat
        To and from the read DMA.
    write, write_en
        To the scratchpads, as in `LoadEngine`; they always have room.
    waiting : Out(1)
        For memory.

    Source: docs/isa.md, "LOAD".
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "port": Out(ModuleSignature()),
                "inp_base": In(config.addr_width),
                "wgt_base": In(config.addr_width),
                "burst": Out(stream.Signature(burst_layout(config))),
                "beat": In(stream.Signature(beat_layout(config))),
                "write": Out(write_layout(config, KINDS)),
                "write_en": Out(1),
                "waiting": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.sequencer = sequencer = Sequencer(units=1, check_latency=RangeCheck.LATENCY)
        m.submodules.check = check = RangeCheck(config, KINDS)
        m.submodules.loader = loader = LoadEngine(config, KINDS)
        connect(m, flipped(self.port), sequencer.port)
        connect(m, flipped(self.burst), loader.burst)
        connect(m, flipped(self.beat), loader.beat)
        m.d.comb += [
            self.write.eq(loader.write),
            self.write_en.eq(loader.write_en),
            loader.room.eq(1),
            loader.discard.eq(sequencer.port.status.cause != Cause.NONE),
            self.waiting.eq(loader.waiting),
        ]

        # The checks take their time; `head` rests until they are through.
        insn = Isa(config).mem.layout(sequencer.head.insn)
        m.d.comb += [
            check.insn.eq(insn),
            check.base.eq(Mux(insn.memory_type == MemoryType.INP, self.inp_base, self.wgt_base)),
        ]

        # A LOAD with x_size 0 moves tokens only; of its errors only the token's counts. What the
        # instruction alone decides is registered: it has the time of the other checks, and issue
        # has not.
        nothing, illegal = Signal(), Signal()
        m.d.sync += [nothing.eq(insn.x_size == 0), illegal.eq(insn.pop_prev | insn.push_prev)]
        with m.If(illegal):
            m.d.comb += sequencer.cause.eq(Cause.ILLEGAL_TOKEN)
        with m.Elif(~nothing):
            m.d.comb += sequencer.cause.eq(check.cause)
        m.d.comb += [
            sequencer.tokens.pop_next.eq(insn.pop_next),
            sequencer.tokens.push_next.eq(insn.push_next),
            sequencer.unit.eq(nothing),
            sequencer.moved.kind.eq(insn.memory_type),
            sequencer.moved.moved.eq(check.transfer.moved),
            sequencer.hindered.eq(~nothing & ~loader.job.ready),
            loader.job.payload.eq(check.transfer),
            loader.job.valid.eq(sequencer.port.issue & ~nothing),
            sequencer.done[0].eq(loader.done),
            sequencer.failed[0].eq(Mux(loader.error, Cause.MEMORY_RESPONSE, Cause.NONE)),
        ]
        return m
