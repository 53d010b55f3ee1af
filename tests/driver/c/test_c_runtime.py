"""The C runtime on the hardware's RTL, compiled by several compilers and for several processors.

The runtime is in a process of its own, whose memory is not the machine's: what it forgets to flush
or to invalidate is missing.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess

import numpy as np
import pytest

import vta
from tests.compiler.known import matmul_numpy
from tests.driver.c.bridge import ScriptedRegisters, run_bridge
from tests.driver.c.toolchains import (
    ARM,
    BIG_ENDIAN,
    CLANG,
    GCC,
    HERE,
    RISCV,
    ROOT,
    RUNTIME,
    SANITIZED,
    ZIG,
    compile_c,
)
from tests.driver.conftest import add_seven
from tests.driver.remote.conftest import endless
from vta import top
from vta.compiler.operators.convolution import Conv2d
from vta.compiler.operators.epilogue import Epilogue
from vta.driver.c.flat_program import to_flat
from vta.isa import INSN_BYTES, Cause, Isa, MemoryType, ModuleId, Opcode
from vta.program import DramBuffer, Program
from vta.registers import BY_NAME

ALL = (GCC, SANITIZED, CLANG, ZIG, ARM, BIG_ENDIAN, RISCV)


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    """The bridge as gcc makes it for this processor."""
    return GCC.build(tmp_path_factory.mktemp("native"), HERE / "bridge.c")


@pytest.mark.parametrize("toolchain", ALL, ids=lambda toolchain: toolchain.name)
def test_programs_equal_numpy(toolchain, tmp_path, simulate, memory, addition, product):
    command = toolchain.build(tmp_path, HERE / "bridge.c")
    rng = np.random.default_rng(1)
    simulation = simulate()
    a, b = (rng.integers(-999, 999, addition.args[0].shape, np.int32) for _ in range(2))
    end = run_bridge(command, to_flat(addition), (a, b), simulation, memory, runs=2)
    assert end.status == "OK"
    assert end.outputs == [(a + b + 7).astype(np.int8).tobytes()] * 2
    a, b = (rng.integers(-128, 128, array.shape, np.int8) for array in product.args[:2])
    end = run_bridge(command, to_flat(product), (a, b), simulation, memory)
    assert end.status == "OK"
    assert end.outputs == [matmul_numpy(a, b).tobytes()]
    # The same cycles as when Python's driver runs it.
    assert end.cycles == simulation.read(BY_NAME["cycle_count"].offset)
    expected = {ARM: (4, False), BIG_ENDIAN: (4, True), RISCV: (4, False)}.get(
        toolchain, (8, False)
    )
    assert (end.pointer_bytes, end.big_endian) == expected


def test_a_layer_of_a_network(native, simulate, memory, tiny):
    """A convolution with padding, bias and ReLU, in many instructions."""
    rng = np.random.default_rng(4)
    data = rng.integers(-128, 128, (1, 12, 7, 7)).astype(np.int8)
    weight = rng.integers(-128, 128, (10, 12, 3, 3)).astype(np.int8)
    bias = rng.integers(-5000, 5000, 10).astype(np.int32)
    epilogue = Epilogue(bias=True, shift=8, relu=True)
    with vta.Environment(tiny):
        layer = top.compile(Conv2d(data.shape, weight.shape, padding=1, epilogue=epilogue))
    inputs = layer.pack(data, weight, bias)
    end = run_bridge(native, to_flat(layer.program), inputs, simulate(), memory, runs=2)
    assert end.status == "OK"
    output = next(buffer for buffer in layer.program.buffers if buffer.role == "output")
    found = np.frombuffer(end.outputs[1], output.dtype).reshape(output.shape)
    padded = np.pad(data[0].astype(int), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    sums = np.einsum("ihwyx,oiyx->ohw", windows, weight.astype(int)) + bias[:, None, None]
    np.testing.assert_array_equal(layer.unpack(found)[0], np.clip(sums >> 8, 0, 127))


def test_a_temporary_array(native, simulate, memory, tiny):
    """What one STORE writes to memory that is not the caller's, a LOAD reads back."""
    isa, tiles = Isa(tiny), 5
    rows = {"y_size": 1, "x_size": tiles, "x_stride": tiles}
    load = {"opcode": Opcode.LOAD, "push_next": 1, **rows}
    store = {"opcode": Opcode.STORE, "memory_type": MemoryType.OUT, "pop_prev": 1, **rows}
    words = [
        isa.mem.pack(memory_type=MemoryType.ACC, **load),
        isa.mem.pack(push_prev=1, **store),
        isa.mem.pack(memory_type=MemoryType.ACC_8BIT, pop_next=1, **load),
        isa.mem.pack(push_prev=1, **store),
        isa.common.pack(opcode=Opcode.FINISH, pop_next=1),
    ]
    shape = (tiles, tiny.batch, tiny.block)
    program = Program(
        name="there_and_back",
        config=tiny,
        insns=Isa.words(words),
        refs=np.array([0, 2, 2, 1, -1], np.int32),
        buffers=(
            DramBuffer(name="A", role="input", shape=shape, dtype="int32"),
            DramBuffer(name="B", role="output", shape=shape, dtype="int8"),
            DramBuffer(name="t", role="temp", shape=shape, dtype="int8"),
        ),
    )
    a = np.random.default_rng(2).integers(-999, 999, shape, np.int32)
    end = run_bridge(native, to_flat(program), (a,), simulate(), memory)
    assert (end.status, end.outputs) == ("OK", [a.astype(np.int8).tobytes()])


