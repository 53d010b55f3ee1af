"""The execution pipeline against a strictly sequential numpy model; its rates, to the cycle."""

import random
from collections import deque

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, connect, flipped

from tests.hw.compute.test_lane_arithmetic import wrap
from tests.hw.streams import QUICK_STALLS, Clock, Pauses, put, rest, simulate, tiles
from vta.config import PRESETS
from vta.hw.compute.execute import Execute
from vta.hw.compute.hazards import AccGuard
from vta.hw.compute.index_generator import iteration_layout
from vta.tools.fuzz.plain_interpreter import requantise

MIN, MAX, ADD, SHR, MUL, QNT, MOV = range(7)
OLD = PRESETS["tiny"].replace(hw_ver="0.0.2")


def alu(op, x, y, imm=0):
    """docs/isa.md, "ALU", for arrays of int32 in int64."""
    if op == MIN:
        return np.minimum(x, y)
    if op == MAX:
        return np.maximum(x, y)
    if op == QNT:
        numbers = zip(x.ravel().tolist(), y.ravel().tolist(), strict=True)
        return np.array([requantise(a, b, imm) for a, b in numbers]).reshape(x.shape)
    if op == MOV:
        return np.broadcast_to(y, x.shape).copy()
    if op in (ADD, MUL):
        return wrap(x + y) if op == ADD else wrap_array(x, y)
    return np.array(
        [
            a >> min(b, 31) if b >= 0 else (wrap(a << -b) if -b < 32 else 0)
            for a, b in zip(
                x.ravel().tolist(), np.broadcast_to(y, x.shape).ravel().tolist(), strict=True
            )
        ]
    ).reshape(x.shape)


def wrap_array(x, y):
    y = np.broadcast_to(y, x.shape)
    return np.array(
        [wrap(a * b) for a, b in zip(x.ravel().tolist(), y.ravel().tolist(), strict=True)]
    ).reshape(x.shape)


class GuardedExecute(wiring.Component):
    """The execution pipeline behind `AccGuard`, on which it depends.

    The guard holds iterations; `taken` is where the pipeline takes one.
    """

    def __init__(self, config):
        self._inner, self._guard = Execute(config), AccGuard(config)
        self.taken = self._inner.iteration
        members = {
            name: member
            for name, member in self._inner.signature.members.items()
            if name not in ("iteration", "delayed", "kept_addr", "flags")
        }
        super().__init__({"iteration": In(stream.Signature(iteration_layout(config))), **members})

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner, m.submodules.guard = inner, guard = self._inner, self._guard
        connect(m, flipped(self.iteration), guard.i)
        connect(m, guard.o, inner.iteration)
        connect(m, flipped(self.load), inner.load)
        m.d.comb += [guard.kept_addr.eq(inner.kept_addr), inner.flags.eq(guard.flags)]
        if hasattr(inner, "delayed"):
            m.d.comb += guard.delayed.eq(inner.delayed)
        for name, member in self.signature.members.items():
            if member.is_port:
                inside, outside = getattr(inner, name), getattr(self, name)
                m.d.comb += inside.eq(outside) if member.flow == In else outside.eq(inside)
        return m


def iteration(*, dst=0, src=0, wgt=0, last=1, fault=0, alu=None, imm=None, reset=0, qnt=None):
    """An iteration of GEMM, or of the ALU operation `alu`, as the index generator makes it.

    `qnt` is QNT's `imm`, which is not its operand.
    """
    return {
        "context": {
            "is_alu": alu is not None,
            "reset": reset,
            "alu_opcode": alu or 0,
            "use_imm": imm is not None,
            "imm": (qnt if qnt is not None else imm or 0) & 0xFFFF,
        },
        "dst": dst,
        "src": src,
        "wgt": wgt,
        "fault": fault,
        "last": last,
    }


