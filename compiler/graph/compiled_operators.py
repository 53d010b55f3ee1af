"""Compiled operators, kept on disk by spec, configuration and the compiler's sources."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vta
from vta import cache
from vta.compiler.operators import Spec
from vta.config import Config
from vta.isa import Isa, MemoryType, Opcode
from vta.program import Program

__all__ = ["CompiledOperator", "compile_operator", "compiler_version"]

_PROGRAM, _FACTS = "program.npz", "facts.json"
_GROUND = ("config.py", "insn_format.py", "isa.py", "program.py")


@dataclass(frozen=True)
class CompiledOperator:
    """An operator's program, and the cycle model's estimate.

    `work` has the cycles that each part of the machine needs for itself: ``GEMM``, ``ALU``,
    ``reads``, ``writes``.
    """

    spec: Spec
    program: Program
    cycles: int
    work: dict[str, int]

    def arrays(self, data: list[NDArray[Any]], others: tuple[NDArray[Any], ...]) -> list[Any]:
        """The program's inputs, packed; those of `data` are zeros of their shapes."""
        packed = self.spec.pack(self.program.config, [*data, *others])
        inputs = [buffer for buffer in self.program.args if buffer.role == "input"]
        found = []
        for array, buffer in zip(packed, inputs, strict=True):
            flat = np.zeros(int(np.prod(buffer.shape)), array.dtype)
            flat[: array.size] = array.reshape(-1)
            found.append(flat.reshape(buffer.shape))
        return found


@functools.cache
def compiler_version() -> str:
    """A digest of every source that programs depend on."""
    package = Path(vta.__file__).resolve().parent
    parts: list[str | bytes] = []
    for path in (
        *(package / name for name in _GROUND),
        *sorted((package / "compiler").rglob("*.py")),
    ):
        parts += [path.relative_to(package).as_posix(), path.read_bytes()]
    return cache.digest(*parts)


def compile_operator(spec: Spec, config: Config, latency: int) -> CompiledOperator:
    """The operator, from the cache if it is there."""
    key = cache.digest(
        repr(spec), json.dumps(config.to_dict(), sort_keys=True), str(latency), compiler_version()
    )

    def make(folder: Path) -> None:
        operator = spec.compile(config, latency=latency)
        operator.program.save(folder / _PROGRAM)
        (folder / _FACTS).write_text(json.dumps({"cycles": operator.predicted_cycles}))

    about = f"{spec.name} for {config.bitstream}"
    folder = cache.cached("operators", key, make, about, small=True)
    facts = json.loads((folder / _FACTS).read_text())
    program = Program.load(folder / _PROGRAM)
    return CompiledOperator(spec, program, int(facts["cycles"]), _work(program))


def _work(program: Program) -> dict[str, int]:
    isa, config = Isa(program.config), program.config
    mem, alu = isa.mem.unpack_array(program.insns), isa.alu.unpack_array(program.insns)
    opcode, kind = mem["opcode"], mem["memory_type"]
    rounds = alu["iter_out"] * alu["iter_in"] * (alu["uop_end"] - alu["uop_bgn"])
    work = {
        "GEMM": int(rounds[opcode == Opcode.GEMM].sum()),
        "ALU": int(rounds[opcode == Opcode.ALU].sum()),
    }
    for name, moves in (("reads", opcode == Opcode.LOAD), ("writes", opcode == Opcode.STORE)):
        tiles = mem["x_size"] * mem["y_size"]
        nbytes = sum(
            int(tiles[moves & (kind == memory)].sum()) * config.elem_bytes(memory)
            for memory in MemoryType
        )
        work[name] = -(-nbytes // config.bus_bytes)
    return work
