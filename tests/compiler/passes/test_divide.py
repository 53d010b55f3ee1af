"""Loops are cut where a division cuts them, and taken out of operations where it cuts no block."""

from __future__ import annotations

import pytest

from vta import te
from vta.compiler.passes.divide import divide
from vta.compiler.passes.loops.loop_nests import loops
from vta.compiler.passes.simplify import simplify
from vta.errors import CompileError

from ..known import ACC


def copied(size, read, *rules, factor=None):
    """A copy of `size` rows by rules of indices after the pass, line by line."""
    a = te.placeholder((*read, 16), name="A", dtype="int8")
    b = te.compute((size, 16), lambda i, j: a(*(rule(i) for rule in rules), j), "B")
    c = te.compute(b.shape, lambda i, j: b(i, j), "C")
    s = te.create_schedule(c.op)
    inner = b.op.axis[0]
    if factor:
        outer, _ = s[c].split(c.op.axis[0], factor)
        s[b].compute_at(s[c], outer)
    s[b].set_scope(ACC).pragma(inner, "dma_copy")
    lines = str(divide(simplify(loops(s, [a, c], "main")))).splitlines()
    begin = next(n for n, line in enumerate(lines) if "for" in line or "pragma" in line)
    end = next(n for n, line in enumerate(lines) if "C[" in line or " j in range" in line)
    return [line[4:] for line in lines[begin:end]]


@pytest.mark.parametrize(
    ("size", "read", "rules", "nest"),
    [
        (8, (4,), [lambda i: i // 2], ["for i.outer, i.inner, j in grid(4, 2, 16):"]),
        # What belongs together in memory is no division at all.
        (24, (4, 6), [lambda i: i // 6, lambda i: i % 6], ["for i, j in grid(24, 16):"]),
        (
            7,
            (4,),
            [lambda i: i // 2],
            [
                "for i.outer, i.inner, j in grid(4, 2, 16):",
                "    if i.outer * -2 + i.inner * -1 + 6 >= 0:",
            ],
        ),
        # Rows 0 to 2, 3 to 6 and 7.
        (8, (3,), [lambda i: (i * 2 + 3) // 8], ["for i.outer, i.inner, j in grid(3, 4, 16):"]),
        # Rows 0, 1 to 4 and 5 to 7.
        (8, (3,), [lambda i: (17 - i * 2) // 8], ["for i.outer, i.inner, j in grid(3, 4, 16):"]),
    ],
)
def test_loops_are_cut_at_blocks(size, read, rules, nest):
    lines = copied(size, read, *rules)
    assert lines[0] == "with pragma('dma_copy'):"
    assert [line[4:] for line in lines[1 : 1 + len(nest)]] == nest


def test_a_loop_without_blocks_is_taken_out():
    """Of 8 rows at ``2 * i // 3``, each third one is a step of 2: three operations do them all."""
    lines = copied(9, (6,), lambda i: i * 2 // 3)
    assert lines[0] == "for i.inner in range(3):"


def test_too_many_operations():
    with pytest.raises(
        CompileError,
        match=r"stage B: no split of a loop makes the divisions in A\[i \* 4999 // 5000, j\] "
        "exact, so the stage would take 5000 operations, more than 4096; "
        "split its loops at multiples of the divisor",
    ):
        copied(5000, (5000,), lambda i: i * 4999 // 5000)
