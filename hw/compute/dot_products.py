"""The multipliers: one tile of INP by one tile of WGT in every cycle."""

from __future__ import annotations

from typing import Any

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from vta.config import Config

__all__ = ["DotProducts"]

PRODUCT_BITS = 16


class DotProducts(wiring.Component):
    """BATCH x BLOCK_OUT dot products of BLOCK_IN int8 numbers, fully pipelined.

    Two neighbouring outputs multiply the same INP numbers, so their weights share a multiplier:
    `(w1 << 16) + w0` times `x` holds `w0 * x` in its low 16 bits and, in the bits above,
    `w1 * x` less the borrow of a negative `w0 * x`. 25 by 8 bits fit one DSP48; 256 products take
    128 of them. The borrows are added up apart, a few bits for a whole dot product.

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
        block = self._block
        stages = [self.valid]
        for number in range(1, self.latency):
            stage = Signal(name=f"valid_{number}")
            m.d.sync += stage.eq(stages[-1])
            stages.append(stage)

        def weight(out: int, index: int) -> Value:
            return self.wgt.word_select(out * block + index, 8).as_signed()

        inputs = []
        with m.If(stages[0]):
            for row in range(self._batch):
                inputs.append(
                    [
                        Signal(signed(8), name=f"x_{row}_{index}", reset_less=True)
                        for index in range(block)
                    ]
                )
                m.d.sync += [
                    x.eq(self.inp.word_select(row * block + index, 8))
                    for index, x in enumerate(inputs[row])
                ]
        for low in range(0, block, 2):
            pairs = [
                Signal(signed(25), name=f"w_{low}_{index}", reset_less=True)
                for index in range(block)
            ]
            with m.If(stages[0]):
                for index, pair in enumerate(pairs):
                    m.d.sync += pair.eq(
                        (weight(low + 1, index) << PRODUCT_BITS) + weight(low, index)
                    )
            for row in range(self._batch):
                self._pair(m, stages, row, low, inputs[row], pairs)
        return m

    def _pair(self, m: Module, stages: Any, row: int, low: int, inputs: Any, pairs: Any) -> None:
        """Products and sums of outputs `low` and `low + 1` of one row."""
        tag = f"{row}_{low}"
        products = [
            Signal(signed(33), name=f"p_{tag}_{index}", reset_less=True)
            for index in range(self._block)
        ]
        with m.If(stages[1]):
            m.d.sync += [
                product.eq(pair * x)
                for product, pair, x in zip(products, pairs, inputs, strict=True)
            ]

        lows: list[Value] = [product[:16].as_signed() for product in products]
        # The borrow is at most one, so the upper product fits 16 bits again once it is added back.
        highs: list[Value] = [product[16:].as_signed() for product in products]
        borrows: list[Value] = [product[15] for product in products]
        level, register = 0, 2
        while len(lows) > 1:
            lows, highs, borrows = (
                [values[i] + values[i + 1] for i in range(0, len(values), 2)]
                for values in (lows, highs, borrows)
            )
            level += 1
            if level % 2 == 0 and len(lows) > 1:
                kept: list[list[Value]] = []
                with m.If(stages[register]):
                    for name, values in (("l", lows), ("h", highs), ("b", borrows)):
                        held = [
                            Signal(
                                value.shape(), name=f"{name}{level}_{tag}_{index}", reset_less=True
                            )
                            for index, value in enumerate(values)
                        ]
                        m.d.sync += [reg.eq(value) for reg, value in zip(held, values, strict=True)]
                        kept.append(list(held))
                lows, highs, borrows = kept
                register += 1
        m.d.comb += [
            self.sums[row][low].eq(lows[0]),
            self.sums[row][low + 1].eq(highs[0] + borrows[0]),
        ]
