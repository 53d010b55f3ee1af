"""Scalar expressions: the rule that computes one element of a tensor.

Nodes are immutable and have a dtype. Arithmetic follows numpy: operands of different dtypes become
the wider one, and a Python number takes the dtype of the other operand. An operation that the
hardware does not have raises an error where it is written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import numpy as np

from vta.compiler.te.dtypes import ABILITIES, dtype_name, no_scale
from vta.errors import CompileError

__all__ = [
    "DIVISIONS",
    "OPERATORS",
    "Axis",
    "Binary",
    "Cast",
    "Condition",
    "Const",
    "Equality",
    "Expr",
    "Read",
    "Reduce",
    "Requantize",
    "Select",
    "Source",
    "Var",
    "as_expr",
    "binary",
    "const",
    "divided",
    "parts",
    "substitute",
    "walk",
]

CANNOT_EQUAL = (
    f"VTA cannot compare values for equality, only indices in te.if_then_else; {ABILITIES}"
)

CANNOT_DIVIDE = (
    f"VTA can neither divide nor take remainders (>> divides by powers of two); {ABILITIES}"
)

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "<<": np.left_shift,
    ">>": np.right_shift,
    "min": np.minimum,
    "max": np.maximum,
    "//": np.floor_divide,
    "%": np.remainder,
    "truncdiv": lambda a, b: (a - np.fmod(a, b)) // b,
    "truncmod": np.fmod,
}
"""The binary operators and their meaning."""

OPPOSITE = {"<<": ">>", ">>": "<<"}

DIVISIONS = ("//", "%", "truncdiv", "truncmod")
"""The operators that only indices have."""


class Source(Protocol):
    """The source of a `Read`: a tensor of an expression, or a buffer of the loop IR."""

    @property
    def name(self) -> str:
        """The tensor's name."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""

    @property
    def dtype(self) -> str:
        """The dtype of an element."""


class _Operators:
    """Python's operators for expressions and axes; an axis means its index."""

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: object, **options: object
    ) -> Expr:
        """Maps numpy's functions, and operators with a numpy number on the left, to ours."""
        for op, known in OPERATORS.items():
            if ufunc is known and method == "__call__" and not options:
                return (divided if op in DIVISIONS else binary)(op, *inputs)
        raise CompileError(f"VTA has no {ufunc.__name__}; {ABILITIES}")

    def __add__(self, other: object) -> Expr:
        return binary("+", self, other)

    def __radd__(self, other: object) -> Expr:
        return binary("+", other, self)

    def __sub__(self, other: object) -> Expr:
        return binary("-", self, other)

    def __rsub__(self, other: object) -> Expr:
        return binary("-", other, self)

    def __mul__(self, other: object) -> Expr:
        return binary("*", self, other)

    def __rmul__(self, other: object) -> Expr:
        return binary("*", other, self)

    def __lshift__(self, other: object) -> Expr:
        return binary("<<", self, other)

    def __rlshift__(self, other: object) -> Expr:
        return binary("<<", other, self)

    def __rshift__(self, other: object) -> Expr:
        return binary(">>", self, other)

    def __rrshift__(self, other: object) -> Expr:
        return binary(">>", other, self)

    def __neg__(self) -> Expr:
        return binary("*", self, -1)

    def __pos__(self) -> Expr:
        return as_expr(self)

    def __floordiv__(self, other: object) -> Expr:
        return divided("//", self, other)

    def __rfloordiv__(self, other: object) -> Expr:
        return divided("//", other, self)

    def __mod__(self, other: object) -> Expr:
        return divided("%", self, other)

    def __rmod__(self, other: object) -> Expr:
        return divided("%", other, self)

    def _cannot(self, *_: object) -> NoReturn:
        if any(isinstance(node, Read) for node in walk(as_expr(self))):
            raise CompileError(CANNOT_DIVIDE)
        raise CompileError("an index must be divided with // or %, which round down")

    def __ge__(self, other: object) -> Condition:
        return _condition(self, other)

    def __le__(self, other: object) -> Condition:
        return _condition(other, self)

    def __gt__(self, other: object) -> Condition:
        return _condition(self, binary("+", other, 1))

    def __lt__(self, other: object) -> Condition:
        return _condition(other, binary("+", self, 1))

    def __eq__(self, other: object) -> Equality:  # type: ignore[override]
        return Equality(self, other)

    def __ne__(self, other: object) -> Equality:  # type: ignore[override]
        return Equality(self, other, negated=True)

    __hash__ = object.__hash__

    def _cannot_convert(self, *_: object) -> NoReturn:
        raise CompileError(f"an expression has no value until the program runs; {ABILITIES}")

    __int__ = __index__ = __float__ = __round__ = _cannot_convert

    def _cannot_bits(self, *_: object) -> NoReturn:
        raise CompileError(f"VTA has no bitwise operations, powers or abs; {ABILITIES}")

    __truediv__ = __rtruediv__ = __divmod__ = __rdivmod__ = _cannot
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _cannot_bits
    __pow__ = __rpow__ = __invert__ = __abs__ = _cannot_bits

    def __bool__(self) -> bool:
        raise CompileError(
            f"an expression is not true or false until the program runs; {ABILITIES}"
        )


