"""The loops that GEMM and ALU share: micro-ops and factors to arrays of indices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vta.isa import Cause
from vta.sim.functional.insn_checks import StoppedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from vta.config import Config
    from vta.isa import Isa

__all__ = ["BLOCK", "Loops"]

BLOCK = 1 << 14
"""How many iterations are handed out at a time, unless one pass over the micro-ops has more. It
bounds the memory that instructions with enormous loop counts take."""


FACTORS = (
    "iter_out",
    "iter_in",
    *(f"{name}_factor_{loop}" for name in ("dst", "src", "wgt") for loop in ("out", "in")),
)
"""The fields that indices depend on, beside the micro-ops."""


class Loops:
    """Reads the micro-ops and makes the indices of GEMM and ALU instructions.

    Parameters
    ----------
    isa : Isa
    uops : (uop_depth,) uint32
        The UOP buffer; a view, not a copy.
    """

    def __init__(self, isa: Isa, uops: NDArray[np.uint32]) -> None:
        config: Config = isa.config
        self._uops = uops
        self._fields = {
            field.name.removesuffix("_idx"): (isa.uop.offset(field.name), (1 << field.bits) - 1)
            for field in isa.uop.fields
        }
        self._depth = {"acc": config.acc_depth, "inp": config.inp_depth, "wgt": config.wgt_depth}

    @staticmethod
    def count(values: Mapping[str, int]) -> int:
        """How many iterations the instruction asks for."""
        return (
            max(0, values["uop_end"] - values["uop_bgn"]) * values["iter_out"] * values["iter_in"]
        )

    def key(self, values: Mapping[str, int]) -> tuple[bytes | int, ...]:
        """What the indices of a GEMM or ALU instruction depend on: its micro-ops and its loops."""
        uops = self._uops[values["uop_bgn"] : values["uop_end"]]
        # Where micro-ops are missing, the count alone tells.
        return (self.count(values), uops.tobytes(), *(values.get(name, 0) for name in FACTORS))

    def single(self, values: Mapping[str, int], terms: Sequence[tuple[str, str]]) -> list[int]:
        """The indices of an instruction with one iteration; like `blocks` but plain numbers."""
        first = values["uop_bgn"]
        # The field uop_bgn cannot count past the buffer's end, so this micro-op exists.
        word = int(self._uops[first])
        indices = []
        for name, memory in terms:
            shift, mask = self._fields[name]
            index = word >> shift & mask
            if index >= self._depth[memory]:
                raise self._out_of_range(name, memory, index, (0, 0, first))
            indices.append(index)
        return indices

    def blocks(
        self, values: Mapping[str, int], terms: Sequence[tuple[str, str]]
    ) -> Iterator[list[NDArray[np.int64]]]:
        """The indices of consecutive iterations, block after block.

        Each block is a list of (n,) arrays, one for each of `terms`: pairs of an index's name
        (``dst``, ``src``, ``wgt``) and of the memory that it points into (``acc``, ``inp``,
        ``wgt``).

        Raises
        ------
        StoppedError
            After the block with the last iterations before an index out of range.
        """
        first, end = values["uop_bgn"], values["uop_end"]
        passes, iter_in = values["iter_out"] * values["iter_in"], values["iter_in"]
        present = min(end, len(self._uops))
        if end > present:
            # The first pass already runs past the end of the buffer.
            passes = 1
        uops = self._uops[first:present].astype(np.int64)
        parts = []
        in_range = True
        for name, memory in terms:
            shift, mask = self._fields[name]
            field = uops >> shift & mask
            out, inner = values[f"{name}_factor_out"], values[f"{name}_factor_in"]
            parts.append((field, out, inner))
            # Nothing is negative, so the largest of all indices is the one of the last pass.
            last = int(field.max()) + (values["iter_out"] - 1) * out + (iter_in - 1) * inner
            in_range = in_range and last < self._depth[memory]
        step = max(1, BLOCK // len(uops))
        for begin in range(0, passes, step):
            outer, inner_count = np.divmod(np.arange(begin, min(begin + step, passes)), iter_in)
            block = [
                ((outer * out + inner_count * inner)[:, None] + field).reshape(-1)
                for field, out, inner in parts
            ]
            if not in_range:
                wrong = np.zeros(len(block[0]), bool)
                for indices, (_, memory) in zip(block, terms, strict=True):
                    wrong |= indices >= self._depth[memory]
                if wrong.any():
                    stop = int(wrong.argmax())
                    if stop:
                        yield [indices[:stop] for indices in block]
                    done, uop = divmod(stop, len(uops))
                    place = (*divmod(begin + done, iter_in), first + uop)
                    for indices, (name, memory) in zip(block, terms, strict=True):
                        if indices[stop] >= self._depth[memory]:
                            raise self._out_of_range(name, memory, int(indices[stop]), place)
            yield block
        if end > present:
            raise StoppedError(
                Cause.SRAM_RANGE, f"micro-op {present}, but UOP has {present} elements"
            )

    def _out_of_range(
        self, name: str, memory: str, index: int, place: tuple[int, int, int]
    ) -> StoppedError:
        outer, inner, uop = place
        return StoppedError(
            Cause.SRAM_RANGE,
            f"{name} index {index} of {memory.upper()}, which has "
            f"{self._depth[memory]} elements, at iter_out {outer}, iter_in {inner}, uop {uop}",
        )
