"""Several threads on one device: every result right, none lost, nothing hangs."""

from __future__ import annotations

import gc
import importlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import vta
from vta import nd, rpc, top
from vta.config import PRESETS, Config
from vta.driver.device import Device
from vta.driver.module import LoadedModule, Module
from vta.driver.ndarray import Context
from vta.driver.simulated import SimDevice, SimulatorTotals, TsimDevice
from vta.errors import DeviceError
from vta.program import Program
from vta.top import _device as _default_device

PATIENCE = 500
"""Seconds after which a thread is taken to hang; far more than any of them needs."""

MakeProgram = Callable[..., Program]
Work = Callable[[np.random.Generator], None]


@pytest.fixture(autouse=True)
def _frequent_switches() -> Iterator[None]:
    """Python changes threads a hundred times as often as it does by itself."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 100)
    yield
    sys.setswitchinterval(before)


def run_together(threads: int, calls: int, work: Work, config: Config) -> None:
    """Every thread calls `work` `calls` times, in an environment of `config`."""
    start = threading.Barrier(threads, timeout=PATIENCE)
    errors: list[BaseException] = []
    finished: list[int] = []

    def body(index: int) -> None:
        rng = np.random.default_rng(index)
        try:
            with vta.Environment(config):
                start.wait()
                for _ in range(calls):
                    work(rng)
                    finished.append(index)
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=body, args=(k,), daemon=True) for k in range(threads)]
    for thread in running:
        thread.start()
    end = time.monotonic() + PATIENCE
    for thread in running:
        thread.join(max(0.0, end - time.monotonic()))
    assert not any(thread.is_alive() for thread in running), "a thread hangs"
    if errors:
        raise errors[0]
    assert len(finished) == threads * calls


def a_layer(rng: np.random.Generator) -> None:
    """One of a few small layers of `vta.top`, on the default device."""
    m, k, n = (int(size) for size in rng.integers(1, 10, 3))
    m, k, n = m % 2 + 1, 8 * (k % 2 + 1), 8 * (n % 2 + 1)
    data = rng.integers(-128, 128, (m, k)).astype(np.int8)
    weight = rng.integers(-128, 128, (n, k)).astype(np.int8)
    if rng.integers(2):
        expected = (data.astype(int) @ weight.T.astype(int) >> 7).clip(-128, 127)
        np.testing.assert_array_equal(top.dense(data, weight, shift=7), expected)
    else:
        expected = np.maximum(data.astype(int) + data[:, ::-1], 0).clip(-128, 127)
        np.testing.assert_array_equal(top.add(data, data[:, ::-1], relu=True), expected)


def a_call(module: LoadedModule, ctx: Context) -> Work:
    """Arrays of its own, a call, and the arrays given back, now and then by Python's collector."""

    def work(rng: np.random.Generator) -> None:
        shape = module.program.args[0].shape
        a, b = (rng.integers(-(2**31), 2**31, shape).astype(np.int32) for _ in range(2))
        out = nd.empty(shape, "int8", ctx)
        given = nd.array(a, ctx)
        module(given, nd.array(b, ctx), out)
        np.testing.assert_array_equal(out.numpy(), (a + b + np.int32(7)).astype(np.int8))
        np.testing.assert_array_equal(given.numpy(), a)
        if rng.integers(4) == 0:
            cycle: list[object] = [given, out]
            cycle.append(cycle)

    return work


def memory_of_its_own(device: Device) -> Work:
    """Allocates, writes, reads and frees blocks of many sizes."""

    def work(rng: np.random.Generator) -> None:
        blocks: dict[int, np.ndarray] = {}
        for _ in range(4):
            data = rng.integers(0, 256, int(rng.integers(0, 5000))).astype(np.uint8)
            addr = device.allocate(len(data))
            assert addr not in blocks
            device.write(addr, data)
            blocks[addr] = data
        for addr, data in blocks.items():
            np.testing.assert_array_equal(device.read(addr, len(data)), data)
            device.free(addr)

    return work


def everything(session: rpc.LocalSession, program: Program) -> Work:
    """All of the above, on the default device and on one session."""
    module = LoadedModule(program, session.machine)
    kinds = (a_layer, a_call(module, session.ext_dev(0)), memory_of_its_own(session.machine))

    def work(rng: np.random.Generator) -> None:
        for kind in kinds:
            kind(rng)

    return work


