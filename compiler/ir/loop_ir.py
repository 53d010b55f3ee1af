"""The first intermediate form: loop nests over buffers, straight from the schedule.

`str()` of a program is readable and stable; it shows every buffer's shape and memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from vta.compiler.te.expr import Expr, Var
from vta.compiler.te.expr_text import PRECEDENCE, show_expr

__all__ = [
    "INDENT",
    "Assign",
    "Buffer",
    "For",
    "LoopProgram",
    "PragmaBlock",
    "Stmt",
    "show_program",
]

INDENT = "    "


@dataclass(frozen=True)
class Buffer:
    """An array; its name is unique in the program, and `scope` is its memory."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scope: str


@dataclass(frozen=True)
class For:
    """`body` for `var` in ``range(extent)``.

    The rounds of a `thread` take turns. An `unrolled` loop does not become a hardware loop.
    """

    var: Var
    extent: int
    body: tuple[Stmt, ...]
    thread: bool = False
    unrolled: bool = False


@dataclass(frozen=True)
class PragmaBlock:
    """`body` must be carried out as the pragma `key` says; the schedule set it on `axis`.

    If that is impossible, `note` ends the error message: it lists divisions in the indices.
    """

    key: str
    axis: str
    body: tuple[Stmt, ...]
    note: str = ""


@dataclass(frozen=True)
class Assign:
    """``buffer[indices] = value``, where all `guards` are 0 or more.

    If `reduce` is given, this operator combines the value with the element's old value.
    """

    buffer: Buffer
    indices: tuple[Expr, ...]
    value: Expr
    guards: tuple[Expr, ...] = ()
    reduce: str = ""


Stmt = For | PragmaBlock | Assign


@dataclass(frozen=True)
class LoopProgram:
    """`allocs` are the buffers that are not arguments."""

    name: str
    args: tuple[Buffer, ...]
    allocs: tuple[Buffer, ...]
    outputs: tuple[str, ...]
    body: tuple[Stmt, ...]

    def __str__(self) -> str:
        return show_program(self.name, self.args, self.allocs, _statements(self.body))


# -- text ----------------------------------------------------------------------------------------


def show_program(
    name: str, args: Sequence[Buffer], allocs: Sequence[Buffer], body: Iterable[str]
) -> str:
    """The text of a program in any form, without a newline at the end; `body` has its lines."""
    listed = ", ".join(f"{arg.name}: {_shape(arg)}" for arg in args)
    lines = [f"def {name}({listed}):"]
    lines += [f"{INDENT}{item.name} = allocate({_shape(item)}, {item.scope!r})" for item in allocs]
    lines += [INDENT + line for line in body]
    return "\n".join(lines)


def _shape(buffer: Buffer) -> str:
    return f"{buffer.dtype}[{', '.join(map(str, buffer.shape))}]"


def _statements(body: Iterable[Stmt]) -> Iterator[str]:
    for stmt in body:
        if isinstance(stmt, Assign):
            yield from _assign(stmt)
        elif isinstance(stmt, PragmaBlock):
            yield f"with pragma({stmt.key!r}):"
            yield from (INDENT + line for line in _statements(stmt.body))
        else:
            loops = _perfect_nest(stmt)
            names = ", ".join(loop.var.name for loop in loops)
            kind = "threads" if stmt.thread else "range" if len(loops) == 1 else "grid"
            yield f"for {names} in {kind}({', '.join(str(loop.extent) for loop in loops)}):"
            yield from (INDENT + line for line in _statements(loops[-1].body))


def _assign(stmt: Assign) -> Iterator[str]:
    target = f"{stmt.buffer.name}[{', '.join(map(show_expr, stmt.indices))}]"
    value = show_expr(stmt.value)
    if stmt.reduce in PRECEDENCE:
        value = f"{target} {stmt.reduce} {value}"
    elif stmt.reduce:
        value = f"{stmt.reduce}({target}, {value})"
    indent = ""
    if stmt.guards:
        yield f"if {' and '.join(f'{show_expr(guard)} >= 0' for guard in stmt.guards)}:"
        indent = INDENT
    yield f"{indent}{target} = {value}"


def _perfect_nest(loop: For) -> list[For]:
    loops = [loop]
    while (
        len(loops[-1].body) == 1
        and isinstance(loops[-1].body[0], For)
        and (loops[-1].body[0].thread == loop.thread)
    ):
        loops.append(loops[-1].body[0])
    return loops
