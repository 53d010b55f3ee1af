"""Checks that a program is well formed; run after every pass up to `unroll`.

An error found here is a bug in a pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from vta.compiler.check.proof import VerifyError
from vta.compiler.ir.accesses import accesses
from vta.compiler.ir.insn_ir import Finish, InsnProgram, Kernel, Transfer
from vta.compiler.ir.loop_ir import Assign, Buffer, For, LoopProgram, Stmt
from vta.compiler.ir.tile_ir import Alu, Load, Reset, Store, TileProgram, names_of, walk_operations
from vta.compiler.te.dtypes import SCALE, nbytes_of
from vta.compiler.te.expr import Binary, Cast, Expr, Read, Requantize, Var, walk
from vta.config import Config
from vta.isa import AluOp, Isa, MemoryType

__all__ = ["Form", "check"]

Form = LoopProgram | TileProgram | InsnProgram
"""What a program is on its way through the compiler."""


def check(program: Form, config: Config | None) -> None:
    """Checks a program of any form; only a `LoopProgram` needs no configuration.

    Raises
    ------
    VerifyError
        The program is malformed, so a pass has a bug.
    """
    if isinstance(program, LoopProgram):
        _loops(program)
        return
    assert config is not None, "what comes after loops depends on the configuration"
    if isinstance(program, TileProgram):
        _nested(program, config)
    else:
        _instructions(program, config)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise VerifyError(message)


def _unique(buffers: Iterable[Buffer]) -> dict[str, Buffer]:
    found: dict[str, Buffer] = {}
    for buffer in buffers:
        _require(buffer.name not in found, f"two buffers are named {buffer.name}")
        found[buffer.name] = buffer
    return found


# -- loops ---------------------------------------------------------------------------------------


def _loops(program: LoopProgram) -> None:
    buffers = _unique((*program.args, *program.allocs))
    defined = {item.name for item in program.args if item.name not in program.outputs}
    for assign, extents in _assigns(program.body, {}):
        target = assign.buffer
        _require(buffers.get(target.name) == target, f"{target.name} is not declared")
        roots = (*assign.indices, *assign.guards, assign.value)
        for node in (part for root in roots for part in walk(root)):
            _require(
                not isinstance(node, Var) or node in extents,
                f"{target.name} uses {getattr(node, 'name', '')} outside its loop",
            )
        _require(
            assign.value.dtype == target.dtype,
            f"{target.name} is {target.dtype}, but its value is {assign.value.dtype}",
        )
        for node in walk(assign.value):
            _typed(node)
            _require(
                not isinstance(node, Read) or node.source.name in defined,
                f"{target.name} reads {getattr(node, 'source', target).name} before it is computed",
            )
        defined.add(target.name)


def _assigns(
    body: Iterable[Stmt], extents: dict[Var, int]
) -> Iterator[tuple[Assign, dict[Var, int]]]:
    for stmt in body:
        if isinstance(stmt, Assign):
            yield stmt, extents
        else:
            inside = {**extents, stmt.var: stmt.extent} if isinstance(stmt, For) else extents
            yield from _assigns(stmt.body, inside)


def _typed(node: Expr) -> None:
    if isinstance(node, Binary):
        _require(node.a.dtype == node.b.dtype == node.dtype, f"{node.op} of mixed dtypes")
    elif isinstance(node, Requantize):
        kinds = node.value.dtype, node.scale.dtype, node.dtype
        _require(kinds == ("int32", SCALE, "int8"), f"requantize of {kinds}")
    elif isinstance(node, Cast):
        _require(node.value.dtype != node.dtype, f"a cast from {node.dtype} to itself")


# -- operations on tiles ---------------------------------------------------------------------------


def _nested(program: TileProgram, config: Config) -> None:
    _unique((*program.args, *program.temps))
    isa = Isa(config)
    imm = isa.alu.field("imm")
    defined: set[str] = set()
    for op in walk_operations(program.body):
        for name in names_of(op):
            _require(name in program.values, f"{name} is not a value of the program")
        written = op.dst.value if not isinstance(op, Store) else ""
        read = set(names_of(op)) - (
            {written}
            if isinstance(op, Load | Reset)
            or isinstance(op, Alu)
            and (op.a.value != written or not op.reads_first)
            else set()
        )
        for name in sorted(read):
            _require(name in defined, f"{name} is read before it is computed")
        if isinstance(op, Alu) and op.op in (AluOp.QNT, AluOp.MOV):
            legal = isa.is_alu_op(op.op, isinstance(op.b, int))
            _require(legal, f"{op.op.name} is no operation of {config.hw_ver} with {op.b}")
        if isinstance(op, Alu) and isinstance(op.b, int):
            _require(imm.min <= op.b <= imm.max, f"{op.b} does not fit an immediate")
        defined.add(written)


# -- instructions --------------------------------------------------------------------------------


def _instructions(program: InsnProgram, config: Config) -> None:
    buffers = _unique((*program.args, *program.temps))
    depths = {"acc": config.acc_depth, "inp": config.inp_depth, "wgt": config.wgt_depth}
    for op in program.ops[:-1]:
        _require(not isinstance(op, Finish), "FINISH is not last")
        for access in accesses(op, config):
            if access.space in depths:
                low, high = access.reach
                if low < 0 or high > depths[access.space]:
                    raise VerifyError(
                        f"{op} touches {access.space}[{low}:{high}] of {depths[access.space]}"
                    )
        if isinstance(op, Transfer):
            _require(op.buffer in buffers, f"{op.buffer} is not declared")
            _transfer(op, buffers[op.buffer], config)
        if isinstance(op, Kernel):
            _require(len(op.loops) <= 2, "a kernel has at most two loops")
    _require(bool(program.ops) and isinstance(program.ops[-1], Finish), "there is no FINISH")


def _transfer(op: Transfer, buffer: Buffer, config: Config) -> None:
    kind = op.memory_type
    dtypes = ("int32", SCALE) if kind == MemoryType.ACC else ("int8",)
    _require(
        kind != MemoryType.UOP and buffer.dtype in dtypes,
        f"{buffer.name} is {buffer.dtype}, which {kind.name} transfers cannot move",
    )
    nbytes = math.prod(buffer.shape) * nbytes_of(buffer.dtype)
    # The last element may be only partly filled.
    elements = -(-nbytes // config.elem_bytes(kind))
    end = op.dram_base + ((op.y_size - 1) * op.x_stride + op.x_size if op.y_size else 0)
    _require(
        op.dram_base >= 0 and end <= elements,
        f"{buffer.name}[{op.dram_base}:{end}] is beyond its {elements} elements",
    )
