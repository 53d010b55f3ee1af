"""How fast the simulators are, in terms that carry over to other machines.

Wall-clock times are noisy and belong to one computer. So every measurement is the median of several
runs, with one run of a fixed calibration loop between two of them, and is also given as a ratio: to
the calibration loop, and to NumPy's own float32 matrix product of the same size.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vta.errors import MachineError
from vta.sim.functional.functional_machine import FunctionalMachine
from vta.sim.memory import Memory
from vta.tools.bench.measure import machine_factory

if TYPE_CHECKING:
    from vta.config import Config
    from vta.image import Image
    from vta.program import RunReport
    from vta.sim.machine import Machine
    from vta.sim.rtl.memory_model import MemoryModel
    from vta.tools.bench.kernels import BenchKernel

__all__ = ["CALIBRATION_STEPS", "Speed", "calibrate", "measure_speed"]

CALIBRATION_STEPS = 1_000_000
"""Of the calibration loop: one multiplication and one addition of Python's integers each."""

WARM_UP = 1
"""Runs that do not count: memory is touched for the first time, caches are cold."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Medians, in seconds; `product` is (M, K, N) of NumPy's matrix product.

    `rtl_processor` is the processor time of the RTL simulator's one thread. On an idle computer it
    equals `rtl`; on a busy one, only `rtl_processor` is meaningful.
    """

    name: str
    config: Config
    runs: int
    cycles: int
    macs: int
    product: tuple[int, int, int]
    rtl: float
    rtl_processor: float
    functional: float
    numpy: float
    calibration: float

    @property
    def cycles_per_second(self) -> float:
        return self.cycles / self.rtl

    def record(self) -> dict[str, Any]:
        return {
            "kind": "speed",
            "name": self.name,
            "config": self.config.bitstream,
            "runs": self.runs,
            "cycles": self.cycles,
            "macs": self.macs,
            "rtl_seconds": self.rtl,
            "rtl_cycles_per_processor_second": round(self.cycles / self.rtl_processor),
            "rtl_cycles_per_second": round(self.cycles_per_second),
            "rtl_cycles_per_calibration": round(self.cycles_per_second * self.calibration),
            "functional_seconds": self.functional,
            "functional_macs_per_second": round(self.macs / self.functional),
            "numpy_product": list(self.product),
            "numpy_seconds": self.numpy,
            "functional_over_numpy": round(self.functional / self.numpy, 2),
            "functional_over_calibration": round(self.functional / self.calibration, 3),
            "calibration_seconds": self.calibration,
        }


def calibrate() -> int:
    """A fixed amount of work for one core, in Python alone."""
    state = 1
    for _ in range(CALIBRATION_STEPS):
        state = (state * 1_103_515_245 + 12_345) & 0x7FFF_FFFF
    return state


def measure_speed(
    kernel: BenchKernel,
    model: MemoryModel,
    *,
    runs: int = 5,
    progress: Callable[[str], None] = lambda what: None,
) -> Speed:
    """Times both simulators on a stream, without the time to load it and to start them.

    NumPy computes the kernel's own matrix product. For a kernel that is not one, it computes that
    of two square matrices with the same number of multiply-accumulates.

    Raises
    ------
    MachineError
        The stream ends in an error.
    """
    times: dict[str, list[float]] = {
        "rtl": [],
        "rtl_processor": [],
        "functional": [],
        "numpy": [],
        "calibration": [],
    }
    cycles = macs = 0
    make_rtl = machine_factory(model)
    image, product = kernel.build(), kernel.product
    config = image.config
    for run in range(WARM_UP + runs):
        progress(f"run {run + 1} of {WARM_UP + runs}")
        times["calibration"].append(_timed(calibrate))
        seconds, processor, report = _run(image, make_rtl)
        cycles = report.cycles or 0
        macs = report.stats["gemm_counter"] * config.batch * config.block**2
        times["rtl"].append(seconds)
        times["rtl_processor"].append(processor)
        times["functional"].append(_run(image, FunctionalMachine)[0])
        side = max(1, round(macs ** (1 / 3)))
        product = product or (side, side, side)
        times["numpy"].append(_numpy(*product))
    medians = {what: statistics.median(all_of[WARM_UP:]) for what, all_of in times.items()}
    assert product is not None  # there was at least one run
    return Speed(
        name=kernel.name,
        config=config,
        runs=runs,
        cycles=cycles,
        macs=macs,
        product=product,
        **medians,
    )


def _run(
    image: Image, make_machine: Callable[[Config, Memory], Machine]
) -> tuple[float, float, RunReport]:
    """Seconds, this thread's seconds on a processor, and the report."""
    with Memory(image.config.addr_width) as memory:
        for segment in image.before:
            memory.write(segment.addr, segment.data)
        machine = make_machine(image.config, memory)
        try:
            start, processor = time.perf_counter(), time.thread_time()
            report = machine.run(image.insn_addr, image.insn_count, image.base)
            seconds, processor = time.perf_counter() - start, time.thread_time() - processor
        finally:
            machine.close()
    if report.fault is not None:
        raise MachineError(report.fault)
    return seconds, processor, report


def _numpy(m: int, k: int, n: int) -> float:
    rng = np.random.default_rng(0)
    a, b = (rng.random(shape, np.float32) for shape in ((m, k), (k, n)))
    return _timed(lambda: a @ b)


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
