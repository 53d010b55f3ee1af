"""Selects ALU operations for an expression; each operation makes a new value.

Operations that the ALU lacks are expressed with those that it has:

- ``x - y`` is ``x + y * -1``, ``x << y`` is a right shift by ``-y``, as the ISA defines it;
- a number too wide for an immediate becomes a `Constant`;
- an int8 value is kept in 32 bits. A cast, additions, products and left shifts may leave the upper
  bits wrong. An operation that depends on those bits first *narrows* the value: it shifts it up and
  back down. A shift whose amount is a value may go left or right. So it depends on the upper bits
  of its operand, and it may also leave wrong ones.

Requantisation is one operation, whose scale is a value or, if it is a number, a `Constant`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vta.compiler.te.dtypes import check_requantises
from vta.compiler.te.expr import Binary, Cast, Const, Expr, Read, Requantize
from vta.config import Config
from vta.isa import AluOp, Isa, pack_qnt

__all__ = ["Constant", "Fill", "Selected", "Selector", "AluStep"]

COMMUTATIVE = {"+": AluOp.ADD, "*": AluOp.MUL, "min": AluOp.MIN, "max": AluOp.MAX}


@dataclass(frozen=True)
class Selected:
    """A value's name or a number; `exact` if the upper bits of an int8 are sign-extended.

    One value may be read as two tensors: an int32, and an int8 of its low bits.
    """

    ref: str | int
    exact: bool = True


@dataclass(frozen=True)
class AluStep:
    """``dst = op(a, b)``; `b` is a value, a constant or a 16-bit number.

    `offsets` is the imm field of a QNT. MOV has `dst` as its `a`, and does not read it.
    """

    op: AluOp
    dst: str
    a: str
    b: str | int
    offsets: int = 0


@dataclass(frozen=True)
class Fill:
    """Sets every element of `dst` to `number`, or to the constant of that name."""

    dst: str
    number: int | str


@dataclass(frozen=True)
class Constant:
    """A number too wide for an immediate: one tile that stays in ACC for the whole program."""

    name: str
    number: int


class Selector:
    """Selects ALU operations for expressions.

    Parameters
    ----------
    config : Config
    taken : set of str
        Names that are in use; every new name is added.

    Attributes
    ----------
    constants : list of Constant
        Numbers that became tiles, for all expressions so far.
    """

    def __init__(self, config: Config, taken: set[str]) -> None:
        self.taken = taken
        imm = Isa(config).alu.field("imm")
        self.imm_min, self.imm_max = imm.min, imm.max
        self.width = config.acc_width
        self.config, self.moves = config, config.requantises
        self.constants: list[Constant] = []
        self.ops: list[AluStep | Fill] = []
        self.known: dict[tuple[AluOp, str, str | int, int], str] = {}
        self.done: dict[int, Selected] = {}
        self.stage = ""
        self.count = 0

    def expression(
        self, stage: str, value: Expr, operand: Callable[[Read], Selected]
    ) -> tuple[list[AluStep | Fill], Selected]:
        """The operations that compute a stage's value, and the operand that holds the result.

        `operand` maps a read to its operand.
        """
        self.stage, self.count, self.operand = stage, 0, operand
        self.ops, self.known, self.done = [], {}, {}
        result = self._expr(value)
        return self.ops, result

    # -- expressions -------------------------------------------------------------------------

    def _expr(self, expr: Expr) -> Selected:
        if id(expr) not in self.done:
            self.done[id(expr)] = self._new(expr)
        return self.done[id(expr)]

    def _new(self, expr: Expr) -> Selected:
        if isinstance(expr, Const):
            return Selected(expr.number)
        if isinstance(expr, Read):
            return self.operand(expr)
        if isinstance(expr, Cast):
            inner = self._expr(expr.value)
            if expr.dtype == "int8":  # from int32
                return Selected(inner.ref, exact=False)
            return self._narrow(inner)
        if isinstance(expr, Requantize):
            return self._requantize(expr)
        assert isinstance(expr, Binary), expr
        return self._binary(expr)

    def _binary(self, expr: Binary) -> Selected:
        a, b = self._expr(expr.a), self._expr(expr.b)
        narrow = expr.dtype == "int8"
        if expr.op in ("min", "max"):
            return Selected(
                self._commutative(COMMUTATIVE[expr.op], self._narrow(a), self._narrow(b))
            )
        if expr.op in COMMUTATIVE:
            return Selected(self._commutative(COMMUTATIVE[expr.op], a, b), exact=not narrow)
        if expr.op == "-":
            return Selected(self._subtract(a, b), exact=not narrow)
        return self._shift(expr, a, self._narrow(b))

    def _requantize(self, expr: Requantize) -> Selected:
        check_requantises(f"te.requantize in stage {self.stage}", self.config)
        value, scale = self._value(self._expr(expr.value)), self._expr(expr.scale).ref
        if isinstance(scale, int):
            scale = self._constant(scale)
        return Selected(self._alu(AluOp.QNT, value, scale, pack_qnt(expr.zero_point, expr.lower)))

    def copy(self, dst: str, source: str) -> list[AluStep | Fill]:
        """The operations that copy a value."""
        if self.moves:
            return [AluStep(AluOp.MOV, dst, dst, source)]
        return [Fill(dst, 0), AluStep(AluOp.ADD, dst, dst, source)]

    def _commutative(self, op: AluOp, a: Selected, b: Selected) -> str:
        if isinstance(a.ref, int):
            a, b = b, a
        return self._alu(op, self._value(a), self.second(b.ref))

    def _subtract(self, a: Selected, b: Selected) -> str:
        if isinstance(b.ref, int):
            return self._alu(AluOp.ADD, self._value(a), self.second(self._wrap(-b.ref)))
        minus = self._alu(AluOp.MUL, b.ref, -1)
        return minus if a.ref == 0 else self._alu(AluOp.ADD, minus, self.second(a.ref))

    def _shift(self, expr: Binary, a: Selected, b: Selected) -> Selected:
        wide = expr.dtype != "int8"
        if isinstance(b.ref, int):
            # All shifts by the accumulator's width or more are the same, so the amount fits imm.
            amount = min(b.ref, self.width)
            if expr.op == ">>":
                return Selected(self._alu(AluOp.SHR, self._value(self._narrow(a)), amount))
            return Selected(self._alu(AluOp.SHR, self._value(a), -amount), exact=wide)
        value, by = self._value(self._narrow(a)), b.ref
        if expr.op == "<<":
            if wide and not isinstance(expr.b, Cast):
                # The smallest number cannot be negated.
                by = self._alu(AluOp.MAX, by, -self.width)
            by = self._alu(AluOp.MUL, by, -1)
        return Selected(self._alu(AluOp.SHR, value, by), exact=wide)

    def _narrow(self, operand: Selected) -> Selected:
        if operand.exact or isinstance(operand.ref, int):
            return operand
        spare = self.width - 8
        up = self._alu(AluOp.SHR, operand.ref, -spare)
        return Selected(self._alu(AluOp.SHR, up, spare))

    # -- operations --------------------------------------------------------------------------

    def _alu(self, op: AluOp, a: str, b: str | int, offsets: int = 0) -> str:
        key = op, a, b, offsets
        if key not in self.known:
            self.known[key] = dst = self._fresh()
            self.ops.append(AluStep(op, dst, a, b, offsets))
        return self.known[key]

    def _value(self, operand: Selected) -> str:
        """The operand as a value; a number becomes a filled value."""
        if isinstance(operand.ref, str):
            return operand.ref
        dst = self._fresh()
        self.ops.append(Fill(dst, self.second(operand.ref)))
        return dst

    def second(self, ref: str | int) -> str | int:
        """The second operand of an instruction; numbers that are too wide become constants."""
        if isinstance(ref, str) or self.imm_min <= ref <= self.imm_max:
            return ref
        return self._constant(ref)

    def _constant(self, ref: int) -> str:
        """The name of the constant tile of a number."""
        for item in self.constants:
            if item.number == ref:
                return item.name
        self.constants.append(Constant(self.unique("const", len(self.constants)), ref))
        return self.constants[-1].name

    def _wrap(self, number: int) -> int:
        half = 1 << (self.width - 1)
        return (number + half) % (2 * half) - half

    def _fresh(self) -> str:
        self.count += 1
        return self.unique(self.stage, self.count)

    def unique(self, stem: str, number: int) -> str:
        """A name that is not in use yet."""
        name = f"{stem}.{number}"
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name