class Bench:
    """An execution pipeline with INP, WGT and what LOADs bring, and a model of ACC."""

    def __init__(self, config, *, stalls="none", seed=0):
        self.config, self.stalls = config, stalls
        self.dut = GuardedExecute(config)
        rng = np.random.default_rng(seed)
        shape = (config.batch, config.block)
        self.inp = rng.integers(-128, 128, (config.inp_depth, *shape)).astype(np.int8)
        self.wgt = rng.integers(-128, 128, (config.wgt_depth, config.block, config.block)).astype(
            np.int8
        )
        self.acc = np.zeros((config.acc_depth, *shape), np.int64)
        self.clock = Clock()
        self.done: list[tuple[int, int]] = []
        self.load_done: list[int] = []
        self.counts = {"gemm": 0, "reset": 0, "alu": 0}
        self.expected = {"gemm": 0, "reset": 0, "alu": 0}
        self._tiles: deque[int] = deque()
        self._left: deque[dict] = deque()
        self._tiles_left: deque = deque()

    # -- the model ---------------------------------------------------------------------------------

    def execute(self, item):
        context, dst = item["context"], item["dst"]
        if item["fault"]:
            return
        if context["is_alu"]:
            imm = context["imm"] - (1 << 16 if context["imm"] >> 15 else 0)
            operand = np.int64(imm) if context["use_imm"] else self.acc[item["src"]].copy()
            self.acc[dst] = alu(context["alu_opcode"], self.acc[dst], operand, imm)
            self.expected["alu"] += 1
        elif context["reset"]:
            self.acc[dst] = 0
            self.expected["reset"] += 1
        else:
            product = self.inp[item["src"]].astype(np.int64) @ self.wgt[item["wgt"]].T.astype(
                np.int64
            )
            self.acc[dst] = wrap(self.acc[dst] + product)
            self.expected["gemm"] += 1

    # -- the run -----------------------------------------------------------------------------------

    def run(self, items, loads=(), *, before=0, after=(), wait=None):
        """Executes `items`; `loads` (tile number, data or None for zero, or "mark"/"error") come
        at random beside them, but the first `before` of them come before the items. The model
        follows the order in which the pipeline takes them."""
        dut = self.dut
        self._tiles_left = deque(loads)
        lasts = sum(item["last"] or item["fault"] for item in items)
        if any(item["fault"] for item in items):
            lasts = 1 + sum(
                item["last"]
                for item in items[
                    : next(index for index, item in enumerate(items) if item["fault"])
                ]
            )

        async def send(ctx):
            while len(self._tiles_left) > len(loads) - before:
                await ctx.tick()
            await put(ctx, dut.iteration, items, Pauses(self.stalls, "iteration"))

        async def load(ctx):
            pauses, rng = Pauses(self.stalls, "load"), random.Random("load")
            for addr, value in loads:
                await rest(ctx, pauses.next() + (rng.randrange(3) if items else 0))
                mark = isinstance(value, str)
                zero = value is None
                ctx.set(
                    dut.load.payload,
                    {"addr": addr, "zero": zero, "mark": mark, "error": mark and value == "error"},
                )
                ctx.set(dut.load.valid, 1)
                assert ctx.get(dut.load.ready)
                if not mark and not zero:
                    self._tiles.append(tiles(value.astype(np.int32)))
                await ctx.tick()
                ctx.set(dut.load.valid, 0)

        async def finish(ctx):
            for _ in range(wait if wait is not None else 100_000):
                if (
                    wait is None
                    and len(self.done) == lasts
                    and len(self.load_done) == sum(isinstance(value, str) for _, value in loads)
                ):
                    break
                await ctx.tick()
            await rest(ctx, 3)
            assert not ctx.get(dut.active) or wait is not None
            for bench in after:
                await bench(ctx)

        simulate(
            dut,
            load,
            finish,
            background=[
                send,
                self.clock.run,
                self._order(items, loads),
                self._memories,
                self._load_data,
                self._ends,
            ],
        )
        for name in self.counts:
            assert self.counts[name] == self.expected[name], name

    def _order(self, items, loads):
        dut = self.dut
        pipeline = dut.taken

        async def bench(ctx):
            self._left = deque(items)
            tiles_left = self._tiles_left
            trigger = ctx.tick().sample(
                pipeline.valid & pipeline.ready,
                dut.load.valid,
                dut.gemm_op,
                dut.reset_op,
                dut.alu_op,
            )
            while True:
                _, _, taken, loaded, gemm, reset, is_alu = await trigger
                assert gemm + reset + is_alu <= 1
                self.counts["gemm"] += gemm
                self.counts["reset"] += reset
                self.counts["alu"] += is_alu
                if loaded:
                    addr, value = tiles_left.popleft()
                    assert not taken or self.config.requantises
                    if not isinstance(value, str):
                        self.acc[addr] = 0 if value is None else value
                if taken:
                    self.execute(self._left.popleft())

        return bench

    async def _memories(self, ctx):
        dut = self.dut
        trigger = ctx.tick().sample(dut.inp_en, dut.inp_addr, dut.wgt_en, dut.wgt_addr)
        while True:
            _, _, inp_en, inp_addr, wgt_en, wgt_addr = await trigger
            # Without a read the port's data means nothing here.
            ctx.set(dut.inp_data, tiles(self.inp[inp_addr]) if inp_en else 0)
            ctx.set(dut.wgt_data, tiles(self.wgt[wgt_addr]) if wgt_en else 0)

    async def _load_data(self, ctx):
        trigger = ctx.tick().sample(self.dut.load_take)
        while True:
            ctx.set(self.dut.load_data, self._tiles[0] if self._tiles else 0)
            _, _, take = await trigger
            if take:
                self._tiles.popleft()

    async def _ends(self, ctx):
        dut = self.dut
        trigger = ctx.tick().sample(dut.done, dut.fault, dut.load_done, dut.load_error)
        while True:
            _, _, done, fault, load_done, load_error = await trigger
            if done:
                self.done.append((self.clock.now, fault))
            if load_done:
                self.load_done.append(load_error)

    async def check_out(self, ctx):
        """Reads all of OUT through STORE's port: low bits of ACC."""
        dut = self.dut
        ctx.set(dut.out_en, 1)
        for addr in range(self.config.acc_depth):
            ctx.set(dut.out_addr, addr)
            await ctx.tick()
            assert ctx.get(dut.out_data) == tiles(self.acc[addr].astype(np.int8)), addr

    async def drain(self, ctx):
        """Shows all 32 bits: ALU shifts by 8 make the next byte visible in OUT."""
        for _ in range(4):
            await self.check_out(ctx)
            items = [
                iteration(dst=addr, alu=SHR, imm=8, last=0) for addr in range(self.config.acc_depth)
            ]
            self._left.extend(items)
            await put(ctx, self.dut.iteration, items)
            await rest(ctx, 15)


