"""The tensor intrinsic that `tensorize` takes: VTA's matrix product of one tile."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GemmIntrin", "gemm"]


@dataclass(frozen=True)
class GemmIntrin:
    """``out[b, o] += sum(inp[b, i] * wgt[o, i])`` for one tile of each.

    The sizes come from the configuration that a schedule is compiled for.

    Parameters
    ----------
    mock : bool
        Whether the product is left out of the program, to time the rest.
    """

    mock: bool = False

    def __str__(self) -> str:
        return "env.mock.gemm" if self.mock else "env.gemm"


gemm = GemmIntrin()
