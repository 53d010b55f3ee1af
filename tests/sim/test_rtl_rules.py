"""Rules of docs/isa.md that no public suite tests, on both simulators, against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench import alu_reference
from tests.pair import Pair
from tests.sim.acc_contents import STALLS, expose, exposed, numbers
from vta.config import PRESETS
from vta.isa import AluOp, MemoryType
from vta.sim.rtl.memory_model import MemoryModel

UOP, WGT, INP, ACC, ACC_8BIT = (
    MemoryType[name] for name in ("UOP", "WGT", "INP", "ACC", "ACC_8BIT")
)

SHIFTS = [0, 1, 5, 30, 31, 32, 33, 100, 32767, -1, -5, -30, -31, -32, -33, -100, -32768]

OPERATIONS = [op for op in AluOp if op <= AluOp.MUL]
"""Of encoding 0.0.2; `functional/test_encoding_0_0_3.py` has the others."""


@pytest.fixture(params=["tiny", "small", "default"])
def pair(request):
    with Pair(PRESETS[request.param]) as pair:
        yield pair


@pytest.fixture
def rng():
    return np.random.default_rng(20)


def operate(op, left, right):
    """The ALU of docs/isa.md on arrays, by way of whole numbers."""
    result = [
        alu_reference(op, int(a), int(b))
        for a, b in zip(
            left.reshape(-1), np.broadcast_to(right, left.shape).reshape(-1), strict=True
        )
    ]
    return np.array(result, np.int64).astype(np.int32).reshape(left.shape)


class Acc:
    """What ACC must become, tile by tile, beside what is loaded into INP and WGT."""

    def __init__(self, pair, rng, tiles):
        config = pair.config
        self.inp = rng.integers(-128, 128, (6, config.batch, config.block)).astype(np.int8)
        self.wgt = rng.integers(-128, 128, (5, config.block, config.block)).astype(np.int8)
        self.tiles = numbers(rng, tiles, config.batch, config.block)
        pair.put("inp", self.inp)
        pair.put("wgt", self.wgt)
        pair.put("acc", self.tiles)
        self.loads = [
            pair.load(INP, x=6),
            pair.load(WGT, x=5, push_next=1),
            pair.load(ACC, x=tiles),
        ]

    def gemm(self, dst, src, wgt):
        product = self.inp[src].astype(np.int64) @ self.wgt[wgt].astype(np.int64).T
        self.tiles[dst] = (self.tiles[dst] + product).astype(np.int32)

    def alu(self, op, dst, right):
        self.tiles[dst] = operate(op, self.tiles[dst], right)


def must_become(pair, insns, acc):
    """Runs `insns` and compares the whole of ACC's first tiles."""
    tiles = len(acc.tiles)
    pair.ok(*insns, *expose(pair, tiles))
    np.testing.assert_array_equal(exposed(pair, tiles), acc.tiles)


# -- STORE ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [MemoryModel(latency=1), STALLS], ids=["fast", "stalls"])
@pytest.mark.parametrize("writer", ["gemm", "reset", "alu", "imm", "acc", "acc_8bit", "padding"])
@pytest.mark.parametrize("name", ["tiny", "small", "default"])
def test_store_at_once_after_any_writer(name, writer, model, rng):
    """The low 8 bits of ACC as the instruction before left it: cut off, not saturated."""
    with Pair(PRESETS[name], model=model) as pair:
        acc = Acc(pair, rng, 8)
        pair.put("out", np.full((3, pair.lanes), 0x5A, np.int8))
        fresh = numbers(rng, 3, *acc.tiles.shape[1:])
        pair.put("acc", fresh, elem=20)
        narrow = rng.integers(-128, 128, fresh.shape).astype(np.int8)
        pair.put("acc", narrow, elem=40)
        loop = {"iters": (1, 3), "dst": (0, 1), "push_next": 1}
        last = {
            "gemm": lambda: pair.gemm(src=(0, 1), **loop),
            "reset": lambda: pair.gemm(reset=1, **loop),
            "alu": lambda: pair.alu(AluOp.ADD, src=(0, 1), **loop),
            "imm": lambda: pair.alu(AluOp.ADD, imm=300, **loop),
            "acc": lambda: pair.load(ACC, sram=2, dram=20, x=3, push_next=1),
            # ACC's elements in memory are four times as large.
            "acc_8bit": lambda: pair.load(ACC_8BIT, sram=2, dram=160, x=3, push_next=1),
            "padding": lambda: pair.load(ACC, sram=2, y=0, x=3, pads=(1, 0, 0, 0), push_next=1),
        }[writer]()
        for step in range(3):
            if writer == "gemm":
                acc.gemm(2 + step, 1 + step, 4)
            elif writer in ("alu", "imm"):
                acc.alu(AluOp.ADD, 2 + step, acc.tiles[1 + step] if writer == "alu" else 300)
            else:
                acc.tiles[2 + step] = {"acc": fresh[step], "acc_8bit": narrow[step]}.get(writer, 0)
        pair.ok(
            *acc.loads,
            pair.uops((2, 1, 4)),
            pair.nop(pop_prev=1),
            last,
            pair.store(sram=2, x=3, pop_prev=1),
        )
        stored = pair.out(3).reshape(acc.tiles[2:5].shape)
        np.testing.assert_array_equal(stored, acc.tiles[2:5].astype(np.int8))