@dataclass(frozen=True, eq=False)
class Expr(_Operators):
    """Base of all expressions; `dtype` is the name of the element's type."""

    dtype: str

    def astype(self, dtype: Any) -> Expr:
        """The value in another dtype; narrowing wraps, as in numpy."""
        if dtype == self.dtype:
            return self
        no_scale(self.dtype)
        name = dtype_name(dtype, "astype")
        if name == self.dtype:
            return self
        if isinstance(self, Const):
            return Const(name, int(np.array(self.number).astype(name)))
        return Cast(name, self)


@dataclass(frozen=True, eq=False)
class Var(Expr):
    """A loop index, compared by identity; `name` is only for printing."""

    name: str


@dataclass(frozen=True, eq=False)
class Axis(_Operators):
    """A dimension of an operation, or a reduced one: `var` runs over ``range(extent)``."""

    var: Var
    extent: int
    reduces: bool = False

    @property
    def name(self) -> str:
        """The tensor's name."""
        return self.var.name

    def __repr__(self) -> str:
        return f"{'reduce_axis' if self.reduces else 'axis'}({self.name}, {self.extent})"


@dataclass(frozen=True, eq=False)
class Const(Expr):
    """A number that fits its dtype; of float32, its bits."""

    number: int


@dataclass(frozen=True, eq=False)
class Binary(Expr):
    """`a op b`, both of this node's dtype; `op` is a key of `OPERATORS`."""

    op: str
    a: Expr
    b: Expr


@dataclass(frozen=True, eq=False)
class Cast(Expr):
    """`value` in this node's dtype."""

    value: Expr


@dataclass(frozen=True, eq=False)
class Read(Expr):
    """One element of `source`."""

    source: Source
    indices: tuple[Expr, ...]


@dataclass(frozen=True, eq=False)
class Condition:
    """True where `value`, an expression of indices only, is 0 or more."""

    value: Expr

    def __bool__(self) -> bool:
        raise CompileError(
            "a condition on an index is not true or false until the program runs; "
            "give it to te.if_then_else, or several with te.all"
        )


@dataclass(frozen=True, eq=False)
class Equality:
    """``a == b`` of two indices, or ``a != b`` if `negated`, for `te.if_then_else`.

    Its truth value tells whether both are the same object, so that lists and dicts can find an
    index.
    """

    a: object
    b: object
    negated: bool = False

    def __bool__(self) -> bool:
        if not isinstance(self.a, Var | Axis) or not isinstance(self.b, Var | Axis):
            # A comparison with a number, or of values, cannot mean identity.
            raise CompileError(CANNOT_EQUAL)
        return (self.a is self.b) != self.negated

    def conditions(self) -> tuple[Condition, ...]:
        """The conditions under which the two indices are equal."""
        if self.negated:
            raise CompileError(
                "te.if_then_else does not take != of indices; use == and swap the two values"
            )
        return _condition(self.a, self.b), _condition(self.b, self.a)


@dataclass(frozen=True, eq=False)
class Select(Expr):
    """`then` where all `conditions` hold, else `other`; only the chosen one is computed."""

    conditions: tuple[Condition, ...]
    then: Expr
    other: Expr


@dataclass(frozen=True, eq=False)
class Requantize(Expr):
    """``max(lower, min(127, rint(value * scale) + zero_point))``, an int8.

    `scale` is a `Read`, or a `Const` whose number is the bits of a float32.
    """

    value: Expr
    scale: Expr
    zero_point: int
    lower: int


@dataclass(frozen=True, eq=False)
class Reduce(Expr):
    """The values of all rounds of `axes`, and `init` if given, combined by `op` (``+ min max``)."""

    op: str
    value: Expr
    axes: tuple[Axis, ...]
    init: Expr | None = None


def const(value: int, dtype: Any = "int32") -> Const:
    """A constant with its own dtype; a plain number takes that of the other operand."""
    name = dtype_name(dtype, "a constant")
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise CompileError(f"a constant must be a whole number, not {value!r}; {ABILITIES}")
    limits = np.iinfo(name)
    if not limits.min <= value <= limits.max:
        raise CompileError(
            f"a constant of {name} must be {limits.min} to {limits.max}, "
            f"not {value}; te.const(…, 'int32') or astype widens"
        )
    return Const(name, int(value))


def as_expr(value: object, dtype: str = "int32") -> Expr:
    """An expression unchanged; a number as a constant (of `dtype`, if it has none itself)."""
    if isinstance(value, Expr):
        return value
    if isinstance(value, Axis):
        return value.var
    if isinstance(value, np.integer):
        return const(int(value), value.dtype)
    if isinstance(value, int) and not isinstance(value, bool):
        return const(value, dtype)
    if isinstance(value, Equality):
        raise CompileError(CANNOT_EQUAL)
    if hasattr(value, "shape") and hasattr(value, "op"):
        name = getattr(value, "name", "T")
        raise CompileError(
            f"{name} is a whole tensor where one element is needed: index it, {name}(*i)"
        )
    raise CompileError(
        f"a value must be an expression or a whole number, not {value!r}; {ABILITIES}"
    )


