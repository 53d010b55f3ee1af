"""Random te programs of breadth: what is computed; `random_schedules` draws how.

Tensors are in tiles: a few leading dimensions that say which tile, then a tile's own two. Values
are read at any place that an index can name: shifted, reversed, strided, along a diagonal.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vta import te
from vta.compiler.te.expr import Expr, Read, Var, walk
from vta.compiler.te.padding import pad
from vta.compiler.te.tensor import ComputeOp, Tensor
from vta.config import Config
from vta.tools.fuzz.choices import Choices
from vta.tools.fuzz.drawn import Drawn
from vta.tools.fuzz.random_arrays import SPECIAL, draw_array

__all__ = ["draw_program"]

ACC = "local.acc_buffer"
INP = "local.inp_buffer"
WGT = "local.wgt_buffer"
MOST_TILES = 12
"""Of one tensor: small buffers hold several such."""
REDUCTIONS: dict[str, Callable[..., Any]] = {"+": te.sum, "max": te.max, "min": te.min}


def draw_program(choices: Choices, config: Config) -> Drawn:
    """A random program; now and then one of tensors that are not in tiles."""
    return _Drawing(choices, config).run()


class _Drawing:
    def __init__(self, choices: Choices, config: Config) -> None:
        self.choices = choices
        self.drawn = Drawn(config)
        self.tile = (config.batch, config.block)
        self.flat = choices.chance(6)
        """Whether tensors have shapes that are no tiles, and all reads are at the same place."""
        self.memory: list[Tensor] = []
        self.values: list[Tensor] = []
        self.scales: list[Tensor] = []
        self.read: set[Tensor] = set()
        self.count = 0

    def run(self) -> Drawn:
        choices = self.choices
        self.shape = self._lead()
        for _ in range(choices.number(1, 3)):
            self._input()
        steps = [self._alu] * 7 + [self._cast] * 3
        steps += [self._number, self._load, self._reduce, self._store, self._store_and_load]
        if not self.flat:
            steps += [self._reduce, self._gemm, self._chosen]
        if self.drawn.config.requantises:
            steps += [self._requantize] * 4 + [self._copy_scale]
        for _ in range(choices.number(1, 8)):
            choices.pick(steps)()
        self._finish()
        return self.drawn

    # -- tensors -----------------------------------------------------------------------------

    def _name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def _lead(self) -> tuple[int, ...]:
        """The leading dimensions of a tensor."""
        if self.flat:
            return tuple(self.choices.number(1, 13) for _ in range(self.choices.number(1, 2)))
        sizes: list[int] = []
        for _ in range(self.choices.number(1, 3)):
            most = MOST_TILES // int(np.prod(sizes, dtype=int))
            sizes.append(self.choices.number(1, max(1, min(5, most))))
        return tuple(sizes)

    def _full(self, lead: Sequence[int]) -> tuple[int, ...]:
        return tuple(lead) if self.flat else (*lead, *self.tile)

    def _own(self, tensor: Tensor) -> tuple[int, ...]:
        """A tensor's leading dimensions."""
        return tensor.shape if self.flat else tensor.shape[:-2]

    def _placeholder(self, shape: Sequence[int], dtype: str) -> Tensor:
        tensor = te.placeholder(tuple(shape), name=self._name("I"), dtype=dtype)
        self.drawn.inputs.append(tensor)
        self.drawn.arrays.append(draw_array(self.choices, shape, dtype))
        return tensor

    def _input(self) -> None:
        choices = self.choices
        lead = self.shape if self.flat or choices.chance(60) else self._lead()
        tensor = self._placeholder(self._full(lead), choices.pick(["int8", "int32"]))
        self.memory.append(tensor)
        if choices.chance(20):
            self.drawn.direct.append(tensor)
            self.values.append(tensor)
            self.memory.remove(tensor)
            return
        self._loaded(tensor, lead)

    def _add(self, tensor: Tensor, role: str, scope: str = "") -> None:
        self.drawn.roles[tensor] = role
        self.read |= set(tensor.op.input_tensors) if isinstance(tensor.op, ComputeOp) else set()
        if scope:
            self.drawn.scopes[tensor] = scope
        if role == "store":
            self.memory.append(tensor)
        elif scope == ACC:
            (self.scales if tensor.dtype == "float32" else self.values).append(tensor)

    def _compute(self, stem: str, lead: Sequence[int], rule: Callable[..., Any]) -> Tensor:
        return te.compute(self._full(lead), lambda *i: rule(i), self._name(stem))

    # -- places ------------------------------------------------------------------------------

    def _read(
        self, tensor: Tensor, lead: Sequence[tuple[Var, int]], tile: Sequence[Expr], plain: int
    ) -> Expr:
        """A tensor read at some place; in `plain` of 100 cases at the reader's own, if it is one.

        `lead` are the reader's leading indices and what it reduces, each with its extent.
        """
        own = self._own(tensor)
        same = own == tuple(extent for _, extent in lead[: len(own)]) and len(lead) >= len(own)
        if self.flat or (same and self.choices.chance(plain)):
            return tensor(*(var for var, _ in lead[: len(own)]), *tile)
        return tensor(*(self._index(size, lead, dim) for dim, size in enumerate(own)), *tile)

    def _index(self, size: int, lead: Sequence[tuple[Var, int]], dim: int) -> Any:
        choices = self.choices
        if choices.chance(6):
            return self._divided(size, lead)
        fitting = [(var, extent) for var, extent in lead if extent <= size]
        if not fitting or choices.chance(8):
            return choices.number(0, size - 1)
        near = [item for item in lead[dim : dim + 1] if item[1] <= size]
        var, extent = near[0] if near and choices.chance(70) else choices.pick(fitting)
        kind = choices.pick(["shift", "shift", "reverse", "stride", "diagonal"])
        if kind == "reverse":
            return choices.number(extent - 1, size - 1) - var
        if kind == "stride" and extent > 1:
            step = choices.number(1, (size - 1) // (extent - 1))
            return var * step + choices.number(0, size - 1 - step * (extent - 1))
        if kind == "diagonal":
            others = [item for item in lead if item[1] - 1 <= size - extent and item[0] is not var]
            if others:
                other, more = choices.pick(others)
                if choices.chance(30):
                    return var + (more - 1) - other
                return var + other
        return var + (choices.number(0, size - extent) if choices.chance(60) else 0)

    def _divided(self, size: int, lead: Sequence[tuple[Var, int]]) -> Any:
        """A quotient or a remainder of an index, or of a sum of two."""
        choices = self.choices
        index, extent = choices.pick(lead)
        total: Any = index
        last = extent - 1
        if choices.chance(30):
            other, extent = choices.pick(lead)
            factor = choices.number(1, 3)
            total, last = index + other * factor, last + factor * (extent - 1)
        if choices.chance(50):
            number = choices.number(last // size + 1, last // size + 3)
            return total // number + choices.number(0, size - 1 - last // number)
        number = choices.number(1, size)
        return total % number + choices.number(0, size - number)

    def _indices(self, i: Sequence[Expr], lead: Sequence[int]) -> list[tuple[Var, int]]:
        found = []
        for var, extent in zip(i, lead, strict=False):
            assert isinstance(var, Var)
            found.append((var, extent))
        return found

    # -- stages ------------------------------------------------------------------------------

    def _load(self) -> None:
        if not self.memory:
            return
        tensor = self.choices.pick(self.memory)
        lead = self._own(tensor)
        if not self.flat and self.choices.chance(40):
            lead = self._lead()
        self._loaded(tensor, lead)

    def _loaded(self, tensor: Tensor, lead: Sequence[int]) -> None:
        choices = self.choices
        cast = choices.pick(["", "", "int8", "int32"])
        if not self.flat and choices.chance(12):
            own = self._own(tensor)
            before, after = ([choices.number(0, 1) for _ in own] for _ in range(2))
            least = self.drawn.config.requantises and choices.chance(50)
            value = te.min_value(tensor.dtype) if least else 0
            copy = pad(tensor, [*before, 0, 0], [*after, 0, 0], value, name=self._name("P"))
            if int(np.prod(self._own(copy))) <= 2 * MOST_TILES:
                self._add(copy, "load", ACC)
                return

        def rule(i: Sequence[Expr]) -> Expr:
            value = self._read(tensor, self._indices(i, lead), i[len(lead) :], 60)
            return value.astype(cast) if cast else value

        self._add(self._compute("L", lead, rule), "load", ACC)

    def _sources(self) -> list[Tensor]:
        """One to three values: late ones more often, and what they read together with them."""
        choices = self.choices
        found = [choices.pick(self.values[-4:] if choices.chance(70) else self.values)]
        for _ in range(choices.number(0, 2)):
            like = [item for item in self.values if item.shape == found[0].shape]
            origin = getattr(found[0].op, "input_tensors", ())
            origin = [item for item in origin if item in self.values]
            pool = origin if origin and choices.chance(40) else like
            found.append(choices.pick(pool if choices.chance(70) else self.values))
        return found

    def _lead_for(self, source: Tensor) -> tuple[int, ...]:
        if self.flat or self.choices.chance(70):
            return self._own(source)
        return self._lead()

    def _cast(self) -> None:
        """A stage that only casts or copies: the compiler takes it for what it reads."""
        source = self._sources()[0]
        lead = self._lead_for(source)
        dtype = self.choices.pick(["int8", "int8", "int8", "int32", source.dtype])

        def rule(i: Sequence[Expr]) -> Expr:
            return self._read(source, self._indices(i, lead), i[len(lead) :], 85).astype(dtype)

        self._add(self._compute("C", lead, rule), "alu", ACC)

    def _chosen(self) -> None:
        """Two tensors one behind the other, or one of two by an index; loaded or computed."""
        choices = self.choices
        loads = len(self.memory) > 0 and choices.chance(40)
        first = choices.pick(self.memory if loads else self.values)
        pool = [
            item
            for item in (self.memory if loads else self.values)
            if self._own(item)[1:] == self._own(first)[1:]
        ]
        second = choices.pick(pool)
        sizes = self._own(first)[0], self._own(second)[0]
        behind = sum(sizes) <= MOST_TILES and choices.chance(60)
        lead = (sum(sizes) if behind else min(sizes), *self._own(first)[1:])

        def rule(i: Sequence[Expr]) -> Expr:
            if behind:
                condition: Any = i[0] < sizes[0]
                return te.if_then_else(condition, first(*i), second(i[0] - sizes[0], *i[1:]))
            place = choices.number(0, len(lead) - 1)
            number = choices.number(0, lead[place] - 1)
            condition = i[place] == number if choices.chance(50) else i[place] >= number
            return te.if_then_else(condition, first(*i), second(*i))

        self._add(self._compute("B", lead, rule), "load" if loads else "alu", ACC)

    def _number(self) -> None:
        """A stage of one number: inlined, it is a constant of what reads it."""
        dtype = self.choices.pick(["int8", "int32"])
        limits = np.iinfo(dtype)
        number = min(max(self.choices.pick(SPECIAL), int(limits.min)), int(limits.max))
        lead = self._own(self.choices.pick(self.values))
        self._add(self._compute("N", lead, lambda i: te.const(number, dtype)), "alu", ACC)

    def _alu(self) -> None:
        sources = self._sources()
        lead = self._lead_for(sources[0])

        def rule(i: Sequence[Expr]) -> Expr:
            indices = self._indices(i, lead)
            plain = self.choices.pick([95, 95, 60, 0])
            terms = [self._read(item, indices, i[len(lead) :], plain) for item in sources]
            # The same place, perhaps of another tensor: all that are read there may be mixed up.
            if self.choices.chance(25):
                first = terms[0]
                assert isinstance(first, Read)
                terms += [
                    item(*first.indices) for item in sources[1:] if item.shape == sources[0].shape
                ]
            if not self.flat and lead == self._own(sources[0]) and self.choices.chance(15):
                # The result may overwrite the first, but not while the other is to be read.
                turned = self.choices.pick(range(len(lead)))
                far = [*i[:turned], lead[turned] - 1 - i[turned], *i[turned + 1 :]]
                own, other = self.choices.shuffled([sources[0](*i), sources[0](*far)])
                terms = [self.choices.pick([own + other, own - other, te.max(own, other)])]
            value = self._expr(terms, self.choices.number(1, 3))
            if not self.flat and self.choices.chance(8):
                var, extent = self.choices.pick(indices)
                condition = var >= self.choices.number(0, extent - 1)
                value = te.if_then_else(condition, value, self._expr(terms, 1))
                if self.choices.chance(30):
                    value = value + self._expr(terms, 1)
            return value

        self._add(self._compute("S", lead, rule), "alu", ACC)

    def _scale(self) -> Tensor:
        """A tensor of scales on chip, perhaps a new one."""
        if self.scales and self.choices.chance(60):
            return self.choices.pick(self.scales)
        lead = self.shape if self.flat else self._lead()
        tensor = self._placeholder(self._full(lead), "float32")
        self._add(self._compute("L", lead, lambda i: tensor(*i)), "load", ACC)
        return self.scales[-1]

    def _copy_scale(self) -> None:
        """Scales at another place of the accumulator."""
        source = self._scale()
        lead = self._own(source) if self.flat else self._lead()

        def rule(i: Sequence[Expr]) -> Expr:
            return self._read(source, self._indices(i, lead), i[len(lead) :], 40)

        self._add(self._compute("M", lead, rule), "alu", ACC)

    def _requantize(self) -> None:
        choices = self.choices
        sources = self._sources()
        lead = self._lead_for(sources[0])
        number = choices.chance(30)
        scale: Any = 2.0 ** choices.number(-30, 2) * (1 + choices.number(0, 99) / 100)
        scales = None if number else self._scale()
        zero_point, lower = (choices.number(-128, 127) for _ in range(2))

        def rule(i: Sequence[Expr]) -> Expr:
            indices = self._indices(i, lead)
            terms = [self._read(item, indices, i[len(lead) :], 70) for item in sources]
            value = self._expr(terms, choices.pick([0, 0, 1]))
            by = scale if scales is None else self._read(scales, indices, i[len(lead) :], 50)
            found: Expr = te.requantize(value, by, zero_point, lower)
            if choices.chance(25):
                found = self._expr([found.astype("int32"), *terms], 1)
            return found

        if self.flat and scales is not None and self._own(scales) != lead:
            return
        self._add(self._compute("Q", lead, rule), "alu", ACC)

    def _expr(self, terms: Sequence[Expr], depth: int) -> Expr:
        choices = self.choices
        if depth == 0:
            return choices.pick(terms)
        a = self._expr(terms, depth - 1)
        kind = choices.pick(
            ["+", "+", "-", "*", "min", "max", "<<", ">>", "<< n", ">> n", "int8", "int32", "neg"]
        )
        if kind in ("int8", "int32"):
            return a.astype(kind)
        if kind == "neg":
            return -a
        if kind in ("<< n", ">> n"):
            amount = choices.number(0, 9) if choices.chance(80) else choices.number(0, 40)
            return a << amount if kind == "<< n" else a >> amount
        b: Any = self._expr(terms, choices.number(0, depth - 1))
        if kind not in ("<<", ">>") and choices.chance(35):
            limits = np.iinfo(a.dtype)
            number = choices.pick(SPECIAL) if choices.chance(50) else choices.number(-200, 200)
            b = int(min(max(number, limits.min), limits.max))
            if kind == "-" and choices.chance(40):
                a, b = te.const(b, a.dtype), a
        if kind in ("min", "max"):
            return te.min(a, b) if kind == "min" else te.max(a, b)
        operations: dict[str, Callable[[Any, Any], Expr]] = {
            "+": operator.add,
            "-": operator.sub,
            "*": operator.mul,
            "<<": operator.lshift,
            ">>": operator.rshift,
        }
        return operations[kind](a, b)

    def _reduce(self) -> None:
        choices = self.choices
        sources = self._sources()
        lead = (
            self._lead()
            if choices.chance(40) and not self.flat
            else self._own(sources[0])[choices.number(0, 1) :]
        )
        if self.flat or not lead:
            return
        op = choices.pick(sorted(REDUCTIONS))
        most = max(self._own(sources[0]))
        axes = [
            te.reduce_axis((0, choices.number(1, min(4, most))), f"r{number}")
            for number in range(choices.number(1, 2))
        ]

        def rule(i: Sequence[Expr]) -> Expr:
            own = self._indices(i, lead)
            indices = own + [(axis.var, axis.extent) for axis in axes]
            if choices.chance(50):
                indices.reverse()
            terms = [self._read(item, indices, i[len(lead) :], 40) for item in sources]
            value = self._expr(terms, choices.pick([0, 0, 1, 2]))
            if choices.chance(20):
                # Some rounds are left out.
                limits = np.iinfo(value.dtype)
                other = {"+": 0, "max": limits.min, "min": limits.max}[op]
                var, extent = choices.pick(indices)
                condition = var >= choices.number(0, extent - 1)
                value = te.if_then_else(condition, value, te.const(int(other), value.dtype))
            if op == "+" and choices.chance(30):
                start = self._expr(
                    [self._read(item, own, i[len(lead) :], 70) for item in sources],
                    choices.pick([0, 0, 1]),
                )
                return te.sum(value, axis=axes, init=choices.pick([start, 7]))
            reduced: Expr = REDUCTIONS[op](value, axis=axes)
            return reduced

        self._add(self._compute("R", lead, rule), "alu", ACC)

    def _gemm(self) -> None:
        choices, (_, block) = self.choices, self.tile
        o, n, m = (choices.number(1, 3) for _ in range(3))
        data = next((item for item in self.memory if item.dtype == "int8"), None)
        if data is None or choices.chance(60):
            data = self._placeholder((*self._lead(), *self.tile), "int8")
        data_lead = self._own(data) if choices.chance(60) else self._lead()

        def load(i: Sequence[Expr]) -> Expr:
            return self._read(data, self._indices(i, data_lead), i[len(data_lead) :], 70)

        inp = self._compute("A", data_lead, load)
        self._add(inp, "load", INP)
        weights = self._placeholder((m, n, block, block), "int8")
        wgt = te.compute(weights.shape, lambda *i: weights(*i), self._name("W"))
        self._add(wgt, "load", WGT)
        ko, ki = te.reduce_axis((0, n), "ko"), te.reduce_axis((0, block), "ki")
        bias = choices.pick(self.values) if self.values and choices.chance(50) else None

        def rule(i: Sequence[Expr]) -> Expr:
            rows: list[tuple[Any, int]] = [(i[0], o), (ko.var, n)]
            if choices.chance(20):
                rows.append((i[1], m))
            at = [self._index(size, rows, dim) for dim, size in enumerate(data_lead)]
            left = inp(*at, i[2], ki).astype("int32")
            product = left * wgt(i[1], ko, i[3], ki).astype("int32")
            if bias is None:
                return te.sum(product, axis=[ko, ki])
            start = self._read(bias, self._indices(i, (o, m)), i[2:], 50)
            return te.sum(product, axis=[ko, ki], init=choices.pick([start, start + 3, -99999]))

        self._add(self._compute("G", (o, m), rule), "gemm", ACC)

    def _store(self) -> None:
        self._stored(self.choices.pick(self.values))

    def _store_and_load(self) -> None:
        stored = self._stored(self.choices.pick(self.values[-3:]))
        lead = self._own(stored)
        if not self.flat and self.choices.chance(30):
            lead = self._lead()
        self._loaded(stored, lead)

    def _stored(self, source: Tensor) -> Tensor:
        lead = self._own(source) if self.choices.chance(80) else self._lead_for(source)

        def rule(i: Sequence[Expr]) -> Expr:
            return self._read(source, self._indices(i, lead), i[len(lead) :], 85).astype("int8")

        tensor = self._compute("O", lead, rule)
        self._add(tensor, "store")
        return tensor

    def _finish(self) -> None:
        """Stores what nothing reads; of what is read again, some are outputs too."""
        choices = self.choices
        unread = [item for item in self.values if item not in self.read]
        for value in unread[-3:]:
            body = getattr(value.op, "body", None)
            whole = self.drawn.roles.get(value) == "alu" and value.dtype == "int8"
            reads = [] if body is None else [node for node in walk(body) if isinstance(node, Read)]
            if whole and reads and choices.chance(25):
                self.drawn.outputs.append(value)
            else:
                self.drawn.outputs.append(self._stored(value))
        for tensor in self.memory:
            if self.drawn.roles.get(tensor) != "store" or tensor in self.drawn.outputs:
                continue
            if tensor not in self.read or choices.chance(50):
                self.drawn.outputs.append(tensor)
        if not self.drawn.outputs:
            self.drawn.outputs.append(self._stored(self.values[-1]))
