"""Benchmark streams that this project's compiler makes, with numpy's result as expectation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vta.driver.program_image import to_image
from vta.image import Segment

if TYPE_CHECKING:
    from vta.config import Config
    from vta.image import Image
    from vta.program import Program

__all__ = ["requantise", "vector_add"]


def vector_add(config: Config, tiles: int) -> Image:
    """C = int8(A + B): eight bytes read for each that is written."""
    import vta
    from vta.testing.programs import vector_add as scheduled

    with vta.Environment(config) as env:
        schedule, args = scheduled(env, m=tiles)
        program = vta.build(schedule, args, env.target, name="vadd").program
    rng = np.random.default_rng(1)
    a, b = (
        rng.integers(-1 << 30, 1 << 30, program.args[0].shape).astype(np.int32) for _ in range(2)
    )
    return _image(program, {"A": a, "B": b}, (a + b).astype(np.int8))


def requantise(config: Config, tiles: int) -> Image:
    """B = int8(clip((3 A + 64) >> 7)): five ALU operations on each number, MUL among them."""
    import vta
    from vta import te

    with vta.Environment(config) as env:
        shape = (tiles, env.BATCH, env.BLOCK_OUT)
        a = te.placeholder(shape, name="A", dtype=env.acc_dtype)
        a_buf = te.compute(shape, lambda *i: a(*i), "A_buf")
        scaled = te.compute(
            shape, lambda *i: te.min(te.max((a_buf(*i) * 3 + 64) >> 7, -128), 127), "scaled"
        )
        b = te.compute(shape, lambda *i: scaled(*i).astype(env.inp_dtype), "B")
        schedule = te.create_schedule(b.op)
        for stage in (a_buf, scaled):
            schedule[stage].set_scope(env.acc_scope)
        for stage in (a_buf, b):
            schedule[stage].pragma(schedule[stage].axes[0], env.dma_copy)
        schedule[scaled].pragma(schedule[scaled].axes[0], env.alu)
        program = vta.build(schedule, [a, b], env.target, name="requantise").program
    values = np.random.default_rng(1).integers(-8000, 8000, shape).astype(np.int32)
    expected = np.clip((3 * values + 64) >> 7, -128, 127).astype(np.int8)
    return _image(program, {"A": values}, expected)


def _image(
    program: Program, inputs: Mapping[str, NDArray[np.int32]], output: NDArray[np.int8]
) -> Image:
    image = to_image(program, inputs)
    # The stream's segment, then one for each buffer that holds anything.
    held = [buffer for buffer in program.buffers if buffer.role != "temp" and buffer.nbytes]
    (place,) = (
        segment.addr
        for buffer, segment in zip(held, image.before[1:], strict=True)
        if buffer.role == "output"
    )
    return dataclasses.replace(image, after=(Segment(place, output.reshape(-1).view(np.uint8)),))
