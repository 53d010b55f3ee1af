"""The drivers for Linux's device files, on a tree of plain files in a temporary folder."""

from __future__ import annotations

import os
import socket
import struct
import threading
from pathlib import Path

import numpy as np
import pytest

from vta.config import PRESETS
from vta.driver.board.board import DONE, LAUNCH, RESET, Board
from vta.driver.board.devmem import parse_range
from vta.driver.board.emulated_bitstream import emulated_bitstream
from vta.driver.board.fpga_manager import FpgaManager, parse_bit, to_bin
from vta.driver.board.kinds import KINDS, kind_named
from vta.driver.board.local import open_board_device
from vta.driver.board.register_table import register_map
from vta.driver.board.system import System
from vta.driver.board.ticket import Ticket
from vta.driver.board.u_dma_buf import UDmaBuf, find_u_dma_buf
from vta.driver.board.uio import UioRegisters, find_uio
from vta.driver.board.uio_interrupt import UioInterrupt
from vta.errors import ConfigError, DeviceError, DeviceTimeout
from vta.registers import field_of

BUFFER = "sys/class/u-dma-buf/udmabuf0"


def tree(root: Path, files: dict[str, str | bytes]) -> System:
    system = System(root)
    for name, content in files.items():
        system.put(name, content.encode() if isinstance(content, str) else content)
    return system


def uio(number: int, address: int, size: int = 0x10000) -> dict[str, str | bytes]:
    folder = f"sys/class/uio/uio{number}"
    return {
        f"{folder}/name": "fabric\n",
        f"{folder}/maps/map0/addr": f"{address:#010x}\n",
        f"{folder}/maps/map0/size": f"{size:#x}\n",
        f"dev/uio{number}": bytes(size),
    }


def test_registers_are_found_by_their_address(tmp_path: Path) -> None:
    system = tree(tmp_path, {**uio(0, 0xF800_0000), **uio(1, 0x4000_0000)})
    assert find_uio(system, 0x4000_0000) == "uio1"
    registers = UioRegisters(system, "uio1")
    registers.write(0x5C, 0x1234_5678)
    assert registers.read(0x5C) == 0x1234_5678
    raw = (tmp_path / "dev/uio1").read_bytes()
    assert struct.unpack_from("<I", raw, 0x5C) == (0x1234_5678,)
    with pytest.raises(DeviceError, match="no UIO device at 0xa0000000 .*is uio0 at 0xf8000000"):
        find_uio(system, 0xA000_0000)
    with pytest.raises(DeviceError, match="there is none"):
        find_uio(System(tmp_path / "nothing"), 0)
    small = tree(tmp_path / "small", uio(0, 0, 256))
    with pytest.raises(DeviceError, match="uio0 must map 4096 bytes, not 256"):
        UioRegisters(small, "uio0")


def test_an_interrupt() -> None:
    near, far = socket.socketpair()
    with near:
        interrupt = UioInterrupt(far.detach())
        interrupt.enable()
        assert near.recv(4) == b"\1\0\0\0"
        assert not interrupt.wait(0.0)
        near.send(b"\7\0\0\0")
        assert interrupt.wait(1.0)
        assert not interrupt.wait(0.0)
        interrupt.close()
        interrupt.close()


def test_a_device_without_an_interrupt(tmp_path: Path) -> None:
    """Linux refuses to read and to write its file; so it does with a folder."""
    interrupt = UioInterrupt(os.open(tmp_path, os.O_RDONLY))
    said = r"the UIO device has no interrupt \(.*\): its device tree node must name one"
    with pytest.raises(DeviceError, match=said):
        interrupt.enable()
    with pytest.raises(DeviceError, match=said):
        interrupt.wait(1.0)
    interrupt.close()


@pytest.mark.parametrize("folder", ["sys/class/u-dma-buf", "sys/class/udmabuf"])
def test_memory(tmp_path: Path, folder: str) -> None:
    place = f"{folder}/udmabuf0"
    system = tree(
        tmp_path,
        {
            f"{place}/phys_addr": "0x16800000\n",
            f"{place}/size": "65536\n",
            f"{place}/sync_for_cpu": "",
            f"{place}/sync_for_device": "",
            "dev/udmabuf0": bytes(65536),
        },
    )
    assert find_u_dma_buf(system) == place
    arena = UDmaBuf(system, place)
    assert (arena.address, arena.nbytes) == (0x1680_0000, 65536)
    arena.view[100:104] = b"abcd"
    assert (tmp_path / "dev/udmabuf0").read_bytes()[100:104] == b"abcd"
    # Whole lines of 64 bytes; direction 1 is to the device, 2 from it; the last bit starts it.
    for offset, nbytes, flushed, invalidated in (
        (0, 64, "0x0000000000000045", "0x0000000000000049"),
        (100, 4, "0x0000004000000045", "0x0000004000000049"),
        (100, 100, "0x00000040000000C5", "0x00000040000000C9"),
        (65535, 1, "0x0000FFC000000045", "0x0000FFC000000049"),
    ):
        arena.flush(offset, nbytes)
        assert system.read(f"{place}/sync_for_device") == flushed
        arena.invalidate(offset, nbytes)
        assert system.read(f"{place}/sync_for_cpu") == invalidated
    arena.flush(0, 0)
    assert system.read(f"{place}/sync_for_device") == "0x0000FFC000000045"
    arena.close()


