"""The store module: STORE OUT."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from vta.config import Config
from vta.hw.bus.read_dma import bus_signature
from vta.hw.issue.range_check import RangeCheck
from vta.hw.issue.sequencer import ModuleSignature, Sequencer
from vta.hw.transfer.store_engine import StoreEngine
from vta.isa import Cause, Isa, MemoryType

__all__ = ["StoreModule"]


class StoreModule(wiring.Component):
    """Executes its queue in order; several STOREs are in flight at once.

    Parameters
    ----------
    config : Config

    Members
    -------
    port : Out(ModuleSignature)
        Its instructions are STOREs.
    out_base : In(addr_width)
        Constant during a run.
    bus : Out(AxiSignature)
        The write channels are driven.
    read_en, read_addr, read_data
        The port of the OUT buffer; data comes in the cycle after the address.
    stop : In(1)
        No new bursts (a reset is under way).
    quiet, moved : Out(1)
        As in `ReadDma`, for writes.
    waiting : Out(1)
        For memory.

    Source: docs/isa.md, "STORE".
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "port": Out(ModuleSignature()),
                "out_base": In(config.addr_width),
                "bus": Out(bus_signature(config)),
                "read_en": Out(1),
                "read_addr": Out(range(config.out_depth)),
                "read_data": In(8 * config.out_elem_bytes),
                "stop": In(1),
                "quiet": Out(1),
                "moved": Out(1),
                "waiting": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.sequencer = sequencer = Sequencer(units=1, check_latency=RangeCheck.LATENCY)
        m.submodules.check = check = RangeCheck(config, (MemoryType.OUT,))
        m.submodules.storer = storer = StoreEngine(config)
        connect(m, flipped(self.port), sequencer.port)
        for name in (
            "awid",
            "awaddr",
            "awlen",
            "awsize",
            "awburst",
            "awcache",
            "awvalid",
            "wdata",
            "wstrb",
            "wlast",
            "wvalid",
            "bready",
        ):
            m.d.comb += getattr(self.bus, name).eq(getattr(storer.bus, name))
        for name in ("awready", "wready", "bid", "bresp", "bvalid"):
            m.d.comb += getattr(storer.bus, name).eq(getattr(self.bus, name))
        m.d.comb += [
            self.read_en.eq(storer.read_en),
            self.read_addr.eq(storer.read_addr),
            storer.read_data.eq(self.read_data),
            storer.stop.eq(self.stop),
            self.quiet.eq(storer.quiet),
            self.moved.eq(storer.moved),
            self.waiting.eq(storer.waiting),
        ]

        # The checks take their time; `head` rests until they are through.
        insn = Isa(config).mem.layout(sequencer.head.insn)
        m.d.comb += [
            check.insn.eq(insn),
            check.insn.memory_type.eq(MemoryType.OUT),
            check.base.eq(self.out_base),
        ]

        # A STORE with a size of 0 moves tokens only, whatever its memory type. What the instruction
        # alone decides is registered: it has the time of the other checks, and issue has not.
        nothing, static = Signal(), Signal(4)
        pads = insn.y_pad_0.any() | insn.y_pad_1.any() | insn.x_pad_0.any() | insn.x_pad_1.any()
        m.d.sync += [nothing.eq((insn.x_size == 0) | (insn.y_size == 0)), static.eq(Cause.NONE)]
        with m.If(insn.pop_next | insn.push_next):
            m.d.sync += static.eq(Cause.ILLEGAL_TOKEN)
        with m.Elif((insn.x_size == 0) | (insn.y_size == 0)):
            m.d.sync += static.eq(Cause.NONE)
        with m.Elif(insn.memory_type != MemoryType.OUT):
            m.d.sync += static.eq(Cause.ILLEGAL_MEMORY_TYPE)
        with m.Elif(pads):
            m.d.sync += static.eq(Cause.ILLEGAL_PADDING)
        m.d.comb += sequencer.cause.eq(Mux((static != Cause.NONE) | nothing, static, check.cause))
        m.d.comb += [
            sequencer.tokens.pop_prev.eq(insn.pop_prev),
            sequencer.tokens.push_prev.eq(insn.push_prev),
            sequencer.unit.eq(nothing),
            sequencer.moved.kind.eq(MemoryType.OUT),
            sequencer.moved.moved.eq(Mux(nothing, 0, check.transfer.moved)),
            sequencer.hindered.eq(~nothing & ~storer.job.ready),
            storer.job.payload.eq(check.transfer),
            storer.job.valid.eq(sequencer.port.issue & ~nothing),
            sequencer.done[0].eq(storer.done),
            sequencer.failed[0].eq(Mux(storer.error, Cause.MEMORY_RESPONSE, Cause.NONE)),
        ]
        return m