def test_the_last_of_several_writers_counts(pair, rng):
    acc = Acc(pair, rng, 4)
    pair.ok(
        *acc.loads,
        pair.uops((1, 0, 0)),
        pair.alu(AluOp.ADD, imm=1, pop_prev=1),
        pair.gemm(),
        pair.load(ACC, sram=1, dram=2),
        pair.alu(AluOp.MUL, imm=3),
        pair.gemm(reset=1),
        pair.load(ACC_8BIT, sram=1),
        pair.gemm(push_next=1),
        pair.store(sram=1, pop_prev=1),
    )
    config = pair.config
    acc.tiles[1] = (
        acc.tiles.view(np.int8).reshape(-1)[: pair.lanes].reshape(config.batch, config.block)
    )
    acc.gemm(1, 0, 0)
    np.testing.assert_array_equal(
        pair.out(1).reshape(acc.tiles[1].shape), acc.tiles[1].astype(np.int8)
    )


def test_a_store_waits_for_the_responses_of_the_one_before():
    """Three stores, each of which waits for the token of the one before."""
    with Pair(model=MemoryModel(latency=1, write_response=700)) as pair:
        store = pair.store(x=8, pop_prev=1, push_prev=1)
        hand_on = pair.nop(pop_next=1, push_next=1)
        report = pair.ok(pair.nop(push_next=1), store, hand_on, store, hand_on, store)
        assert 3 * 700 < report.cycles < 3 * 700 + 400


def test_a_load_sees_what_the_store_that_it_waits_for_wrote(pair, rng):
    """Through memory and back, eight times, over one and the same place."""
    acc = Acc(pair, rng, 2)
    out_in_acc = (0xC0_0000 - 0x80_0000) // pair.config.acc_8bit_elem_bytes
    insns = [*acc.loads, pair.uops((0, 0, 0))]
    expected = acc.tiles[0].astype(np.int8).astype(np.int32)
    for _ in range(8):
        insns += [
            pair.nop(push_next=1),
            pair.store(pop_prev=1, push_prev=1),
            pair.load(ACC_8BIT, dram=out_in_acc, pop_next=1),
            pair.alu(AluOp.MUL, imm=3),
            pair.alu(AluOp.ADD, imm=1),
        ]
    for _ in range(8):
        expected = expected.astype(np.int8).astype(np.int32) * 3 + 1
    acc.tiles[0] = expected
    must_become(pair, insns, acc)


# -- strictly sequential -------------------------------------------------------------------------


@pytest.mark.parametrize("distance", range(1, 13))
def test_gemm_over_the_same_destination_at_any_distance(pair, rng, distance):
    acc = Acc(pair, rng, 13)
    uops = [(step % distance, step % 6, step % 5) for step in range(40)]
    for dst, src, wgt in uops:
        acc.gemm(dst, src, wgt)
    must_become(pair, [*acc.loads, pair.uops(*uops), pair.gemm(uops=(0, 40), pop_prev=1)], acc)


@pytest.mark.parametrize("distance", range(1, 13))
def test_alu_over_the_same_tiles_at_any_distance(pair, rng, distance):
    """Each source was a destination `distance` iterations ago."""
    acc = Acc(pair, rng, 30)
    uops = [(step, step - distance, 0) for step in range(distance, 30)]
    for dst, src, _ in uops:
        acc.alu(AluOp.ADD, dst, acc.tiles[src])
    must_become(
        pair,
        [*acc.loads, pair.uops(*uops), pair.alu(AluOp.ADD, uops=(0, len(uops)), pop_prev=1)],
        acc,
    )


@pytest.mark.parametrize("op", OPERATIONS)
def test_a_tile_with_itself(pair, rng, op):
    acc = Acc(pair, rng, 6)
    for tile in range(6):
        for _ in range(3):
            acc.alu(op, tile, acc.tiles[tile].copy())
    uops = [(tile, tile, 0) for tile in range(6) for _ in range(3)]
    must_become(pair, [*acc.loads, pair.uops(*uops), pair.alu(op, uops=(0, 18), pop_prev=1)], acc)


