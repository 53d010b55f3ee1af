"""Outputs that are read again, computed in a loop of what reads them: all of each, or an error."""

from __future__ import annotations

import numpy as np
import pytest

from vta import te
from vta.compiler.pipeline import build
from vta.config import PRESETS
from vta.errors import ScheduleError

TINY = PRESETS["tiny"]
TILE = (TINY.batch, TINY.block)
ACC = "local.acc_buffer"


def read_again(shape, again, place, split=None):
    """``O1`` of ``shape``, stored at a loop of ``O2``, which reads it at ``place``."""
    a = te.placeholder((*shape, *TILE), name="A", dtype="int8")
    load = te.compute(a.shape, lambda *i: a(*i), "L")
    first = te.compute(a.shape, lambda *i: load(*i), "O1")
    dims = len(again)
    back = te.compute((*again, *TILE), lambda *i: first(*place(*i[:dims]), *i[dims:]), "M")
    second = te.compute(back.shape, lambda *i: back(*i), "O2")
    s = te.create_schedule([first.op, second.op])
    at = second.op.axis[0]
    if split is not None:
        at, inner = s[second].split(at, split)
        s[second].pragma(inner, "dma_copy")
    else:
        s[second].pragma(second.op.axis[1], "dma_copy")
    for tensor in (load, back):
        s[tensor].set_scope(ACC)
    for tensor in (load, first, back):
        s[tensor].compute_at(s[second], at).pragma(tensor.op.axis[0], "dma_copy")
    return s, [a, first, second]


WHOLE = {
    "row by row": ((8,), (8,), lambda i: (i,), None),
    "backwards": ((8,), (8,), lambda i: (7 - i,), None),
    "in parts that fit": ((8,), (8,), lambda i: (i,), 2),
    "in parts that do not": ((8,), (8,), lambda i: (i,), 3),
    "each row for one tile": ((4, 3), (4, 3), lambda i, j: (i, j), None),
    "transposed": ((3, 4), (4, 3), lambda i, j: (j, i), None),
    "a row more than once": ((5,), (4, 2), lambda i, j: (i + j,), None),
}


@pytest.mark.parametrize("case", WHOLE)
def test_an_output_of_which_all_is_read(kit, case):
    shape, again, place, split = WHOLE[case]
    s, args = read_again(shape, again, place, split)
    x = np.random.default_rng(3).integers(-128, 128, args[0].shape).astype(np.int8)
    expected = x[place(*np.indices(again))]
    kit.check(s, args, TINY, [x], [x, expected])


PARTS = {
    "the first half": ((8,), (4,), lambda i: (i,)),
    "the last half": ((8,), (4,), lambda i: (i + 4,)),
    "all but the first row": ((8,), (7,), lambda i: (i + 1,)),
    "all but the last row": ((8,), (7,), lambda i: (i,)),
    "the last half backwards": ((8,), (4,), lambda i: (7 - i,)),
    "every second row": ((8,), (4,), lambda i: (i * 2,)),
    "a diagonal": ((3, 3), (3,), lambda i: (i, i)),
    "one column": ((4, 3), (4,), lambda i: (i, 1)),
}


@pytest.mark.parametrize("case", PARTS)
def test_an_output_of_which_a_part_is_read(case):
    s, args = read_again(*PARTS[case])
    with pytest.raises(
        ScheduleError, match="stage O1 is an output, but .* reads only a part of it"
    ):
        build(s, args, TINY)
