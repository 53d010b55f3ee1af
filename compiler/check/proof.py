"""Proves a finished program sound, from its encoded instructions alone.

The proof does not depend on how the compiler made the program. It shares no code with the passes,
only the instruction set and the program format. It proves:

- every access lies within its on-chip memory and its buffer, and every micro-op used was loaded;
- no element of an on-chip memory is read before it is written (data left by an earlier iteration
  counts as written), and all outputs are written;
- tokens: every pop comes after its push in stream order, so the program cannot deadlock; all queues
  are empty at FINISH, and no queue overflows;
- no races: any two conflicting accesses of different modules are ordered by a chain of tokens.

The first steps check all instructions at once, as columns of their fields. The tokens then show,
for each instruction, which instructions of the other modules have ended before it starts. A last
walk in stream order compares that with the instructions that last touched the same elements.
Instructions are identified by their position in the stream.
"""

from __future__ import annotations

import itertools
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from vta.compiler.check.footprints import Footprints
from vta.config import Config
from vta.errors import CompileError
from vta.isa import MAX_TOKENS, TOKEN_LINKS, TOKEN_QUEUES, Isa, MemoryType, ModuleId, Opcode
from vta.program import DramBuffer, Program

__all__ = ["VerifyError", "check_bounds", "verify_program"]

Mask = NDArray[np.bool_]

MODULES = (ModuleId.LOAD, ModuleId.COMPUTE, ModuleId.STORE)
NEVER = -1
"""In place of an instruction's number."""

CHIP = {
    MemoryType.UOP: "uop",
    MemoryType.WGT: "wgt",
    MemoryType.INP: "inp",
    MemoryType.ACC: "acc",
    MemoryType.OUT: "acc",
    MemoryType.ACC_8BIT: "acc",
}
"""The on-chip memory of each memory type."""

PUSHES = {link.pushes: (module, f"push_{side}") for (module, side), link in TOKEN_LINKS.items()}
POPS = {link.pops: (module, f"pop_{side}") for (module, side), link in TOKEN_LINKS.items()}
"""Of each queue, who pushes or pops, and the flag that says so."""


class VerifyError(CompileError):
    """The program is not sound. This is a bug in the compiler, not a mistake of its user."""


def verify_program(program: Program, *, whole: bool = True) -> None:
    """Raises `VerifyError`, which names the instruction, if a program is not sound.

    If not `whole`, parts of the program were left out to time the rest. Such a program may read
    data that was never written, and it need not write its outputs.
    """
    stream = _Stream(program)
    _check_encoding(stream)
    _check_transfers(stream)
    _Walk(stream, _ended_before(stream), whole).run()


def check_bounds(program: Program) -> None:
    """The part of the proof that looks at each instruction by itself, which takes little time.

    What passes reaches nothing in memory beyond its buffers. It may still wait for ever, or read
    what was never written.

    Raises
    ------
    VerifyError
    """
    stream = _Stream(program)
    _check_encoding(stream)
    _check_transfers(stream)