def test_all_through_dev_mem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread stands for the machine: it looks at the registers in the file."""
    system = tree(tmp_path, {"dev/mem": b"", "run/vta/programmed": b""})
    with open(tmp_path / "dev/mem", "r+b") as file:
        file.truncate(1 << 32)
    place = parse_range("0x1a000000:0x10000")
    kind = KINDS["pynq"]
    board = Board(kind, system, register_map(), devmem=place)
    assert (board.info.address, board.info.nbytes) == (0x1A00_0000, 0x1_0000)
    board.write(0x1A00_0100, memoryview(b"data"))
    memory = system.map("dev/mem", 4096, 0x1A00_0000)
    assert bytes(memory[0x100:0x104]) == b"data"
    memory[0x100:0x104] = b"more"
    got = bytearray(4)
    board.read(0x1A00_0100, memoryview(got))
    assert got == b"more"
    words = system.words("dev/mem", 4096, kind.registers)
    stop = threading.Event()

    def machine() -> None:
        while not stop.wait(0.001):
            words[0] = {LAUNCH: DONE, RESET: 0}.get(words[0], words[0])

    thread = threading.Thread(target=machine)
    thread.start()
    bases = dict.fromkeys(("uop", "inp", "wgt", "acc", "out"), 0)
    try:
        run = board.launch(0x1A00_0000, 7, bases, 10.0)
        board.reset()
    finally:
        stop.set()
        thread.join()
    assert run.registers["insn_count"] == 7
    assert run.registers["insn_ptr"] == 0x1A00_0000
    # Now nothing answers.
    monkeypatch.setattr("vta.driver.board.board.RESET_SECONDS", 0.05)
    with pytest.raises(DeviceTimeout, match="did not come out of reset .*switch the board off"):
        board.launch(0x1A00_0000, 7, bases, 0.05)
    words[0] = 0
    stop.clear()
    thread = threading.Thread(target=machine)
    thread.start()
    board.close()
    stop.set()
    thread.join()


def test_a_board_in_this_computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process has it at a time; what it wrote is wiped when it closes the board."""
    monkeypatch.delenv("VTA_EMULATE", raising=False)
    files = {f"{BUFFER}/phys_addr": "0x16800000", f"{BUFFER}/size": "65536"}
    for name in ("sync_for_cpu", "sync_for_device"):
        files[f"{BUFFER}/{name}"] = ""
    tree(tmp_path, {**uio(0, 0x4000_0000), **files, "dev/udmabuf0": bytes(65536)})
    config = PRESETS["tiny"].replace(target="pynq")
    # What a process that was killed left in memory is not there any more.
    (tmp_path / "dev/udmabuf0").write_bytes(b"\7" * 65536)
    with open_board_device(config, str(tmp_path)) as device:
        assert not (tmp_path / "dev/udmabuf0").read_bytes().strip(b"\0")
        with pytest.raises(DeviceError, match="pynq is in use by another process"):
            open_board_device(config, str(tmp_path))
        waiting = Ticket(System(tmp_path))
        assert waiting.place() == 1
        waiting.leave()
        addr = device.allocate(100)
        device.write(addr, np.full(100, 7, np.uint8))
        assert (tmp_path / "dev/udmabuf0").read_bytes().count(7) == 100
        with pytest.raises(DeviceError, match="the FPGA is not programmed: program pynq with"):
            device.run_stream(np.zeros((1, 2), np.uint64))
        with pytest.raises(DeviceError, match="there is no bitstream for pynq and 1x8_i8w8a32"):
            device.program()
    assert not (tmp_path / "dev/udmabuf0").read_bytes().strip(b"\0")
    ticket = Ticket(System(tmp_path))
    with pytest.raises(DeviceError, match="pynq is in use by another process"):
        open_board_device(config, str(tmp_path))
    ticket.leave()
    open_board_device(config, str(tmp_path)).close()
    monkeypatch.setenv("VTA_EMULATE", "maybe")
    with pytest.raises(ConfigError, match="VTA_EMULATE must be rtl or functional, not 'maybe'"):
        open_board_device(config)


