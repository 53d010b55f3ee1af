"""Programs that stay in a device's memory."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from vta.config import PRESETS
from vta.driver.resident_program import ResidentProgram
from vta.driver.simulated import SimDevice, SimulatorTotals
from vta.errors import DeviceError, MachineError, ProgramError
from vta.isa import AluOp, Isa, MemoryType, Opcode
from vta.program import DramBuffer, Program

MakeProgram = Callable[..., Program]
TINY = PRESETS["tiny"]
PLACES = {"A": 0x10_0000, "B": 0x11_0000, "C": 0x12_0000}


class Noting(SimDevice):
    """Notes where each write goes, how long it is, and whether a launch brings its stream."""

    def __init__(self) -> None:
        super().__init__(TINY, profile=SimulatorTotals())
        self.writes: list[int] = []
        self.streams: list[bool] = []

    def _write(self, addr, data):
        self.writes.append(data.nbytes)
        super()._write(addr, data)

    def _launch(self, insn_addr, insn_count, base, timeout, insns):
        self.streams.append(insns is not None)
        return super()._launch(insn_addr, insn_count, base, timeout, insns)

    @property
    def in_use(self) -> int:
        return self._allocator.used


@pytest.fixture
def device() -> Iterator[Noting]:
    with Noting() as device:
        yield device


def put(device: Noting, seed: int, places: dict[str, int] = PLACES) -> np.ndarray:
    """Writes random operands; returns what the program makes of them."""
    a, b = np.random.default_rng(seed).integers(-(2**31), 2**31, (2, 5, 1, 8)).astype(np.int32)
    device.write(places["A"], a)
    device.write(places["B"], b)
    return (a + b + np.int32(7)).astype(np.int8)


def result(device: Noting, places: dict[str, int] = PLACES) -> np.ndarray:
    return device.read(places["C"], 40).view(np.int8).reshape(5, 1, 8)


def test_constants_and_stream_are_written_once(device: Noting, make_program: MakeProgram) -> None:
    program = make_program(TINY)
    resident = ResidentProgram(program, device)
    for seed in range(3):
        expected = put(device, seed)
        del device.writes[:]
        resident.run(PLACES)
        np.testing.assert_array_equal(result(device), expected)
        constants = [buffer.nbytes for buffer in program.buffers if buffer.data is not None]
        assert device.writes == ([] if seed else [*constants, program.nbytes])
    assert device.streams == [True, False, False]


def test_a_stream_is_linked_again_when_a_buffer_moves(
    device: Noting, make_program: MakeProgram
) -> None:
    resident = ResidentProgram(make_program(TINY), device)
    elsewhere = PLACES | {"B": 0x15_0000, "C": 0x16_0000}
    for seed, places in enumerate((PLACES, elsewhere, elsewhere, PLACES)):
        expected = put(device, seed, places)
        resident.run(places)
        np.testing.assert_array_equal(result(device, places), expected)
    assert device.streams == [True, True, False, True]


def test_two_programs_do_not_disturb_each_other(device: Noting, make_program: MakeProgram) -> None:
    program = make_program(TINY)
    (constant,) = (buffer for buffer in program.buffers if buffer.data is not None)
    first, second = ResidentProgram(program, device), ResidentProgram(program, device)
    for _ in range(2):
        for resident in (first, second):
            expected = put(device, 5)
            resident.run(PLACES)
            np.testing.assert_array_equal(result(device), expected)
    assert first._own[constant.name] != second._own[constant.name]


def test_a_constant_that_the_program_overwrites_is_fresh_in_each_run(device: Noting) -> None:
    """It stores to the constant what it computes from it: 5, not 6 or 7, in every run."""
    isa = Isa(TINY)
    tile = {"y_size": 1, "x_size": 1, "x_stride": 1}
    loop = {"uop_end": 1, "iter_out": 1, "iter_in": 1}
    words = [
        isa.mem.pack(opcode=Opcode.LOAD, memory_type=MemoryType.ACC, **tile),
        isa.mem.pack(opcode=Opcode.LOAD, memory_type=MemoryType.UOP, **tile),
        isa.alu.pack(
            opcode=Opcode.ALU, alu_opcode=AluOp.ADD, use_imm=1, imm=1, push_next=1, **loop
        ),
        isa.mem.pack(
            opcode=Opcode.STORE, memory_type=MemoryType.OUT, pop_prev=1, push_prev=1, **tile
        ),
        isa.common.pack(opcode=Opcode.FINISH, pop_next=1),
    ]
    fours, uop = np.full(8, 4, np.int32).view(np.uint8), np.zeros(4, np.uint8)
    program = Program(
        name="p",
        config=TINY,
        insns=Isa.words(words),
        refs=np.array([0, 1, -1, 0, -1], np.int32),
        buffers=(
            DramBuffer(name="k", role="const", shape=(1, 8), dtype="int32", data=fours),
            DramBuffer(name="uops", role="const", shape=(1,), dtype="uint32", data=uop),
        ),
    )
    resident = ResidentProgram(program, device)
    for _ in range(3):
        resident.run({})
        found = device.read(resident._own["k"], 8)
        np.testing.assert_array_equal(found, np.full(8, 5, np.uint8))


def test_after_an_error_the_stream_is_written_again(
    device: Noting, make_program: MakeProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = ResidentProgram(make_program(TINY), device)
    resident.run(PLACES)

    def fails(self, insn_addr, insn_count, base, timeout, insns):
        raise DeviceError("the cable is out")

    monkeypatch.setattr(Noting, "_launch", fails)
    with pytest.raises(DeviceError, match="the cable is out"):
        resident.run(PLACES)
    monkeypatch.undo()
    expected = put(device, 8)
    resident.run(PLACES)
    np.testing.assert_array_equal(result(device), expected)
    assert device.streams == [True, True]


def test_a_faulty_program_says_the_same_twice(device: Noting, make_program: MakeProgram) -> None:
    resident = ResidentProgram(make_program(TINY, faulty=True), device)
    for _ in range(2):
        with pytest.raises(MachineError, match="ACC"):
            resident.run(PLACES)


def test_memory_is_given_back(device: Noting, make_program: MakeProgram) -> None:
    before = device.in_use
    resident = ResidentProgram(make_program(TINY), device)
    assert device.in_use == before
    resident.run(PLACES)
    assert device.in_use > before
    resident.close()
    resident.close()
    assert device.in_use == before
    resident.run(PLACES)  # takes it again
    del resident
    gc.collect()
    device.free(device.allocate(64))  # what was forgotten is freed at the next allocation
    assert device.in_use == before


def test_memory_that_is_not_enough_is_given_back(
    device: Noting, make_program: MakeProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = device.in_use
    resident = ResidentProgram(make_program(TINY), device)
    allocate = device._allocate
    sizes: list[int] = []

    def little(nbytes: int) -> int:
        sizes.append(nbytes)
        if len(sizes) == 2:
            raise DeviceError("no more memory")
        return allocate(nbytes)

    monkeypatch.setattr(device, "_allocate", little)
    with pytest.raises(DeviceError, match="no more memory"):
        resident.run(PLACES)
    assert device.in_use == before
    expected = put(device, 3)
    resident.run(PLACES)
    np.testing.assert_array_equal(result(device), expected)


def test_a_constant_that_was_not_written_is_written_at_the_next_run(
    device: Noting, make_program: MakeProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run fails in the write; its memory is used by the second one, and is not lost."""
    resident = ResidentProgram(make_program(TINY), device)
    expected = put(device, 4)

    def fails(addr, data):
        raise DeviceError("the cable is out")

    monkeypatch.setattr(device, "_write", fails)
    with pytest.raises(DeviceError, match="the cable is out"):
        resident.run(PLACES)
    in_use = device.in_use
    monkeypatch.undo()
    resident.run(PLACES)
    np.testing.assert_array_equal(result(device), expected)
    assert device.in_use == in_use
    resident.close()
    assert device.in_use == 0


def with_scratch(program: Program) -> Program:
    """The program with memory of its own that it does not use."""
    scratch = DramBuffer(name="scratch", role="temp", shape=(300,), dtype="int32")
    return dataclasses.replace(program, buffers=(*program.buffers, scratch))


def test_scratch_stays_where_it_is(device: Noting, make_program: MakeProgram) -> None:
    """Else the second program would take its place, and both were linked anew in each call."""
    programs = [ResidentProgram(with_scratch(make_program(TINY)), device) for _ in range(2)]
    for seed in range(3):
        for resident in programs:
            expected = put(device, seed)
            resident.run(PLACES)
            np.testing.assert_array_equal(result(device), expected)
    assert device.streams == [True, True, False, False, False, False]


def test_another_configuration_is_refused(device: Noting, make_program: MakeProgram) -> None:
    with pytest.raises(ProgramError, match="compiled for another configuration"):
        ResidentProgram(make_program(PRESETS["small"]), device)
