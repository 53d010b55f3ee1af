"""The emulated board catches what boards catch: each step that is left out makes numbers wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.driver.conftest import add_seven
from tests.driver.remote.conftest import ARENA_BYTES, endless
from vta.config import PRESETS, Config
from vta.driver.board.board import Board
from vta.driver.board.board_device import BoardDevice
from vta.driver.board.clock import ClockControl
from vta.driver.board.emulated import EmulatedSystem, emulated_board
from vta.driver.board.emulated_bitstream import emulated_bitstream, read_emulated
from vta.driver.board.fabric import Fabric
from vta.driver.board.fpga_manager import parse_bit
from vta.driver.board.kinds import KINDS
from vta.driver.board.register_table import register_map
from vta.driver.board.u_dma_buf import UDmaBuf
from vta.errors import DeviceError, DeviceTimeout, MachineError
from vta.isa import Isa, MemoryType, Opcode
from vta.registers import BY_NAME

TINY = PRESETS["tiny"]


def config_of(kind: str) -> Config:
    return TINY.replace(target=kind)


def open_board(
    kind: str = "pynq", *, functional: bool = True
) -> tuple[BoardDevice, EmulatedSystem]:
    system = EmulatedSystem(KINDS[kind], functional=functional, arena_bytes=ARENA_BYTES)
    board = Board(KINDS[kind], system, register_map(), emulated=True)
    return BoardDevice(config_of(kind), board), system


def wrong_values(device: BoardDevice, seed: int = 0) -> int:
    """How many values of a small program's result differ from numpy's."""
    program = add_seven(TINY)
    rng = np.random.default_rng(seed)
    shape = program.args[0].shape
    a, b = (rng.integers(1, 10, shape, np.int32) for _ in range(2))
    (out,), _ = device.call(program, [a, b])
    return int((out != (a + b + 7).astype(np.int8)).sum())


@pytest.mark.parametrize(
    ("kind", "functional"),
    [
        # The width of its memory port takes a simulator of its own.
        pytest.param(
            kind,
            functional,
            id=f"{kind}-{'functional' if functional else 'RTL'}",
            marks=pytest.mark.full if kind == "de10nano" and not functional else (),
        )
        for kind in sorted(KINDS)
        for functional in (True, False)
    ],
)
def test_a_program_on_each_board(kind: str, functional: bool) -> None:
    device, _ = open_board(kind, functional=functional)
    with device:
        device.program()
        for seed in range(3):
            assert wrong_values(device, seed) == 0
        report = device.call(add_seven(TINY), [np.zeros((5, 1, 8), np.int32)] * 2)[1]
        assert report.target == kind
        assert (report.cycles or 0) > 0 or functional


def test_addresses_are_the_boards() -> None:
    device, system = open_board()
    with device:
        assert device.allocate(64) >= KINDS["pynq"].memory
        assert int(system.read("sys/class/u-dma-buf/udmabuf0/phys_addr"), 0) == 0x1680_0000
        assert int(system.read("sys/class/uio/uio0/maps/map0/addr"), 0) == 0x4000_0000


def test_without_a_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    device, _ = open_board()
    with device:
        device.program()
        assert wrong_values(device) == 0
        monkeypatch.setattr(UDmaBuf, "flush", lambda *args: None)
        # The old operands are still in memory, and so is the old result's place.
        assert wrong_values(device, 1) > 20


def test_without_a_flush_of_the_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    device, _ = open_board()
    with device:
        device.program()
        monkeypatch.setattr(UDmaBuf, "flush", lambda *args: None)
        with pytest.raises(MachineError):
            wrong_values(device)


def test_without_an_invalidate(monkeypatch: pytest.MonkeyPatch) -> None:
    device, _ = open_board()
    with device:
        device.program()
        monkeypatch.setattr(UDmaBuf, "invalidate", lambda *args: None)
        assert wrong_values(device) == 40


@pytest.mark.parametrize("kind", ["pynq", "ultra96"])
def test_without_the_width_of_the_memory_port(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device, _ = open_board(kind)
    monkeypatch.setattr(Board, "_set_width", lambda *args: None)
    with device:
        device.program()
        assert wrong_values(device) > 20


@pytest.mark.parametrize("kind", ["pynq", "ultra96", "zcu104"])
def test_without_the_clock(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device, _ = open_board(kind)
    monkeypatch.setattr(ClockControl, "limit", lambda *args: 0.0)
    with device:
        device.program()
        assert wrong_values(device) > 20


@pytest.mark.parametrize(
    ("kind", "beats"), [("pynq", 16), ("de10nano", 16), ("ultra96", 64), ("zcu104", 64)]
)
def test_bursts_are_as_long_as_the_memory_port_takes(kind: str, beats: int) -> None:
    """As `vta bitstream` makes them: AXI3 has bursts of 16 beats; TINY asks for 64."""
    device, _ = open_board(kind)
    with device:
        device.program()
        assert device.identify()["config_2"] >> 16 == beats


def test_longer_bursts_do_not_pass(tmp_path: Path) -> None:
    """In a bitstream that was not made for the board's memory port."""
    file = tmp_path / "x.bit"
    file.write_bytes(
        emulated_bitstream(KINDS["pynq"], TINY.replace(max_burst=16)).replace(
            b'"MAX_BURST": 16', b'"MAX_BURST": 64'
        )
    )
    said = "MAX_BURST is 64 in hardware, and the memory port of pynq takes bursts of at most 16"
    device, _ = open_board(functional=False)
    with pytest.raises(DeviceError, match=said):
        device.program(file)
    isa = Isa(TINY)
    load = isa.mem.pack(
        opcode=Opcode.LOAD, memory_type=MemoryType.ACC, y_size=1, x_size=16, x_stride=16
    )
    addr = device.allocate(4096)
    device.write(addr, Isa.words([load, isa.common.pack(opcode=Opcode.FINISH)]))
    base = dict.fromkeys(("uop", "inp", "wgt", "acc", "out"), addr)
    # Nor does the memory port work afterwards.
    for use in (lambda: device._link.launch(addr, 2, base, 10.0), device.close):
        with pytest.raises(DeviceError, match="asks for a burst of 64 beats; at most 16"):
            use()


