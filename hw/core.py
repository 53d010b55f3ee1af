"""The core: fetch, three modules, their queues and tokens, the buffers between them, the bus."""

from __future__ import annotations

from typing import Any

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from vta.config import Config
from vta.hw.bus.payloads import INDEX_BITS, Events, QueuedInsn
from vta.hw.bus.read_dma import ReadDma, bus_signature
from vta.hw.bus.streams import Queue
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

__all__ = ["Core"]

EXECUTORS = ("load", "compute", "store")

Modules = dict[str, Executor]
"""Load, compute and store, by name."""


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
        self.fetch = Fetch(config)
        self.load = LoadModule(config)
        self.compute = ComputeModule(config)
        self.store = StoreModule(config)
        self.tokens = {name: TokenQueue() for name in TOKEN_QUEUES}
        self.dma = ReadDma(config, clients=3)
        self.pending = {
            name: Signal(range(config.insn_queue_depth + 1), name=f"{name}_pending")
            for name in EXECUTORS
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        modules = {name: getattr(self, name) for name in EXECUTORS}
        m.submodules.fetch = fetch = self.fetch
        for name, module in modules.items():
            m.submodules[name] = module
        m.submodules.dma = dma = self.dma

        self._connect_bus(m, dma)
        # Pointers.
        m.d.comb += [
            fetch.start.eq(self.start),
            fetch.pointer.eq(self.insn_ptr),
            fetch.count.eq(self.insn_count),
            self.load.inp_base.eq(self.inp_ptr),
            self.load.wgt_base.eq(self.wgt_ptr),
            self.compute.uop_base.eq(self.uop_ptr),
            self.compute.acc_base.eq(self.acc_ptr),
            self.store.out_base.eq(self.out_ptr),
        ]

        self._connect_queues(m, modules)
        self._connect_tokens(m, modules)
        self._connect_buffers(m)
        self._monitor(m, modules)
        self._count(m, modules)
        self._show(m, modules)
        return m

    def _connect_bus(self, m: Module, dma: ReadDma) -> None:
        """Three readers and one writer share the memory bus."""
        fetch = self.fetch
        for client, reader in enumerate((fetch, self.load, self.compute)):
            connect(m, reader.burst, getattr(dma, f"burst_{client}"))
            connect(m, reader.beat, getattr(dma, f"beat_{client}"))
        for name in self.bus.signature.members:
            channel: Any = dma if name.startswith(("ar", "r")) else self.store
            if self.bus.signature.members[name].flow == In:
                m.d.comb += getattr(channel.bus, name).eq(getattr(self.bus, name))
            else:
                m.d.comb += getattr(self.bus, name).eq(getattr(channel.bus, name))
        m.d.comb += [
            dma.stop.eq(self.stop),
            self.store.stop.eq(self.stop),
            self.bus_quiet.eq(dma.quiet & self.store.quiet),
        ]

    def _connect_queues(self, m: Module, modules: Modules) -> None:
        """Instruction queues, from fetch to each module.

        An instruction counts until its tokens are popped, wherever it is, so that the room in a
        queue is a number that the functional simulator knows too.
        """
        config, fetch = self._config, self.fetch
        for name, module in modules.items():
            m.submodules[f"{name}_queue"] = queue = Queue(QueuedInsn, config.insn_queue_depth)
            source = getattr(fetch, name)
            pending = self.pending[name]
            has_room = pending != config.insn_queue_depth
            m.d.comb += [
                queue.i.payload.eq(source.payload),
                queue.i.valid.eq(source.valid & has_room),
                source.ready.eq(queue.i.ready & has_room),
            ]
            connect(m, queue.o, module.port.insn)
            m.d.sync += pending.eq(pending + (source.valid & source.ready) - module.port.issue)

    def _connect_tokens(self, m: Module, modules: Modules) -> None:
        """Token queues between neighbours."""
        for name, token_queue in self.tokens.items():
            m.submodules[name] = token_queue
        for (module, side), link in TOKEN_LINKS.items():
            port = modules[module.name.lower()].port
            popped, pushed = self.tokens[link.pops], self.tokens[link.pushes]
            m.d.comb += [
                popped.pop.eq(port.moves[f"pop_{side}"]),
                port.available[f"pop_{side}"].eq(popped.available),
                pushed.push.eq(port.moves[f"push_{side}"]),
                port.full[f"push_{side}"].eq(pushed.full),
            ]

    def _connect_buffers(self, m: Module) -> None:
        """INP and WGT between load and compute, and compute's OUT to store."""
        config = self._config
        for kind in (MemoryType.INP, MemoryType.WGT):
            name = kind.name.lower()
            m.submodules[name] = pad = Scratchpad(
                config, elem_bits=8 * config.elem_bytes(kind), depth=config.depth(kind)
            )
            write = self.load.write
            m.d.comb += [
                pad.write_en.eq(self.load.write_en & (write.kind == kind)),
                pad.write_addr.eq(write.addr),
                pad.write_lanes.eq(write.lanes),
                pad.write_zero.eq(write.zero),
                pad.write_data.eq(write.data),
                pad.read_en.eq(getattr(self.compute, f"{name}_en")),
                pad.read_addr.eq(getattr(self.compute, f"{name}_addr")),
                getattr(self.compute, f"{name}_data").eq(pad.read_data),
            ]
        m.d.comb += [
            self.compute.out_en.eq(self.store.read_en),
            self.compute.out_addr.eq(self.store.read_addr),
            self.store.read_data.eq(self.compute.out_data),
        ]

    def _monitor(self, m: Module, modules: Modules) -> None:
        """Watches for the end of the run."""
        m.submodules.monitor = monitor = RunMonitor()
        fetch = self.fetch
        for number, (name, module) in enumerate(modules.items()):
            status = module.port.status
            waits = status.pop_prev | status.pop_next | status.push_prev | status.push_next
            m.d.comb += [
                getattr(monitor, f"{name}_status").eq(status),
                monitor.settled[number].eq(
                    (module.port.idle & (self.pending[name] == 0)) | waits | (status.cause != 0)
                ),
            ]
        ports = [module.port for module in modules.values()]
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
                    self.dma.moved,
                    self.store.moved,
                    self.compute.active,
                    *(port.issue | port.retire for port in ports),
                    *(getattr(fetch, name).valid & getattr(fetch, name).ready for name in modules),
                ).any()
            ),
            self.done.eq(monitor.done),
            self.halt.eq(monitor.halt),
            self.verdict.eq(monitor.verdict),
        ]

    def _count(self, m: Module, modules: Modules) -> None:
        """Events for the counters."""
        m.submodules.counters = counters = Counters(self._config)
        fetch, compute = self.fetch, self.compute
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
        for name, module in modules.items():
            status = module.port.status
            waits = status.pop_prev | status.pop_next | status.push_prev | status.push_next
            m.d.comb += [
                getattr(counters, f"on_{name}_busy").eq(status.active),
                getattr(counters, f"on_{name}_wait_token").eq(waits & self.running),
                getattr(counters, f"on_{name}_wait_memory").eq(status.active & module.waiting),
                getattr(counters, f"on_{name}_insns").eq(module.port.retire),
                getattr(counters, f"retire_{name}").eq(module.port.retire),
                getattr(counters, f"retired_{name}").eq(module.port.retired),
            ]
        for name in (*EVENTS, *(f"{memory}_bytes" for memory in MEMORIES)):
            m.d.comb += getattr(self, name).eq(getattr(counters, name))

    def _show(self, m: Module, modules: Modules) -> None:
        """The core's state, as registers show it."""
        m.d.comb += [
            self.tokens_prev.eq(Cat(self.tokens["l2g"].count, self.tokens["g2l"].count)),
            self.tokens_next.eq(Cat(self.tokens["g2s"].count, self.tokens["s2g"].count)),
            self.fetch_status.eq(Cat(~self.fetch.over, Const(0, 7), self.fetch.cause)),
            self.fetch_index.eq(self.fetch.dispatched),
        ]
        for number, (name, module) in enumerate(modules.items()):
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