@pytest.mark.parametrize("seed", range(6))
def test_one_iteration_instructions_back_to_back(pair, seed):
    """GEMM, resets, ALU and LOADs of ACC over three tiles, with nothing between."""
    rng = np.random.default_rng(seed)
    acc = Acc(pair, rng, 6)
    memory = acc.tiles.copy()
    uops = [(dst, src, wgt) for dst in range(3) for src in range(3) for wgt in range(2)]
    insns = [*acc.loads, pair.uops(*uops), pair.nop(pop_prev=1)]
    for _ in range(60):
        number = int(rng.integers(len(uops)))
        at = (number, number + 1)
        dst, src, wgt = uops[number]
        op = int(rng.integers(5))
        kind = rng.choice(["gemm", "gemm", "reset", "alu", "alu", "imm", "load"])
        if kind == "gemm":
            acc.gemm(dst, src, wgt)
            insns.append(pair.gemm(uops=at))
        elif kind == "reset":
            acc.tiles[dst] = 0
            insns.append(pair.gemm(uops=at, reset=1))
        elif kind == "alu":
            acc.alu(op, dst, acc.tiles[src].copy())
            insns.append(pair.alu(op, uops=at))
        elif kind == "imm":
            imm = int(rng.integers(-40, 41))
            acc.alu(op, dst, imm)
            insns.append(pair.alu(op, uops=at, imm=imm))
        else:
            acc.tiles[dst] = memory[src]
            insns.append(pair.load(ACC, sram=dst, dram=src))
    must_become(pair, insns, acc)


def test_micro_ops_are_replaced_in_time(pair, rng):
    """Each loop reads the micro-op that the LOAD just before it wrote, in one and the same place;
    the next LOAD waits for the loop."""
    acc = Acc(pair, rng, 4)
    insns = [*acc.loads, pair.nop(pop_prev=1)]
    for step in range(24):
        dst, src, wgt = step % 4, step % 6, step % 5
        insns += [
            pair.uops((dst, src, wgt), (3 - dst, src, wgt), dram=2 * step),
            pair.gemm(uops=(0, 2), iters=(1, 3)),
        ]
        for _ in range(3):
            acc.gemm(dst, src, wgt)
            acc.gemm(3 - dst, src, wgt)
    must_become(pair, insns, acc)


# -- SHR -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", SHIFTS)
def test_shift_by_an_immediate(pair, rng, amount):
    acc = Acc(pair, rng, 5)
    for tile in range(5):
        acc.alu(AluOp.SHR, tile, amount)
    must_become(
        pair,
        [
            *acc.loads,
            pair.uops((0, 0, 0)),
            pair.alu(AluOp.SHR, iters=(1, 5), dst=(0, 1), imm=amount, pop_prev=1),
        ],
        acc,
    )


def test_shift_by_registers(pair, rng):
    """All amounts, also such as no immediate can be, in every lane."""
    acc = Acc(pair, rng, 12)
    amounts = np.array(
        [*SHIFTS, 2**31 - 1, -(2**31), 2**16, -(2**16), 2**16 + 3, 32 - 2**31, 255, 256, -256]
    )
    acc.tiles[6:] = rng.choice(amounts, acc.tiles[6:].shape)
    pair.put("acc", acc.tiles)
    for tile in range(6):
        acc.alu(AluOp.SHR, tile, acc.tiles[tile + 6])
    must_become(
        pair,
        [
            *acc.loads,
            pair.uops((0, 6, 0)),
            pair.alu(AluOp.SHR, iters=(1, 6), dst=(0, 1), src=(0, 1), pop_prev=1),
        ],
        acc,
    )


@pytest.mark.parametrize("op", OPERATIONS)
def test_operations_on_extremes(pair, rng, op):
    acc = Acc(pair, rng, 12)
    for tile in range(6):
        acc.alu(op, tile, acc.tiles[tile + 6])
    for tile in range(12):
        acc.alu(op, tile, -32768)
    must_become(
        pair,
        [
            *acc.loads,
            pair.uops((0, 6, 0), (0, 0, 0)),
            pair.alu(op, iters=(1, 6), dst=(0, 1), src=(0, 1), pop_prev=1),
            pair.alu(op, uops=(1, 2), iters=(1, 12), dst=(0, 1), imm=-32768),
        ],
        acc,
    )