@pytest.mark.parametrize(
    "toolchain",
    [
        *ALL,
        *(
            dataclasses.replace(GCC, name=f"gcc {option}", options=(option,))
            for option in ("-O3", "-Os", "-Wconversion", "-ffreestanding")
        ),
    ],
    ids=lambda toolchain: toolchain.name,
)
def test_it_compiles_without_warnings(toolchain, tmp_path):
    command = [*toolchain.command(), "-c", "-o", str(tmp_path / "vta.o")]
    assert compile_c(command, RUNTIME / "vta.c") == ""


def test_the_code_of_the_page_compiles(tmp_path):
    page = (ROOT / "docs" / "c_runtime.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```c\n(.*?)^```", page, re.DOTALL | re.M)
    (tmp_path / "page.c").write_text(block)
    command = [*GCC.command(), f"-I{RUNTIME}", "-c", "-o", str(tmp_path / "page.o")]
    assert compile_c(command, tmp_path / "page.c") == ""


def test_the_header_is_valid_in_cpp(tmp_path):
    source = tmp_path / "use.cpp"
    source.write_text('#include "vta.h"\nvta_status f(vta_machine *m) { return vta_reset(m); }\n')
    gcc = GCC.command()
    options = ["-x", "c++", "-std=c++11", "-Wall", "-Wextra", "-pedantic", "-Werror", "-c"]
    done = subprocess.run(
        [*gcc, *options, f"-I{RUNTIME}", "-o", str(tmp_path / "use.o"), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


# -- what goes wrong -------------------------------------------------------------------------------


def test_a_fault_has_cause_and_instruction(native, simulate, memory, tiny):
    program = add_seven(tiny, faulty=True)
    a = np.zeros(program.args[0].shape, np.int32)
    simulation = simulate()
    end = run_bridge(native, to_flat(program), (a, a), simulation, memory)
    assert (end.status, end.outputs) == ("FAULT", [])
    # The second addition starts at the last tile of ACC.
    assert (end.cause, end.module, end.insn) == (Cause.SRAM_RANGE, ModuleId.COMPUTE, 4)
    # The machine can be used again.
    assert run_bridge(native, to_flat(add_seven(tiny)), (a, a), simulation, memory).status == "OK"


def test_a_deadlock_is_reported(native, simulate, memory, addition):
    insns = addition.insns.copy()
    insns[4, 0] &= ~np.uint64(1 << 6)  # push_next, for which the STORE waits
    program = dataclasses.replace(addition, insns=insns)
    a = np.zeros(program.args[0].shape, np.int32)
    end = run_bridge(native, to_flat(program), (a, a), simulate(), memory)
    assert (end.status, end.cause) == ("FAULT", Cause.DEADLOCK)
    assert (end.module, end.insn) == (ModuleId.STORE, 5)


def test_instructions_without_finish(native, simulate, memory, addition):
    program = dataclasses.replace(addition, insns=addition.insns[:-1], refs=addition.refs[:-1])
    a = np.zeros(program.args[0].shape, np.int32)
    end = run_bridge(native, to_flat(program), (a, a), simulate(), memory)
    assert (end.status, end.cause) == ("FAULT", Cause.NO_FINISH)
    assert (end.module, end.insn) == (ModuleId.FETCH, 6)


def test_the_watchdog_ends_a_run_whose_memory_is_silent(native, simulate, memory, addition):
    simulation = simulate(latency=100_000)
    simulation.write(BY_NAME["watchdog"].offset, 500)
    a = np.zeros(addition.args[0].shape, np.int32)
    end = run_bridge(native, to_flat(addition), (a, a), simulation, memory, polls=5000)
    assert (end.status, end.cause) == ("FAULT", Cause.TIMEOUT)


def test_a_run_that_takes_too_long(native, simulate, memory, tiny):
    simulation = simulate()
    a = np.zeros(1, np.int32)
    end = run_bridge(native, to_flat(endless(tiny)), (a,), simulation, memory, polls=100)
    assert end.status == "TIMEOUT"
    assert simulation.read(BY_NAME["control"].offset) == 1
    # The next host resets the machine.
    small = add_seven(tiny)
    a = np.zeros(small.args[0].shape, np.int32)
    assert run_bridge(native, to_flat(small), (a, a), simulation, memory).status == "OK"


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"id": 0xFFFFFFFF}, "NO_MACHINE"),
        ({"version": 0x400}, "WRONG_VERSION"),
        ({"config_1": 0}, "WRONG_CONFIGURATION"),
        ({"config_2": 17}, "OUT_OF_REACH"),  # bits of an address
        ({"control": 1}, "TIMEOUT"),
        ({"control": 0}, "STOPPED"),
        ({"control": 0, "error": 11}, "FAULT"),
        ({"control": 2}, "OK"),
    ],
)
def test_other_machines(native, memory, addition, values, status):
    registers = ScriptedRegisters(addition.config, **values)
    a = np.zeros(addition.args[0].shape, np.int32)
    end = run_bridge(native, to_flat(addition), (a, a), registers, memory, polls=50)
    assert end.status == status


