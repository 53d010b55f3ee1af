"""`Simulation`: a verilated device and its memory model, loaded from a shared library."""

from __future__ import annotations

import ctypes
import os
import shutil
from typing import TYPE_CHECKING

import numpy as np

from vta.errors import DeviceError, DeviceTimeout, ToolError
from vta.sim.rtl import verilator

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from vta.sim.memory import Memory
    from vta.sim.rtl.memory_model import MemoryModel

__all__ = ["Simulation", "wave_format"]


ROOM = 64 << 20
"""Bytes that must be free where waves are written. Verilator buffers a part of them, and if it
cannot write that, it ends the process or hangs."""

WAVE_CYCLES = 1000
"""Cycles between two looks at the free space; their waves take far less than `ROOM`."""


class _Settings(ctypes.Structure):
    """`vta_settings` of model/simulator.h."""

    _fields_ = (
        ("memory", ctypes.c_void_p),
        ("memory_bytes", ctypes.c_uint64),
        ("dirty", ctypes.c_void_p),
        ("latency", ctypes.c_uint64),
        ("write_response", ctypes.c_uint64),
        ("outstanding", ctypes.c_uint64),
        ("stall_seed", ctypes.c_uint64),
        ("stalls", ctypes.c_uint32),
        ("max_burst", ctypes.c_uint32),
        ("order_seed", ctypes.c_uint64),
        ("reorder", ctypes.c_uint32),
        ("waves", ctypes.c_char_p),
    )


_FUNCTIONS = {
    "vta_create": (ctypes.c_void_p, (ctypes.POINTER(_Settings),)),
    "vta_destroy": (None, (ctypes.c_void_p,)),
    "vta_step": (ctypes.c_uint64, (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int)),
    "vta_read": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32))),
    "vta_write": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)),
    "vta_record": (None, (ctypes.c_void_p, ctypes.c_int)),
    "vta_changes": (
        ctypes.c_uint64,
        (ctypes.c_void_p, ctypes.POINTER(ctypes.POINTER(ctypes.c_uint64))),
    ),
    "vta_cycle": (ctypes.c_uint64, (ctypes.c_void_p,)),
    "vta_error": (ctypes.c_char_p, (ctypes.c_void_p,)),
}

_SILENT, _REFUSED, _VIOLATION = 1, 2, 3
_RECORD_BITS = 24
"""`VTA_RECORD_BITS` of model/simulator.h."""


