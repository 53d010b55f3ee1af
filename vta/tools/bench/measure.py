"""Running benchmarks on the RTL simulator."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vta.errors import MachineError
from vta.image import Image
from vta.sim.replay import replay
from vta.sim.rtl.memory_model import MemoryModel
from vta.sim.rtl.rtl_machine import RtlMachine
from vta.tools.bench.bound import Bound, bound, bytes_read

if TYPE_CHECKING:
    from vta.config import Config
    from vta.program import RunReport
    from vta.sim.memory import Memory
    from vta.tools.bench.micro import Micro

__all__ = ["MicroResult", "StreamResult", "machine_factory", "measure_micro", "measure_stream"]

Progress = Callable[[int], None]


def machine_factory(model: MemoryModel) -> Callable[[Config, Memory], RtlMachine]:
    """Makes RTL machines whose Verilog and library come from the cache."""

    def make(config: Config, memory: Memory) -> RtlMachine:
        from vta.driver.verilog_cache import simulated_verilog

        return RtlMachine(config, simulated_verilog(config), memory, model=model)

    return make


@dataclass(frozen=True, kw_only=True)
class MicroResult:
    """A microbenchmark's outcome.

    `cycles` and `bound` are those of the work by which the larger run exceeds the smaller; `bound`
    is that work at the ideal rate. `figure` and `ideal` are in `unit`.
    """

    name: str
    unit: str
    figure: float
    ideal: float
    cycles: int
    bound: float
    latency: int
    config: Config

    @property
    def ratio(self) -> float:
        return self.cycles / self.bound

    def record(self) -> dict[str, Any]:
        return {
            "kind": "micro",
            "name": self.name,
            "config": self.config.bitstream,
            "latency": self.latency,
            "unit": self.unit,
            "figure": round(self.figure, 4),
            "ideal": self.ideal,
            "cycles": self.cycles,
            "bound": self.bound,
            "ratio": round(self.ratio, 4),
        }


@dataclass(frozen=True, kw_only=True)
class StreamResult:
    """A stream's outcome; `bound` is None if the machine stopped with an error.

    `match` is whether memory became what the image expects, None if it expects nothing.
    `predicted` are the cycles that the compiler's model foresaw, if it did.
    """

    name: str
    image: Image
    report: RunReport
    match: bool | None
    bound: Bound | None
    latency: int
    predicted: int | None = None

    @property
    def cycles(self) -> int:
        return self.report.cycles or 0

    @property
    def ratio(self) -> float | None:
        """Cycles divided by the bound; None if the bound is 0 or missing."""
        return self.cycles / self.bound.cycles if self.bound and self.bound.cycles else None

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        config = self.image.config
        return self.report.stats["gemm_counter"] * config.batch * config.block**2

    @property
    def utilisation(self) -> float:
        """The part of the cycles in which the multipliers have work."""
        return self.report.stats["gemm_counter"] / self.cycles if self.cycles else 0.0

    @property
    def operations(self) -> int:
        """A multiply-accumulate is two; the ALU makes one for each number of a tile."""
        config = self.image.config
        return 2 * self.macs + self.report.stats["alu_counter"] * config.batch * config.block

    @property
    def read(self) -> int:
        return bytes_read(self.report.stats, self.report.instructions)

    @property
    def written(self) -> int:
        return self.report.stats["out_store_nbytes"]

    @property
    def busier(self) -> int:
        """Bytes in the busier direction: reads and writes do not hinder each other."""
        return max(self.read, self.written)

    def record(self) -> dict[str, Any]:
        fault, limit = self.report.fault, self.bound
        return {
            "kind": "stream",
            "name": self.name,
            "config": self.image.config.bitstream,
            "latency": self.latency,
            "cycles": self.cycles,
            "predicted": self.predicted,
            "bound": limit and limit.cycles,
            "bound_by": limit and limit.resource,
            "ratio": self.ratio and round(self.ratio, 4),
            "gemm_operations": limit and limit.gemm,
            "alu_cycles": limit and limit.alu,
            "bytes_read": self.read,
            "bytes_written": self.written,
            "instructions": self.report.instructions,
            "macs": self.macs,
            "operations": self.operations,
            "match": self.match,
            "error": fault
            and {
                "cause": fault.cause,
                "module": fault.module,
                "insn_index": fault.insn_index,
                "insn": fault.insn,
            },
        }


def measure_micro(
    micro: Micro, model: MemoryModel, progress: Progress | None = None
) -> MicroResult:
    """Both runs of a microbenchmark.

    Raises
    ------
    MachineError
        The machine stopped with an error, which is a defect of ours.
    """
    run = functools.partial(replay, make_machine=machine_factory(model), progress=progress)
    reports = [run(image).report for image in (micro.small, micro.large)]
    for report in reports:
        if report.fault is not None:
            raise MachineError(report.fault)
    small, large = (report.cycles or 0 for report in reports)
    return MicroResult(
        name=micro.name,
        unit=micro.figure_unit,
        figure=micro.figure(small, large),
        ideal=micro.ideal,
        cycles=large - small,
        bound=micro.bound,
        latency=model.latency,
        config=micro.small.config,
    )


def measure_stream(
    name: str,
    image: Image,
    model: MemoryModel,
    progress: Progress | None = None,
    predicted: int | None = None,
) -> StreamResult:
    """One run of a stream, and what it could have been."""
    result = replay(image, machine_factory(model), progress=progress)
    report = result.report
    limit = None if report.fault else bound(image, report.stats, report.instructions)
    return StreamResult(
        name=name,
        image=image,
        report=report,
        match=result.match,
        bound=limit,
        latency=model.latency,
        predicted=predicted,
    )
