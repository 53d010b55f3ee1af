"""Which instructions must precede another one: those that touch the same, one of them writing."""

from __future__ import annotations

import pytest

from vta.compiler.ir.accesses import Access
from vta.compiler.passes.tokens.access_history import History
from vta.isa import ModuleId

LOAD, COMPUTE, STORE = ModuleId.LOAD, ModuleId.COMPUTE, ModuleId.STORE


def tiles(start, count, *, write, space="acc"):
    return Access(space, range(start, start + count), (), write)


@pytest.mark.parametrize(
    ("before", "after", "needed"),
    [(True, True, True), (True, False, True), (False, True, True), (False, False, False)],
)
def test_two_that_read_may_come_in_any_order(before, after, needed):
    history = History({"acc": 8})
    history.record(STORE, 3, [tiles(2, 2, write=before)])
    expected = {STORE: 3} if needed else {}
    assert history.conflicts(COMPUTE, [tiles(3, 4, write=after)]) == expected
    assert history.conflicts(COMPUTE, [tiles(4, 4, write=after)]) == {}


def test_a_module_keeps_its_own_order():
    history = History({"acc": 8})
    history.record(COMPUTE, 1, [tiles(0, 8, write=True)])
    assert history.conflicts(COMPUTE, [tiles(0, 8, write=True)]) == {}


def test_the_latest_of_each_module_counts():
    history = History({"acc": 8, "dram:A": 4})
    history.record(LOAD, 1, [tiles(0, 8, write=True)])
    history.record(LOAD, 2, [tiles(0, 2, write=True)])
    history.record(LOAD, 3, [tiles(4, 2, write=True), tiles(0, 1, write=True, space="inp")])
    history.record(STORE, 5, [tiles(0, 4, write=True, space="dram:A")])
    read = [tiles(0, 4, write=False), tiles(3, 1, write=False, space="dram:A")]
    assert history.conflicts(COMPUTE, read) == {LOAD: 2, STORE: 5}
    assert history.conflicts(COMPUTE, [tiles(0, 1, write=True, space="inp")]) == {}
