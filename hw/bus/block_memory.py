"""Block RAM, as every buffer and every deep queue uses it."""

from typing import Any

from amaranth.lib import memory

__all__ = ["block_memory"]


def block_memory(*, shape: Any, depth: int) -> memory.Memory:
    """A memory whose user never uses what it reads from an address that is written at that time.

    So the block RAM of the part will do, whatever that returns. Without this promise synthesis
    would put a register, a comparison and a multiplexer around it where the part returns something
    else than the value from before (ECP5: 83 flip-flops and 56 LUTs for 36 bits). Source: Yosys,
    attribute ``no_rw_check``.
    """
    return memory.Memory(shape=shape, depth=depth, init=[], attrs={"no_rw_check": 1})