def test_what_is_written_to_the_registers(native, memory, addition):
    """All base registers are 0; the instructions are where the workspace is, with whole places."""
    registers = ScriptedRegisters(addition.config, control=2)
    a = np.zeros(addition.args[0].shape, np.int32)
    address = 0x123000
    end = run_bridge(native, to_flat(addition), (a, a), registers, memory, address=address)
    assert end.status == "OK"
    written = {}
    for offset, value in registers.written:
        written.setdefault(offset, []).append(value)
    expected = {"control": [4, 1], "insn_ptr": [address], "insn_count": [7], "irq_status": [3, 3]}
    for name in ("uop", "inp", "wgt", "acc", "out"):
        expected |= {f"{name}_ptr": [0], f"{name}_ptr_hi": [0]}
    expected["insn_ptr_hi"] = [0]
    assert written == {BY_NAME[name].offset: values for name, values in expected.items()}
    # Buffers follow the workspace: 7 instructions and 8 bytes of micro-ops, each in 64-byte steps.
    places = {"uops": address + 128, "A": address + 192}
    size = 5 * 8 * 4  # numbers of 32 bits, in 5 tiles
    places |= {"B": places["A"] + 192, "C": places["A"] + 384}
    assert size <= 192
    linked = memory.read(address, 7 * INSN_BYTES).view("<u8").reshape(-1, 2)
    np.testing.assert_array_equal(linked, addition.link(places))
    bases = [insn.dram_base for insn in Isa(addition.config).decode_stream(linked)[:3]]
    assert bases == [places["A"] // 32, places["B"] // 32, places["uops"] // 4]


def test_it_refers_to_nothing_outside(tmp_path):
    """The object file needs no function of a library."""
    if shutil.which("nm") is None:
        pytest.skip("there is no nm (Debian, Ubuntu: apt install binutils)")
    file = tmp_path / "vta.o"
    compile_c(
        [*GCC.command(), "-ffreestanding", "-fno-pic", "-c", "-o", str(file)], RUNTIME / "vta.c"
    )
    said = subprocess.run(["nm", str(file)], capture_output=True, text=True, check=True).stdout
    kinds = {line.split()[-1]: line.split()[-2] for line in said.splitlines()}
    assert "vta_load" in kinds
    assert [name for name, kind in kinds.items() if kind == "U"] == []
    # Nothing that can be written: no variable is global.
    assert [name for name, kind in kinds.items() if kind in "BbCDG"] == []