@pytest.mark.parametrize("threads", [2, 4, 8])
def test_sim(threads: int, make_program: MakeProgram) -> None:
    config = PRESETS["tiny"]
    with rpc.LocalSession(config) as session:
        lowest = session.machine.allocate(1)
        session.machine.free(lowest)
        run_together(threads, 240 // threads, everything(session, make_program(config)), config)
        gc.collect()
        # All of it has been given back.
        assert session.machine.allocate(1) == lowest


@pytest.mark.parametrize("threads", [2, 4, 8])
def test_tsim(threads: int, make_program: MakeProgram) -> None:
    config = PRESETS["tiny"].replace(target="tsim")
    with rpc.LocalSession(config) as session:
        run_together(threads, 64 // threads, everything(session, make_program(config)), config)


def test_statistics_count_every_run(make_program: MakeProgram) -> None:
    """Devices of their own, one for each thread, whose totals are one."""
    config, totals = PRESETS["tiny"], SimulatorTotals()
    program = make_program(config)
    inputs = [np.zeros(buffer.shape, buffer.dtype) for buffer in program.args[:2]]
    own = threading.local()

    def work(rng: np.random.Generator) -> None:
        if not hasattr(own, "device"):
            own.device = SimDevice(config, profile=totals)
        own.device.call(program, inputs)

    run_together(4, 50, work, config)
    assert totals.totals()["alu_counter"] == 4 * 50 * 10
    assert totals.totals()["store_insns"] == 4 * 50


def test_an_operator_is_compiled_once_and_has_one_device() -> None:
    config = PRESETS["tiny"].replace(log_insn_queue=10)  # that no other test has opened
    devices: set[Device] = set()
    operators: set[int] = set()
    kept = []

    def work(rng: np.random.Generator) -> None:
        kept.append(top.compile(top.Add((1, 7, 3, 3))))
        operators.add(id(kept[-1]))
        top.add([1], [2])
        devices.add(_default_device(config))

    run_together(8, 1, work, config)
    assert len(operators) == len(devices) == 1


def test_threads_may_compile_side_by_side() -> None:
    """What each compiles is what one thread alone compiles, to the last bit."""
    config = PRESETS["tiny"]
    specs = [top.Dense((m, 8 * k), (8 * n, 8 * k)) for m in (1, 2) for k in (1, 2) for n in (1, 3)]
    specs += [top.Conv2d((1, 8, 5, size), (8, 8, 3, 3), padding=1) for size in range(3, 8)]
    alone = [spec.compile(config).program.digest for spec in specs]

    def work(rng: np.random.Generator) -> None:
        index = int(rng.integers(len(specs)))
        assert specs[index].compile(config).program.digest == alone[index]

    run_together(4, 8, work, config)


def test_one_session_has_one_device() -> None:
    devices: set[Device] = set()
    with rpc.LocalSession(PRESETS["tiny"]) as session:
        run_together(8, 1, lambda rng: devices.add(session.machine), PRESETS["tiny"])
    assert len(devices) == 1


@pytest.mark.parametrize("kind", [SimDevice, TsimDevice])
def test_close_waits_for_the_run_of_another_thread(kind: type, make_program: MakeProgram) -> None:
    """A run that has begun is completed; all that come later say that the device is closed."""
    config = PRESETS["tiny"]
    program = make_program(config)
    inputs = [np.full(buffer.shape, 40, buffer.dtype) for buffer in program.args[:2]]
    device = kind(config, profile=SimulatorTotals())
    first = threading.Event()

    def call_for_ever() -> None:
        while True:
            (out,), _ = device.call(program, inputs)
            assert (out == 87).all()
            first.set()

    def work(rng: np.random.Generator) -> None:
        with pytest.raises(DeviceError, match="device is closed"):
            call_for_ever()

    closer = threading.Thread(target=lambda: (first.wait(PATIENCE), device.close()), daemon=True)
    closer.start()
    run_together(4, 1, work, config)
    closer.join(PATIENCE)
    assert first.is_set()


def test_an_array_may_go_in_the_middle_of_any_call() -> None:
    """Python may run a finalizer at any allocation, also while the device's lock is held."""
    with SimDevice(PRESETS["tiny"], profile=SimulatorTotals()) as device:
        ctx = Context("ext_dev", 0, device)
        arrays = [nd.empty((100,), "int8", ctx) for _ in range(20)]
        lowest = arrays[0].addr
        freed = threading.Event()

        def drop() -> None:
            arrays.clear()
            freed.set()

        with device.lock:
            thread = threading.Thread(target=drop, daemon=True)
            thread.start()
            assert freed.wait(PATIENCE)
        assert nd.empty((1,), "int8", ctx).addr == lowest


def test_threads_that_write_one_file(tmp_path: Path, make_program: MakeProgram) -> None:
    program = make_program(PRESETS["tiny"])
    with rpc.LocalSession(PRESETS["tiny"]) as session:

        def work(rng: np.random.Generator) -> None:
            Module(program).save(tmp_path / "x.o")
            session.upload(tmp_path / "x.o")
            assert session.load_module("x.o").program.digest == program.digest

        run_together(4, 10, work, PRESETS["tiny"])
    assert [path.name for path in tmp_path.iterdir()] == ["x.o"]


@pytest.mark.parametrize(
    "name",
    [
        "vta.driver.allocator:Allocator",
        "vta.driver.device:Device",
        "vta.driver.module:LoadedModule",
        "vta.driver.module:Module",
        "vta.driver.ndarray:Context",
        "vta.driver.ndarray:NDArray",
        "vta.driver.session:Session",
        "vta.driver.simulated:SimulatorTotals",
        "vta.driver.statistics:Statistics",
        "vta.compiler.te.schedule:Schedule",
        "vta.compiler.operators.operator:Operator",
        "vta.compiler.operators.operator:Spec",
        "vta.config:Config",
        "vta.environment:Environment",
        "vta.image:Image",
        "vta.program:Program",
        "vta.rpc:LocalSession",
        "vta.sim.machine:Machine",
        "vta.sim.memory:Memory",
        "vta.sim.rtl.library:Simulation",
        "vta.testing.utils:TempDirectory",
    ],
)
def test_every_public_object_says_what_threads_may_do_with_it(name: str) -> None:
    module, _, attribute = name.partition(":")
    doc = getattr(importlib.import_module(module), attribute).__doc__ or ""
    assert "thread" in doc.lower()


@pytest.mark.full
@pytest.mark.parametrize("target", ["sim", "tsim"])
@pytest.mark.parametrize("threads", [2, 4, 8])
def test_for_long(threads: int, target: str, make_program: MakeProgram) -> None:
    config = PRESETS["tiny"].replace(target=target)
    calls = 2000 // threads
    with rpc.LocalSession(config) as session:
        run_together(threads, calls, everything(session, make_program(config)), config)