def random_items(config, rng, count):
    """Iterations of all kinds on few tiles, so that they depend on each other at all distances."""
    items = []
    while len(items) < count:
        kind = rng.choice(("gemm", "gemm", "reset", "imm", "register", "register"))
        op = rng.choice((MIN, MAX, ADD, SHR, MUL, *((MOV,) if config.requantises else ())))
        imm = rng.choice((rng.randrange(-40, 41), rng.randrange(-(2**15), 2**15)))
        for number in range(length := rng.randint(1, 5)):
            dst, src = rng.randrange(3), rng.randrange(3)
            last = number == length - 1
            if kind in ("gemm", "reset"):
                items.append(
                    iteration(
                        dst=dst,
                        src=rng.randrange(config.inp_depth),
                        wgt=rng.randrange(config.wgt_depth),
                        last=last,
                        reset=kind == "reset",
                    )
                )
            elif kind == "imm":
                items.append(iteration(dst=dst, src=src, alu=op, imm=imm, last=last))
            else:
                items.append(iteration(dst=dst, src=src, alu=op, last=last))
    return items


def random_loads(config, rng, seed, count):
    data = np.random.default_rng(seed)
    loads = []
    for _ in range(count):
        value = data.integers(-(2**31), 2**31, (config.batch, config.block))
        loads.append((rng.randrange(3), rng.choice((value, value, None))))
        if rng.random() < 0.3:
            loads.append((0, rng.choice(("mark", "error"))))
    return loads


@pytest.mark.parametrize("stalls", QUICK_STALLS)
@pytest.mark.parametrize("name", ["tiny", "small"])
def test_random_iterations_and_loads(name, stalls):
    config = PRESETS[name]
    rng = random.Random(f"execute {name} {stalls}")
    items = random_items(config, rng, 200)
    loads = random_loads(config, rng, len(stalls), 60)
    bench = Bench(config, stalls=stalls)
    bench.run(items, loads, after=[bench.drain])
    assert [fault for _, fault in bench.done] == [0] * sum(item["last"] for item in items)
    assert bench.load_done == [value == "error" for _, value in loads if isinstance(value, str)]


@pytest.mark.full
def test_the_default_configuration():
    config = PRESETS["default"]
    rng = random.Random("execute default")
    bench = Bench(config, stalls="short")
    bench.run(
        random_items(config, rng, 150), random_loads(config, rng, 1, 40), after=[bench.check_out]
    )


