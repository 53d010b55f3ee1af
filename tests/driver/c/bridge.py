"""Serves `bridge.c`: the machine, and its memory, for a runtime in another process."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Protocol

import numpy as np

from tests.driver.c.toolchains import RUNTIME
from vta.registers import ID, REGISTERS, config_words, version_word
from vta.sim.memory import Memory

ADDRESS = 0x40000

_ENUM = re.search(
    r"typedef enum vta_status \{(.*?)\}", (RUNTIME / "vta.h").read_text(encoding="utf-8"), re.DOTALL
)
STATUSES = re.findall(r"^ +VTA_(\w+)", _ENUM[1] if _ENUM else "", re.M)[:-1]
"""The names in the header, in their order."""


class RegisterFile(Protocol):
    def read(self, offset: int) -> int: ...

    def write(self, offset: int, value: int) -> None: ...


@dataclass
class Ending:
    """How `bridge.c` ended."""

    status: str
    cycles: int
    cause: int
    module: int
    insn: int
    pointer_bytes: int
    big_endian: bool
    outputs: list[bytes] = field(default_factory=list)


def run_bridge(
    command: Sequence[str],
    flat: bytes,
    inputs: Sequence[np.ndarray],
    registers: RegisterFile,
    memory: Memory,
    *,
    address: int = ADDRESS,
    polls: int = 1 << 20,
    runs: int = 1,
) -> Ending:
    """Has the runtime run a program on a machine.

    Parameters
    ----------
    command : sequence of str
        Starts `bridge.c`.
    flat : bytes
    inputs : sequence of arrays
        One for each of the first buffers; sent anew for each run.
    registers, memory
        The machine's.
    """
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        there, back = process.stdin, process.stdout
        there.write(struct.pack("<I", len(flat)) + flat)
        there.write(struct.pack("<3I", address, polls, runs))
        there.flush()
        outputs: list[bytes] = []
        while True:
            operation, first, second = struct.unpack("<cII", _exactly(back, 9))
            if operation == b"e":
                cycles, cause, module, insn, pointer, big = struct.unpack("<6I", _exactly(back, 24))
                break
            if operation == b"w":
                registers.write(first, second)
            elif operation == b"f":
                memory.write(first, _exactly(back, second))
            elif operation == b"o":
                outputs.append(_exactly(back, second))
            else:
                there.write(
                    struct.pack("<I", registers.read(first))
                    if operation == b"r"
                    else memory.read(first, second).tobytes()
                    if operation == b"i"
                    else inputs[first].tobytes()
                )
                there.flush()
    assert process.returncode == 0
    return Ending(STATUSES[first], cycles, cause, module, insn, pointer, bool(big), outputs)


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    assert len(data) == size, "the bridge ended early"
    return data


class ScriptedRegisters:
    """Registers that read what they are told, and remember what was written."""

    def __init__(self, config, **values):
        self.values = {"id": ID, "version": version_word(config)}
        self.values |= {f"config_{index}": word for index, word in enumerate(config_words(config))}
        self.values |= values
        self.written = []

    def read(self, offset):
        name = next(register.name for register in REGISTERS if register.offset == offset)
        return self.values.get(name, 0)

    def write(self, offset, value):
        self.written.append((offset, value))
