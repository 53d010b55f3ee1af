"""The emulated board: a tree of device files, two views of memory, and an FPGA that is simulated.

The agent and `Board` on top are those of a real board. What they leave out shows: without a flush
the machine works on old numbers, without an invalidate the processor reads old ones, with a memory
port left at 32 bits half of the data is lost, and reprogramming a machine that runs makes its
memory port hang.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
import weakref
from typing import TYPE_CHECKING

import numpy as np

from vta.driver.board.board import DONE, LAUNCH, Board
from vta.driver.board.emulated_bitstream import read_emulated
from vta.driver.board.fabric import FunctionalFabric, RtlFabric
from vta.driver.board.register_table import register_map
from vta.driver.board.system import System
from vta.errors import DeviceError
from vta.registers import BY_NAME
from vta.sim.memory import Memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vta.config import Config
    from vta.driver.board.fabric import Fabric
    from vta.driver.board.kinds import BoardKind
    from vta.driver.board.ports import Interrupt, Words

__all__ = ["ARENA_BYTES", "EmulatedSystem", "emulated_board"]

ARENA_BYTES = 128 << 20
"""The emulated board's memory for the machine, by default: what PYNQ's images set aside."""

_UIO = "sys/class/uio/uio0"
_BUFFER = "sys/class/u-dma-buf/udmabuf0"
_FPGA = "sys/class/fpga_manager/fpga0"
_SYNC = re.compile(r"0x([0-9A-F]{8})([0-9A-F]{8})")


def emulated_board(
    kind: BoardKind, *, functional: bool = False, arena_bytes: int = ARENA_BYTES
) -> Board:
    """An emulated board, just switched on: nothing is programmed.

    Parameters
    ----------
    kind : BoardKind
    functional : bool
        Whether the functional simulator takes the place of the RTL: the same results, no cycles.
    arena_bytes : int
        The memory that belongs to the machine.
    """
    system = EmulatedSystem(kind, functional=functional, arena_bytes=arena_bytes)
    return Board(kind, system, register_map(), emulated=True)


class EmulatedSystem(System):
    """The files of an emulated board, in a temporary folder, and the hardware behind them.

    Parameters
    ----------
    kind : BoardKind
    functional : bool
    arena_bytes : int
    """

    def __init__(self, kind: BoardKind, *, functional: bool, arena_bytes: int) -> None:
        super().__init__(tempfile.mkdtemp(prefix=f"vta-{kind.name}-"))
        self._remove_tree = weakref.finalize(self, shutil.rmtree, self.root, True)
        self._kind, self._functional, self._arena_bytes = kind, functional, arena_bytes
        self.fabric: Fabric | None = None
        self.hung = False
        """Whether the memory port hangs, until the board is switched off."""
        self._routed_hz = 0
        self._dram = Memory()
        self._make_tree()
        self._cached: NDArray[np.uint8] = np.memmap(self.root / "dev/udmabuf0", np.uint8, "r+")

    # -- the tree --------------------------------------------------------------------------------

    def _make_tree(self) -> None:
        self.put(f"{_UIO}/name", b"fabric\n")
        self.put(f"{_UIO}/maps/map0/addr", f"{self._kind.registers:#010x}\n".encode())
        self.put(f"{_UIO}/maps/map0/size", b"0x00010000\n")
        self.put(f"{_BUFFER}/phys_addr", f"{self._kind.memory:#x}\n".encode())
        self.put(f"{_BUFFER}/size", f"{self._arena_bytes}\n".encode())
        self.put(f"{_FPGA}/state", b"unknown\n")
        for name in ("flags", "firmware"):
            self.put(f"{_FPGA}/{name}", b"")
        for name in ("sync_for_cpu", "sync_for_device"):
            self.put(f"{_BUFFER}/{name}", b"")
        self.put("dev/uio0", b"")
        self._sparse("dev/udmabuf0", self._arena_bytes)
        self._sparse("dev/mem", 1 << 32)
        # The boot loader left the ports at another width.
        for width in self._kind.widths:
            self.poke(width.address, width.mask & ~width.value)
        # It also left the clock at half the PLL's, which no bitstream is routed for.
        if (clock := self._kind.clock) is not None:
            self.poke(clock.pll, 20 << clock.factor)
            self.poke(clock.control, 1 << clock.dividers[0] | 2 << clock.dividers[1])

    def _sparse(self, name: str, nbytes: int) -> None:
        self.put(name, b"")
        with open(self.root / name, "r+b") as file:
            file.truncate(nbytes)

    # -- files with hardware behind them ---------------------------------------------------------

    def write(self, name: str, text: str) -> None:
        super().write(name, text)
        if name == f"{_BUFFER}/sync_for_device":
            start, end = self._range(text)
            base = self._kind.memory
            self._dram.write(base + start, self._cached[start:end])
        elif name == f"{_BUFFER}/sync_for_cpu":
            start, end = self._range(text)
            base = self._kind.memory
            self._cached[start:end] = self._dram.array[base + start : base + end]
        elif name == f"{_FPGA}/firmware":
            self._program((self.root / "lib/firmware" / text).read_bytes())

    def words(self, name: str, nbytes: int, offset: int = 0) -> Words:
        if name == "dev/uio0":
            return _RegisterWords(self)
        return super().words(name, nbytes, offset)

    def interrupt(self, name: str) -> Interrupt:
        return _EmulatedInterrupt(self)

    def _range(self, text: str) -> tuple[int, int]:
        """The bytes that a write to a sync file means, as u-dma-buf reads it."""
        found = _SYNC.fullmatch(text)
        if found is None:
            raise DeviceError(f"u-dma-buf cannot read {text!r}")
        start, word = (int(part, 16) for part in found.groups())
        size = word & ~15
        if not word & 1 or start + size > self._arena_bytes:
            raise DeviceError(f"u-dma-buf refuses {text!r}")
        return start, start + size

    def machine(self) -> Fabric:
        """The machine; raises what stands for the bus error of an FPGA that does not answer."""
        if self.fabric is None:
            raise DeviceError("bus error: the FPGA is not programmed")
        return self.fabric

    # -- the FPGA --------------------------------------------------------------------------------

    def _program(self, data: bytes) -> None:
        if self.fabric is not None:
            control = self.fabric.read(BY_NAME["control"].offset)
            self.hung |= control not in (0, DONE)
            self.fabric.close()
            self.fabric = None
        self.put(f"{_FPGA}/state", b"write error")
        if self._kind.swapped:
            data = np.frombuffer(data, ">u4").astype("<u4").tobytes()
        config, self._routed_hz = read_emulated(data, self._kind)
        self.fabric = self._fabric(config)
        self.put(f"{_FPGA}/state", b"operating")

    def _fabric(self, config: Config) -> Fabric:
        if 1 << config.addr_width != self._dram.size:
            self._dram.close()
            self._dram = Memory(config.addr_width)
        if self._functional:
            return FunctionalFabric(config, self._dram)
        from vta.driver.verilog_cache import simulated_verilog

        verilog = simulated_verilog(config)
        return RtlFabric(config, verilog, self._dram, self._kind.longest_burst)

    def spoil(self) -> None:
        """What wrong settings do to data: the upper half of the memory port's lanes is lost.

        Called when a run starts. It stands for a port of the wrong width, and for a clock faster
        than the bitstream was routed for.
        """
        narrow = any(
            self.peek(width.address) & width.mask != width.value for width in self._kind.widths
        )
        if narrow or self._clock_hz() > self._routed_hz:
            start = self._kind.memory
            lanes = self._dram.array[start : start + self._arena_bytes].view(np.uint32)
            lanes[1::2] = 0

    def _clock_hz(self) -> float:
        """The machine's clock, as the processor system's registers make it."""
        clock = self._kind.clock
        if clock is None:
            return 0.0
        pll, control = self.peek(clock.pll), self.peek(clock.control)
        first, second = (control >> low & 63 for low in clock.dividers)
        rate = clock.reference_hz * (pll >> clock.factor & 127) / (first * second)
        return rate / 2 if pll & clock.half else rate


class _RegisterWords:
    """The machine's registers as 32-bit words, as a mapped UIO device has them."""

    def __init__(self, system: EmulatedSystem) -> None:
        self._system = system

    def __getitem__(self, index: int) -> int:
        return self._system.machine().read(index << 2)

    def __setitem__(self, index: int, value: int) -> None:
        fabric = self._system.machine()
        if index << 2 == BY_NAME["control"].offset and value & LAUNCH:
            self._system.spoil()
        fabric.write(index << 2, value)


class _EmulatedInterrupt:
    """The machine's interrupt; to wait for it is what lets the simulated machine work."""

    def __init__(self, system: EmulatedSystem) -> None:
        self._system = system

    def enable(self) -> None:
        pass

    def wait(self, seconds: float) -> bool:
        if self._system.hung:
            time.sleep(seconds)
            return False
        return self._system.machine().advance(seconds)

    def close(self) -> None:
        pass
