"""The core: fetch, three modules, their queues and tokens, the buffers between them, the bus."""

from __future__ import annotations

from typing import Any

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from vta.config import Config
from vta.hw.bus.payloads import INDEX_BITS, Events, QueuedInsn
from vta.hw.bus.read_dma import ReadDma, bus_signature
from vta.hw.bus.streams import Queue, level_flags
from vta.hw.compute.compute_module import ComputeModule
from vta.hw.control.counters import EVENTS, Counters
from vta.hw.control.register_file import READ_FROM_CORE
from vta.hw.control.run_monitor import HaltReport, RunMonitor
from vta.hw.issue.executor import Executor
from vta.hw.issue.fetch import Fetch
from vta.hw.issue.token_queue import TokenQueue
from vta.hw.transfer.load_module import LoadModule
from vta.hw.transfer.scratchpad import Scratchpad
from vta.hw.transfer.store_module import StoreModule
from vta.isa import TOKEN_LINKS, TOKEN_QUEUES, MemoryType
from vta.registers import MEMORIES, POINTERS

__all__ = ["READERS", "Core"]

READERS = 3
"""Fetch, load and compute read memory."""


class _Blocks:
    """The blocks that several parts of the core's wiring need."""

    def __init__(self, config: Config) -> None:
        self.fetch = Fetch(config)
        self.load = LoadModule(config)
        self.compute = ComputeModule(config)
        self.store = StoreModule(config)
        self.modules: dict[str, Executor] = {
            "load": self.load,
            "compute": self.compute,
            "store": self.store,
        }
        self.tokens = {name: TokenQueue() for name in TOKEN_QUEUES}
        self.dma = ReadDma(config, clients=READERS)
        self.pending = {
            name: Signal(range(config.insn_queue_depth + 1), name=f"{name}_pending")
            for name in self.modules
        }
        """For each module, the instructions that fetch sent and that have not been issued."""


def _waits(module: Executor) -> Value:
    """The module's next instruction waits for a token, or for room to push one."""
    status = module.port.status
    return status.pop_prev | status.pop_next | status.push_prev | status.push_next


