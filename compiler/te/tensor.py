"""Tensors and the operations that make them: `placeholder` and `compute`.

Declaring a tensor computes nothing. A tensor has the operation that makes it, and an operation has
the rule for one element.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from vta.compiler.te.dtypes import dtype_name, items_of
from vta.compiler.te.expr import Axis, Expr, Read, Reduce, Var, as_expr, walk
from vta.errors import CompileError

__all__ = ["ComputeOp", "Operation", "PlaceholderOp", "Tensor", "compute", "placeholder"]


@dataclass(frozen=True, eq=False)
class Operation:
    """The operation that makes a tensor."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def output(self, index: int = 0) -> Tensor:
        """The tensor that the operation makes; `index` must be 0."""
        if index != 0:
            raise CompileError(f"index of an output of {self.name} must be 0, not {index}")
        return Tensor(self)


@dataclass(frozen=True, eq=False)
class PlaceholderOp(Operation):
    """An argument of the program."""


@dataclass(frozen=True, eq=False)
class ComputeOp(Operation):
    """`body`, an expression over the variables of `axis`, for each element."""

    axis: tuple[Axis, ...]
    body: Expr

    @property
    def reduce_axis(self) -> tuple[Axis, ...]:
        """The axes that the body reduces; empty unless the body is a `Reduce`."""
        return self.body.axes if isinstance(self.body, Reduce) else ()

    @property
    def input_tensors(self) -> tuple[Tensor, ...]:
        """The tensors that the body reads, each once, in order of appearance."""
        seen: dict[int, Tensor] = {}
        for node in walk(self.body):
            if isinstance(node, Read) and isinstance(node.source, Tensor):
                seen.setdefault(id(node.source.op), node.source)
        return tuple(seen.values())


@dataclass(frozen=True, eq=False)
class Tensor:
    """A multi-dimensional array that does not exist yet; ``T[i, j]`` or ``T(i, j)`` is one element.

    Two tensors of the same operation are the same tensor.
    """

    op: Operation

    @property
    def name(self) -> str:
        """The name of the operation that computes it."""
        return self.op.name

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, in elements."""
        return self.op.shape

    @property
    def dtype(self) -> str:
        """The dtype of an element."""
        return self.op.dtype

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tensor) and other.op is self.op

    def __hash__(self) -> int:
        return id(self.op)

    def __call__(self, *indices: object) -> Expr:
        """The element at these indices, as an expression."""
        if len(indices) != self.ndim:
            raise CompileError(
                f"{self.name} has {self.ndim} dimensions {list(self.shape)}, "
                f"but is indexed with {len(indices)}"
            )
        return Read(self.dtype, self, tuple(as_expr(index) for index in indices))

    def __getitem__(self, indices: object) -> Expr:
        return self(*indices) if isinstance(indices, tuple) else self(indices)

    def _whole(self, *_: object) -> NoReturn:
        raise CompileError(
            f"{self.name} is a whole tensor where one element is needed: index it, {self.name}(*i)"
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __neg__ = _whole
    __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = _whole
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _whole

    def __iter__(self) -> Any:
        # Without this, Python would read T[0], T[1], ... forever.
        raise CompileError(f"{self.name} cannot be iterated over; index it, {self.name}(*i)")

    def __repr__(self) -> str:
        return f"Tensor({self.name}, {list(self.shape)}, {self.dtype})"


def _check_name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise CompileError(f"a tensor's name must be text, not {name!r}")
    return name


def _check_shape(shape: object, what: str) -> tuple[int, ...]:
    sizes = items_of(shape)
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
            raise CompileError(f"shape of {what} must be whole numbers of 1 or more, not {shape!r}")
    if not sizes:
        raise CompileError(f"shape of {what} must have at least one dimension")
    return tuple(map(int, sizes))


def placeholder(
    shape: Sequence[int] | int, dtype: Any = "int32", name: str = "placeholder"
) -> Tensor:
    """An input of the program: a tensor in main memory.

    `dtype` is int8 or int32; float32 only for the scales of `te.requantize`.
    """
    kind = dtype_name(dtype, name, scale=True)
    return Tensor(PlaceholderOp(_check_name(name), _check_shape(shape, name), kind))


def compute(
    shape: Sequence[int] | int, fcompute: Callable[..., object], name: str = "compute"
) -> Tensor:
    """The tensor whose element at ``i`` is ``fcompute(*i)``.

    `fcompute` takes one argument for each dimension, or ``*i``.
    """
    sizes = _check_shape(shape, _check_name(name))
    axis = tuple(
        Axis(Var("int32", axis_name), size)
        for axis_name, size in zip(_axis_names(fcompute, len(sizes), name), sizes, strict=True)
    )
    result = fcompute(*(item.var for item in axis))
    try:
        body = as_expr(result)
    except CompileError as error:
        raise CompileError(f"the rule of {name}: {error}") from None
    for node in walk(body):
        if isinstance(node, Reduce) and node is not body:
            raise CompileError(
                f"the rule of {name} computes with the result of a reduction; make the "
                "reduction a stage of its own"
            )
    reduced = body.axes if isinstance(body, Reduce) else ()
    own = {item.var for item in (*axis, *reduced)}
    for node in walk(body):
        if isinstance(node, Var) and node not in own:
            raise CompileError(
                f"the rule of {name} uses {node.name}, which is not one of its indices; an axis "
                "that is reduced must be among those of te.sum, te.max or te.min"
            )
    return Tensor(ComputeOp(name, sizes, body.dtype, axis, body))


def _axis_names(fcompute: Callable[..., object], ndim: int, name: str) -> list[str]:
    if not callable(fcompute):
        raise CompileError(
            f"the rule of {name} must be a function of the indices, not {fcompute!r}"
        )
    kinds = inspect.Parameter
    names: list[str] = []
    rest = None
    try:
        parameters = inspect.signature(fcompute).parameters.values()
    except ValueError:
        raise CompileError(
            f"the rule of {name} must be a Python function whose parameters can be "
            f"inspected, not {fcompute!r}"
        ) from None
    for parameter in parameters:
        if parameter.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
        elif parameter.kind is kinds.VAR_POSITIONAL:
            rest = parameter.name
        elif parameter.kind is kinds.KEYWORD_ONLY and parameter.default is kinds.empty:
            raise CompileError(
                f"the rule of {name} must take indices only, not {parameter.name} by keyword"
            )
    if rest is not None:
        for index in range(len(names), ndim):
            fresh = f"{rest}{index}"
            names.append(f"{fresh}_" if fresh in names else fresh)
    if len(names) != ndim:
        raise CompileError(
            f"the rule of {name} takes {len(names)} indices, but its shape has "
            f"{ndim} dimensions; `lambda *i:` takes any number"
        )
    return names
