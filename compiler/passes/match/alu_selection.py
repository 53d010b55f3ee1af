"""How the ALU spells an expression: its operations one at a time, each making a new value.

What the ALU has no instruction for is spelled with those that it has:

- ``x - y`` is ``x + y * -1``, ``x << y`` is a right shift by ``-y``, as the ISA defines it;
- a number of more than an immediate's bits becomes a `Constant`;
- an int8 value is kept in 32 bits. A cast, additions, products and left shifts may leave the upper
  bits wrong, which shows only where they are looked at: there the value is *narrowed*, shifted up
  and back down. A shift by a value may go either way: it looks at the upper bits of what it shifts,
  and leaves wrong ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vta.compiler.te.expr import Binary, Cast, Const, Expr, Read
from vta.config import Config
from vta.isa import AluOp, Isa

__all__ = ["Constant", "Fill", "Selected", "Selector", "AluStep"]

COMMUTATIVE = {"+": AluOp.ADD, "*": AluOp.MUL, "min": AluOp.MIN, "max": AluOp.MAX}


@dataclass(frozen=True)
class Selected:
    """A value's name or a number; `exact` if the upper bits of an int8 are its sign.

    One value may be read as two tensors: an int32, and an int8 that has its low bits.
    """

    ref: str | int
    exact: bool = True


@dataclass(frozen=True)
class AluStep:
    """``dst = op(a, b)``; `b` is a value, a constant or a number of 16 bits."""

    op: AluOp
    dst: str
    a: str
    b: str | int


@dataclass(frozen=True)
class Fill:
    """Every number of `dst` is `number`, or what the constant of that name holds."""

    dst: str
    number: int | str


@dataclass(frozen=True)
class Constant:
    """A number too wide for an immediate: one tile that stays in ACC for the whole program."""

    name: str
    number: int


class Selector:
    """Spells expressions with ALU operations.

    Parameters
    ----------
    config : Config
    taken : set of str
        Names that new values must not have; grows with every new one.

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
        self.constants: list[Constant] = []
        self.ops: list[AluStep | Fill] = []
        self.known: dict[tuple[AluOp, str, str | int], str] = {}
        self.done: dict[int, Selected] = {}
        self.stage = ""
        self.count = 0

    def expression(
        self, stage: str, value: Expr, operand: Callable[[Read], Selected]
    ) -> tuple[list[AluStep | Fill], Selected]:
        """The operations that make a stage's value, and which of their results it is.

        `operand` says what a read is.
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
            # From the accumulator's width on every shift does the same, so that it fits imm.
            amount = min(b.ref, self.width)
            if expr.op == ">>":
                return Selected(self._alu(AluOp.SHR, self._value(self._narrow(a)), amount))
            return Selected(self._alu(AluOp.SHR, self._value(a), -amount), exact=wide)
        value, by = self._value(self._narrow(a)), b.ref
        if expr.op == "<<":
            if wide and not isinstance(expr.b, Cast):
                # The least number has no opposite.
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

    def _alu(self, op: AluOp, a: str, b: str | int) -> str:
        if (op, a, b) not in self.known:
            self.known[op, a, b] = dst = self._fresh()
            self.ops.append(AluStep(op, dst, a, b))
        return self.known[op, a, b]

    def _value(self, operand: Selected) -> str:
        """The operand as a whole value."""
        if isinstance(operand.ref, str):
            return operand.ref
        dst = self._fresh()
        self.ops.append(Fill(dst, self.second(operand.ref)))
        return dst

    def second(self, ref: str | int) -> str | int:
        """The operand as an instruction's second: numbers that are too wide are constants."""
        if isinstance(ref, str) or self.imm_min <= ref <= self.imm_max:
            return ref
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
        """A name that no value has yet."""
        name = f"{stem}.{number}"
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name
