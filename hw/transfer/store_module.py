"""The store module: STORE OUT."""

from __future__ import annotations

from amaranth import *
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.hw.bus.read_dma import bus_signature
from vta.hw.issue.executor import Executor
from vta.hw.transfer.store_engine import StoreEngine
from vta.isa import Cause, Isa, MemoryType, ModuleId

__all__ = ["StoreModule"]


class StoreModule(Executor):
    """Executes STOREs in order; several of them are in flight at once.

    Parameters
    ----------
    config : Config

    Members
    -------
    port, out_base, waiting
        As in `Executor`.
    bus : Out(AxiSignature)
        The write channels are driven.
    read_en, read_addr, read_data
        The port of the OUT buffer; data comes in the cycle after the address.
    stop : In(1)
        No new bursts (a reset is under way).
    quiet, moved : Out(1)
        As in `ReadDma`, for writes.

    Source: docs/isa.md, "STORE".
    """

    def __init__(self, config: Config) -> None:
        super().__init__(
            config,
            module=ModuleId.STORE,
            kinds=(MemoryType.OUT,),
            units=1,
            members={
                "bus": Out(bus_signature(config)),
                "read_en": Out(1),
                "read_addr": Out(range(config.out_depth)),
                "read_data": In(8 * config.out_elem_bytes),
                "stop": In(1),
                "quiet": Out(1),
                "moved": Out(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sequencer, check = self._front_end(m)
        m.submodules.storer = storer = StoreEngine(self._config)
        self._connect_engine(m, storer)

        # A STORE with a size of 0 only moves tokens, whatever its memory type. Registered, to
        # shorten the path to issue; the range check takes longer anyway.
        insn = Isa(self._config).mem.layout(sequencer.head.insn)
        is_empty = (insn.x_size == 0) | (insn.y_size == 0)
        has_pads = Cat(insn.y_pad_0, insn.y_pad_1, insn.x_pad_0, insn.x_pad_1).any()
        nothing, static, wrong = Signal(), Signal(4), Signal()
        is_foreign = insn.memory_type != MemoryType.OUT
        m.d.sync += [
            nothing.eq(is_empty),
            static.eq(Cause.NONE),
            wrong.eq(~is_empty & (is_foreign | has_pads)),
        ]
        with m.If(~is_empty & is_foreign):
            m.d.sync += static.eq(Cause.ILLEGAL_MEMORY_TYPE)
        with m.Elif(~is_empty & has_pads):
            m.d.sync += static.eq(Cause.ILLEGAL_PADDING)
        self._decide(
            m, sequencer, check, static=static, wrong=wrong, transfers=~nothing, kind=MemoryType.OUT
        )
        m.d.comb += [
            # Any other memory type is an error, whatever the range check says.
            check.insn.memory_type.eq(MemoryType.OUT),
            sequencer.unit.eq(nothing),
            sequencer.hindered.eq(~nothing & ~storer.job.ready),
            storer.job.payload.eq(check.transfer),
            storer.job.valid.eq(sequencer.port.issue & ~nothing),
            sequencer.done[0].eq(storer.done),
            sequencer.failed[0].eq(Mux(storer.error, Cause.MEMORY_RESPONSE, Cause.NONE)),
        ]
        return m

    def _connect_engine(self, m: Module, storer: StoreEngine) -> None:
        """The bus and the OUT buffer, straight through."""
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