@pytest.mark.parametrize(
    ("routed", "expected"), [(100_000_000, 100e6), (143_000_000, 1000e6 / 7), (40_000_000, 40e6)]
)
def test_the_clock_is_slowed_down_to_what_was_routed(
    tmp_path: Path, routed: int, expected: float, caplog: pytest.LogCaptureFixture
) -> None:
    """The emulated Pynq comes up at 500 MHz: 50 MHz x 20 / (1 x 2)."""
    file = tmp_path / "x.bit"
    file.write_bytes(emulated_bitstream(KINDS["pynq"], TINY, routed))
    (tmp_path / "x.json").write_text(json.dumps({"clock_hz": routed}))
    device, system = open_board()
    with device, caplog.at_level("INFO", "vta.driver.board"):
        device.program(file)
        assert wrong_values(device) == 0
    assert f"the clock of pynq is {expected / 1e6:.6g} MHz" in caplog.text
    words = system.words("dev/mem", 4096, 0xF800_0000)
    assert words[2] == 0xDF0D  # the registers were unlocked
    first, second = words[0x170 // 4] >> 8 & 63, words[0x170 // 4] >> 20 & 63
    assert 50e6 * 20 / (first * second) == pytest.approx(expected)


def test_clocks_that_cannot_be_known_or_set(tmp_path: Path) -> None:
    device, system = open_board()
    with device:
        words = system.words("dev/mem", 4096, 0xF800_0000)
        words[0x170 // 4] |= 0x20
        with pytest.raises(DeviceError, match=r"expected PLL \(register 0xf8000170\)"):
            device.program()
        words[0x170 // 4] = 1 << 8 | 1 << 20
        words[0x108 // 4] = 127 << 12
        file = tmp_path / "x.bit"
        file.write_bytes(emulated_bitstream(KINDS["pynq"], TINY, 1_000_000))
        (tmp_path / "x.json").write_text('{"clock_hz": 1000000}')
        with pytest.raises(DeviceError, match="must be at most 1 MHz.* it is 1.5999 MHz"):
            device.program(file)
        for damaged in ("{}", "[]", "x", '{"clock_hz": "100"}', '{"clock_hz": -1}'):
            (tmp_path / "x.json").write_text(damaged)
            with pytest.raises(DeviceError, match="x.json: must have clock_hz"):
                device.program(file)


def test_reprogramming_a_machine_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the reset before, bursts are in flight, and the port hangs until power-off."""
    device, system = open_board(functional=False)
    with device:
        device.program()
        program = endless(TINY)
        addr = device.allocate(program.nbytes)
        uops = device.allocate(64)
        stream = program.link({"A": uops, "uops": uops})
        device.write(addr, stream)
        board = device._link
        assert isinstance(board, Board)
        monkeypatch.setattr(Board, "reset", lambda self: None)
        with pytest.raises(DeviceTimeout):
            board.launch(addr, 3, dict.fromkeys(("uop", "inp", "wgt", "acc", "out"), 0), 0.05)
        device.program()
        assert system.hung
        with pytest.raises(DeviceTimeout):
            device.call(add_seven(TINY), [np.zeros((5, 1, 8), np.int32)] * 2, timeout=0.2)
        monkeypatch.undo()
        monkeypatch.setattr("vta.driver.board.board.RESET_SECONDS", 0.1)


def test_with_the_reset_a_running_machine_can_be_reprogrammed() -> None:
    device, system = open_board(functional=False)
    with device:
        device.program()
        with pytest.raises(DeviceTimeout):
            device.call(endless(TINY), [np.zeros(1, np.int32)], timeout=0.05)
        device.program()
        assert not system.hung
        assert wrong_values(device) == 0


def test_what_a_killed_process_left_is_reset_and_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    device, system = open_board()
    with device:
        board = device._link
        assert isinstance(board, Board)
        assert board.take()
        device.program()

        def killed(*args: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Board, "_wait", killed)
        monkeypatch.setattr(Board, "reset", lambda self: None)
        with pytest.raises(KeyboardInterrupt):
            device.call(endless(TINY), [np.ones(1, np.int32)])
        monkeypatch.undo()
        assert machine_of(system).read(BY_NAME["control"].offset) == 1
        # The right to the board ends with a process.
        assert board._claim is not None
        os.close(board._claim)
        board._claim, board.taken = None, False
        other = Board(KINDS["pynq"], system, register_map())
        assert other.take()
        assert machine_of(system).read(BY_NAME["control"].offset) == 0
        assert not arena_of(system).any()
        other.close()


def machine_of(system: EmulatedSystem) -> Fabric:
    assert system.fabric is not None
    return system.fabric


def arena_of(system: EmulatedSystem) -> NDArray[np.uint8]:
    """The board's memory, as the machine sees it."""
    start = KINDS["pynq"].memory
    return system._dram.array[start : start + ARENA_BYTES]


def test_outputs_that_nobody_read_are_wiped() -> None:
    device, system = open_board()
    with device:
        board = device._link
        assert isinstance(board, Board)
        assert board.take()
        device.program()
        assert wrong_values(device) == 0
        # The machine may have written to any place, such as the last one.
        arena_of(system)[-1] = 7
        board.give_back()
        assert not arena_of(system).any()


def test_a_reset_that_fails_does_not_keep_memory_or_the_board(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device, system = open_board()
    board = device._link
    assert isinstance(board, Board)

    def hang(self: Board) -> None:
        raise DeviceTimeout("the memory port hangs")

    def fails_to(act: Callable[[], object]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Board, "reset", hang)
            with pytest.raises(DeviceTimeout, match="port hangs"):
                act()

    other = Board(KINDS["pynq"], system, register_map())
    fails_to(board.take)
    assert not board.taken
    assert other.take()
    other.give_back()
    assert board.take()
    device.write(device.allocate(100), np.ones(100, np.uint8))
    fails_to(board.give_back)
    assert not arena_of(system).any()
    assert board.take()
    fails_to(device.close)
    assert other.take()
    with pytest.raises(ValueError, match="released"):
        bytes(board._arena.view)
    other.close()


def test_a_board_that_closes_leaves_another_users_machine_alone() -> None:
    device, system = open_board()
    with device:
        board = device._link
        assert isinstance(board, Board)
        assert board.take()
        device.program()
        assert wrong_values(device) == 0
        board.give_back()
        other = Board(KINDS["pynq"], system, register_map())
        assert other.take()
        before = machine_of(system)
        writes: list[int] = []
        system.fabric = Watched(before, writes)
        board.close()
        assert writes == []
        system.fabric = before
        other.close()


class Watched:
    """A machine that notes which registers are written."""

    def __init__(self, fabric: Fabric, writes: list[int]) -> None:
        self._fabric, self._writes = fabric, writes

    def read(self, offset: int) -> int:
        return self._fabric.read(offset)

    def write(self, offset: int, value: int) -> None:
        self._writes.append(offset)
        self._fabric.write(offset, value)

    def advance(self, seconds: float) -> bool:
        return self._fabric.advance(seconds)

    def close(self) -> None:
        self._fabric.close()


def test_bitstreams_that_do_not_fit(tmp_path: Path) -> None:
    device, system = open_board()
    with device:
        for config, said in (
            (PRESETS["small"], "LOG_BATCH is 1 in hardware and 0 here"),
            (PRESETS["default"], "LOG_BLOCK is 4 in hardware and 3 here"),
        ):
            file = tmp_path / "other.bit"
            file.write_bytes(emulated_bitstream(KINDS["pynq"], config))
            with pytest.raises(DeviceError, match=said):
                device.program(file)
        # What programs do not see may differ.
        file.write_bytes(emulated_bitstream(KINDS["pynq"], TINY.replace(log_insn_queue=10)))
        device.program(file)
        assert wrong_values(device) == 0
        file.write_bytes(emulated_bitstream(KINDS["zcu104"], TINY))
        with pytest.raises(DeviceError, match="the part xczu7ev, and pynq has 7z020clg400"):
            device.program(file)
        file.write_bytes(b"\xff" * 32 + bytes.fromhex("aa995566") + bytes(400))
        with pytest.raises(DeviceError, match="only be programmed with an emulated bitstream"):
            device.program(file)
        assert system.read("sys/class/fpga_manager/fpga0/state") == "write error"
        with pytest.raises(DeviceError, match="the FPGA is not programmed"):
            wrong_values(device)
        device.program()
        assert wrong_values(device) == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": 2}, r"must be for pynq \(version 1\), not for pynq \(version 2\)"),
        ({"clock_hz": "fast"}, "must have clock_hz in Hz, not 'fast'"),
        ({"config": {}}, "emulated bitstream: missing key TARGET"),
        ({"format": "x"}, "only be programmed with an emulated bitstream"),
    ],
)
def test_manifests_that_are_damaged(changes: dict[str, object], said: str) -> None:
    data = parse_bit(emulated_bitstream(KINDS["pynq"], TINY)).data
    start = data.index(b"{")
    manifest = json.loads(data[start:]) | changes
    with pytest.raises(DeviceError, match=said):
        read_emulated(data[:start] + json.dumps(manifest).encode(), KINDS["pynq"])


def test_deadlocks_look_the_same_as_on_the_rtl() -> None:
    """The functional fabric's registers tell of a fault what the RTL's do."""
    isa = Isa(TINY)
    stream = Isa.words(
        [isa.common.pack(opcode=3, pop_next=1)]  # FINISH waits for a store that never comes
    )
    faults = []
    for functional in (True, False):
        device, _ = open_board(functional=functional)
        with device:
            device.program()
            with pytest.raises(MachineError) as caught:
                device.run_stream(stream)
            faults.append(caught.value.fault)
    assert faults[0] == faults[1]
    assert faults[0].cause == "deadlock"
    assert faults[0].waiting[0]["token"] == "s2g"


def test_a_board_that_lacks_a_driver(tmp_path: Path) -> None:
    from vta.driver.board.system import System

    with pytest.raises(DeviceError, match="no u-dma-buf device: load the kernel module"):
        Board(KINDS["pynq"], System(tmp_path), register_map())


def test_files_are_removed_when_a_board_is_gone() -> None:
    board = emulated_board(KINDS["pynq"], functional=True, arena_bytes=1 << 16)
    root = board._system.root
    assert root.is_dir()
    board.close()
    del board
    import gc

    gc.collect()
    assert not root.exists()
