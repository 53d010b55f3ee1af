"""Proves a finished program sound, from its encoded instructions alone.

Nothing here knows how the compiler made the program. What is proved:

- every access lies in its on-chip memory and in its buffer, every micro-op that is used was loaded;
- nothing is read from an on-chip memory before it was written (what an earlier round left there
  counts as written), and all outputs are written;
- tokens: no pop before its push in stream order, so that the stream's own order is one in which
  nothing waits, and none can deadlock; all queues empty at FINISH, none ever too full;
- no races: any two conflicting accesses of different modules are ordered by a chain of tokens.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vta.compiler.ir.accesses import Access, loop_indices, scaled
from vta.compiler.passes.tokens.access_history import History
from vta.config import Config
from vta.errors import CompileError
from vta.isa import MAX_TOKENS, AluOp, Insn, Isa, MemoryType, ModuleId, Opcode
from vta.program import DramBuffer, Program

__all__ = ["VerifyError", "verify_program"]

QUEUES = {  # (module, neighbour): the queue that it pops, the queue that it pushes
    (ModuleId.LOAD, "next"): ("g2l", "l2g"),
    (ModuleId.COMPUTE, "prev"): ("l2g", "g2l"),
    (ModuleId.COMPUTE, "next"): ("s2g", "g2s"),
    (ModuleId.STORE, "prev"): ("g2s", "s2g"),
}
ON_CHIP = {
    MemoryType.UOP: "uop",
    MemoryType.WGT: "wgt",
    MemoryType.INP: "inp",
    MemoryType.ACC: "acc",
    MemoryType.OUT: "acc",
    MemoryType.ACC_8BIT: "acc",
}


class VerifyError(CompileError):
    """A program that is not sound: a mistake of the compiler, not of its user."""


def verify_program(program: Program, *, whole: bool = True) -> None:
    """Raises `VerifyError`, which names the instruction, where a program is not sound.

    A program that is not `whole` has parts left out to time the rest: it may read what nothing
    wrote, and need not write its outputs.
    """
    verifier = _Verifier(program, whole)
    insns = Isa(program.config).decode_stream(program.insns)
    for insn in insns:
        verifier.step(insn)
    verifier.end(insns)


class _Verifier:
    def __init__(self, program: Program, whole: bool) -> None:
        self.program = program
        self.whole = whole
        self.config = config = program.config
        self.isa = Isa(config)
        self.depths = {
            name: getattr(config, f"{name}_depth") for name in ("uop", "wgt", "inp", "acc")
        }
        self.written = {name: np.zeros(depth, bool) for name, depth in self.depths.items()}
        self.uops = np.zeros(config.uop_depth, "<u4")
        # Buffers count by the smallest element that any instruction moves.
        self.grain = _grain(config)
        self.sizes = {
            f"dram:{index}": -(-_whole_tiles(buffer, config) // self.grain)
            for index, buffer in enumerate(program.buffers)
        }
        self.stored = {
            index: np.zeros(self.sizes[f"dram:{index}"], bool)
            for index, buffer in enumerate(program.buffers)
            if buffer.role in ("output", "temp")
        }
        shared = {f"dram:{index}": self.sizes[f"dram:{index}"] for index in self.stored}
        self.history = History({**self.depths, **shared})
        modules = (ModuleId.LOAD, ModuleId.COMPUTE, ModuleId.STORE)
        self.streams: dict[ModuleId, list[int]] = {module: [] for module in modules}
        self.clock = {module: np.zeros(4, np.int64) for module in modules}
        self.queues: dict[str, deque[NDArray[np.int64]]] = {
            name: deque() for name in ("l2g", "g2l", "g2s", "s2g")
        }
        self.insn: Insn | None = None

    def _require(self, holds: Any, message: str) -> None:
        if not holds:
            where = f"instruction {self.insn.index} ({self.insn}): " if self.insn else ""
            raise VerifyError(f"{self.program.name}: {where}{message}")

    def step(self, insn: Insn) -> None:
        self.insn = insn
        module = insn.module
        self._require(insn.opcode <= max(Opcode), "no such opcode")
        clock = self.clock[module]
        for side in insn.pops:
            self._require((module, side) in QUEUES, "a token of a neighbour that is not there")
            queue = QUEUES[module, side][0]
            self._require(
                self.queues[queue], f"waits for a token of {queue} that nobody pushed before"
            )
            np.maximum(clock, self.queues[queue].popleft(), out=clock)
        self.streams[module].append(insn.index)
        position = len(self.streams[module])
        touched = self._accesses(insn)
        for other, latest in self.history.conflicts(module, touched).items():
            self._require(
                latest <= clock[other],
                f"races with instruction {self.streams[other][latest - 1]} of the "
                f"{other.name.lower()} module: no chain of tokens orders the two",
            )
        self.history.record(module, position, touched)
        clock[module] = position
        for side in insn.pushes:
            self._require((module, side) in QUEUES, "a token for a neighbour that is not there")
            queue = QUEUES[module, side][1]
            self.queues[queue].append(clock.copy())
            self._require(len(self.queues[queue]) <= MAX_TOKENS, f"{queue} overflows")

    def end(self, insns: list[Insn]) -> None:
        self._require(insns and insns[-1].opcode == Opcode.FINISH, "must end with FINISH")
        self._require(
            all(insn.opcode != Opcode.FINISH for insn in insns[:-1]), "FINISH comes before the end"
        )
        self.insn = None
        for name, queue in self.queues.items():
            self._require(not queue, f"{len(queue)} tokens are left in {name}")
        for index, stored in self.stored.items():
            buffer = self.program.buffers[index]
            self._require(
                stored.all() or buffer.role != "output" or not self.whole,
                f"{buffer.name} is not written in full ({int(stored.sum())} of "
                f"{stored.size} parts)",
            )

    # -- what an instruction touches ----------------------------------------------------------

    def _accesses(self, insn: Insn) -> tuple[Access, ...]:
        if insn.opcode in (Opcode.LOAD, Opcode.STORE):
            return self._transfer(insn)
        if insn.opcode in (Opcode.GEMM, Opcode.ALU):
            return self._kernel(insn)
        return ()

    def _transfer(self, insn: Insn) -> tuple[Access, ...]:
        load = insn.opcode == Opcode.LOAD
        if insn.x_size == 0 or (not load and insn.y_size == 0):
            return ()
        self._require(insn.memory_type <= max(MemoryType), "no such memory")
        kind = MemoryType(insn.memory_type)
        self._require((kind == MemoryType.OUT) != load, f"cannot move {kind.name}")
        pads = (insn.y_pad_0, insn.y_pad_1, insn.x_pad_0, insn.x_pad_1)
        self._require(load or not any(pads), "a store has no padding")
        count = (insn.y_pad_0 + insn.y_size + insn.y_pad_1) * (
            insn.x_pad_0 + insn.x_size + insn.x_pad_1
        )
        found = [self._chip(ON_CHIP[kind], slice(insn.sram_base, insn.sram_base + count), load)]
        if insn.y_size:
            found.append(self._dram(insn, kind))
        return tuple(found)

    def _dram(self, insn: Insn, kind: MemoryType) -> Access:
        reference = int(self.program.refs[insn.index])
        self._require(reference >= 0, "refers to no buffer")
        buffer = self.program.buffers[reference]
        nbytes = getattr(self.config, f"{kind.name.lower()}_elem_bytes")
        rows = loop_indices(
            range(insn.dram_base, insn.dram_base + insn.x_size), [(insn.y_size, insn.x_stride)]
        )
        last = insn.dram_base + (insn.y_size - 1) * insn.x_stride + insn.x_size
        self._require(
            last * nbytes <= _whole_tiles(buffer, self.config),
            f"reaches beyond buffer {buffer.name}",
        )
        load = insn.opcode == Opcode.LOAD
        if kind == MemoryType.UOP:
            self._require(buffer.data is not None, f"micro-ops in {buffer.name} are not known")
            assert buffer.data is not None
            loaded = buffer.data.view("<u4")[rows]
            self.uops[insn.sram_base : insn.sram_base + len(loaded)] = loaded
        scale = max(1, nbytes // self.grain)
        grains = scaled(rows, scale)
        if load and reference in self.stored:
            self._require(
                self.stored[reference][grains].all() or not self.whole,
                f"loads what nobody stored in {buffer.name}",
            )
        elif not load:
            self._require(reference in self.stored, f"overwrites the input {buffer.name}")
            self.stored[reference][grains] = True
        return Access(f"dram:{reference}", grains, not load)

    def _kernel(self, insn: Insn) -> tuple[Access, ...]:
        rows = slice(insn.uop_bgn, insn.uop_end)
        loops = insn.iter_out * insn.iter_in
        if insn.uop_end <= insn.uop_bgn or not loops:
            return ()
        found = [self._chip("uop", rows, False)]
        fields = self.isa.uop.unpack_array(self.uops[rows])

        def indices(side: str) -> Any:
            return loop_indices(
                fields[f"{side}_idx"].tolist(),
                [
                    (insn.iter_out, insn.values[f"{side}_factor_out"]),
                    (insn.iter_in, insn.values[f"{side}_factor_in"]),
                ],
            )

        dst = indices("dst")
        if insn.opcode == Opcode.ALU:
            self._require(insn.alu_opcode <= max(AluOp), "no such ALU operation")
            found.append(self._chip("acc", dst, False))
            if not insn.use_imm:
                found.append(self._chip("acc", indices("src"), False))
        elif not insn.reset:
            found += [
                self._chip("acc", dst, False),
                self._chip("inp", indices("src"), False),
                self._chip("wgt", indices("wgt"), False),
            ]
        return (*found, self._chip("acc", dst, True))

    def _chip(self, space: str, index: Any, write: bool) -> Access:
        if isinstance(index, slice):
            low, high = index.start, index.stop
        else:
            low, high = int(index.min()), int(index.max()) + 1
        self._require(
            high <= self.depths[space],
            f"{space}[{low}:{high}] is beyond its {self.depths[space]} elements",
        )
        if write:
            self.written[space][index] = True
        else:
            self._require(
                self.written[space][index].all() or (space != "uop" and not self.whole),
                f"reads {space}[{low}:{high}] before all of it is written",
            )
        return Access(space, index, write)


def _whole_tiles(buffer: DramBuffer, config: Config) -> int:
    """Bytes of a buffer, its last tile included to the end: devices give out no less."""
    if buffer.role == "const":
        return buffer.nbytes
    tile = np.dtype(buffer.dtype).itemsize * config.batch * config.block
    return -(-buffer.nbytes // tile) * tile


def _grain(config: Config) -> int:
    return min(config.uop_elem_bytes, config.out_elem_bytes)