@pytest.mark.parametrize(
    ("items", "cycles"),
    [
        # GEMM: one iteration a cycle whatever the pattern, the same destination included.
        ([iteration(dst=0, src=i % 7, wgt=i % 5, last=0) for i in range(60)], 60),
        ([iteration(dst=i * 7 % 11, last=0) for i in range(60)], 60),
        ([iteration(dst=i % 2, reset=1, last=0) for i in range(60)], 60),
        # The ALU with an immediate, or with a source that is held: one a cycle.
        ([iteration(dst=i % 3, alu=ADD, imm=i, last=0) for i in range(60)], 60),
        ([iteration(dst=i % 3, src=9, alu=MAX, last=0) for i in range(60)], 61),
        # A new source every time: two.
        ([iteration(dst=i % 3, src=8 + i % 4, alu=ADD, last=0) for i in range(60)], 120),
        # A source that is written by the iteration before is read again.
        ([iteration(dst=3, src=3, alu=ADD, last=0) for i in range(60)], 120),
        # MUL: five, or six with a new source.
        ([iteration(dst=i % 3, alu=MUL, imm=3, last=0) for i in range(20)], 100),
        ([iteration(dst=i % 3, src=8 + i % 4, alu=MUL, last=0) for i in range(20)], 120),
        # From one instruction to the next of another kind nothing is lost.
        (
            [
                iteration(dst=i % 3, alu=ADD if i % 2 else None, imm=1 if i % 2 else None)
                for i in range(60)
            ],
            60,
        ),
        # MOV is like the others, its destination the same or not.
        ([iteration(dst=i % 3, alu=MOV, imm=i, last=0) for i in range(60)], 60),
        ([iteration(dst=i % 3, src=9, alu=MOV, last=0) for i in range(60)], 61),
        ([iteration(dst=i % 3, src=8 + i % 4, alu=MOV, last=0) for i in range(60)], 120),
        ([iteration(dst=3, src=3, alu=MOV, last=0) for i in range(60)], 120),
    ],
    ids=[
        "gemm_same",
        "gemm_any",
        "reset",
        "imm",
        "held",
        "register",
        "in_place",
        "mul_imm",
        "mul_register",
        "mixed",
        "mov_imm",
        "mov_held",
        "mov_register",
        "mov_in_place",
    ],
)
@pytest.mark.parametrize("config", [OLD, PRESETS["tiny"]], ids=["0.0.2", "0.0.3"])
def test_rate(items, cycles, config):
    if not config.requantises and any(item["context"]["alu_opcode"] == MOV for item in items):
        pytest.skip("encoding 0.0.2 has no MOV")
    bench, empty = Bench(config), Bench(config)
    items[-1]["last"] = 1
    bench.run([dict(item) for item in items], after=[bench.check_out])
    empty.run([iteration()])
    # One iteration alone takes as long as the pipeline is deep.
    assert bench.done[-1][0] - empty.done[0][0] == cycles - 1


def test_a_load_takes_one_slot():
    """While a LOAD's tiles come, GEMM loses exactly their cycles."""
    config = PRESETS["tiny"]
    tile = np.arange(config.block).reshape(1, -1)
    items = [iteration(dst=i % 3, last=i == 59) for i in range(60)]
    plain, loaded = Bench(config), Bench(config)
    plain.run(items)
    loaded.run(items, [(20 + index, tile) for index in range(10)], after=[loaded.check_out])
    assert loaded.done[0][0] == plain.done[0][0] + 10


@pytest.mark.parametrize("between", ["immediate", "gemm", "reset"])
def test_a_source_tile_after_other_work(between):
    """The operand register does not hold the source tile any more, or still does."""
    other = {
        "immediate": {"alu": ADD, "imm": -1234},
        "gemm": {"src": 3, "wgt": 2},
        "reset": {"reset": 1},
    }[between]
    items = [iteration(dst=dst, alu=ADD, imm=100 * dst + 7) for dst in range(10)]
    for dst in range(4):
        items += [iteration(dst=dst, src=9, alu=ADD), iteration(dst=5, **other)]
        items.append(iteration(dst=dst, src=9, alu=MAX if dst % 2 else ADD))
    bench = Bench(PRESETS["tiny"])
    bench.run(items, after=[bench.check_out])


@pytest.mark.parametrize("zero", [False, True])
def test_a_source_tile_after_a_load_of_it(zero):
    """A LOAD of the tile that the operand register holds makes the copy stale."""
    config = PRESETS["tiny"]
    items = [iteration(dst=i % 8, src=9, alu=ADD, last=i == 79) for i in range(80)]
    loads = [(9, np.full((1, config.block), 17 * index + 1)) for index in range(20)]
    if zero:
        loads[1::2] = [(9, None)] * 10
    bench = Bench(config)
    bench.run(items, loads, after=[bench.check_out])
    # The loads came between the iterations, not all before or after them.
    sums = {int(bench.acc[tile, 0, 0]) for tile in range(8)}
    assert len(sums) > 1


def test_a_fault_ends_it():
    """The iterations before the fault are done and counted, none after it."""
    config = PRESETS["tiny"]
    items = [
        iteration(dst=1, last=0),
        iteration(dst=1, last=0),
        iteration(fault=1, last=0),
        iteration(dst=1, last=1),
        iteration(dst=1, last=1),
    ]
    bench = Bench(config)
    bench.run(items, wait=60)
    assert [fault for _, fault in bench.done] == [1]
    assert bench.counts == {"gemm": 2, "reset": 0, "alu": 0}
