"""The last intermediate form: instructions with addresses and tokens.

Micro-ops are still kept with the instruction that uses them. The text of a program shows the calls
that VTA's users know (`VTALoadBuffer2D`, `VTAUopLoopBegin`, `coproc_dep_push` ...), with the same
arguments in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from vta.compiler.ir.loop_ir import INDENT, Buffer, show_program
from vta.isa import AluOp, MemoryType, ModuleId, Opcode

__all__ = [
    "Finish",
    "InsnProgram",
    "Kernel",
    "MicroOp",
    "Nop",
    "Op",
    "Tokens",
    "Transfer",
    "UopLoop",
]

MOST_UOPS, FIRST_UOPS = 16, 4
"""How many micro-ops of a kernel the text shows; `env.DEBUG_DUMP_UOP` logs them all."""
HANDLE = "T.tvm_thread_context(T.tir.vta.command_handle())"


@dataclass(frozen=True)
class Tokens:
    """The tokens that an instruction waits for at its start, and sends when it has finished."""

    pop_prev: bool = False
    pop_next: bool = False
    push_prev: bool = False
    push_next: bool = False


@dataclass(frozen=True)
class Transfer:
    """A LOAD or STORE; `pads` are y_pad_0, y_pad_1, x_pad_0, x_pad_1. `note` is a comment.

    Padding is zeros, or the least number if `pad_min`.
    """

    opcode: Opcode
    memory_type: MemoryType
    buffer: str
    dram_base: int
    sram_base: int
    x_size: int
    y_size: int = 1
    x_stride: int = 0
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    tokens: Tokens = Tokens()
    note: str = ""
    pad_min: bool = False

    @property
    def module(self) -> ModuleId:
        """The module that executes it; compute loads ACC and micro-ops."""
        if self.opcode == Opcode.STORE:
            return ModuleId.STORE
        if self.memory_type in (MemoryType.INP, MemoryType.WGT):
            return ModuleId.LOAD
        return ModuleId.COMPUTE


@dataclass(frozen=True)
class UopLoop:
    """One of the two loops around a micro-op kernel: its count, and its steps for the indices."""

    extent: int
    dst: int
    src: int
    wgt: int = 0


class MicroOp(NamedTuple):
    """The indices of one operation in the first round of the loops."""

    dst: int
    src: int
    wgt: int = 0


@dataclass(frozen=True)
class Kernel:
    """A GEMM or ALU: micro-ops inside up to two loops, outermost first.

    `imm` is the second operand if it is a number. `offsets` is the imm field of a QNT.
    """

    opcode: Opcode
    loops: tuple[UopLoop, ...]
    uops: tuple[MicroOp, ...]
    reset: bool = False
    alu_opcode: AluOp = AluOp.MIN
    imm: int | None = None
    offsets: int = 0
    tokens: Tokens = Tokens()
    note: str = ""

    @property
    def module(self) -> ModuleId:
        """The module that executes it."""
        return ModuleId.COMPUTE


@dataclass(frozen=True)
class Finish:
    """The end of the program."""

    tokens: Tokens = Tokens()
    note: str = ""

    @property
    def module(self) -> ModuleId:
        """The module that executes it."""
        return ModuleId.COMPUTE


@dataclass(frozen=True)
class Nop:
    """Moves nothing; it passes tokens between load and store, which have no queue in common."""

    tokens: Tokens = Tokens()
    note: str = ""

    @property
    def module(self) -> ModuleId:
        """The module that executes it."""
        return ModuleId.COMPUTE


Op = Transfer | Kernel | Nop | Finish


@dataclass(frozen=True)
class InsnProgram:
    """The instructions in stream order; `notes` are comments for the text."""

    name: str
    args: tuple[Buffer, ...]
    temps: tuple[Buffer, ...]
    outputs: tuple[str, ...]
    ops: tuple[Op, ...]
    notes: bool = False

    def __str__(self) -> str:
        return show_program(self.name, self.args, self.temps, _calls(self))


# -- text ----------------------------------------------------------------------------------------


def _calls(program: InsnProgram) -> Iterator[str]:
    scope: ModuleId | None = None
    for op in program.ops:
        tokens = _tokens(op)
        if isinstance(op, Finish):
            yield from tokens["pop"]
            yield from tokens["push"]
            yield "T.tir.vta.coproc_sync()"
            continue
        if op.module != scope:
            scope = op.module
            yield f'with T.attr("vta", "coproc_scope", {int(scope)}):'
        lines = [*tokens["pop"], *(() if isinstance(op, Nop) else _call(op)), *tokens["push"]]
        if program.notes and op.note:
            lines.insert(0, f"# {op.note}")
        yield from (INDENT + line for line in lines)


def _tokens(op: Op) -> dict[str, list[str]]:
    own, tokens = int(op.module), op.tokens
    pops = [
        (own + step, own) for step, flag in ((-1, tokens.pop_prev), (1, tokens.pop_next)) if flag
    ]
    pushes = [
        (own, own + step) for step, flag in ((-1, tokens.push_prev), (1, tokens.push_next)) if flag
    ]
    return {
        "pop": [f"T.tir.vta.coproc_dep_pop({a}, {b})" for a, b in pops],
        "push": [f"T.tir.vta.coproc_dep_push({a}, {b})" for a, b in pushes],
    }


def _extern(name: str, *arguments: object) -> str:
    listed = ", ".join(['"int32"', f'"{name}"', *map(str, arguments)])
    return f"T.call_extern({listed})"


def _call(op: Transfer | Kernel) -> Iterator[str]:
    if isinstance(op, Kernel):
        yield from _kernel(op)
    elif op.opcode == Opcode.LOAD:
        y_before, y_after, x_before, x_after = op.pads
        yield _extern(
            "VTALoadBuffer2D",
            HANDLE,
            f"{op.buffer}.data",
            op.dram_base,
            op.x_size,
            op.y_size,
            op.x_stride,
            x_before,
            y_before,
            x_after,
            y_after,
            op.sram_base,
            int(op.memory_type),
            *((1,) if op.pad_min else ()),
        )
    else:
        yield _extern(
            "VTAStoreBuffer2D",
            HANDLE,
            op.sram_base,
            int(op.memory_type),
            f"{op.buffer}.data",
            op.dram_base,
            op.x_size,
            op.y_size,
            op.x_stride,
        )


def _kernel(op: Kernel) -> Iterator[str]:
    alu = op.opcode == Opcode.ALU
    yield f'with T.attr("vta", "coproc_uop_scope", "VTAPush{op.opcode.name}Op"):'
    for loop in op.loops:
        yield INDENT + _extern("VTAUopLoopBegin", loop.extent, loop.dst, loop.src, loop.wgt)
    shown = op.uops if len(op.uops) <= MOST_UOPS else op.uops[:FIRST_UOPS]
    for uop in shown:
        numbers = (
            int(alu),
            int(op.reset),
            uop.dst,
            uop.src,
            uop.wgt,
            int(op.alu_opcode),
            int(op.imm is not None),
            op.imm or op.offsets,
        )
        yield f"{INDENT}T.tir.vta.uop_push({', '.join(map(str, numbers))})"
    if len(shown) < len(op.uops):
        yield f"{INDENT}# {len(op.uops) - len(shown)} micro-ops more"
    for _ in op.loops:
        yield INDENT + _extern("VTAUopLoopEnd")
