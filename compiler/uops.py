"""Micro-op kernels in the micro-op buffer: each kept once, loaded in pages that fit.

A program's kernels are cut, in the order of their use, into pages of at most the buffer's depth.
A page is loaded in one piece right before its first use. Usually there is one page.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from vta.compiler.ir import Kernel, MicroOp
from vta.config import Config
from vta.errors import CompileError

__all__ = ["Page", "paginate"]

Uops = tuple[MicroOp, ...]


@dataclass
class Page:
    """What the micro-op buffer holds from one load to the next.

    `start` is its first micro-op's place in main memory, `first` the first instruction that uses
    it, `places` where in the buffer each kernel lies.
    """

    start: int
    first: int
    uops: list[MicroOp] = field(default_factory=list)
    places: dict[Uops, int] = field(default_factory=dict)


def paginate(kernels: Iterable[tuple[int, Kernel]], config: Config) -> list[Page]:
    """The pages for (instruction index, kernel) pairs in stream order."""
    depth = config.uop_depth
    pages: list[Page] = []
    for index, kernel in kernels:
        if len(kernel.uops) > depth:
            raise CompileError(f"a kernel of {len(kernel.uops)} micro-ops does not fit the "
                               f"micro-op buffer's {depth}")
        page = pages[-1] if pages else None
        if page is not None and kernel.uops in page.places:
            continue
        if page is None or len(page.uops) + len(kernel.uops) > depth:
            start = page.start + len(page.uops) if page else 0
            page = Page(start, index)
            pages.append(page)
        page.places[kernel.uops] = len(page.uops)
        page.uops += kernel.uops
    return pages