def test_a_sum_wraps(pair):
    """127 * 127 in every lane, until 2^31 is passed."""
    config = pair.config
    acc = Acc(pair, np.random.default_rng(0), 2)
    pair.put("inp", np.full_like(acc.inp, -128))
    pair.put("wgt", np.full_like(acc.wgt, -128))
    tiles = np.full_like(acc.tiles, 2**31 - 1 - 2**14 * config.block)
    pair.put("acc", tiles)
    acc.tiles = (tiles.astype(np.int64) + 3 * 2**14 * config.block).astype(np.int32)
    assert (acc.tiles < 0).all()
    must_become(
        pair,
        [
            *acc.loads,
            pair.uops((0, 0, 0), (1, 1, 1)),
            pair.gemm(uops=(0, 2), iters=(3, 1), pop_prev=1),
        ],
        acc,
    )


# -- tokens and launches -------------------------------------------------------------------------


def test_tokens_outlive_their_launch(pair):
    """Each queue keeps what a launch has left over, and no more."""
    pair.ok(
        *[pair.nop("load", push_next=1)] * 3,
        *[pair.nop(push_prev=1, push_next=1)] * 2,
        *[pair.nop("store", push_prev=1)] * 4,
    )
    pair.ok(
        *[pair.nop(pop_prev=1, pop_next=1)] * 2,
        pair.nop("load", pop_next=1),
        pair.nop("store", pop_prev=1),
    )
    pair.ok(
        pair.nop(pop_prev=1, pop_next=1),
        pair.nop(pop_next=1),
        pair.nop("load", pop_next=1),
        pair.nop("store", pop_prev=1),
    )
    fault = pair.fault(
        pair.nop("store", pop_prev=1),
        pair.nop("load", pop_next=1),
        pair.nop(pop_prev=1, pop_next=1),
    )
    assert [entry["token"] for entry in fault.waiting] == ["g2s", "g2l", "l2g and s2g"]


def test_buffers_outlive_their_launch_and_a_reset(pair, rng):
    acc = Acc(pair, rng, 4)
    pair.ok(*acc.loads, pair.uops((2, 3, 4)), pair.nop(pop_prev=1))
    for name in ("uop", "inp", "wgt", "acc"):
        pair.put(name, np.zeros(4096, np.uint8))
    pair.reset()
    acc.gemm(2, 3, 4)
    must_become(pair, [pair.gemm()], acc)


@pytest.mark.parametrize(
    "model",
    [
        MemoryModel(latency=150, write_response=150),
        MemoryModel(latency=150, write_response=150, outstanding=1),
        MemoryModel(latency=60, write_response=90, stall_seed=5),
    ],
)
@pytest.mark.parametrize("name", ["tiny", "small", "default"])
def test_many_transfers_in_flight(name, model, rng):
    """Loads of every kind and stores, one tile each, unaligned and against each other."""
    with Pair(PRESETS[name], model=model) as pair:
        acc = Acc(pair, rng, 16)
        insns = [pair.load(ACC, sram=tile, dram=15 - tile) for tile in range(16)]
        insns += [pair.load(INP, sram=tile % 7, dram=tile) for tile in range(16)]
        insns += [pair.nop(push_next=1)]
        insns += [
            pair.store(sram=tile, dram=3 * tile + 1, pop_prev=tile == 0) for tile in range(16)
        ]
        report = pair.ok(*insns)
        acc.tiles = acc.tiles[::-1]
        stored = np.stack([pair.out(1, elem=3 * tile + 1) for tile in range(16)])
        np.testing.assert_array_equal(stored.reshape(acc.tiles.shape), acc.tiles.astype(np.int8))
        if model.outstanding is None and model.stall_seed is None:
            # One after the other, the stores alone would take 16 times 150 cycles.
            assert report.cycles < 16 * 150


def test_a_stream_longer_than_all_queues(pair, rng):
    """Fetch stops at a full queue and goes on; nothing is lost or done twice."""
    acc = Acc(pair, rng, 3)
    for tile in range(3):
        acc.alu(AluOp.ADD, tile, 700)
    adds = [pair.alu(AluOp.ADD, iters=(1, 3), dst=(0, 1), imm=1) for _ in range(700)]
    report = pair.run(
        *acc.loads,
        pair.uops((0, 0, 0)),
        pair.nop(pop_prev=1),
        *adds,
        *[pair.nop("load")] * 700,
        *[pair.nop("store")] * 700,
        *expose(pair, 3),
        pair.finish(),
    )
    assert report.fault is None
    assert (report.stats["load_insns"], report.stats["alu_counter"]) == (702, 2112)
    np.testing.assert_array_equal(exposed(pair, 3), acc.tiles)