class _Stream:
    """A program's instructions as columns: each field is an array with one entry per instruction.

    If an instruction's format lacks a field, its entry there is meaningless.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.config: Config = program.config
        self.isa = isa = Isa(program.config)
        self.mem = isa.mem.unpack_array(program.insns)
        self.alu = isa.alu.unpack_array(program.insns)
        self.opcode = self.mem["opcode"]
        self.size = len(self.opcode)
        mem, opcode, kind = self.mem, self.opcode, self.mem["memory_type"]
        self.load, self.store = opcode == Opcode.LOAD, opcode == Opcode.STORE
        # A transfer of no tiles only pushes and pops its tokens.
        self.moves = (mem["x_size"] > 0) & (self.load | (self.store & (mem["y_size"] > 0)))
        # GEMM stores its loops in the same bits.
        rounds = self.alu["iter_out"] * self.alu["iter_in"]
        kernel = (opcode == Opcode.GEMM) | (opcode == Opcode.ALU)
        self.runs = kernel & (self.alu["uop_bgn"] < self.alu["uop_end"]) & (rounds > 0)
        fetches = self.load & ((kind == MemoryType.INP) | (kind == MemoryType.WGT))
        self.module = np.where(
            self.store, ModuleId.STORE, np.where(fetches, ModuleId.LOAD, ModuleId.COMPUTE)
        )
        self.depths = {name: self.config.depth(kind) for kind, name in CHIP.items()}

    def refuse(self, wrong: Mask, message: str) -> None:
        """Raises the error if any instruction is wrong."""
        if wrong.any():
            self.fail(int(wrong.argmax()), message)

    def fail(self, index: int | None, message: str) -> NoReturn:
        """Raises the error for an instruction, or for the whole program."""
        where = self.program.name
        if index is not None:
            low, high = (int(word) for word in self.program.insns[index])
            where += f": instruction {index} ({self.isa.decode(low | high << 64, index)})"
        raise VerifyError(f"{where}: {message}")


def _check_encoding(stream: _Stream) -> None:
    """Checks each instruction by itself."""
    mem, module = stream.mem, stream.module
    kind, pads = mem["memory_type"], mem["y_pad_0"] + mem["y_pad_1"] + mem["x_pad_0"]
    stream.refuse(stream.opcode > max(Opcode), "no such opcode")
    for side, owner in itertools.product(("prev", "next"), MODULES):
        if (owner, side) not in TOKEN_LINKS:
            flags = mem[f"pop_{side}"] + mem[f"push_{side}"]
            wrong = (module == owner) & (flags > 0)
            stream.refuse(wrong, "a token for a neighbour that does not exist")
    stream.refuse(stream.moves & (kind > max(MemoryType)), "no such memory")
    for item in MemoryType:
        wrong = stream.load if item == MemoryType.OUT else stream.store
        stream.refuse(stream.moves & wrong & (kind == item), f"cannot move {item.name}")
    stream.refuse(
        stream.moves & stream.store & (pads + mem["x_pad_1"] > 0), "a store has no padding"
    )
    alu = stream.runs & (stream.opcode == Opcode.ALU)
    for operation, use_imm in itertools.product(np.unique(stream.alu["alu_opcode"]), (0, 1)):
        if not stream.isa.is_alu_op(int(operation), use_imm):
            found = (stream.alu["alu_opcode"] == operation) & (stream.alu["use_imm"] == use_imm)
            stream.refuse(alu & found, "no such ALU operation")
    finish = stream.opcode == Opcode.FINISH
    if not stream.size or not finish[-1]:
        stream.fail(stream.size - 1 if stream.size else None, "must end with FINISH")
    finish[-1] = False
    stream.refuse(finish, "FINISH comes before the end")


def _check_transfers(stream: _Stream) -> None:
    """Checks that every transfer lies within its on-chip memory and its buffer."""
    mem, program = stream.mem, stream.program
    width = mem["x_pad_0"] + mem["x_size"] + mem["x_pad_1"]
    ends = mem["sram_base"] + (mem["y_pad_0"] + mem["y_size"] + mem["y_pad_1"]) * width
    reads_memory = stream.moves & (mem["y_size"] > 0)
    stream.refuse(reads_memory & (program.refs < 0), "refers to no buffer")
    last = mem["dram_base"] + (mem["y_size"] - 1) * mem["x_stride"] + mem["x_size"]
    sizes = [_whole_tiles(buffer, stream.config) for buffer in program.buffers]
    for kind, name in CHIP.items():
        mine = stream.moves & (mem["memory_type"] == kind)
        beyond = mine & (ends > stream.depths[name])
        if beyond.any():
            first = int(beyond.argmax())
            reach = f"{name}[{mem['sram_base'][first]}:{ends[first]}]"
            stream.fail(first, f"{reach} is beyond its {stream.depths[name]} elements")
        element = stream.config.elem_bytes(kind)
        for index in np.unique(program.refs[mine & reads_memory]).tolist():
            here = mine & reads_memory & (program.refs == index)
            buffer = program.buffers[index]
            stream.refuse(
                here & (last * element > sizes[index]), f"reaches beyond buffer {buffer.name}"
            )
            if kind == MemoryType.UOP and buffer.data is None:
                stream.refuse(here, f"micro-ops in {buffer.name} are not known")
            if buffer.role in ("input", "const"):
                stream.refuse(here & stream.store, f"overwrites the {buffer.role} {buffer.name}")


def _ended_before(stream: _Stream) -> list[list[int]]:
    """For each instruction, the number of the last instruction of each module that it waited for.

    Each module works in order, so all earlier instructions of that module have ended too. Pops do
    not affect the entry for an instruction's own module.
    """
    givers: dict[int, list[int]] = {}
    for queue in TOKEN_QUEUES:
        (giver, push), (taker, pop) = PUSHES[queue], POPS[queue]
        pushes = np.flatnonzero((stream.module == giver) & (stream.mem[push] > 0))
        pops = np.flatnonzero((stream.module == taker) & (stream.mem[pop] > 0))
        both = min(len(pushes), len(pops))
        early = [*pops[:both][pushes[:both] >= pops[:both]], *pops[both:]]
        if early:
            stream.fail(
                int(early[0]), f"waits for a token of {queue} that no earlier instruction pushes"
            )
        if len(pushes) > both:
            stream.fail(None, f"{len(pushes) - both} tokens are left in {queue}")
        held = np.arange(1, both + 1) - np.searchsorted(pops, pushes, side="right")
        if both and held.max() > MAX_TOKENS:
            stream.fail(int(pushes[(held > MAX_TOKENS).argmax()]), f"{queue} overflows")
        # First in, first out: the k-th pop takes the token of the k-th push.
        for place, source in zip(pops.tolist(), pushes.tolist(), strict=True):
            givers.setdefault(place, []).append(source)
    modules = stream.module.tolist()
    now = [[NEVER] * (ModuleId.STORE + 1) for _ in range(ModuleId.STORE + 1)]
    found: list[list[int]] = []
    for index, module in enumerate(modules):
        for source in givers.get(index, ()):
            told = list(found[source])
            told[modules[source]] = source
            now[module] = [max(pair) for pair in zip(now[module], told, strict=True)]
        found.append(now[module])
    return found


class _Memory:
    """One memory: the instruction of each module that last read and last wrote each element."""

    def __init__(self, size: int) -> None:
        self.last: dict[tuple[int, bool], NDArray[np.int64]] = {}
        self.written = np.zeros(size, bool)

    def touch(
        self, index: int, module: int, elements: Any, writes: bool, ended: list[int]
    ) -> tuple[int, int] | None:
        """Records an access and returns the instruction and module it races with, if any."""
        for (other, wrote), last in self.last.items():
            if other != module and (wrote or writes):
                latest = int(np.maximum.reduce(last[elements]))
                if latest > ended[other]:
                    return latest, other
        if (module, writes) not in self.last:
            self.last[module, writes] = np.full(len(self.written), NEVER)
        self.last[module, writes][elements] = index
        if writes:
            self.written[elements] = True
        return None


class _Walk:
    """Walks the instructions in stream order and checks every access."""

    def __init__(self, stream: _Stream, ended: list[list[int]], whole: bool) -> None:
        self.stream, self.ended, self.whole = stream, ended, whole
        self.memories = {name: _Memory(depth) for name, depth in stream.depths.items()}
        # Buffers are counted in units of the smallest element that any instruction moves.
        self.grain = min(stream.config.uop_elem_bytes, stream.config.out_elem_bytes)
        self.buffers = {
            index: _Memory(-(-_whole_tiles(buffer, stream.config) // self.grain))
            for index, buffer in enumerate(stream.program.buffers)
            if buffer.role in ("output", "temp")
        }
        self.uops = np.zeros(stream.config.uop_depth, "<u4")
        self.footprints = Footprints(stream.isa)

    def run(self) -> None:
        """Raises the first error of an instruction, or of an output not completely written."""
        stream = self.stream
        for index in np.flatnonzero(stream.moves | stream.runs).tolist():
            if stream.moves[index]:
                self._transfer(index)
            else:
                self._kernel(index)
        for index, memory in self.buffers.items():
            buffer, written = stream.program.buffers[index], memory.written
            if self.whole and buffer.role == "output" and not written.all():
                parts = f"{int(written.sum())} of {written.size} parts"
                stream.fail(None, f"{buffer.name} is not written in full ({parts})")

    def _transfer(self, index: int) -> None:
        stream = self.stream
        mem = {name: int(column[index]) for name, column in stream.mem.items()}
        kind, load = MemoryType(mem["memory_type"]), mem["opcode"] == Opcode.LOAD
        rows = mem["y_pad_0"] + mem["y_size"] + mem["y_pad_1"]
        tiles = rows * (mem["x_pad_0"] + mem["x_size"] + mem["x_pad_1"])
        chip = slice(mem["sram_base"], mem["sram_base"] + tiles)
        if not load:
            self._touch(index, CHIP[kind], chip, False)
        reference = int(stream.program.refs[index])
        if mem["y_size"] and reference in self.buffers:
            self._buffer(index, reference, kind, mem)
        if load:
            self._touch(index, CHIP[kind], chip, True)
        if kind == MemoryType.UOP:
            self._load_uops(reference, mem)

    def _buffer(self, index: int, reference: int, kind: MemoryType, mem: dict[str, int]) -> None:
        parts = self.stream.config.elem_bytes(kind) // self.grain
        first, width = mem["dram_base"] * parts, mem["x_size"] * parts
        elements: Any = slice(first, first + width)
        if mem["y_size"] > 1:
            starts = first + np.arange(mem["y_size"])[:, None] * (mem["x_stride"] * parts)
            elements = (starts + np.arange(width)).reshape(-1)
        load, memory = mem["opcode"] == Opcode.LOAD, self.buffers[reference]
        if load and self.whole and not memory.written[elements].all():
            name = self.stream.program.buffers[reference].name
            self.stream.fail(index, f"loads from {name} what no earlier instruction stored")
        self._note(index, memory, elements, not load)

    def _load_uops(self, reference: int, mem: dict[str, int]) -> None:
        rows, columns = mem["y_size"], mem["x_size"]
        data = self.stream.program.buffers[reference].data if rows else None
        block = np.zeros(
            (mem["y_pad_0"] + rows + mem["y_pad_1"], mem["x_pad_0"] + columns + mem["x_pad_1"]),
            "<u4",
        )
        if data is not None:
            places = mem["dram_base"] + np.arange(rows)[:, None] * mem["x_stride"]
            inside = block[mem["y_pad_0"] :, mem["x_pad_0"] :][:rows, :columns]
            inside[:] = data.view("<u4")[places + np.arange(columns)]
        self.uops[mem["sram_base"] : mem["sram_base"] + block.size] = block.reshape(-1)

    def _kernel(self, index: int) -> None:
        stream = self.stream
        begin, end = int(stream.alu["uop_bgn"][index]), int(stream.alu["uop_end"][index])
        self._inside(index, "uop", begin, end)
        # If the micro-ops were not loaded, the remaining checks are meaningless.
        self._touch(index, "uop", slice(begin, end), False)
        low, high = (int(word) for word in stream.program.insns[index])
        for touched in self.footprints.kernel(low | high << 64, self.uops[begin:end].tobytes()):
            self._inside(index, touched.memory, touched.begin, touched.end)
            self._touch(index, touched.memory, touched.elements, touched.writes)

    def _inside(self, index: int, name: str, begin: int, end: int) -> None:
        if end > self.stream.depths[name]:
            self.stream.fail(
                index, f"{name}[{begin}:{end}] is beyond its {self.stream.depths[name]} elements"
            )

    def _touch(self, index: int, name: str, elements: Any, writes: bool) -> None:
        """Checks and records an access to an on-chip memory."""
        memory = self.memories[name]
        if not writes and (self.whole or name == "uop") and not memory.written[elements].all():
            reach = np.arange(len(memory.written))[elements]
            self.stream.fail(
                index, f"reads {name}[{reach.min()}:{reach.max() + 1}] before all of it is written"
            )
        self._note(index, memory, elements, writes)

    def _note(self, index: int, memory: _Memory, elements: Any, writes: bool) -> None:
        module = int(self.stream.module[index])
        race = memory.touch(index, module, elements, writes, self.ended[index])
        if race:
            self.stream.fail(
                index,
                f"races with instruction {race[0]} of the {ModuleId(race[1]).name.lower()} "
                "module: no chain of tokens orders the two",
            )


def _whole_tiles(buffer: DramBuffer, config: Config) -> int:
    """The size of a buffer in bytes, rounded up to whole tiles as devices allocate it."""
    if buffer.role == "const":
        return buffer.nbytes
    tile = np.dtype(buffer.dtype).itemsize * config.batch * config.block
    return -(-buffer.nbytes // tile) * tile