def binary(op: str, left: object, right: object) -> Expr:
    """`op` of two operands; a plain number takes the dtype of the other operand."""
    no_scale(*(side.dtype for side in (left, right) if isinstance(side, Expr)))
    a = as_expr(left, right.dtype if isinstance(right, Expr) else "int32")
    b = as_expr(right, a.dtype)
    dtype = np.promote_types(a.dtype, b.dtype).name
    a, b = a.astype(dtype), b.astype(dtype)
    if op in ("<<", ">>") and isinstance(b, Const) and b.number < 0:
        raise CompileError(
            f"a shift by a constant must be by 0 or more, not {b.number}; shift the other way"
        )
    if isinstance(a, Const) and isinstance(b, Const):
        with np.errstate(over="ignore"):
            folded = OPERATORS[op](np.array(a.number, dtype), np.array(b.number, dtype))
        return Const(dtype, int(folded))
    return Binary(dtype, op, a, b)


def divided(op: str, left: object, right: object) -> Expr:
    """`op`, one of `DIVISIONS`, of an index by a number of 1 or more; values cannot be divided."""
    index = as_expr(left)
    if any(isinstance(node, Read) for node in walk(index)) or (
        isinstance(right, Expr) and any(isinstance(node, Read) for node in walk(right))
    ):
        raise CompileError(CANNOT_DIVIDE)
    number = right.number if isinstance(right, Const) else right
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
        shown = f"the index {right.name}" if isinstance(right, Var | Axis) else repr(right)
        if isinstance(right, Expr) and not isinstance(right, Var | Const):
            shown = "another index"
        raise CompileError(f"an index must be divided by a whole number of 1 or more, not {shown}")
    return binary(op, index.astype("int32"), const(int(number)))


def _condition(left: object, right: object) -> Condition:
    value = binary("-", left, right)
    if any(isinstance(node, Read) for node in walk(value)):
        raise CompileError(
            f"VTA can compare only indices, not values (min and max may do instead); {ABILITIES}"
        )
    return Condition(value)


def _rebuilt(op: str, a: Expr, b: Expr) -> Expr:
    """`op` of replaced operands; a shift by a negative constant becomes the opposite shift."""
    if op in OPPOSITE and isinstance(b, Const) and b.number < 0:
        most = int(np.iinfo(b.dtype).max)
        return binary(OPPOSITE[op], a, Const(b.dtype, min(-b.number, most)))
    return binary(op, a, b)


def walk(expr: Expr) -> Iterator[Expr]:
    """The expression and all its parts (also indices), each once; a node comes before its parts."""
    seen: set[int] = set()
    todo = [expr]
    while todo:
        node = todo.pop()
        if id(node) not in seen:
            seen.add(id(node))
            yield node
            todo += reversed(parts(node))


def parts(expr: Expr) -> tuple[Expr, ...]:
    """The direct parts of an expression."""
    if isinstance(expr, Binary):
        return (expr.a, expr.b)
    if isinstance(expr, Cast):
        return (expr.value,)
    if isinstance(expr, Requantize):
        return (expr.scale, expr.value)
    if isinstance(expr, Reduce):
        return (expr.value,) if expr.init is None else (expr.init, expr.value)
    if isinstance(expr, Read):
        return expr.indices
    if isinstance(expr, Select):
        return (*(item.value for item in expr.conditions), expr.then, expr.other)
    return ()


def substitute(
    expr: Expr,
    variables: Mapping[Var, Expr],
    reads: Callable[[Read], Expr] = lambda read: read,
    conditions: Callable[[Expr], Expr] = lambda value: value,
) -> Expr:
    """The expression with variables replaced.

    `reads` replaces each read, after its indices were replaced. `conditions` replaces the value of
    each condition. Shared parts of the expression stay shared.
    """
    done: dict[int, Expr] = {}

    def replaced(node: Expr) -> Expr:
        if id(node) not in done:
            done[id(node)] = changed(node)
        return done[id(node)]

    def changed(node: Expr) -> Expr:
        if isinstance(node, Var):
            return variables.get(node, node)
        if isinstance(node, Binary):
            return _rebuilt(node.op, replaced(node.a), replaced(node.b))
        if isinstance(node, Cast):
            return replaced(node.value).astype(node.dtype)
        if isinstance(node, Read):
            return reads(Read(node.dtype, node.source, tuple(map(replaced, node.indices))))
        if isinstance(node, Reduce):
            init = node.init if node.init is None else replaced(node.init)
            return Reduce(node.dtype, node.op, replaced(node.value), node.axes, init)
        if isinstance(node, Requantize):
            return dataclasses.replace(node, value=replaced(node.value), scale=replaced(node.scale))
        if isinstance(node, Select):
            return Select(
                node.dtype,
                tuple(Condition(conditions(replaced(item.value))) for item in node.conditions),
                replaced(node.then),
                replaced(node.other),
            )
        return node

    return replaced(expr)
