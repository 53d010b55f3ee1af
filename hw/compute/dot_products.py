"""The multipliers: one tile of INP by one tile of WGT in every cycle."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.hw.compute.multipliers import has_wide_multipliers

__all__ = ["DotProducts"]

PRODUCT_BITS = 16


class DotProducts(wiring.Component):
    """BATCH x BLOCK_OUT dot products of BLOCK_IN int8 numbers, fully pipelined.

    Two neighbouring outputs multiply the same INP numbers, so their weights share a multiplier:
    `(w1 << 16) + w0` times `x` holds `w0 * x` in its low 16 bits and, in the bits above,
    `w1 * x` less the borrow of a negative `w0 * x`. 25 by 8 bits fit one DSP48; 256 products take
    128 of them. The borrows are added up apart, a few bits for a whole dot product.

    Lattice's multipliers have 18 bits. There 25 by 8 bits would take two and an adder behind them,
    so each product has a multiplier of its own: no more of them, and a shorter path.

    Parameters
    ----------
    config : Config

    Members
    -------
    inp : In(inp_elem_bytes * 8)
        (BATCH, BLOCK_IN) int8, row-major from bit 0.
    wgt : In(wgt_elem_bytes * 8)
        (BLOCK_OUT, BLOCK_IN) int8.
    valid : In(1)
        `inp` and `wgt` hold in this cycle; without it the stages keep still.
    sums : Out(sum_bits per output)
        (BATCH, BLOCK_OUT) signed. Right `LATENCY` cycles after `valid`, for one cycle. The last
        adders are combinational: a register follows outside.

    Attributes
    ----------
    latency : int
        Registers from `inp` to `sums`.
    sum_bits : int
        Bits of one sum.

    Source: docs/isa.md, "GEMM".
    """

    def __init__(self, config: Config) -> None:
        self._batch, self._block = config.batch, config.block
        levels = config.log_block
        # Packed weights, products, then a register after every two levels of adders but the last.
        self.latency = 2 + (levels - 1) // 2
        self.sum_bits = PRODUCT_BITS + levels
        super().__init__(
            {
                "inp": In(8 * config.inp_elem_bytes),
                "wgt": In(8 * config.wgt_elem_bytes),
                "valid": In(1),
                "sums": Out(signed(self.sum_bits)).array(self._batch, self._block),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        stages = [self.valid]
        for number in range(1, self.latency):
            stage = Signal(name=f"valid_{number}")
            m.d.sync += stage.eq(stages[-1])
            stages.append(stage)

        inputs = [
            self._held(
                m,
                stages[0],
                f"x_{row}",
                [self.inp.word_select(index, 8).as_signed() for index in self._row(row)],
            )
            for row in range(self._batch)
        ]
        if has_wide_multipliers(platform):
            for low in range(0, self._block, 2):
                self._pair(m, stages, low, inputs)
        else:
            for out in range(self._block):
                self._one(m, stages, out, inputs)
        return m

    def _row(self, row: int) -> range:
        """Where the numbers of a row of a tile lie in it."""
        return range(row * self._block, (row + 1) * self._block)

    def _weights(self, out: int) -> list[Value]:
        return [self.wgt.word_select(index, 8).as_signed() for index in self._row(out)]

    def _one(self, m: Module, stages: list[Signal], out: int, inputs: list[list[Signal]]) -> None:
        """The sums of one output, for every row."""
        weights = self._held(m, stages[0], f"w_{out}", self._weights(out))
        for row, xs in enumerate(inputs):
            tag = f"{row}_{out}"
            products = self._held(
                m, stages[1], f"p_{tag}", [w * x for w, x in zip(weights, xs, strict=True)]
            )
            m.d.comb += self.sums[row][out].eq(self._total(m, stages, f"s_{tag}", products))

    def _pair(self, m: Module, stages: list[Signal], low: int, inputs: list[list[Signal]]) -> None:
        """The sums of outputs `low` and `low + 1`, for every row."""
        both = zip(self._weights(low), self._weights(low + 1), strict=True)
        weights = self._held(
            m,
            stages[0],
            f"w_{low}",
            [((high << PRODUCT_BITS) + w)[:25].as_signed() for w, high in both],
        )
        for row, xs in enumerate(inputs):
            tag = f"{row}_{low}"
            products = self._held(
                m, stages[1], f"p_{tag}", [w * x for w, x in zip(weights, xs, strict=True)]
            )
            lows = [product[:PRODUCT_BITS].as_signed() for product in products]
            # The borrow is at most one, so the upper product fits 16 bits once it is added back.
            highs = [product[PRODUCT_BITS:].as_signed() for product in products]
            borrows = [product[PRODUCT_BITS - 1] for product in products]
            upper = self._total(m, stages, f"h_{tag}", highs)
            m.d.comb += [
                self.sums[row][low].eq(self._total(m, stages, f"l_{tag}", lows)),
                self.sums[row][low + 1].eq(upper + self._total(m, stages, f"b_{tag}", borrows)),
            ]

    def _total(self, m: Module, stages: list[Signal], tag: str, values: Sequence[Value]) -> Value:
        """The sum of `values`, with a register after every two levels of adders but the last."""
        level = 0
        while len(values) > 1:
            values = [values[i] + values[i + 1] for i in range(0, len(values), 2)]
            level += 1
            if level % 2 == 0 and len(values) > 1:
                values = self._held(m, stages[1 + level // 2], f"{tag}_{level}", values)
        return values[0]

    @staticmethod
    def _held(m: Module, enable: Signal, name: str, values: Sequence[Value]) -> list[Signal]:
        """Registers of `values`, which they take when `enable` is set."""
        held = [
            Signal(value.shape(), name=f"{name}_{index}", reset_less=True)
            for index, value in enumerate(values)
        ]
        with m.If(enable):
            m.d.sync += [register.eq(value) for register, value in zip(held, values, strict=True)]
        return held
