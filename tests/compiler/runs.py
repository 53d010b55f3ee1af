"""Running compiled programs: on any machine, and on the simulated RTL."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

import numpy as np

from vta.config import Config
from vta.driver.verilog_cache import simulated_verilog
from vta.image import BASES
from vta.program import Program, RunReport
from vta.sim.machine import Machine
from vta.sim.memory import Memory
from vta.sim.rtl.memory_model import MemoryModel
from vta.sim.rtl.rtl_machine import RtlMachine

__all__ = ["Rtl", "call"]


class Rtl:
    """The RTL of one configuration with memory of 20 cycles' latency, for many programs."""

    def __init__(self, config: Config, model: MemoryModel | None = None) -> None:
        self.memory = Memory(config.addr_width)
        self.machine = RtlMachine(
            config, simulated_verilog(config), self.memory, model=model or MemoryModel()
        )

    def __enter__(self) -> Rtl:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.machine.close()
        self.memory.close()

    def run(
        self, program: Program, arrays: Sequence[np.ndarray]
    ) -> tuple[list[np.ndarray], RunReport]:
        """The outputs of a program called with the input `arrays`, and what the machine says."""
        return call(self.machine, program, arrays)


def call(
    machine: Machine, program: Program, arrays: Sequence[np.ndarray], times: int = 1
) -> tuple[list[np.ndarray], RunReport]:
    """The outputs of a program on a machine, `times` in a row without a reset, and its report."""
    memory, top, addresses = machine.memory, 1 << 16, {}
    inputs = iter(arrays)
    for buffer in program.buffers:
        addresses[buffer.name] = top
        if buffer.role == "input":
            array = next(inputs)
            assert (array.shape, array.dtype.name) == (buffer.shape, buffer.dtype)
            data = np.frombuffer(array.tobytes(), np.uint8)
        else:
            data = (
                buffer.data if buffer.data is not None else np.full(buffer.nbytes, 0x5A, np.uint8)
            )
        memory.write(top, data)
        top += -(-buffer.nbytes // 4096) * 4096
    words = program.link(addresses)
    memory.write(top, np.frombuffer(words.tobytes(), np.uint8))
    for _ in range(times):
        report = machine.run(top, len(words), dict.fromkeys(BASES, 0))
        assert report.fault is None, report.fault
    return [
        memory.read(addresses[item.name], item.nbytes).view(item.dtype).reshape(item.shape)
        for item in program.buffers
        if item.role == "output"
    ], report
