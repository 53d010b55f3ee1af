"""From a checked transfer to the bursts that move it."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.hw.bus.payloads import COUNT_BITS, burst_beats, burst_layout, transfer_layout
from vta.isa import SIZE_BITS, MemoryType

__all__ = ["BurstSplitter"]


class BurstSplitter(wiring.Component):
    """Walks a transfer's runs in DRAM and asks for bursts, one a cycle.

    Bursts end at multiples of the longest burst's length, so that none crosses 4 KiB. The next
    run is prepared while bursts of the current one are requested: short rows cost nothing extra.

    Parameters
    ----------
    config : Config
    kinds : tuple of MemoryType
        Memory types that it is used for.

    Members
    -------
    job : In(stream of transfer_layout)
        A transfer that moves something (neither `runs` nor `run_elems` is 0). Taken when all
        bursts of the one before have been requested.
    burst : Out(stream of burst_layout)
    last : Out(1)
        With `burst`: it is the job's last.
    """

    def __init__(self, config: Config, kinds: tuple[MemoryType, ...]) -> None:
        self._config, self._kinds = config, kinds
        super().__init__(
            {
                "job": In(stream.Signature(transfer_layout(config))),
                "burst": Out(stream.Signature(burst_layout(config))),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, job = self._config, self.job.payload
        log_bus = config.bus_bytes.bit_length() - 1
        chunk = burst_beats(config)
        log_chunk = chunk.bit_length() - 1
        shifts = {kind: config.log_elem_bytes(kind) for kind in self._kinds}
        # A run fits its buffer, so its bytes need no more bits than the buffer's size.
        run_bits = max(
            COUNT_BITS,
            *(config.log_depth(kind) + config.log_elem_bytes(kind) + 1 for kind in self._kinds),
        )

        run_addr = Signal(config.addr_width)
        # The distance of a run's last byte from its first.
        last_byte = Signal(run_bits)
        stride_bytes = Signal(SIZE_BITS + max(shifts.values()))
        runs_left = Signal(SIZE_BITS)
        addr = Signal(config.addr_width - log_bus)
        # Whether any runs or beats are left: registers, because much depends on it.
        has_runs, has_beats = Signal(), Signal()
        # The next job may be here already while the last run of this one is being asked for.
        last_run = Signal()

        # The current run: a burst goes to the end of its chunk, or to the run's last beat, which
        # lies `chunks_left` chunks further on. `last` says that none is left.
        chunks_left, last_beat = Signal(run_bits), Signal(log_chunk)
        last = Signal()
        m.d.comb += [
            self.burst.valid.eq(has_beats),
            self.last.eq(last & last_run),
            self.burst.payload.addr.eq(addr << log_bus),
            self.burst.payload.beats.eq(Mux(last, last_beat, chunk - 1) - addr[:log_chunk] + 1),
        ]
        taken = self.burst.valid & self.burst.ready
        with m.If(taken):
            m.d.sync += [
                addr.eq((addr[log_chunk:] + 1) << log_chunk),
                chunks_left.eq(chunks_left - 1),
                last.eq(chunks_left == 1),
                has_beats.eq(~last),
            ]

        # The next run, whose first and last beat may be partly used. Its end, in beats, counts from
        # the start of the chunk in which it begins.
        end = Signal(run_bits + 1)
        m.d.comb += end.eq((run_addr[: log_bus + log_chunk] + last_byte) >> log_bus)
        with m.If(has_runs & (~has_beats | (self.burst.ready & last))):
            m.d.sync += [
                addr.eq(run_addr >> log_bus),
                chunks_left.eq(end >> log_chunk),
                last_beat.eq(end),
                last.eq(end >> log_chunk == 0),
                has_beats.eq(1),
                run_addr.eq(run_addr + stride_bytes),
                runs_left.eq(runs_left - 1),
                has_runs.eq(runs_left != 1),
                last_run.eq(runs_left == 1),
            ]

        m.d.comb += self.job.ready.eq(~has_runs)
        with m.If(self.job.valid & self.job.ready):
            m.d.sync += [run_addr.eq(job.addr), runs_left.eq(job.runs), has_runs.eq(job.runs != 0)]
            self._scale(m, shifts, last_byte, stride_bytes)
        m.d.sync += [
            Assert(
                has_runs == (runs_left != 0), "has_runs must be set exactly while runs are left"
            ),
            Assert(
                ~has_beats | (last == (chunks_left == 0)),
                "last must be set exactly in a run's last chunk",
            ),
            Assert(
                ~has_beats | ~last | (addr[:log_chunk] <= last_beat),
                "a run must not end before the beat that is asked for next",
            ),
        ]
        return m

    def _scale(
        self, m: Module, shifts: dict[MemoryType, int], last_byte: Signal, stride_bytes: Signal
    ) -> None:
        """A new job's elements in bytes."""
        job = self.job.payload
        with m.Switch(job.kind):
            for kind, shift in shifts.items():
                with m.Case(kind):
                    m.d.sync += [
                        last_byte.eq((job.run_elems << shift) - 1),
                        stride_bytes.eq(job.run_stride << shift),
                    ]
