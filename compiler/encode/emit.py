"""From instructions of the last intermediate form to a `vta.program.Program`."""

from __future__ import annotations

import numpy as np

from vta.compiler.encode.uop_buffer import UopLoad, plan_uops
from vta.compiler.ir.insn_ir import Finish, InsnProgram, Kernel, MicroOp, Nop, Op, Transfer
from vta.compiler.ir.loop_ir import Buffer
from vta.config import Config
from vta.isa import Isa, MemoryType, Opcode
from vta.program import DramBuffer, Program

__all__ = ["emit"]


def emit(program: InsnProgram, config: Config) -> Program:
    """The encoded program: its instructions, micro-ops and buffers."""
    plan = plan_uops(
        [(index, op) for index, op in enumerate(program.ops) if isinstance(op, Kernel)], config
    )
    emitter = _Emitter(program, config)
    before: dict[int, list[UopLoad]] = {}
    for index, load in plan.loads.items():
        # Not behind LOADs of ACC, which have the same way to memory and take much longer.
        while index and not isinstance(program.ops[index - 1], Kernel):
            index -= 1
        before.setdefault(index, []).append(load)
    for index, op in enumerate(program.ops):
        for load in before.get(index, ()):
            emitter.load_uops(load)
        emitter.op(op, plan.places.get(index, 0))
    return emitter.finish(program, plan.uops)


class _Emitter:
    def __init__(self, program: InsnProgram, config: Config) -> None:
        self.config = config
        self.isa = Isa(config)
        self.words: list[int] = []
        self.refs: list[int] = []
        self.names = [buffer.name for buffer in (*program.args, *program.temps)]
        self.uop_name = "uops"
        while self.uop_name in self.names:
            self.uop_name += "_"
        self.names.append(self.uop_name)
        self.places = {name: place for place, name in enumerate(self.names)}

    def _add(self, word: int, buffer: str | None = None) -> None:
        self.words.append(word)
        self.refs.append(-1 if buffer is None else self.places[buffer])

    def load_uops(self, load: UopLoad) -> None:
        self._add(
            self.isa.mem.pack(
                opcode=Opcode.LOAD,
                memory_type=MemoryType.UOP,
                sram_base=load.base,
                dram_base=load.start,
                y_size=1,
                x_size=load.count,
                x_stride=load.count,
            ),
            self.uop_name,
        )

    def op(self, op: Op, first: int) -> None:
        tokens = {name: int(value) for name, value in vars(op.tokens).items()}
        if isinstance(op, Finish):
            self._add(self.isa.common.pack(opcode=Opcode.FINISH, **tokens))
        elif isinstance(op, Nop):
            # A LOAD of no tiles does nothing but its tokens.
            self._add(self.isa.mem.pack(opcode=Opcode.LOAD, memory_type=MemoryType.UOP, **tokens))
        elif isinstance(op, Transfer):
            pads = dict(zip(("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1"), op.pads, strict=True))
            self._add(
                self.isa.mem.pack(
                    opcode=op.opcode,
                    memory_type=op.memory_type,
                    sram_base=op.sram_base,
                    dram_base=op.dram_base,
                    y_size=op.y_size,
                    x_size=op.x_size,
                    x_stride=op.x_stride,
                    **pads,
                    **tokens,
                ),
                op.buffer,
            )
        else:
            self._add(self._kernel(op, first, tokens))

    def _kernel(self, op: Kernel, first: int, tokens: dict[str, int]) -> int:
        fields = {"uop_bgn": first, "uop_end": first + len(op.uops), **tokens}
        outer, inner = _two(op)
        for name, loop in (("out", outer), ("in", inner)):
            fields[f"iter_{name}"] = loop[0]
            fields[f"dst_factor_{name}"], fields[f"src_factor_{name}"] = loop[1:3]
        if op.opcode == Opcode.ALU:
            return self.isa.alu.pack(
                opcode=op.opcode,
                alu_opcode=op.alu_opcode,
                use_imm=op.imm is not None,
                imm=op.imm or 0,
                **fields,
            )
        return self.isa.gemm.pack(
            opcode=op.opcode,
            reset=op.reset,
            wgt_factor_out=outer[3],
            wgt_factor_in=inner[3],
            **fields,
        )

    def finish(self, program: InsnProgram, uops: list[MicroOp]) -> Program:
        buffers = [
            self._buffer(item, "output" if item.name in program.outputs else "input")
            for item in program.args
        ]
        buffers += [self._buffer(item, "temp") for item in program.temps]
        if uops:
            packed = self.isa.uop.pack_array(
                dst_idx=[uop.dst for uop in uops],
                src_idx=[uop.src for uop in uops],
                wgt_idx=[uop.wgt for uop in uops],
            )
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
            insns=self.isa.words(self.words).astype(np.uint64),
            refs=np.array(self.refs, np.int32),
            buffers=tuple(buffers),
        )

    @staticmethod
    def _buffer(buffer: Buffer, role: str) -> DramBuffer:
        return DramBuffer(name=buffer.name, role=role, shape=buffer.shape, dtype=buffer.dtype)


def _two(op: Kernel) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
    """The outer and the inner loop as (count, dst, src, wgt); one that is not there goes once."""
    loops = [(loop.extent, loop.dst, loop.src, loop.wgt) for loop in op.loops]
    assert len(loops) <= 2, "the machine has two loops"
    while len(loops) < 2:
        loops.insert(0, (1, 0, 0, 0))
    return loops[0], loops[1]