class Core(wiring.Component):
    """The machine without its registers. A reset of this component is the ISA's reset bit.

    Parameters
    ----------
    config : Config

    Members
    -------
    bus : Out(AxiSignature)
    start : In(1)
        Begins a run.
    running : In(1)
    stop : In(1)
        Ask for no more bursts.
    bus_quiet : Out(1)
    insn_count, watchdog, insn_ptr, uop_ptr, ... : In
        Constant during a run.
    done, halt, verdict
        From the monitor.
    clear_counters : In(1)
    events : Out(Events)
    NAME : Out(32)
        For each of `READ_FROM_CORE`: the register's value.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__(
            {
                "bus": Out(bus_signature(config)),
                "start": In(1),
                "running": In(1),
                "stop": In(1),
                "bus_quiet": Out(1),
                "insn_count": In(INDEX_BITS),
                "watchdog": In(32),
                **{f"{name}_ptr": In(config.addr_width) for name in POINTERS},
                "done": Out(1),
                "halt": Out(1),
                "verdict": Out(HaltReport),
                "clear_counters": In(1),
                "events": Out(Events),
                **{name: Out(32) for name in READ_FROM_CORE},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        blocks = _Blocks(self._config)
        m.submodules.fetch = blocks.fetch
        for name, module in blocks.modules.items():
            m.submodules[name] = module
        m.submodules.dma = blocks.dma

        self._connect_bus(m, blocks)
        self._connect_pointers(m, blocks)
        self._connect_queues(m, blocks)
        self._connect_tokens(m, blocks)
        self._connect_buffers(m, blocks)
        self._monitor(m, blocks)
        self._count(m, blocks)
        self._show(m, blocks)
        return m

    def _connect_bus(self, m: Module, blocks: _Blocks) -> None:
        """Three readers and one writer share the memory bus."""
        for client, reader in enumerate((blocks.fetch, blocks.load, blocks.compute)):
            connect(m, reader.burst, getattr(blocks.dma, f"burst_{client}"))
            connect(m, reader.beat, getattr(blocks.dma, f"beat_{client}"))
        for name in self.bus.signature.members:
            channel: Any = blocks.dma if name.startswith(("ar", "r")) else blocks.store
            if self.bus.signature.members[name].flow == In:
                m.d.comb += getattr(channel.bus, name).eq(getattr(self.bus, name))
            else:
                m.d.comb += getattr(self.bus, name).eq(getattr(channel.bus, name))
        m.d.comb += [
            blocks.dma.stop.eq(self.stop),
            blocks.store.stop.eq(self.stop),
            self.bus_quiet.eq(blocks.dma.quiet & blocks.store.quiet),
        ]

    def _connect_pointers(self, m: Module, blocks: _Blocks) -> None:
        """Where fetch starts, and the base addresses of the memories."""
        m.d.comb += [
            blocks.fetch.start.eq(self.start),
            blocks.fetch.pointer.eq(self.insn_ptr),
            blocks.fetch.count.eq(self.insn_count),
            blocks.load.inp_base.eq(self.inp_ptr),
            blocks.load.wgt_base.eq(self.wgt_ptr),
            blocks.compute.uop_base.eq(self.uop_ptr),
            blocks.compute.acc_base.eq(self.acc_ptr),
            blocks.store.out_base.eq(self.out_ptr),
        ]

    def _connect_queues(self, m: Module, blocks: _Blocks) -> None:
        """Instruction queues, from fetch to each module.

        An instruction counts until its tokens are popped, wherever it is, so that the room in a
        queue is a number that the functional simulator knows too.
        """
        config, fetch = self._config, blocks.fetch
        for name, module in blocks.modules.items():
            m.submodules[f"{name}_queue"] = queue = Queue(QueuedInsn, config.insn_queue_depth)
            source = getattr(fetch, name)
            pending = blocks.pending[name]
            sent, issue = Signal(name=f"{name}_sent"), module.port.issue
            _, has_room = level_flags(m, pending, config.insn_queue_depth, sent, issue)
            m.d.comb += [
                queue.i.payload.eq(source.payload),
                sent.eq(source.valid & has_room),
                queue.i.valid.eq(sent),
                source.ready.eq(has_room),
            ]
            connect(m, queue.o, module.port.insn)
            m.d.sync += [
                pending.eq(pending + sent - issue),
                Assert(~queue.i.valid | queue.i.ready, "more instructions than a queue can hold"),
            ]

    def _connect_tokens(self, m: Module, blocks: _Blocks) -> None:
        """Token queues between neighbours."""
        for name, token_queue in blocks.tokens.items():
            m.submodules[name] = token_queue
        for (module, side), link in TOKEN_LINKS.items():
            port = blocks.modules[module.name.lower()].port
            popped, pushed = blocks.tokens[link.pops], blocks.tokens[link.pushes]
            m.d.comb += [
                popped.pop.eq(port.moves[f"pop_{side}"]),
                port.available[f"pop_{side}"].eq(popped.available),
                pushed.push.eq(port.moves[f"push_{side}"]),
                port.full[f"push_{side}"].eq(pushed.full),
            ]

    def _connect_buffers(self, m: Module, blocks: _Blocks) -> None:
        """INP and WGT between load and compute, and compute's OUT to store."""
        config = self._config
        for kind in (MemoryType.INP, MemoryType.WGT):
            name = kind.name.lower()
            m.submodules[name] = pad = Scratchpad(
                config, elem_bits=8 * config.elem_bytes(kind), depth=config.depth(kind)
            )
            write = blocks.load.write
            m.d.comb += [
                pad.write_en.eq(blocks.load.write_en & (write.kind == kind)),
                pad.write_addr.eq(write.addr),
                pad.write_lanes.eq(write.lanes),
                pad.write_zero.eq(write.zero),
                pad.write_data.eq(write.data),
                pad.read_en.eq(getattr(blocks.compute, f"{name}_en")),
                pad.read_addr.eq(getattr(blocks.compute, f"{name}_addr")),
                getattr(blocks.compute, f"{name}_data").eq(pad.read_data),
            ]
            if config.requantises:
                m.d.comb += pad.write_least.eq(write.least)
        m.d.comb += [
            blocks.compute.out_en.eq(blocks.store.read_en),
            blocks.compute.out_addr.eq(blocks.store.read_addr),
            blocks.store.read_data.eq(blocks.compute.out_data),
        ]

    def _monitor(self, m: Module, blocks: _Blocks) -> None:
        """Watches for the end of the run."""
        m.submodules.monitor = monitor = RunMonitor()
        fetch = blocks.fetch
        for number, (name, module) in enumerate(blocks.modules.items()):
            status = module.port.status
            m.d.comb += [
                getattr(monitor, f"{name}_status").eq(status),
                monitor.settled[number].eq(
                    (module.port.idle & (blocks.pending[name] == 0))
                    | _waits(module)
                    | (status.cause != 0)
                ),
            ]
        ports = [module.port for module in blocks.modules.values()]
        sources = [getattr(fetch, name) for name in blocks.modules]
        m.d.comb += [
            monitor.running.eq(self.running),
            monitor.fetch_settled.eq((fetch.over & fetch.quiet) | fetch.blocked),
            monitor.fetch_finished.eq(fetch.finished),
            monitor.fetch_cause.eq(fetch.cause),
            monitor.fetch_index.eq(fetch.dispatched),
            monitor.bus_quiet.eq(self.bus_quiet),
            monitor.watchdog.eq(self.watchdog),
            monitor.progress.eq(
                Cat(
                    self.start,
                    blocks.dma.moved,
                    blocks.store.moved,
                    blocks.compute.active,
                    *(port.issue | port.retire for port in ports),
                    *(source.valid & source.ready for source in sources),
                ).any()
            ),
            self.done.eq(monitor.done),
            self.halt.eq(monitor.halt),
            self.verdict.eq(monitor.verdict),
        ]

    def _count(self, m: Module, blocks: _Blocks) -> None:
        """Events for the counters."""
        m.submodules.counters = counters = Counters(self._config)
        fetch, compute = blocks.fetch, blocks.compute
        m.d.comb += [
            counters.clear.eq(self.clear_counters),
            counters.on_fetch_busy.eq(~fetch.over),
            counters.on_fetch_wait_token.eq(fetch.blocked),
            counters.on_fetch_wait_memory.eq(fetch.waiting),
            counters.on_gemm_ops.eq(compute.gemm_op),
            counters.on_reset_ops.eq(compute.reset_op),
            counters.on_alu_ops.eq(compute.alu_op),
            counters.on_tile_count.eq(compute.gemm_op | compute.reset_op | compute.alu_op),
        ]
        for name, module in blocks.modules.items():
            status = module.port.status
            m.d.comb += [
                getattr(counters, f"on_{name}_busy").eq(status.active),
                getattr(counters, f"on_{name}_wait_token").eq(_waits(module) & self.running),
                getattr(counters, f"on_{name}_wait_memory").eq(status.active & module.waiting),
                getattr(counters, f"on_{name}_insns").eq(module.port.retire),
                getattr(counters, f"retire_{name}").eq(module.port.retire),
                getattr(counters, f"retired_{name}").eq(module.port.retired),
            ]
        for name in (*EVENTS, *(f"{memory}_bytes" for memory in MEMORIES)):
            m.d.comb += getattr(self, name).eq(getattr(counters, name))

    def _show(self, m: Module, blocks: _Blocks) -> None:
        """The core's state, as registers show it."""
        m.d.comb += [
            self.tokens_prev.eq(Cat(blocks.tokens["l2g"].count, blocks.tokens["g2l"].count)),
            self.tokens_next.eq(Cat(blocks.tokens["g2s"].count, blocks.tokens["s2g"].count)),
            self.fetch_status.eq(Cat(~blocks.fetch.over, Const(0, 7), blocks.fetch.cause)),
            self.fetch_index.eq(blocks.fetch.dispatched),
        ]
        for number, (name, module) in enumerate(blocks.modules.items()):
            status = module.port.status
            m.d.comb += [
                self.events.issue[number].eq(module.port.issue),
                self.events.retire[number].eq(module.port.retire),
                self.events.wait_prev[number].eq(status.pop_prev | status.push_prev),
                self.events.wait_next[number].eq(status.pop_next | status.push_next),
                self.events.wait_memory[number].eq(status.active & module.waiting),
                getattr(self, f"{name}_status").eq(
                    Cat(
                        status.active,
                        status.pop_prev,
                        status.pop_next,
                        status.push_prev,
                        status.push_next,
                        Const(0, 3),
                        status.cause,
                    )
                ),
                getattr(self, f"{name}_index").eq(status.index),
            ]
