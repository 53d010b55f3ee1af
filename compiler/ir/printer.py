"""The intermediate forms as text: readable, stable, with every buffer's shape and memory.

Instructions are shown as the calls that VTA's users know (`VTALoadBuffer2D`, `VTAUopLoopBegin`,
`coproc_dep_push` ...), with the same arguments in the same order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from vta.compiler.ir.affine import Affine, as_expression
from vta.compiler.ir.loop_ir import (
    Assign,
    Buffer,
    Finish,
    For,
    InsnProgram,
    Kernel,
    LoopProgram,
    Nop,
    Op,
    PragmaBlock,
    Stmt,
    Transfer,
)
from vta.compiler.ir.tile_ir import (
    Form,
    Gemm,
    Load,
    Loop,
    Node,
    Reset,
    Store,
    TileOperand,
    TileOperation,
    TileProgram,
)
from vta.compiler.te.expr import Binary, Cast, Const, Expr, Read, Select, Var, parts, walk
from vta.isa import ModuleId, Opcode

__all__ = ["show", "show_expr"]

INDENT = "    "
PRECEDENCE = {"<<": 1, ">>": 1, "+": 2, "-": 2, "*": 3}
MOST_NODES = 300
MOST_UOPS, FIRST_UOPS = 16, 4
"""A longer kernel shows its first micro-ops; `env.DEBUG_DUMP_UOP` logs them all."""
HANDLE = "T.tvm_thread_context(T.tir.vta.command_handle())"


def show(program: Form) -> str:
    """The whole program, without a newline at the end."""
    args = ", ".join(f"{arg.name}: {_shape(arg)}" for arg in program.args)
    if isinstance(program, LoopProgram):
        allocs, body = program.allocs, _statements(program.body)
    elif isinstance(program, TileProgram):
        allocs, body = program.temps, _nested(program)
    else:
        allocs, body = program.temps, _calls(program)
    lines = [f"def {program.name}({args}):"]
    lines += [f"{INDENT}{item.name} = allocate({_shape(item)}, {item.scope!r})" for item in allocs]
    lines += [INDENT + line for line in body]
    return "\n".join(lines)


def _nested(program: TileProgram) -> Iterator[str]:
    for value in program.values.values():
        number = "" if value.constant is None else f" = {value.constant}"
        yield f"{value.name} = tiles({value.tiles}, {value.scope!r}){number}"
    yield from _nodes(program.body)


def _shape(buffer: Buffer) -> str:
    return f"{buffer.dtype}[{', '.join(map(str, buffer.shape))}]"


def show_expr(expr: Expr) -> str:
    """An expression; one whose text would be beyond reading, by its size alone."""
    nodes = sum(1 for _ in itertools.islice(walk(expr), MOST_NODES + 1))
    if nodes > MOST_NODES or _text_nodes(expr, {}) > MOST_NODES:
        return f"<{sum(isinstance(node, Binary) for node in walk(expr))} operations>"
    return _expr(expr)


def _text_nodes(expr: Expr, known: dict[int, int]) -> int:
    """How many nodes the text has, in which what is shared appears each time."""
    if id(expr) not in known:
        known[id(expr)] = 1 + sum(_text_nodes(part, known) for part in parts(expr))
    return known[id(expr)]


def _expr(expr: Expr, outer: int = 0) -> str:
    """An expression, with brackets where an operator of strength `outer` around it needs them."""
    if isinstance(expr, Const):
        return str(expr.number)
    if isinstance(expr, Var):
        return expr.name
    if isinstance(expr, Cast):
        return f"{expr.dtype}({_expr(expr.value)})"
    if isinstance(expr, Read):
        indices = ", ".join(map(_expr, expr.indices))
        return f"{expr.source.name}[{indices}]" if indices else expr.source.name
    if isinstance(expr, Binary):
        if expr.op not in PRECEDENCE:
            return f"{expr.op}({_expr(expr.a)}, {_expr(expr.b)})"
        strength = PRECEDENCE[expr.op]
        text = f"{_expr(expr.a, strength)} {expr.op} {_expr(expr.b, strength + 1)}"
        return f"({text})" if strength < outer else text
    if isinstance(expr, Select):
        inside = " and ".join(f"{_expr(item.value)} >= 0" for item in expr.conditions)
        return f"select({inside}, {_expr(expr.then)}, {_expr(expr.other)})"
    raise AssertionError(f"no such expression: {expr!r}")


# -- loops ---------------------------------------------------------------------------------------


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


# -- operations on tiles ---------------------------------------------------------------------------


def _nodes(body: Iterable[Node]) -> Iterator[str]:
    for node in body:
        if isinstance(node, Loop):
            kind = "threads" if node.thread else "range"
            yield f"for {node.var.name} in {kind}({node.extent}):"
            yield from (INDENT + line for line in _nodes(node.body))
        else:
            yield _operation(node) + _domain(node)


def _operation(op: TileOperation) -> str:
    if isinstance(op, Load):
        text = f"load_{op.memory_type.name.lower()}({op.buffer.name}[{_form(op.source)}])"
        pads = "".join(f", 0 unless {_form(form)} >= 0" for form in op.pads)
        return f"{_operand(op.dst)} = {text}{pads}"
    if isinstance(op, Store):
        return f"store_out({op.buffer.name}[{_form(op.target)}], {_operand(op.src)})"
    if isinstance(op, Reset):
        return f"{_operand(op.dst)} = reset()"
    if isinstance(op, Gemm):
        return f"{_operand(op.dst)} += gemm({_operand(op.inp)}, {_operand(op.wgt)})"
    b = _operand(op.b) if isinstance(op.b, TileOperand) else op.b
    return f"{_operand(op.dst)} = {op.op.name.lower()}({_operand(op.a)}, {b})"


def _operand(item: TileOperand) -> str:
    name = item.shown if item.shown == item.value else f"{item.value}:{item.shown}"
    return f"{name}[{_form(item.at)}]"


def _form(form: Affine) -> str:
    return show_expr(as_expression(form))


def _domain(op: TileOperation) -> str:
    loops = ", ".join(f"{var.name} < {extent}" for var, extent in op.domain.loops)
    guards = "".join(f", {_form(guard)} >= 0" for guard in op.domain.guards)
    return f"  # {loops}{guards}" if loops else ""


# -- instructions --------------------------------------------------------------------------------


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
            op.imm or 0,
        )
        yield f"{INDENT}T.tir.vta.uop_push({', '.join(map(str, numbers))})"
    if len(shown) < len(op.uops):
        yield f"{INDENT}# {len(op.uops) - len(shown)} micro-ops more"
    for _ in op.loops:
        yield INDENT + _extern("VTAUopLoopEnd")