@pytest.mark.parametrize("text", ["", "x", "0x1000", "1:2", "0x1000:-4096", "0x1000:0", "-4096:1"])
def test_ranges_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="the memory must be ADDRESS:BYTES in whole pages"):
        parse_range(text)


def test_a_bit_file_is_taken_apart() -> None:
    file = emulated_bitstream(KINDS["pynq"], PRESETS["tiny"])
    found = parse_bit(file)
    assert found.part == "7z020clg400"
    assert found.design == f"vta-emulated;{PRESETS['tiny'].bitstream}"
    assert found.data[:36] == b"\xff" * 32 + bytes.fromhex("aa995566")
    for size in range(len(file)):
        with pytest.raises(DeviceError, match="bit file"):
            parse_bit(file[:size])
    with pytest.raises(DeviceError, match="field 'a' at byte 13"):
        parse_bit(file[:13] + b"x" + file[14:])


def test_a_bit_file_is_converted() -> None:
    header = bytes.fromhex("00090ff00ff00ff00ff0000001")
    for tag, text in (
        (b"a", b"design\0"),
        (b"b", b"7z020clg400\0"),
        (b"c", b"x\0"),
        (b"d", b"y\0"),
    ):
        header += tag + struct.pack(">H", len(text)) + text
    data = b"\xff\xff\xff\xff" + bytes.fromhex("aa995566" + "01020304")
    swapped = b"\xff\xff\xff\xff" + bytes.fromhex("665599aa" + "04030201")
    file = header + b"e" + struct.pack(">I", len(data)) + data
    assert to_bin(file) == swapped
    assert to_bin(data) == swapped
    assert to_bin(swapped) == swapped
    assert to_bin(file, swapped=False) == file
    with pytest.raises(DeviceError, match="whole 32-bit words, not 13 bytes"):
        to_bin(data + b"x")
    with pytest.raises(DeviceError, match="must have the word AA995566"):
        to_bin(bytes(64))


def test_the_fpga_manager(tmp_path: Path) -> None:
    folder = "sys/class/fpga_manager/fpga0"
    system = tree(tmp_path, {f"{folder}/{name}": "" for name in ("flags", "firmware")})
    system.put(f"{folder}/state", b"operating\n")
    seen = []

    class Watching(System):
        def write(self, name: str, text: str) -> None:
            super().write(name, text)
            if name.endswith("firmware"):
                seen.append((tmp_path / "lib/firmware" / text).read_bytes())

    FpgaManager(Watching(tmp_path)).program(b"data")
    assert seen == [b"data"]
    assert system.read(f"{folder}/flags") == "0"
    assert os.listdir(tmp_path / "lib/firmware") == []
    system.put(f"{folder}/state", b"write init error\n")
    with pytest.raises(DeviceError, match="the FPGA manager's state is 'write init error'"):
        FpgaManager(system).program(b"data")
    with pytest.raises(DeviceError, match="there is no FPGA manager"):
        FpgaManager(System(tmp_path / "x")).program(b"data")


def test_refusals_name_the_file(tmp_path: Path) -> None:
    system = System(tmp_path)
    for call in (
        lambda: system.read("x"),
        lambda: system.write("y/x", "1"),
        lambda: system.map("x", 4096),
        lambda: system.words("x", 4096),
        lambda: system.interrupt("x"),
        lambda: system.open_folder("x"),
    ):
        with pytest.raises(DeviceError, match=rf"{tmp_path}/(y/)?x: cannot be .*No such file"):
            call()
    assert system.names("x") == []
    (tmp_path / "lib").write_text("")
    with pytest.raises(DeviceError, match="lib/firmware/x: cannot be written"):
        system.put("lib/firmware/x", b"")
    with pytest.raises(DeviceError, match="lib/firmware/x: cannot be removed"):
        system.remove("lib/firmware/x")
    with pytest.raises(DeviceError, match="the board must be one of pynq, .*not 'arty'"):
        kind_named("arty")


def test_numbers_that_stand_twice_agree() -> None:
    """`board` runs where `vta.registers` does not."""
    assert LAUNCH == 1 << field_of("control", "launch").low
    assert DONE == 1 << field_of("control", "done").low
    assert RESET == 1 << field_of("control", "reset").low
