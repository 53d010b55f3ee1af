"""Encodes the instructions of the last intermediate form as a `vta.program.Program`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vta.compiler.encode.uop_buffer import UopLoad, plan_uops
from vta.compiler.ir.insn_ir import Finish, InsnProgram, Kernel, MicroOp, Nop, Op, Tokens, Transfer
from vta.compiler.ir.loop_ir import Buffer
from vta.config import Config
from vta.isa import Format, Isa, MemoryType, Opcode
from vta.program import DramBuffer, Program

__all__ = ["emit"]

TOKENS = ("pop_prev", "pop_next", "push_prev", "push_next")
TRANSFER = ("sram_base", "dram_base", "y_size", "x_size", "x_stride")
PADS = ("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1")
NO_PADS = (0, 0, 0, 0)
LOOPS = (
    "uop_bgn",
    "uop_end",
    "iter_out",
    "iter_in",
    "dst_factor_out",
    "dst_factor_in",
    "src_factor_out",
    "src_factor_in",
)
"""The fields that GEMM and ALU share."""


def emit(program: InsnProgram, config: Config) -> Program:
    """The encoded program: its instructions, micro-ops and buffers."""
    plan = plan_uops(
        [(index, op) for index, op in enumerate(program.ops) if isinstance(op, Kernel)], config
    )
    emitter = _Emitter(program, config)
    before: dict[int, list[UopLoad]] = {}
    for index, load in plan.loads.items():
        # Goes before LOADs of ACC, which use the same bus and take much longer.
        while index and not isinstance(program.ops[index - 1], Kernel):
            index -= 1
        before.setdefault(index, []).append(load)
    for index, op in enumerate(program.ops):
        for load in before.get(index, ()):
            emitter.load_uops(load)
        emitter.op(op, plan.places.get(index, 0))
    return emitter.finish(program, plan.uops)


class _Table:
    """Instructions of one format, stored by column and encoded together."""

    def __init__(self, form: Format, *names: str) -> None:
        self.form = form
        self.names = ("opcode", *names, *TOKENS)
        self.places: list[int] = []
        self.rows: list[tuple[int, ...]] = []

    def add(self, place: int, opcode: Opcode, tokens: Tokens, *values: int) -> None:
        """Instruction number `place` of the stream; `values` in the order of the names."""
        self.places.append(place)
        self.rows.append((opcode, *values, *(getattr(tokens, name) for name in TOKENS)))

    def encode(self, words: NDArray[np.uint64]) -> None:
        """Writes the instructions to their places in (n, 2) `words`."""
        if self.rows:
            columns = zip(*self.rows, strict=True)
            fields = dict(zip(self.names, columns, strict=True))
            words[self.places] = self.form.pack_array(**fields)


class _Emitter:
    def __init__(self, program: InsnProgram, config: Config) -> None:
        self.config = config
        self.isa = isa = Isa(config)
        self.pad_min = ("pad_min",) if config.requantises else ()
        self.transfers = _Table(isa.mem, "memory_type", *TRANSFER, *PADS, *self.pad_min)
        self.gemms = _Table(isa.gemm, *LOOPS, "wgt_factor_out", "wgt_factor_in", "reset")
        self.alus = _Table(isa.alu, *LOOPS, "alu_opcode", "use_imm", "imm")
        self.ends = _Table(isa.common)
        self.refs: list[int] = []
        self.names = [buffer.name for buffer in (*program.args, *program.temps)]
        self.uop_name = "uops"
        while self.uop_name in self.names:
            self.uop_name += "_"
        self.names.append(self.uop_name)
        self.buffers = {name: place for place, name in enumerate(self.names)}

    def _place(self, buffer: str | None = None) -> int:
        """The number of the next instruction; records the buffer that it uses, if any."""
        self.refs.append(-1 if buffer is None else self.buffers[buffer])
        return len(self.refs) - 1

    def load_uops(self, load: UopLoad) -> None:
        """Adds a LOAD of micro-ops from main memory."""
        self.transfers.add(
            self._place(self.uop_name),
            Opcode.LOAD,
            Tokens(),
            MemoryType.UOP,
            load.base,
            load.start,
            1,
            load.count,
            load.count,
            *self._pads(NO_PADS),
        )

    def op(self, op: Op, first: int) -> None:
        """Adds an instruction; the micro-ops of a kernel start at `first` in their buffer."""
        if isinstance(op, Finish):
            self.ends.add(self._place(), Opcode.FINISH, op.tokens)
        elif isinstance(op, Nop):
            # A LOAD of no tiles only handles its tokens.
            nothing = (0,) * len(TRANSFER)
            self.transfers.add(
                self._place(),
                Opcode.LOAD,
                op.tokens,
                MemoryType.UOP,
                *nothing,
                *self._pads(NO_PADS),
            )
        elif isinstance(op, Transfer):
            self.transfers.add(
                self._place(op.buffer),
                op.opcode,
                op.tokens,
                op.memory_type,
                *(getattr(op, name) for name in TRANSFER),
                *self._pads(op.pads, op.pad_min),
            )
        else:
            self._kernel(op, first)

    def _pads(self, pads: tuple[int, ...], pad_min: bool = False) -> tuple[int, ...]:
        """The fields of a transfer's padding; only encoding 0.0.3 has `pad_min`."""
        assert self.pad_min or not pad_min, "pad_min needs encoding 0.0.3"
        return (*pads, pad_min) if self.pad_min else pads

    def _kernel(self, op: Kernel, first: int) -> None:
        outer, inner = _two(op)
        (*loops, wgt_out, wgt_in) = (
            number for pair in zip(outer, inner, strict=True) for number in pair
        )
        loops = [first, first + len(op.uops), *loops]
        if op.opcode == Opcode.ALU:
            self.alus.add(
                self._place(),
                op.opcode,
                op.tokens,
                *loops,
                op.alu_opcode,
                op.imm is not None,
                op.imm or op.offsets,
            )
        else:
            self.gemms.add(self._place(), op.opcode, op.tokens, *loops, wgt_out, wgt_in, op.reset)

    def finish(self, program: InsnProgram, uops: list[MicroOp]) -> Program:
        """The program of all instructions so far; `uops` are the micro-ops in main memory."""
        words = np.zeros((len(self.refs), 2), np.uint64)
        for table in (self.transfers, self.gemms, self.alus, self.ends):
            table.encode(words)
        buffers = [
            self._buffer(item, "output" if item.name in program.outputs else "input")
            for item in program.args
        ]
        buffers += [self._buffer(item, "temp") for item in program.temps]
        if uops:
            dst, src, wgt = zip(*uops, strict=True)
            packed = self.isa.uop.pack_array(dst_idx=dst, src_idx=src, wgt_idx=wgt)
            buffers.append(
                DramBuffer(
                    name=self.uop_name,
                    role="const",
                    shape=(len(uops),),
                    dtype="uint32",
                    data=np.frombuffer(packed.tobytes(), np.uint8),
                )
            )
        return Program(
            name=program.name,
            config=self.config,
            insns=words,
            refs=np.array(self.refs, np.int32),
            buffers=tuple(buffers),
        )

    @staticmethod
    def _buffer(buffer: Buffer, role: str) -> DramBuffer:
        return DramBuffer(name=buffer.name, role=role, shape=buffer.shape, dtype=buffer.dtype)


def _two(op: Kernel) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
    """The outer and the inner loop as (count, dst, src, wgt); a missing loop has one round."""
    loops = [(loop.extent, loop.dst, loop.src, loop.wgt) for loop in op.loops]
    assert len(loops) <= 2, "the machine has two loops"
    while len(loops) < 2:
        loops.insert(0, (1, 0, 0, 0))
    return loops[0], loops[1]
