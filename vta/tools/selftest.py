"""Checks a board with programs whose results numpy knows, and reports what it saw."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import vta
from vta import top
from vta.building import build
from vta.compiler.operators.convolution import Conv2d, Dense
from vta.compiler.operators.elementwise import Add, Multiply
from vta.compiler.operators.epilogue import Epilogue
from vta.compiler.operators.pooling import MaxPool2d
from vta.environment import Environment
from vta.errors import DeviceTimeout, MachineError, RemoteError, VtaError
from vta.isa import AluOp, Isa, Opcode
from vta.testing.programs import vector_add

if TYPE_CHECKING:
    from vta.compiler.operators.operator import Spec
    from vta.config import Config
    from vta.driver.board.board_device import BoardDevice
    from vta.program import RunReport

__all__ = ["SelfTestCheck", "SelfTestReport", "run_selftest"]

Array = NDArray[Any]
Kernel = Callable[[np.random.Generator], tuple["Spec", list[Array], Array]]

MEMORY_BYTES = 1 << 20
RUNS = 2
"""Runs of each program with other numbers: some faults show only in the second."""

ENDLESS_SECONDS = 0.5
_SEED = 1


@dataclass(frozen=True)
class SelfTestCheck:
    """One thing that was checked.

    Attributes
    ----------
    name : str
    passed : bool
    detail : str
        What was wrong, or what was measured.
    cycles : int or None
        Of the last run.
    seconds : float or None
        Of the last run, as the board measured it.
    """

    name: str
    passed: bool
    detail: str = ""
    cycles: int | None = None
    seconds: float | None = None

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return vars(self).copy()


@dataclass(frozen=True)
class SelfTestReport:
    """All that a report says. It names no host, no user and no path.

    Attributes
    ----------
    versions : dict
        Of this package, Python, numpy, and the client's system.
    board : dict
        Kind, memory, whether it is emulated.
    config : dict
        The configuration as JSON has it.
    registers : dict
        What the machine says that it is.
    checks : list of SelfTestCheck
    """

    versions: dict[str, str]
    board: dict[str, Any]
    config: dict[str, Any]
    registers: dict[str, int]
    checks: list[SelfTestCheck] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "versions": self.versions,
            "board": self.board,
            "config": self.config,
            "registers": {name: f"{value:#010x}" for name, value in self.registers.items()},
            "passed": self.passed,
            "checks": [check.record() for check in self.checks],
        }


def run_selftest(
    device: BoardDevice, progress: Callable[[str], None] = lambda name: None
) -> SelfTestReport:
    """Checks a board that is programmed.

    Parameters
    ----------
    device : BoardDevice
    progress : callable
        Called with the name of each check before it starts.

    Raises
    ------
    RemoteError
        If the connection to the board is lost. Every other error is a check that failed.
    """
    info = device.info
    report = SelfTestReport(
        versions={
            "amaranth-vta": vta.__version__,
            "Python": platform.python_version(),
            "NumPy": np.__version__,
            "system": f"{platform.system()} {platform.machine()}",
        },
        board={
            "kind": info.kind,
            "emulated": info.emulated,
            "memory_address": info.address,
            "memory_bytes": info.nbytes,
        },
        config=device.config.to_dict(),
        registers=device.identify(),
    )
    with Environment(device.config):
        for name, check in _checks(device):
            progress(name)
            try:
                report.checks.append(check())
            except RemoteError:
                raise
            except VtaError as error:
                report.checks.append(SelfTestCheck(name, False, str(error)))
    return report


def _checks(device: BoardDevice) -> Iterator[tuple[str, Callable[[], SelfTestCheck]]]:
    """The checks by name, in the order in which they should run."""
    yield "memory", partial(_memory, device)
    yield "vector add", partial(_vector_add, device, "vector add")
    for name, kernel in _kernels(device.config).items():
        yield name, partial(_layer, device, name, kernel)
    for name, words, cause, index in _faults(device.config):
        yield name, partial(_fault, device, name, words, cause, index)
    yield "time limit", partial(_time_limit, device)
    yield "vector add again", partial(_vector_add, device, "vector add again")


# -- memory and programs ---------------------------------------------------------------------------


def _memory(device: BoardDevice) -> SelfTestCheck:
    data = np.random.default_rng(_SEED).integers(0, 256, MEMORY_BYTES, np.uint8)
    address = device.allocate(data.nbytes)
    try:
        start = time.monotonic()
        device.write(address, data)
        middle = time.monotonic()
        found = device.read(address, data.nbytes)
        end = time.monotonic()
        device.write(address, ~data)
        again = device.read(address, data.nbytes)
    finally:
        device.free(address)
    wrong = int((found != data).sum() + (again != ~data).sum())
    speeds = [data.nbytes / 1e6 / max(span, 1e-9) for span in (middle - start, end - middle)]
    detail = f"{speeds[0]:.0f} MB/s there, {speeds[1]:.0f} MB/s back"
    return SelfTestCheck("memory", wrong == 0, f"{wrong} bytes differ" if wrong else detail)


def _vector_add(device: BoardDevice, name: str) -> SelfTestCheck:
    env = Environment(device.config)
    schedule, args = vector_add(env, m=32)
    program = build(schedule, args, "ext_dev", name="vadd").program

    def run(rng: np.random.Generator) -> tuple[int, RunReport]:
        a, b = (rng.integers(-(1 << 30), 1 << 30, args[0].shape, np.int32) for _ in range(2))
        (out,), report = device.call(program, [a, b])
        return int((out != (a + b).astype(np.int8)).sum()), report

    return _repeated(name, run)


def _layer(device: BoardDevice, name: str, kernel: Kernel) -> SelfTestCheck:
    def run(rng: np.random.Generator) -> tuple[int, RunReport]:
        spec, arrays, expected = kernel(rng)
        out, report = top.run(top.compile(spec), *arrays, device=device)
        return int((out != expected).sum()), report

    return _repeated(name, run)


def _repeated(
    name: str, run: Callable[[np.random.Generator], tuple[int, RunReport]]
) -> SelfTestCheck:
    detail = "equals NumPy"
    for number in range(RUNS):
        wrong, report = run(np.random.default_rng(_SEED + number))
        if wrong:
            detail = f"{wrong} values differ in run {number + 1}"
            break
    # The functional simulator counts no cycles.
    return SelfTestCheck(name, not wrong, detail, report.cycles or None, report.seconds)


# -- layers, and what numpy says of them -----------------------------------------------------------


def _kernels(config: Config) -> dict[str, Kernel]:
    kernels: dict[str, Kernel] = {
        "matrix product": _dense,
        "convolution": _convolution,
        "max pool": _max_pool,
        "addition": _addition,
        "multiplication": _multiplication,
    }
    if config.requantises:
        kernels["requantisation"] = _requantised
    return kernels


def _int8(rng: np.random.Generator, *shape: int) -> Array:
    return rng.integers(-128, 128, shape).astype(np.int8)


def _clip(values: Array) -> Array:
    return np.clip(values, -128, 127).astype(np.int8)


def _dense(rng: np.random.Generator) -> tuple[Spec, list[Array], Array]:
    data, weight = _int8(rng, 20, 40), _int8(rng, 24, 40)
    bias = rng.integers(-5000, 5000, 24).astype(np.int32)
    spec = Dense(data.shape, weight.shape, epilogue=Epilogue(bias=True, shift=7))
    return spec, [data, weight, bias], _clip((data.astype(int) @ weight.T.astype(int) + bias) >> 7)


def _convolution(rng: np.random.Generator) -> tuple[Spec, list[Array], Array]:
    data, weight = _int8(rng, 1, 16, 9, 9), _int8(rng, 20, 16, 3, 3)
    spec = Conv2d(data.shape, weight.shape, padding=1, epilogue=Epilogue(shift=8, relu=True))
    padded = np.pad(data[0].astype(int), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    sums = np.einsum("ihwyx,oiyx->ohw", windows, weight.astype(int))
    return spec, [data, weight], _clip(np.maximum(sums >> 8, 0))[None]


def _max_pool(rng: np.random.Generator) -> tuple[Spec, list[Array], Array]:
    data = _int8(rng, 1, 12, 8, 8)
    expected = data.reshape(1, 12, 4, 2, 4, 2).max(axis=(3, 5))
    return MaxPool2d(data.shape, 2), [data], expected


def _addition(rng: np.random.Generator) -> tuple[Spec, list[Array], Array]:
    a, b = _int8(rng, 1, 12, 6, 6), _int8(rng, 1, 12, 6, 6)
    spec = Add(a.shape, epilogue=Epilogue(shift=1))
    return spec, [a, b], _clip((a.astype(int) + b) >> 1)


def _multiplication(rng: np.random.Generator) -> tuple[Spec, list[Array], Array]:
    a, b = _int8(rng, 1, 12, 6, 6), _int8(rng, 1, 12, 6, 6)
    spec = Multiply(a.shape, epilogue=Epilogue(shift=6))
    return spec, [a, b], _clip((a.astype(int) * b) >> 6)


def _requantised(rng: np.random.Generator) -> tuple[Spec, list[Array], Array]:
    data, weight = _int8(rng, 20, 40), _int8(rng, 24, 40)
    scale = rng.uniform(1e-4, 1e-2, 24).astype(np.float32)
    spec = Dense(data.shape, weight.shape, epilogue=Epilogue(scale=True, zero_point=3))
    sums = (data.astype(int) @ weight.T.astype(int)).astype(np.float32)
    return spec, [data, weight, scale], _clip(np.rint(sums * scale) + 3)


# -- errors ----------------------------------------------------------------------------------------


def _faults(config: Config) -> Iterator[tuple[str, list[int], str, int]]:
    """Faulty programs: a name, instructions, the cause that must be reported, and where."""
    isa = Isa(config)
    finish = isa.common.pack(opcode=Opcode.FINISH)
    illegal = isa.alu.pack(opcode=Opcode.ALU, alu_opcode=7, uop_end=1, iter_out=1, iter_in=1)
    nothing = isa.mem.pack(opcode=Opcode.LOAD)
    waiting = isa.common.pack(opcode=Opcode.FINISH, pop_prev=1)
    yield "illegal instruction", [nothing, illegal, finish], "illegal_alu_opcode", 1
    yield "deadlock", [nothing, nothing, waiting], "deadlock", 2


def _fault(
    device: BoardDevice, name: str, words: list[int], cause: str, index: int
) -> SelfTestCheck:
    try:
        device.run_stream(Isa.words(words), timeout=10.0)
    except MachineError as error:
        fault = error.fault
        right = (fault.cause, fault.insn_index) == (cause, index)
        return SelfTestCheck(name, right, f"{fault.cause} at instruction {fault.insn_index}")
    return SelfTestCheck(name, False, f"{cause} was not reported")


def _time_limit(device: BoardDevice) -> SelfTestCheck:
    """A program of 2^30 cycles is stopped."""
    isa = Isa(device.config)
    most = isa.alu.field("iter_out").max
    endless = isa.alu.pack(
        opcode=Opcode.ALU, alu_opcode=AluOp.ADD, use_imm=1, uop_end=1, iter_out=most, iter_in=most
    )
    finish = isa.common.pack(opcode=Opcode.FINISH)
    start = time.monotonic()
    try:
        device.run_stream(Isa.words([*[endless] * 4, finish]), timeout=ENDLESS_SECONDS)
    except DeviceTimeout:
        detail = f"stopped after {time.monotonic() - start:.1f} s"
        return SelfTestCheck("time limit", True, detail)
    return SelfTestCheck("time limit", False, "2^30 cycles ended too early")
