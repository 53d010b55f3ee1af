"""Unrolls loops around operations to instructions: every iteration of every outer loop, in order.

Virtual threads are interleaved. In each part of the program without a loop, one thread runs the
whole part before the next thread does. One thread can then load while another computes.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from vta.compiler.ir.affine import Affine, Quotient
from vta.compiler.ir.insn_ir import Finish, InsnProgram, Kernel, Op
from vta.compiler.ir.tile_ir import (
    Alu,
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
from vta.compiler.passes.unroll.iteration_boxes import Box, boxes
from vta.compiler.passes.unroll.transfer_shapes import Dim, transfers
from vta.compiler.passes.unroll.uop_kernels import Round, kernels
from vta.compiler.te.expr import Var
from vta.config import Config
from vta.errors import CompileError
from vta.isa import AluOp, MemoryType, Opcode

__all__ = ["unroll"]

logger = logging.getLogger(__name__)

MANY_INSTRUCTIONS = 20_000
"""Some seconds of compiling."""
MOST_INSTRUCTIONS = 1 << 18
"""More are a mistake in a schedule; counting them all would take minutes."""

Rounds = dict[Var, int]
NOWHERE = Affine(0, {})


def unroll(program: TileProgram, config: Config) -> InsnProgram:
    """Lowers the program to instructions, in an order that is correct if run sequentially.

    Raises
    ------
    CompileError
        There are too many instructions.
    """
    ops = _Unroller(config).run(program.body)
    return InsnProgram(program.name, program.args, program.temps, program.outputs, (*ops, Finish()))


class _Unroller:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.ops: list[Op] = []
        self.warned = False
        self.limits = {
            Opcode.GEMM: (config.acc_depth, config.inp_depth, config.wgt_depth),
            Opcode.ALU: (config.acc_depth, config.acc_depth, config.wgt_depth),
        }

    def run(self, body: tuple[Node, ...]) -> list[Op]:
        self._body(body, [{}])
        return self.ops

    def _body(self, body: tuple[Node, ...], threads: list[Rounds]) -> None:
        run: list[TileOperation] = []
        for node in body:
            if isinstance(node, Loop):
                self._straight(run, threads)
                run = []
                self._loop(node, threads)
            else:
                run.append(node)
        self._straight(run, threads)

    def _loop(self, loop: Loop, threads: list[Rounds]) -> None:
        if loop.thread:
            self._body(
                loop.body,
                [
                    {**thread, loop.var: number}
                    for thread in threads
                    for number in range(loop.extent)
                ],
            )
            return
        for number in range(loop.extent):
            self._body(loop.body, [{**thread, loop.var: number} for thread in threads])

    def _straight(self, run: list[TileOperation], threads: list[Rounds]) -> None:
        if not run:
            return
        for thread in threads:
            for op in run:
                self.ops += self._operation(op, thread)
        if len(self.ops) > MANY_INSTRUCTIONS and not self.warned:
            self.warned = True
            logger.warning(
                "the schedule makes more than %d instructions, which takes long; let "
                "each cover more (a compute_at further outside)",
                MANY_INSTRUCTIONS,
            )
        if len(self.ops) > MOST_INSTRUCTIONS:
            raise CompileError(
                f"the schedule makes more than {MOST_INSTRUCTIONS} instructions; "
                "let each cover more (a pragma, tensorize or compute_at further "
                "outside)"
            )

    # -- one operation in one iteration of outer loops -----------------------------------------

    def _operation(self, op: TileOperation, outside: Rounds) -> Iterator[Op]:
        box = {var: (0, extent) for var, extent in op.domain.loops}
        guards = [_fixed(form, outside) for form in op.domain.guards]
        for part in boxes(box, guards):
            if isinstance(op, Load):
                yield from self._load(op, part, outside)
            elif isinstance(op, Store):
                yield from self._store(op, part, outside)
            else:
                yield from self._kernel(op, part, outside)

    def _load(self, op: Load, box: Box, outside: Rounds) -> Iterator[Op]:
        pads = [_fixed(form, outside) for form in op.pads]
        chip, dram = _fixed(op.dst.at, outside), _fixed(op.source, outside)
        note = f"{op.dst.shown} = {op.buffer.name}"
        for part, valid in _padded(box, pads):
            dims = [
                Dim(
                    end - begin,
                    chip.factors.get(var, 0),
                    dram.factors.get(var, 0),
                    (valid[var][0] - begin, valid[var][1] - begin),
                )
                for var, (begin, end) in part.items()
            ]
            for transfer in transfers(
                Opcode.LOAD,
                op.memory_type,
                op.buffer.name,
                _start(chip, part),
                _start(dram, part),
                dims,
                note,
            ):
                padded = op.pad_min and any(transfer.pads)
                yield dataclasses.replace(transfer, pad_min=True) if padded else transfer

    def _store(self, op: Store, box: Box, outside: Rounds) -> Iterator[Op]:
        chip, dram = _fixed(op.src.at, outside), _fixed(op.target, outside)
        dims = [
            Dim(end - begin, chip.factors.get(var, 0), dram.factors.get(var, 0), (0, end - begin))
            for var, (begin, end) in box.items()
        ]
        yield from transfers(
            Opcode.STORE,
            MemoryType.OUT,
            op.buffer.name,
            _start(chip, box),
            _start(dram, box),
            dims,
            f"{op.src.shown} to {op.buffer.name}",
        )

    def _kernel(self, op: Reset | Gemm | Alu, box: Box, outside: Rounds) -> Iterator[Op]:
        call = _call(op)
        dst, src, wgt = (_fixed(form, outside) for form in (call.dst, call.src, call.wgt))
        rounds = tuple(
            Round(
                end - begin,
                dst.factors.get(var, 0),
                src.factors.get(var, 0),
                wgt.factors.get(var, 0),
                var in op.domain.unrolled,
            )
            for var, (begin, end) in box.items()
        )
        base = (_start(dst, box), _start(src, box), _start(wgt, box))
        for loops, uops in kernels(
            rounds,
            base,
            self.limits[call.opcode],
            self.config.uop_depth,
            holds_source=call.holds_source,
        ):
            yield Kernel(
                call.opcode,
                loops,
                uops,
                reset=isinstance(op, Reset),
                alu_opcode=call.alu,
                imm=call.imm,
                offsets=call.offsets,
                note=call.note,
            )


@dataclass(frozen=True)
class _Call:
    """A GEMM or ALU instruction's operands and fields."""

    opcode: Opcode
    dst: Affine
    src: Affine
    wgt: Affine
    note: str
    alu: AluOp = AluOp.MIN
    imm: int | None = None
    holds_source: bool = False
    offsets: int = 0


