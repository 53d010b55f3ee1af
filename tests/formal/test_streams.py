"""Queues between blocks keep every item, in order, and hold what is not taken. By induction.

Items have one bit: what happens to a bit does not depend on the others.
"""

from __future__ import annotations

import abc

import pytest
from amaranth import *

from tests.formal.prover import Followed, Proof, fails, planted, prove
from vta.hw.bus.streams import DISTRIBUTED, Queue, SkidBuffer

DEPTH = 2
"""If nothing fails in this many cycles, nothing may fail in the next."""

FAULTY_DEPTH = 11
"""Cycles after reset in which a fault shows."""


class KeepsItems(Proof):
    """Of a block with one input and one output stream that holds `capacity` items.

    `hints` are what a proof by induction needs; without them a fault breaks the property itself.
    """

    def __init__(self, dut, capacity: int, *, hints: bool = True) -> None:
        super().__init__(dut)
        self.capacity, self.hints = capacity, hints

    def properties(self, m: Module) -> None:
        i, o = self.dut.i, self.dut.o
        item = self.in_order(
            m,
            i.valid & i.ready,
            i.payload,
            o.valid & o.ready,
            o.payload,
            most=self.capacity,
            what="items",
        )
        self.always(m, self.offers(m, item.count), "offers what it holds")
        self.always(m, self.held(m, o.valid, o.ready, o.payload), "holds what is not taken")
        self.always(m, i.ready == self.takes(item.count), "takes an item while it has room")
        if isinstance(self.dut, Queue):
            self.always(m, self.dut.level == item.count, "counts what it holds")
        if not self.hints:
            return
        self.always(m, ~item.active | (item.ahead < item.count), "inside: the item is inside")
        self.always(
            m,
            ~item.active | (self.in_its_place(m, item) == item.kept),
            "inside: the item has its place",
        )

    def offers(self, m: Module, count: Value) -> Value:
        """Whether it offers an item when it should."""
        return self.dut.o.valid == (count != 0)

    def takes(self, count: Value) -> Value:
        """Whether it takes an item."""
        return count < self.capacity

    @abc.abstractmethod
    def in_its_place(self, m: Module, item: Followed) -> Value:
        """What is in the place where `item` must be; asserts what places depend on."""


class SliceKeepsItems(KeepsItems):
    def in_its_place(self, m: Module, item: Followed) -> Value:
        out, spare, out_full, spare_full = (
            self.inside(self.block, name) for name in ("out", "spare", "out_full", "spare_full")
        )
        self.always(m, item.count == out_full + spare_full, "inside: registers in use")
        self.always(m, out_full | ~spare_full, "inside: first things first")
        return Mux(item.ahead == 0, out, spare)


class QueueKeepsItems(KeepsItems):
    def in_its_place(self, m: Module, item: Followed) -> Value:
        consume, produce = (
            self.inside(self.block, "fifo", name) for name in ("consume", "produce")
        )
        level, depth = self.dut.level, self.capacity
        return self.in_ring(m, ("fifo", "storage"), consume, produce, depth, level, item.ahead)

    def in_ring(self, m, memory, first, end, depth, level, ahead) -> Value:
        """What memory holds `ahead` places after `first`; `end` is where the next item goes."""
        self.always(m, (first < depth) & (end < depth), "inside: a place in memory")
        self.always(m, end == (first + level) % depth, "inside: both ends")
        return self.stored(m, self.block, *memory, addr=(first + ahead) % depth)


class BlockQueueKeepsItems(QueueKeepsItems):
    """There an item comes out two cycles after it went in, if it is the only one."""

    def offers(self, m: Module, count: Value) -> Value:
        before = Signal.like(count)
        m.d.sync += before.eq(count - (self.dut.o.valid & self.dut.o.ready))
        return self.dut.o.valid == (before != 0)

    def takes(self, count: Value) -> Value:
        """Its memory has one place less: the register behind it may still be empty."""
        in_register = self.dut.o.valid
        return count - in_register < self.capacity - 1

    def in_its_place(self, m: Module, item: Followed) -> Value:
        """The first item is in the register behind the memory, if that is in use."""
        read, write, stored, in_register = (
            self.inside(self.block, f"_use_block_memory.{name}")
            for name in ("read", "write", "stored", "out_valid")
        )
        self.always(m, item.count == stored + in_register, "inside: items in memory and behind it")
        depth, ahead = self.capacity - 1, item.ahead - in_register
        kept = self.in_ring(m, ("storage",), read.addr, write.addr, depth, stored, ahead)
        return Mux(in_register & (item.ahead == 0), read.data, kept)


def test_a_slice_keeps_items(tmp_path):
    prove(SliceKeepsItems(SkidBuffer(1), 2), tmp_path, depth=DEPTH, induction=True)


@pytest.mark.full
@pytest.mark.parametrize(
    ("old", "new", "property"),
    [
        ("spare_full, spare,", "~spare_full, spare,", "each comes out in its turn"),
        ("out_full.eq(spare_full | self.i.valid)", "out_full.eq(self.i.valid)", "offers"),
        ("self.o.ready | ~out_full", "1", "holds what is not taken"),
        ("self.i.ready.eq(~spare_full)", "self.i.ready.eq(1)", "takes an item while it has room"),
    ],
)
def test_a_slice_with_a_fault_does_not(tmp_path, old, new, property):
    faulty = planted(SkidBuffer, {old: new})
    proof = SliceKeepsItems(faulty(1), 2, hints=False)
    assert property in fails(proof, tmp_path, depth=FAULTY_DEPTH)


@pytest.mark.parametrize("depth", [1, 3, DISTRIBUTED])
def test_a_queue_keeps_items(tmp_path, depth):
    prove(QueueKeepsItems(Queue(1, depth), depth), tmp_path, depth=DEPTH, induction=True)


@pytest.mark.parametrize("depth", [DISTRIBUTED + 1, 512])
def test_a_queue_of_block_memory_keeps_items(tmp_path, depth):
    prove(BlockQueueKeepsItems(Queue(1, depth), depth), tmp_path, depth=DEPTH, induction=True)


@pytest.mark.full
@pytest.mark.parametrize(
    ("old", "new", "property"),
    [
        ("inner.r_en.eq(self.o.ready)", "inner.r_en.eq(1)", "holds what is not taken"),
        ("inner.w_en.eq(self.i.valid)", "inner.w_en.eq(self.i.valid & ~self.o.ready)", "each"),
    ],
)
def test_a_queue_with_a_fault_does_not(tmp_path, old, new, property):
    proof = QueueKeepsItems(planted(Queue, {old: new})(1, 3), 3, hints=False)
    assert property in fails(proof, tmp_path, depth=FAULTY_DEPTH)


@pytest.mark.full
@pytest.mark.parametrize(
    ("old", "new", "property"),
    [
        ("read.en.eq(fetches)", "read.en.eq(1)", "holds what is not taken"),
        ("holds & (~out_valid | self.o.ready)", "holds", "holds what is not taken"),
        ("(m, stored, depth, goes_in", "(m, stored, depth + 1, goes_in", "takes an item while"),
        ("Mux(goes_in, stored + 1, stored - 1)", "stored + 1", "a level must be at most the depth"),
    ],
)
def test_a_queue_of_block_memory_with_a_fault_does_not(tmp_path, monkeypatch, old, new, property):
    monkeypatch.setattr("vta.hw.bus.streams.DISTRIBUTED", 1)
    proof = BlockQueueKeepsItems(planted(Queue, {old: new})(1, 4), 4, hints=False)
    assert property in fails(proof, tmp_path, depth=FAULTY_DEPTH)
