"""The C runtime called from Python through ctypes, with the simulated hardware as its machine.

It compiles `driver/c/vta.c` into a shared library, and a vector add into a program. The runtime
loads the program and runs it twice: once it polls, once it waits for the interrupt. The same calls
work from every language that can call C. `c_runtime.c` is the same in C.

    python examples/c_runtime.py
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import vta
from vta.config import PRESETS
from vta.driver.board.fabric import Fabric, RtlFabric
from vta.driver.c.flat_program import to_flat
from vta.driver.verilog_cache import simulated_verilog
from vta.sim.memory import Memory
from vta.testing.programs import vector_add

SOURCES = Path(vta.__file__).parent / "driver" / "c"
OK, RUNNING = 0, 1
INPUT, OUTPUT = 0, 1

READ = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32)
)
WRITE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)
MAINTAIN = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_size_t
)


class CHost(ctypes.Structure):
    """`vta_host`"""

    _fields_ = (
        ("context", ctypes.c_void_p),
        ("read", READ),
        ("write", WRITE),
        ("flush", MAINTAIN),
        ("invalidate", MAINTAIN),
    )


class CMemory(ctypes.Structure):
    """`vta_memory`"""

    _fields_ = (("data", ctypes.c_void_p), ("address", ctypes.c_uint64), ("bytes", ctypes.c_size_t))


class CBuffer(ctypes.Structure):
    """`vta_buffer`"""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("data", ctypes.c_void_p),
        ("dims", ctypes.c_uint32),
        ("bytes", ctypes.c_uint32),
        ("role", ctypes.c_int),
        ("kind", ctypes.c_char),
        ("item_bytes", ctypes.c_uint8),
        ("bound", ctypes.c_uint8),
        ("memory", CMemory),
    )


class CProgram(ctypes.Structure):
    """`vta_program`"""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("insns", ctypes.c_void_p),
        ("relocations", ctypes.c_void_p),
        ("buffers", ctypes.POINTER(CBuffer)),
        ("insn_count", ctypes.c_uint32),
        ("relocation_count", ctypes.c_uint32),
        ("buffer_count", ctypes.c_uint32),
        ("alignment", ctypes.c_uint32),
        ("version", ctypes.c_uint32),
        ("config", ctypes.c_uint32 * 3),
        ("buffer", ctypes.c_uint32),
        ("linked", ctypes.c_int),
        ("workspace", CMemory),
    )


class CFault(ctypes.Structure):
    """`vta_fault`"""

    _fields_ = (("cause", ctypes.c_uint32), ("module", ctypes.c_uint32), ("insn", ctypes.c_uint32))


class CMismatch(ctypes.Structure):
    """`vta_mismatch`"""

    _fields_ = (
        ("key", ctypes.c_char_p),
        ("machine", ctypes.c_uint32),
        ("program", ctypes.c_uint32),
    )


class CMachine(ctypes.Structure):
    """`vta_machine`"""

    _fields_ = (
        ("host", CHost),
        ("reset_polls", ctypes.c_uint32),
        ("version", ctypes.c_uint32),
        ("config", ctypes.c_uint32 * 3),
        ("running", ctypes.POINTER(CProgram)),
        ("cycles", ctypes.c_uint32),
        ("fault", CFault),
        ("mismatch", CMismatch),
    )


_Machine, _Program = ctypes.POINTER(CMachine), ctypes.POINTER(CProgram)
_Buffer, _Number = ctypes.POINTER(CBuffer), ctypes.POINTER(ctypes.c_uint32)
_STATUS, _TEXT = ctypes.c_int, ctypes.c_char_p

FUNCTIONS = {
    "vta_load": (_STATUS, (_Program, ctypes.c_char_p, ctypes.c_size_t, _Buffer, ctypes.c_uint32)),
    "vta_find": (_STATUS, (_Program, ctypes.c_char_p, _Number)),
    "vta_extent": (ctypes.c_uint32, (_Buffer, ctypes.c_uint32)),
    "vta_room": (ctypes.c_uint64, (_Program, _Buffer)),
    "vta_workspace_bytes": (ctypes.c_uint64, (_Program,)),
    "vta_place": (_STATUS, (_Program, CMemory)),
    "vta_bind": (_STATUS, (_Program, ctypes.c_uint32, CMemory)),
    "vta_open": (_STATUS, (_Machine, ctypes.POINTER(CHost))),
    "vta_reset": (_STATUS, (_Machine,)),
    "vta_interrupt": (_STATUS, (_Machine, ctypes.c_int)),
    "vta_launch": (_STATUS, (_Machine, _Program)),
    "vta_poll": (_STATUS, (_Machine,)),
    "vta_wait": (_STATUS, (_Machine, ctypes.c_uint32)),
    "vta_explain": (None, (_Machine, _Program, _STATUS, ctypes.c_char_p, ctypes.c_size_t)),
    "vta_status_text": (_TEXT, (ctypes.c_int,)),
    "vta_cause_text": (_TEXT, (ctypes.c_uint32,)),
    "vta_module_text": (_TEXT, (ctypes.c_uint32,)),
}


def build_library(folder: Path) -> ctypes.CDLL:
    """The runtime as a shared library."""
    file = folder / "libvta_runtime.so"
    command = [os.environ.get("CC", "cc"), "-std=c99", "-O2", "-shared", "-fPIC"]
    subprocess.run([*command, "-o", str(file), str(SOURCES / "vta.c")], check=True)
    library = ctypes.CDLL(str(file))
    for name, (result, arguments) in FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class RuntimeProblem(Exception):
    """A call of the runtime that did not end with `VTA_OK`."""


class CRuntime:
    """A machine, and a program in its memory.

    Parameters
    ----------
    library : CDLL
        From `build_library`.
    fabric : Fabric
        The machine's registers.
    memory : Memory
        The machine's memory, which this processor sees too: there is no cache between them.
    """

    def __init__(self, library: ctypes.CDLL, fabric: Fabric, memory: Memory) -> None:
        self.library, self.fabric, self.memory = library, fabric, memory
        self.machine, self.program = CMachine(), CProgram()
        self.buffers = (CBuffer * 16)()
        self.host = CHost(
            read=READ(self._read),
            write=WRITE(lambda context, offset, value: self._try(fabric.write, offset, value)),
            flush=MAINTAIN(lambda *arguments: 0),
            invalidate=MAINTAIN(lambda *arguments: 0),
        )
        self.check(library.vta_open(self.machine, self.host))

    def check(self, status: int) -> None:
        if status != OK:
            text = ctypes.create_string_buffer(160)
            self.library.vta_explain(self.machine, self.program, status, text, len(text))
            raise RuntimeProblem(text.value.decode())

    def load(self, flat: bytes, start: int = 0x10000) -> None:
        """Loads a program, and gives its buffers memory from an address on."""
        self.flat = flat  # the program points into it
        self.check(self.library.vta_load(self.program, flat, len(flat), self.buffers, 16))
        size = self.library.vta_workspace_bytes(self.program)
        self.check(self.library.vta_place(self.program, self._part(start, size)))
        start += size
        for index, buffer in enumerate(self.buffers[: self.program.buffer_count]):
            if buffer.role in (INPUT, OUTPUT):
                size = self.library.vta_room(self.program, buffer)
                self.check(self.library.vta_bind(self.program, index, self._part(start, size)))
                start += size

    def launch(self, *inputs: np.ndarray) -> None:
        """Fills the inputs and starts the program."""
        given = iter(inputs)
        for buffer in self.buffers[: self.program.buffer_count]:
            if buffer.role == INPUT:
                self.memory.write(buffer.memory.address, next(given))
        self.check(self.library.vta_launch(self.machine, self.program))

    def wait(self, polls: int = 1_000_000) -> None:
        """Waits for the end of the run by looking again and again."""
        self.check(self.library.vta_wait(self.machine, polls))

    def wait_for_interrupt(self, seconds: float = 60.0) -> None:
        """Waits for the interrupt, and looks once."""
        self.fabric.advance(seconds)
        self.check(self.library.vta_poll(self.machine))

    def outputs(self) -> list[np.ndarray]:
        """The outputs' bytes."""
        return [
            self.memory.read(buffer.memory.address, buffer.bytes)
            for buffer in self.buffers[: self.program.buffer_count]
            if buffer.role == OUTPUT
        ]

    def _part(self, start: int, size: int) -> CMemory:
        return CMemory(self.memory.array.ctypes.data + start, start, size)

    def _read(self, context: object, offset: int, value: ctypes._Pointer[ctypes.c_uint32]) -> int:
        def read() -> None:
            value[0] = self.fabric.read(offset)

        return self._try(read)

    def _try(self, action: Callable[..., None], *arguments: int) -> int:
        """0, or 1 if the action failed: an exception must not pass through C."""
        try:
            action(*arguments)
        except Exception:
            return 1
        return 0


def main() -> None:
    config = PRESETS["tiny"]
    with vta.Environment(config) as env:
        schedule, args = vector_add(env, m=8)
        program = vta.build(schedule, args, env.target, name="vadd").program
    memory = Memory(config.addr_width)
    fabric = RtlFabric(config, simulated_verilog(config), memory)
    with tempfile.TemporaryDirectory() as folder:
        runtime = CRuntime(build_library(Path(folder)), fabric, memory)
    runtime.load(to_flat(program))
    rng = np.random.default_rng(0)
    for how in ("polling", "interrupt"):
        a, b = (rng.integers(-1000, 1000, program.args[0].shape, np.int32) for _ in range(2))
        runtime.library.vta_interrupt(runtime.machine, how == "interrupt")
        runtime.launch(a, b)
        if how == "polling":
            runtime.wait()
        else:
            runtime.wait_for_interrupt()
        (out,) = runtime.outputs()
        expected = (a + b).astype(np.int8).reshape(-1)
        np.testing.assert_array_equal(out.view(np.int8), expected)
        print(f"vadd by {how}: {out.size} values equal, {runtime.machine.cycles} cycles")
    fabric.close()


if __name__ == "__main__":
    main()
