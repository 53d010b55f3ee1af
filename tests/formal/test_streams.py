"""Queues between blocks keep every item, in order, and hold what is not taken.

Items have one bit: what happens to a bit does not depend on the others.
"""

from __future__ import annotations

import pytest
from amaranth import *

from tests.formal.prover import Proof, fails, planted, prove
from vta.hw.bus.streams import Queue, SkidBuffer


class KeepsItems(Proof):
    """Of a block with one input and one output stream that holds `capacity` items."""

    def __init__(self, dut, capacity: int) -> None:
        super().__init__(dut)
        self.capacity = capacity

    def properties(self, m: Module) -> None:
        i, o = self.dut.i, self.dut.o
        inside = self.in_order(
            m,
            i.valid & i.ready,
            i.payload,
            o.valid & o.ready,
            o.payload,
            most=self.capacity,
            what="items",
        )
        self.always(m, self.offers(m, inside), "offers what it holds")
        self.always(m, self.held(m, o.valid, o.ready, o.payload), "holds what is not taken")
        self.always(m, i.ready | (inside != 0), "takes an item whenever it is empty")

    def offers(self, m: Module, inside: Value) -> Value:
        """Whether it offers an item when it should."""
        return self.dut.o.valid == (inside != 0)


def test_a_slice_keeps_items(tmp_path):
    prove(KeepsItems(SkidBuffer(1), 2), tmp_path, depth=16)


@pytest.mark.full
@pytest.mark.parametrize(
    ("old", "new", "property"),
    [
        ("spare_full, spare,", "~spare_full, spare,", "each comes out in its turn"),
        ("out_full.eq(spare_full | self.i.valid)", "out_full.eq(self.i.valid)", "offers"),
        ("self.o.ready | ~out_full", "1", "holds what is not taken"),
        ("self.i.ready.eq(~spare_full)", "self.i.ready.eq(1)", "no more inside"),
    ],
)
def test_a_slice_with_a_fault_does_not(tmp_path, old, new, property):
    faulty = planted(SkidBuffer, {old: new})
    assert property in fails(KeepsItems(faulty(1), 2), tmp_path, depth=16)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_queue_keeps_items(tmp_path, depth):
    prove(KeepsItems(Queue(1, depth), depth), tmp_path, depth=3 * depth + 2)


class KeepsItemsInBlockMemory(KeepsItems):
    """There an item comes out two cycles after it went in, if it is the only one."""

    def offers(self, m: Module, inside: Value) -> Value:
        before = Signal.like(inside)
        m.d.sync += before.eq(inside - (self.dut.o.valid & self.dut.o.ready))
        return self.dut.o.valid == (before != 0)


@pytest.mark.parametrize("depth", [2, 3, pytest.param(4, marks=pytest.mark.full)])
def test_a_queue_of_block_memory_keeps_items(tmp_path, monkeypatch, depth):
    monkeypatch.setattr("vta.hw.bus.streams.DISTRIBUTED", 1)
    prove(KeepsItemsInBlockMemory(Queue(1, depth), depth), tmp_path, depth=3 * depth + 2)


@pytest.mark.full
def test_a_queue_with_a_fault_does_not(tmp_path):
    faulty = planted(Queue, {"inner.r_en.eq(self.o.ready)": "inner.r_en.eq(1)"})
    assert "holds what is not taken" in fails(KeepsItems(faulty(1, 3), 3), tmp_path, depth=11)


@pytest.mark.full
def test_a_queue_of_block_memory_with_a_fault_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr("vta.hw.bus.streams.DISTRIBUTED", 1)
    faulty = planted(Queue, {"read.en.eq(fetches)": "read.en.eq(1)"})
    found = fails(KeepsItemsInBlockMemory(faulty(1, 2), 2), tmp_path, depth=8)
    assert "each comes out in its turn" in found or "holds what is not taken" in found
