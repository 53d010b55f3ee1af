"""Limits on a configuration's buffers: their depths, and the fields of instruction words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vta.isa import SRAM_BITS, Isa, MemoryType

if TYPE_CHECKING:
    from vta.config import Config

__all__ = ["Problem", "depth_problems", "encoding_problems"]

_MEMORIES = (MemoryType.UOP, MemoryType.INP, MemoryType.WGT, MemoryType.ACC)
_OPERANDS = ("log_acc_buff_size", "log_inp_buff_size", "log_wgt_buff_size")


@dataclass(frozen=True)
class Problem:
    """A problem with the numbers of some keys; `reason` follows "must be A, not B"."""

    names: tuple[str, ...]
    reason: str


def depth_problems(config: Config) -> Iterator[Problem]:
    """Buffers that hold too few elements, or more than `sram_base` can address."""
    for kind in _MEMORIES:
        log_depth, name = config.log_depth(kind), f"log_{kind.name.lower()}_buff_size"
        if log_depth < 3:
            yield Problem(
                (name,),
                f": a depth of at least 8 elements of {config.elem_bytes(kind)} bytes is needed",
            )
        if log_depth > SRAM_BITS:
            yield Problem(
                (name,),
                f": sram_base has {SRAM_BITS} bits and LOG_{kind.name}_DEPTH would be {log_depth}",
            )


def encoding_problems(config: Config) -> Iterator[Problem]:
    """Words whose fields need more bits than the word has (docs/isa.md, "Encoding")."""
    isa = Isa(config)
    widths = ", ".join(f"LOG_{kind.name}_DEPTH {config.log_depth(kind)}" for kind in _MEMORIES)
    for what, form, word, names in (
        ("GEMM word 0", isa.gemm, 0, ("log_uop_buff_size",)),
        ("GEMM word 1", isa.gemm, 1, _OPERANDS),
        ("ALU word 1", isa.alu, 1, ("log_acc_buff_size",)),
        ("a micro-op", isa.uop, 0, _OPERANDS),
    ):
        bits = form.used_bits(word)
        if bits > form.word_bits:
            yield Problem(names, f": {what} needs {bits} bits of {form.word_bits} with {widths}")
