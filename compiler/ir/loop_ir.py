"""The first and the last intermediate form, each a page of frozen dataclasses.

1. `LoopProgram`: loop nests over buffers, straight from the schedule.
2. `vta.compiler.ir.tile_ir.Nested`: loops around operations on tiles.
3. `InsnProgram`: instructions with addresses and tokens; micro-ops still stand beside the
   instruction that uses them.

`str()` of any of them is readable and stable (`vta.compiler.ir.printer`).
"""

from __future__ import annotations

from dataclasses import dataclass

from vta.compiler.te.expr import Expr, Var
from vta.isa import AluOp, MemoryType, ModuleId, Opcode

__all__ = [
    "Assign",
    "Buffer",
    "Finish",
    "For",
    "Kernel",
    "LoopProgram",
    "MicroOp",
    "Nop",
    "Op",
    "PragmaBlock",
    "Printed",
    "Stmt",
    "Tokens",
    "Transfer",
    "UopLoop",
    "InsnProgram",
]


@dataclass(frozen=True)
class Buffer:
    """An array: its name is unique in the program; `scope` is the memory that it lives in."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scope: str


class Printed:
    """What the printer shows."""

    def __str__(self) -> str:
        from vta.compiler.ir.printer import show  # the printer reads this module

        return show(self)  # type: ignore[arg-type]


# -- loops ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class For:
    """`body` for `var` in ``range(extent)``.

    The rounds of a `thread` take turns; those of an `unrolled` loop are no hardware loop.
    """

    var: Var
    extent: int
    body: tuple[Stmt, ...]
    thread: bool = False
    unrolled: bool = False


@dataclass(frozen=True)
class PragmaBlock:
    """`body` is to be carried out as `key` says; `axis` is where the schedule asked for it."""

    key: str
    axis: str
    body: tuple[Stmt, ...]


@dataclass(frozen=True)
class Assign:
    """``buffer[indices] = value``, where all `guards` are 0 or more.

    With `reduce`, an operator, the value is combined with what is there.
    """

    buffer: Buffer
    indices: tuple[Expr, ...]
    value: Expr
    guards: tuple[Expr, ...] = ()
    reduce: str = ""


Stmt = For | PragmaBlock | Assign


@dataclass(frozen=True)
class LoopProgram(Printed):
    """`allocs` are the buffers that are not arguments."""

    name: str
    args: tuple[Buffer, ...]
    allocs: tuple[Buffer, ...]
    outputs: tuple[str, ...]
    body: tuple[Stmt, ...]


# -- instructions -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Tokens:
    """What an instruction waits for before it starts, and gives when it has finished."""

    pop_prev: bool = False
    pop_next: bool = False
    push_prev: bool = False
    push_next: bool = False


@dataclass(frozen=True)
class Transfer:
    """A LOAD or STORE; `pads` are y_pad_0, y_pad_1, x_pad_0, x_pad_1. `note` is for people."""

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

    @property
    def module(self) -> ModuleId:
        if self.opcode == Opcode.STORE:
            return ModuleId.STORE
        if self.memory_type in (MemoryType.INP, MemoryType.WGT):
            return ModuleId.LOAD
        return ModuleId.COMPUTE


@dataclass(frozen=True)
class UopLoop:
    """One of the two loops around a micro-op kernel: its count, and what it adds to the indices."""

    extent: int
    dst: int
    src: int
    wgt: int = 0


@dataclass(frozen=True)
class MicroOp:
    """The indices of one operation at the loops' start."""

    dst: int
    src: int
    wgt: int = 0


@dataclass(frozen=True)
class Kernel:
    """A GEMM or ALU: micro-ops inside up to two loops, outermost first."""

    opcode: Opcode
    loops: tuple[UopLoop, ...]
    uops: tuple[MicroOp, ...]
    reset: bool = False
    alu_opcode: AluOp = AluOp.MIN
    imm: int | None = None
    tokens: Tokens = Tokens()
    note: str = ""

    @property
    def module(self) -> ModuleId:
        return ModuleId.COMPUTE


@dataclass(frozen=True)
class Finish:
    """The end of the program."""

    tokens: Tokens = Tokens()
    note: str = ""

    @property
    def module(self) -> ModuleId:
        return ModuleId.COMPUTE


@dataclass(frozen=True)
class Nop:
    """Moves nothing; it passes tokens on between load and store, which are no neighbours."""

    tokens: Tokens = Tokens()
    note: str = ""

    @property
    def module(self) -> ModuleId:
        return ModuleId.COMPUTE


Op = Transfer | Kernel | Nop | Finish


@dataclass(frozen=True)
class InsnProgram(Printed):
    """The instructions in stream order; `ordered` once tokens have been inserted."""

    name: str
    args: tuple[Buffer, ...]
    temps: tuple[Buffer, ...]
    outputs: tuple[str, ...]
    ops: tuple[Op, ...]
    ordered: bool = False
    notes: bool = False