class Simulation:
    """A device after reset, with its memory; `verilog` is built first if it is not cached.

    Only one thread at a time may use it. Several simulations may run in parallel, each in its own
    thread, because Python's global lock is released while cycles are simulated.

    Parameters
    ----------
    verilog : str
        A design whose top module `vta` has the accelerator's ports.
    memory : Memory
        The memory that the bus reads and writes, without copies; writes mark `memory.dirty`.
    model : MemoryModel
        The timing of the memory.
    max_burst : int
        The longest burst that the device may request, in beats.
    waves : Path or None
        The waveform file to write: FST, or VCD if the name ends in ``.vcd``.

    Raises
    ------
    ToolError
        If the library cannot be built, or the waveform file cannot be written. `step` raises it if
        the disk has less than `ROOM` left for waves.
    DeviceError
        From any method, if the device violates the bus protocol or an assertion of the design
        fails; both are bugs of the hardware.
    """

    def __init__(
        self,
        verilog: str,
        memory: Memory,
        *,
        model: MemoryModel,
        max_burst: int = 256,
        waves: Path | None = None,
    ) -> None:
        self._handle: int | None = None
        self._waves = waves
        self._library = _load(verilog, None if waves is None else wave_format(waves))
        # Views keep the mapping alive while the C++ side points into it.
        self._views: tuple[NDArray[np.uint8], ...] = memory.array, memory.dirty
        settings = _Settings(
            memory=memory.array.ctypes.data,
            memory_bytes=memory.end,
            dirty=memory.dirty.ctypes.data,
            latency=model.latency,
            write_response=model.write_response,
            outstanding=model.outstanding or 0,
            stall_seed=model.stall_seed or 0,
            stalls=model.stall_seed is not None,
            max_burst=max_burst,
            order_seed=model.order_seed or 0,
            reorder=model.order_seed is not None,
            waves=None if waves is None else _writable(waves),
        )
        self._handle = self._library.vta_create(ctypes.byref(settings))

    def step(self, cycles: int, *, until_irq: bool = False) -> int:
        """Runs up to `cycles` cycles and returns their number.

        With `until_irq`, it stops early when the interrupt is high.
        """
        if self._waves is None:
            return self._run(cycles, until_irq)
        done = 0
        while done < cycles:
            _require_room(self._waves)
            part = min(WAVE_CYCLES, cycles - done)
            ran = self._run(part, until_irq)
            done += ran
            if ran < part:
                break
        return done

    def _run(self, cycles: int, until_irq: bool) -> int:
        done = int(self._library.vta_step(self._open(), cycles, until_irq))
        self._check()
        return done

    def read(self, addr: int) -> int:
        """Reads the register at byte `addr`."""
        value = ctypes.c_uint32()
        status = self._library.vta_read(self._open(), addr, ctypes.byref(value))
        self._answered(status, f"a read of register {addr:#05x}")
        return value.value

    def write(self, addr: int, value: int) -> None:
        """Writes the register at byte `addr`."""
        status = self._library.vta_write(self._open(), addr, value)
        self._answered(status, f"a write to register {addr:#05x}")

    def record(self, on: bool) -> None:
        """Starts a new recording of events, which replaces the last one, or stops it."""
        self._library.vta_record(self._open(), on)

    def changes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The recording, as changes: the cycle of each change, and the word from then on.

        Bits 14:0 of a word are the device's `events`. Bit 15 is high in cycles with a beat of read
        data, bit 16 in cycles with a beat of write data, and bit 17 in cycles in which memory had a
        burst to answer.
        """
        first = ctypes.POINTER(ctypes.c_uint64)()
        count = int(self._library.vta_changes(self._open(), ctypes.byref(first)))
        packed = (
            np.ctypeslib.as_array(first, (count,)).astype(np.int64)
            if count
            else np.empty(0, np.int64)
        )
        return packed >> _RECORD_BITS, packed & ((1 << _RECORD_BITS) - 1)

    @property
    def cycle(self) -> int:
        """Cycles so far, from power-on."""
        return int(self._library.vta_cycle(self._open()))

    def close(self) -> None:
        """Ends the simulation and completes the waveform file; it may be called twice."""
        if self._handle is not None:
            self._library.vta_destroy(self._handle)
            self._handle = None
            # The memory may be large, and the C++ side no longer points into it.
            self._views = ()

    def _open(self) -> int:
        if self._handle is None:
            raise DeviceError("the simulation is closed")
        self._check()
        return self._handle

    def _check(self) -> None:
        error = self._library.vta_error(self._handle)
        if error:
            raise DeviceError(error.decode())

    def _answered(self, status: int, what: str) -> None:
        if status == _VIOLATION:
            self._check()
        if status == _SILENT:
            raise DeviceTimeout(f"the device does not answer {what}")
        if status == _REFUSED:
            raise DeviceError(f"the device refuses {what}")


def wave_format(waves: Path) -> str:
    """The format of a waveform file by its suffix: ``fst`` or ``vcd``.

    Raises
    ------
    ToolError
        If the suffix is not .fst or .vcd.
    """
    suffix = waves.suffix.lower()
    if suffix not in (".fst", ".vcd"):
        raise ToolError(f"a waveform file must end in .fst or .vcd, not {waves.name!r}")
    return suffix[1:]


def _writable(waves: Path) -> bytes:
    try:
        waves.open("wb").close()
    except OSError as error:
        raise ToolError(f"{waves}: cannot be written ({error.strerror})") from None
    return os.fsencode(waves)


def _require_room(waves: Path) -> None:
    free = shutil.disk_usage(waves.parent).free
    if waves.is_file() and free < ROOM:
        raise ToolError(
            f"{waves}: the disk has {free:,} bytes left, and waves need {ROOM:,}; "
            "free some space, or write them elsewhere"
        )


def _load(verilog: str, waves: str | None) -> ctypes.CDLL:
    path = verilator.cached_library(verilog, waves=waves)
    try:
        library = ctypes.CDLL(str(path))
    except OSError:
        # For example, it was made for another machine and is in a shared home directory.
        path = verilator.rebuilt_library(verilog, waves=waves)
        try:
            library = ctypes.CDLL(str(path))
        except OSError as error:
            raise ToolError(f"the simulator's library cannot be loaded ({error})") from None
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