def _call(op: Reset | Gemm | Alu) -> _Call:
    dst = op.dst.at
    if isinstance(op, Reset):
        return _Call(Opcode.GEMM, dst, NOWHERE, NOWHERE, f"{op.dst.shown} = 0")
    if isinstance(op, Gemm):
        return _Call(
            Opcode.GEMM,
            dst,
            op.inp.at,
            op.wgt.at,
            f"{op.dst.shown} += {op.inp.shown} * {op.wgt.shown}",
        )
    second = op.b.shown if isinstance(op.b, TileOperand) else op.b
    first = f"{op.a.shown}, " if op.reads_first else ""
    note = f"{op.dst.shown} = {op.op.name.lower()}({first}{second})"
    if isinstance(op.b, TileOperand):
        return _Call(
            Opcode.ALU, dst, op.b.at, NOWHERE, note, op.op, holds_source=True, offsets=op.offsets
        )
    return _Call(Opcode.ALU, dst, dst, NOWHERE, note, op.op, op.b)


def _fixed(form: Affine, outside: Rounds) -> Affine:
    """A form with each outer loop fixed at one iteration."""
    offset, factors = form.offset, {}
    for var, factor in form.factors.items():
        if var in outside:
            offset += factor * outside[var]
        elif isinstance(var, Quotient):
            inner = var.form.with_values(outside)
            assert not inner.factors, f"{var.name} is a division of loops inside an operation"
            offset += factor * (inner.offset // var.divisor)
        else:
            factors[var] = factor
    return Affine(offset, factors)


def _start(form: Affine, box: Box) -> int:
    return form.offset + sum(factor * box[var][0] for var, factor in form.factors.items())


def _padded(box: Box, pads: list[Affine]) -> Iterator[tuple[Box, Box]]:
    """Parts of a box, each with the box inside it that is not padding (may be empty)."""
    tied = [form for form in pads if sum(box[var][1] - box[var][0] > 1 for var in form.factors) > 1]
    if tied:
        # Padding along a diagonal of loops: unroll one of them.
        var = min(
            (var for form in tied for var in form.factors if box[var][1] - box[var][0] > 1),
            key=lambda item: box[item][1] - box[item][0],
        )
        for number in range(*box[var]):
            yield from _padded({**box, var: (number, number + 1)}, pads)
        return
    valid = next(iter(boxes(box, pads)), None)
    if valid is None:
        valid = {var: (begin, begin) for var, (begin, _) in box.items()}
        if not valid:
            # No loops: one tile of zeros.
            one = Var("int32", "one")
            yield {**box, one: (0, 1)}, {one: (0, 0)}
            return
    yield box, valid
