"""The runtime called through ctypes, as `examples/c_runtime.py` does, on the RTL."""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys

import numpy as np
import pytest

import vta
from tests.compiler.known import matmul_numpy
from tests.driver.c.bridge import STATUSES, ScriptedRegisters
from tests.driver.c.toolchains import GCC, ROOT, RUNTIME, compile_c
from tests.driver.conftest import add_seven
from tests.vta.commands import TINY
from vta.cli import app
from vta.config import PRESETS
from vta.driver.c.flat_program import to_flat
from vta.driver.verilog_cache import simulated_verilog
from vta.isa import Cause, Isa, ModuleId, Opcode
from vta.program import Program
from vta.registers import BY_NAME
from vta.sim.memory import Memory
from vta.sim.rtl.library import Simulation
from vta.sim.rtl.memory_model import MemoryModel
from vta.sim.rtl.verilator import cached_library
from vta.testing.programs import vector_add

CALLS = ("read", "write", "flush", "invalidate")


@pytest.fixture(scope="module")
def example():
    """The example as a module."""
    file = ROOT / "examples" / "c_runtime.py"
    spec = importlib.util.spec_from_file_location("c_runtime_example", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def library(example, tmp_path_factory):
    GCC.command()
    return example.build_library(tmp_path_factory.mktemp("library"))


@pytest.fixture
def runtime(example, library, simulate, memory, addition):
    """The vector addition, loaded for the RTL."""
    made = example.CRuntime(library, simulate(), memory)
    made.load(to_flat(addition))
    return made


def operands(program, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(-999, 999, program.args[0].shape, np.int32) for _ in range(2)]


def status_of(call, *arguments):
    return STATUSES[call(*arguments)]


def memory_at(example, address, size, data=0x1000):
    return example.CMemory(data, address, size)


def test_the_example(example, capsys):
    example.main()
    polled, interrupted = capsys.readouterr().out.splitlines()
    assert polled.startswith("vadd by polling: 64 values equal, ")
    assert polled.rpartition("equal")[2] == interrupted.rpartition("equal")[2]


def test_the_example_in_c(tmp_path):
    """The example links with the simulator, and runs what `vta export` writes."""
    with vta.Environment(TINY) as env:
        schedule, args = vector_add(env, m=8)
        vta.build(schedule, args, env.target, name="vadd").save(tmp_path / "vadd.o")
    flat = tmp_path / "vadd.bin"
    assert app.run(["export", str(tmp_path / "vadd.o"), "-o", str(flat), "--format", "bin"]) == 0
    simulator = cached_library(simulated_verilog(TINY))
    file = tmp_path / "vadd"
    folders = [f"-I{RUNTIME}", f"-I{ROOT / 'sim' / 'rtl' / 'model'}", "-o", str(file)]
    sources = [ROOT / "examples" / "c_runtime.c", RUNTIME / "vta.c", simulator]
    assert compile_c([*GCC.command(), *folders], *sources) == ""
    done = subprocess.run([file, flat], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("vadd: 0 of 64 values differ, ")
    flat.write_bytes(flat.read_bytes()[:100])
    done = subprocess.run([file, flat], capture_output=True, text=True, check=False)
    assert done.stderr == "the file ends before the program does\n"
    assert done.returncode == 1


def test_a_program_may_be_bound_anew(runtime, example, addition):
    a, b = operands(addition)
    runtime.launch(a, b)
    runtime.wait()
    (first,) = runtime.outputs()
    buffer = runtime.buffers[2]
    place = memory_at(example, 0x90000, 64, runtime.memory.array.ctypes.data + 0x90000)
    runtime.memory.write(buffer.memory.address, bytes(40))
    assert runtime.library.vta_bind(runtime.program, 2, place) == 0
    runtime.launch(a, b)
    runtime.wait()
    np.testing.assert_array_equal(runtime.outputs()[0], first)
    assert not runtime.memory.read(0x40000, 40).any()
    np.testing.assert_array_equal(first.view(np.int8), (a + b + 7).astype(np.int8).reshape(-1))


def test_the_interrupt(runtime, addition):
    a, b = operands(addition)
    fabric, machine = runtime.fabric, runtime.machine
    runtime.launch(a, b)
    assert fabric.step(5000, until_irq=True) == 5000, "it was not enabled"
    assert status_of(runtime.library.vta_poll, machine) == "OK"
    assert runtime.library.vta_interrupt(machine, 1) == 0
    runtime.launch(a, b)
    assert status_of(runtime.library.vta_poll, machine) == "RUNNING"
    assert fabric.step(5000, until_irq=True) < 1000
    assert status_of(runtime.library.vta_poll, machine) == "OK"
    assert fabric.step(100, until_irq=True) == 100, "it was not cleared"


def test_busy_and_idle(runtime, addition):
    library, machine = runtime.library, runtime.machine
    assert status_of(library.vta_poll, machine) == "IDLE"
    assert status_of(library.vta_wait, machine, 5) == "IDLE"
    runtime.launch(*operands(addition))
    launch = library.vta_launch
    assert status_of(launch, machine, runtime.program) == "BUSY"
    assert status_of(library.vta_wait, machine, 0) == "TIMEOUT"
    assert library.vta_reset(machine) == 0
    assert status_of(library.vta_poll, machine) == "IDLE"


def test_a_fault_in_words(example, library, simulate, memory, tiny):
    runtime = example.CRuntime(library, simulate(), memory)
    program = add_seven(tiny, faulty=True)
    runtime.load(to_flat(program))
    runtime.launch(*operands(program))
    with pytest.raises(example.RuntimeProblem) as problem:
        runtime.wait()
    assert str(problem.value) == (
        "the machine halted with an error: an index beyond the depth of a buffer on the chip, in "
        "compute at instruction 4"
    )
    fault = runtime.machine.fault
    assert (fault.cause, fault.module, fault.insn) == (Cause.SRAM_RANGE, ModuleId.COMPUTE, 4)
    assert (
        library.vta_cause_text(fault.cause) == b"an index beyond the depth of a buffer on the chip"
    )
    assert library.vta_module_text(fault.module) == b"compute"


@pytest.mark.parametrize("key", [key for key in PRESETS["tiny"].encoding() if "WIDTH" not in key])
def test_another_configuration_is_named(runtime, example, tiny, key):
    """The machine is told to be of a program's configuration with one field changed."""
    given = getattr(tiny, key.lower())
    register, field = next(
        (register, field)
        for register in BY_NAME.values()
        for field in register.fields
        if register.name.startswith("config_") and field.name == key.lower()
    )
    word = int(register.name[-1])
    runtime.machine.config[word] ^= 3 << field.low
    machine = runtime.machine
    status = status_of(runtime.library.vta_launch, machine, runtime.program)
    assert status == "WRONG_CONFIGURATION"
    mismatch = runtime.machine.mismatch
    assert (mismatch.key.decode(), mismatch.machine, mismatch.program) == (key, given ^ 3, given)


def test_what_programs_do_not_depend_on_may_differ(example, library, memory, addition):
    """A wider bus, longer bursts, longer queues; and encoding 0.0.3 for a program of 0.0.2."""
    other = PRESETS["tiny"].replace(
        log_bus_width=7, max_burst=256, log_insn_queue=10, hw_ver="0.0.3"
    )
    runtime = example.CRuntime(library, ScriptedRegisters(other, control=2), memory)
    runtime.load(to_flat(addition))
    runtime.launch(*operands(addition))
    runtime.wait()
    newer = runtime.program
    runtime.program.version = 0x300
    runtime.machine.version = 0x200
    status = status_of(library.vta_launch, runtime.machine, newer)
    assert status == "WRONG_VERSION"


def test_memory_that_does_not_fit(runtime, example):
    library, program = runtime.library, runtime.program

    def bind(index, *place):
        return status_of(library.vta_bind, program, index, memory_at(example, *place))

    assert bind(3, 0, 4096) == "NO_BUFFER", "a constant"
    assert bind(4, 0, 4096) == "NO_BUFFER"
    assert bind(0, 0, 191) == "TOO_SMALL"
    assert bind(0, 0, 192, None) == "TOO_SMALL"
    assert bind(0, 32, 192) == "MISALIGNED"
    assert bind(1, (1 << 64) - 64, 192) == "OUT_OF_REACH"
    assert program.buffer == 1
    assert bind(1, (1 << 32) - 128, 192) == "OK"
    machine = runtime.machine
    assert status_of(library.vta_launch, machine, program) == "OUT_OF_REACH"
    assert program.buffer == 1
    size = library.vta_workspace_bytes(program)
    for place, status in (
        ((0, size - 1), "TOO_SMALL"),
        ((16, size), "MISALIGNED"),
        (((1 << 64) - 64, size), "OUT_OF_REACH"),
        ((0, size), "OK"),
    ):
        assert status_of(library.vta_place, program, memory_at(example, *place)) == status
        assert program.buffer == 4


def test_dram_base_may_be_too_small(example, library, memory):
    """Micro-ops have 4 bytes, so 32 bits of dram_base reach 16 GiB, whatever the address width."""
    config = PRESETS["tiny"].replace(addr_width=40)
    program = add_seven(config)
    runtime = example.CRuntime(library, ScriptedRegisters(config, control=2), memory)
    runtime.load(to_flat(program))
    for address, status in ((4 << 32, "OUT_OF_REACH"), ((4 << 32) - 192, "OK")):
        place = runtime.program.workspace
        place.address = address
        assert library.vta_place(runtime.program, place) == 0
        machine = runtime.machine
        assert status_of(library.vta_launch, machine, runtime.program) == status
    assert (BY_NAME["insn_ptr_hi"].offset, 3) in runtime.fabric.written


def test_what_is_not_bound(example, library, memory, addition, simulate):
    runtime = example.CRuntime(library, simulate(), memory)
    flat = to_flat(addition)
    assert library.vta_load(runtime.program, flat, len(flat), runtime.buffers, 16) == 0
    machine, program = runtime.machine, runtime.program
    for missing in (0, 1, 2, 3):
        assert status_of(library.vta_launch, machine, program) == "NOT_BOUND"
        assert runtime.program.buffer == missing
        if missing < 3:
            assert library.vta_bind(program, missing, memory_at(example, 0, 192)) == 0


def test_a_program_without_constants_that_was_not_placed(example, library, memory, simulate):
    """Its instructions have no memory."""
    insns = Isa.words([Isa(TINY).common.pack(opcode=Opcode.FINISH)])
    refs = np.array([-1], np.int32)
    program = Program(name="finish", config=TINY, insns=insns, refs=refs, buffers=())
    runtime = example.CRuntime(library, simulate(), memory)
    flat = to_flat(program)
    assert library.vta_load(runtime.program, flat, len(flat), runtime.buffers, 16) == 0
    assert status_of(library.vta_launch, runtime.machine, runtime.program) == "NOT_BOUND"


def test_names_and_shapes(runtime):
    library, index = runtime.library, ctypes.c_uint32()
    for place, name in enumerate((b"A", b"B", b"C", b"uops")):
        assert library.vta_find(runtime.program, name, index) == 0
        assert index.value == place
    for name in (b"", b"AA", b"uop", b"uopss"):
        status = status_of(library.vta_find, runtime.program, name, index)
        assert status == "NO_BUFFER"
    buffer = runtime.buffers[0]
    assert [library.vta_extent(buffer, dim) for dim in range(4)] == [5, 1, 8, 0]
    assert runtime.program.name == b"add_seven"


def test_a_reset_that_does_not_end(example, library, memory, addition):
    registers = ScriptedRegisters(addition.config, control=4)
    runtime = example.CRuntime(library, registers, memory)
    runtime.load(to_flat(addition))
    runtime.machine.reset_polls = 20
    with pytest.raises(example.RuntimeProblem, match="the machine did not come out of reset"):
        runtime.launch(*operands(addition))


@pytest.mark.parametrize("call", CALLS)
def test_every_failure_of_the_host_is_reported(example, library, memory, addition, call):
    """The n-th call of a callback fails, for each n until there is no such call."""
    allowed, statuses = 0, []
    while "OK" not in statuses:
        registers = ScriptedRegisters(addition.config, control=2)
        runtime = example.CRuntime(library, registers, memory)
        runtime.load(to_flat(addition))
        inner, left = getattr(runtime.host, call), [allowed]

        def failing(*arguments, inner=inner, left=left):
            left[0] -= 1
            return 1 if left[0] < 0 else inner(*arguments)

        kind = {"read": example.READ, "write": example.WRITE}.get(call, example.MAINTAIN)
        kept = kind(failing)
        setattr(runtime.machine.host, call, kept)
        machine = runtime.machine
        status = library.vta_launch(machine, runtime.program)
        if status == 0:
            status = library.vta_wait(machine, 3)
        statuses.append(STATUSES[status])
        allowed += 1
    assert statuses[:-1] == ["HOST_FAILED"] * (allowed - 1)
    # Writes: reset, 10 bases, 2 pointers, count, interrupts, launch, interrupts again.
    expected = {"read": 5, "write": 17, "flush": 4, "invalidate": 1}
    assert allowed - 1 == expected[call]


def test_two_machines_at_once(example, library, simulate, addition, product):
    """Nothing is shared: runs of two machines go on side by side."""
    rng = np.random.default_rng(3)
    memories = [Memory(), Memory()]
    simulations = [
        Simulation(simulated_verilog(PRESETS["tiny"]), memory, model=MemoryModel())
        for memory in memories
    ]
    runtimes = [
        example.CRuntime(library, simulation, memory)
        for simulation, memory in zip(simulations, memories, strict=True)
    ]
    a, b = operands(addition)
    x, y = (rng.integers(-128, 128, array.shape, np.int8) for array in product.args[:2])
    runtimes[0].load(to_flat(addition))
    runtimes[1].load(to_flat(product))
    runtimes[0].launch(a, b)
    runtimes[1].launch(x, y)
    for runtime in reversed(runtimes):
        runtime.wait()
    assert runtimes[0].outputs()[0].tobytes() == (a + b + 7).astype(np.int8).tobytes()
    assert runtimes[1].outputs()[0].tobytes() == matmul_numpy(x, y).tobytes()
    for simulation in simulations:
        simulation.close()


def explained(runtime, status, room=160, *, machine=True, program=True):
    text = ctypes.create_string_buffer(b"#" * 200, 200)
    runtime.library.vta_explain(
        runtime.machine if machine else None,
        runtime.program if program else None,
        STATUSES.index(status),
        text,
        room,
    )
    assert text.raw[room:].count(b"#") == 200 - room, "nothing is written beyond the end"
    return text.value.decode()


def test_errors_in_one_sentence(runtime, example):
    runtime.machine.fault = example.CFault(Cause.DEADLOCK, ModuleId.STORE, (1 << 32) - 1)
    fault = (
        "the machine halted with an error: every module waits for a token, in store at instruction "
        "4294967295"
    )
    assert explained(runtime, "FAULT") == fault
    assert explained(runtime, "FAULT", machine=False) == "the machine halted with an error"
    runtime.machine.mismatch = example.CMismatch(b"LOG_BLOCK", 4, 0)
    assert explained(runtime, "WRONG_CONFIGURATION") == (
        "the program was compiled for another configuration: LOG_BLOCK is 4 in the machine and 0 "
        "in the program"
    )
    runtime.program.buffer = 3
    assert explained(runtime, "TOO_SMALL") == "the memory is too small: buffer uops"
    runtime.program.buffer = 4
    assert explained(runtime, "NOT_BOUND") == "there is no memory: the workspace"
    assert explained(runtime, "NOT_BOUND", program=False) == "there is no memory"
    assert explained(runtime, "BUSY") == "the machine is running a program"
    for room in range(1, len(fault) + 2):
        assert explained(runtime, "FAULT", room) == fault[: room - 1]
    assert explained(runtime, "FAULT", 0) == "#" * 200


def test_every_status_and_cause_has_a_sentence(library):
    said = [library.vta_status_text(number).decode() for number in range(len(STATUSES))]
    assert len(set(said)) == len(STATUSES)
    assert library.vta_status_text(len(STATUSES)) == b"a status that does not exist"
    assert library.vta_status_text(-1) == b"a status that does not exist"
    causes = [library.vta_cause_text(int(cause)).decode() for cause in Cause]
    assert len(set(causes)) == len(Cause)
    unknown = b"a cause that this runtime does not know"
    assert library.vta_cause_text(len(Cause)) == unknown
    assert [library.vta_module_text(number).decode() for number in range(5)] == [
        *(module.name.lower() for module in ModuleId),
        "unknown",
    ]
