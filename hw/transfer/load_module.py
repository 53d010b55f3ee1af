"""The load module: LOAD INP and LOAD WGT."""

from __future__ import annotations

from amaranth import *
from amaranth.lib.wiring import Out, connect, flipped

from vta.config import Config
from vta.hw.bus.read_dma import reader_ports
from vta.hw.issue.executor import Executor
from vta.hw.transfer.load_engine import LoadEngine, write_layout
from vta.isa import Cause, Isa, MemoryType, ModuleId

__all__ = ["KINDS", "LoadModule"]

KINDS = (MemoryType.INP, MemoryType.WGT)


class LoadModule(Executor):
    """Executes LOAD INP and LOAD WGT in order; several of them are in flight at once.

    Parameters
    ----------
    config : Config

    Members
    -------
    port, inp_base, wgt_base, waiting
        As in `Executor`.
    burst, beat
        To and from the read DMA, as in `reader_ports`.
    write, write_en
        To the scratchpads, as in `LoadEngine`; they always have room.

    Source: docs/isa.md, "LOAD".
    """

    def __init__(self, config: Config) -> None:
        super().__init__(
            config,
            module=ModuleId.LOAD,
            kinds=KINDS,
            units=1,
            members={
                **reader_ports(config),
                "write": Out(write_layout(config, KINDS)),
                "write_en": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        sequencer, check = self._front_end(m)
        m.submodules.loader = loader = LoadEngine(config, KINDS)
        connect(m, flipped(self.burst), loader.burst)
        connect(m, flipped(self.beat), loader.beat)
        m.d.comb += [
            self.write.eq(loader.write),
            self.write_en.eq(loader.write_en),
            loader.room.eq(1),
            loader.discard.eq(sequencer.port.status.cause != Cause.NONE),
            self.waiting.eq(loader.waiting),
        ]

        # A LOAD with x_size 0 only moves tokens, and its range does not count. Registered, to
        # shorten the path to issue; the range check takes longer anyway.
        insn = Isa(config).mem.layout(sequencer.head.insn)
        nothing = Signal()
        m.d.sync += nothing.eq(insn.x_size == 0)
        self._decide(
            m,
            sequencer,
            check,
            static=Const(Cause.NONE),
            wrong=Const(0),
            transfers=~nothing,
            kind=insn.memory_type,
        )
        m.d.comb += [
            sequencer.unit.eq(nothing),
            sequencer.hindered.eq(~nothing & ~loader.job.ready),
            loader.job.payload.eq(check.transfer),
            loader.job.valid.eq(sequencer.port.issue & ~nothing),
            sequencer.done[0].eq(loader.done),
            sequencer.failed[0].eq(Mux(loader.error, Cause.MEMORY_RESPONSE, Cause.NONE)),
        ]
        return m
