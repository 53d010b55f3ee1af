"""Makes a memory image of a program: places its buffers and fills its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vta.driver.allocator import Allocator
from vta.errors import ArgumentError
from vta.image import Image, Segment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vta.program import DramBuffer, Program

__all__ = ["to_image"]

_START = 4096
_ALIGNMENT = 4096
"""Each buffer starts on a page, whose size is a multiple of all element sizes."""


def to_image(
    program: Program, inputs: Mapping[str, NDArray[Any]] | None = None, *, seed: int = 0
) -> Image:
    """The image of a run of `program`, without the expected memory.

    Parameters
    ----------
    program : Program
    inputs : mapping, optional
        Values of inputs by name; the others are random.
    seed : int
        The seed of the random inputs, and of the outputs' bytes before the run.

    Raises
    ------
    ArgumentError
        If a value has the wrong shape or dtype, or is not for an input.
    """
    values = dict(inputs or {})
    names = [buffer.name for buffer in program.buffers if buffer.role == "input"]
    if unknown := [name for name in values if name not in names]:
        raise ArgumentError(
            f"{program.name} has no input {', '.join(unknown)}; it has {', '.join(names)}"
        )
    allocator = Allocator(_START, 1 << program.config.addr_width, _ALIGNMENT)
    rng = np.random.default_rng(seed)
    insn_addr = allocator.allocate(program.nbytes)
    addresses, segments = {}, []
    for buffer in program.buffers:
        addresses[buffer.name] = allocator.allocate(buffer.nbytes)
        data = _content(buffer, values.get(buffer.name), rng)
        if data is not None and len(data):
            segments.append(Segment(addresses[buffer.name], data))
    stream = program.link(addresses).astype("<u8").reshape(-1).view(np.uint8)
    places = ", ".join(
        f"{buffer.name} {buffer.dtype}{list(buffer.shape)} at {addresses[buffer.name]:#x}"
        for buffer in program.args
    )
    return Image(
        config=program.config,
        insn_addr=insn_addr,
        insn_count=len(program.insns),
        before=(Segment(insn_addr, stream), *segments),
        description=f"{program.name}: {places}",
    )


def _content(
    buffer: DramBuffer, given: NDArray[Any] | None, rng: np.random.Generator
) -> NDArray[np.uint8] | None:
    """The bytes of a buffer before the run; None means zeros."""
    if given is not None:
        if given.shape != buffer.shape or given.dtype != np.dtype(buffer.dtype):
            raise ArgumentError(
                f"input {buffer.name} must be {buffer.dtype}{list(buffer.shape)}, "
                f"not {given.dtype.name}{list(given.shape)}"
            )
        return np.ascontiguousarray(given).reshape(-1).view(np.uint8)
    if buffer.role == "temp":
        return None
    # Outputs are random too: a run that does nothing must not look right.
    return buffer.data if buffer.role == "const" else rng.integers(0, 256, buffer.nbytes, np.uint8)
