"""Encoding 0.0.3 on the RTL and the functional simulator, against numpy: QNT, MOV, `pad_min`."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from tests.bench import BASE, INSN_ADDR
from tests.pair import Pair
from tests.sim.acc_contents import STALLS, expose, exposed
from vta.config import PRESETS
from vta.isa import AluOp, Isa, MemoryType
from vta.sim.rtl.memory_model import MemoryModel
from vta.tools.fuzz.plain_interpreter import PlainInterpreter

UOP, WGT, INP, ACC, ACC_8BIT = (
    MemoryType[name] for name in ("UOP", "WGT", "INP", "ACC", "ACC_8BIT")
)
CONFIGS = {
    "tiny": PRESETS["tiny"],
    "small": PRESETS["small"],
    "batch4": PRESETS["batch4"],
    "bus256": PRESETS["tiny"].replace(log_bus_width=8, log_batch=1, log_wgt_buff_size=12),
}
CONFIGS = {name: config.replace(hw_ver="0.0.3") for name, config in CONFIGS.items()}
EVERYWHERE = pytest.mark.parametrize(
    "name",
    ["tiny", *(pytest.param(n, marks=pytest.mark.full) for n in ("small", "batch4", "bus256"))],
)
MODELS = {
    "latency1": MemoryModel(latency=1),
    "latency20": MemoryModel(latency=20),
    "latency100": MemoryModel(latency=100),
    "stalls": STALLS,
}
TILES = 32
FIRST_SCALE = 24
"""Tiles 24 to 31 hold scales, the others numbers that most of them bring into int8's range."""


class Requantising(Pair):
    """A pair whose ACC has numbers and scales, and an oracle with the same."""

    def __init__(self, config, *, model=None, seed=0):
        super().__init__(config, model=model)
        rng = np.random.default_rng(seed)
        shape = (TILES, config.batch, config.block)
        self.tiles = (rng.integers(-(2**20), 2**20, shape) >> rng.integers(0, 10, shape)).astype(
            np.int32
        )
        scales = rng.uniform(0.9, 1.4, shape) * 2.0 ** rng.integers(-15, -8, shape)
        # Scales near 1 keep what another QNT has left.
        scales[FIRST_SCALE + 1 :: 2] = rng.uniform(0.9, 1.1, scales[FIRST_SCALE + 1 :: 2].shape)
        signs = np.where(rng.random(shape) < 0.1, -1, 1)
        self.tiles[FIRST_SCALE:] = (scales * signs).astype(np.float32).view(np.int32)[FIRST_SCALE:]
        self.oracle = PlainInterpreter(config)
        arrays = {
            "acc": self.tiles,
            "inp": rng.integers(-128, 128, (8, config.batch, config.block)).astype(np.int8),
            "wgt": rng.integers(-128, 128, (4, config.block, config.block)).astype(np.int8),
            "uop": np.array(
                [
                    self.isa.uop.pack(dst_idx=dst, src_idx=src)
                    for dst in range(8)
                    for src in (0, FIRST_SCALE, dst, (dst + 1) % 8)
                ],
                np.uint32,
            ),
        }
        for name, data in arrays.items():
            self.put(name, data)
            self.oracle.write(BASE[name], data.reshape(-1).view(np.uint8))
        self.first = [
            self.load(INP, x=8),
            self.load(WGT, x=4, push_next=1),
            self.load(UOP, x=32),
            self.load(ACC, x=TILES, pop_prev=1),
        ]

    def agree(self, *insns):
        """ACC and memory must be the same on all machines; the RTL's cycles."""
        insns = [*self.first, *insns]
        self.oracle.run(insns, BASE)
        report = self.ok(*insns, *expose(self, TILES))
        np.testing.assert_array_equal(exposed(self, TILES), self.oracle.acc[:TILES])
        return report.cycles


def uop(dst, src):
    """The range of the micro-op with a destination and "0", "scale", "same" or "next" as source."""
    first = 4 * dst + ("0", "scale", "same", "next").index(src)
    return first, first + 1


def sequences(pair):
    """Short sequences; each of them stands for something that may go wrong."""
    qnt, alu, gemm = pair.qnt, pair.alu, pair.gemm
    # A source that is held, and a new one each time.
    yield [qnt(uops=uop(0, "scale"), iters=(1, 12), dst=(0, 1), zero_point=5, lower=-100)]
    yield [qnt(uops=uop(0, "scale"), iters=(2, 3), dst=(3, 1), src=(1, 2), lower=0)]
    yield [qnt(uops=uop(dst, "same"), zero_point=dst) for dst in range(4)]
    # Half of them on tiles that the other half takes its scales from.
    for first in range(7):
        yield [
            alu(AluOp.MOV, uops=uop(first + 1, "scale")),
            qnt(uops=uop(first + 1, "scale"), zero_point=1),
            qnt(uops=uop(first, "next"), zero_point=-50),
            alu(AluOp.MOV, uops=uop(first + 1, "scale")),
            qnt(uops=uop(first, "next"), zero_point=-50) if first % 2 else pair.nop(),
            pair.load(ACC, x=7),
        ]
    # A scale that the step before has written: small numbers, which count as 0.
    yield [qnt(uops=uop(dst, "next"), zero_point=9) for dst in range(6, 0, -1)]
    yield [
        alu(AluOp.MOV, uops=uop(dst, "scale"))
        if dst % 2
        else qnt(uops=uop(dst, "next"), zero_point=-7)
        for dst in range(6, 0, -1)
    ]
    # One tile again and again, with scales that differ.
    yield [qnt(uops=uop(3, "scale"), iters=(1, 6), src=(0, 1), zero_point=100, lower=-128)]
    yield [
        alu(AluOp.MOV, uops=uop(1, "scale")),
        qnt(uops=uop(0, "next")),
        alu(AluOp.MOV, uops=uop(1, "0")),
        qnt(uops=uop(2, "scale")),
        alu(AluOp.MOV, uops=uop(4, "same")),
        alu(AluOp.MOV, uops=uop(4, "0"), iters=(1, 5), src=(0, 1)),
    ]
    yield [
        gemm(uops=uop(5, "0"), iters=(1, 7), src=(0, 1), wgt=(0, 0)),
        qnt(uops=uop(5, "scale"), zero_point=-30),
        gemm(uops=uop(5, "0"), iters=(1, 3), src=(0, 1)),
        qnt(uops=uop(5, "scale"), lower=-30),
        gemm(uops=uop(5, "0"), reset=1),
        qnt(uops=uop(5, "scale"), zero_point=-31),
    ]
    for op in (AluOp.MIN, AluOp.MAX, AluOp.ADD, AluOp.SHR, AluOp.MUL, AluOp.MOV):
        yield [
            alu(op, uops=uop(2, "next"), iters=(1, 2), dst=(0, 1)),
            qnt(uops=uop(2, "scale"), iters=(1, 2), dst=(0, 1)),
            alu(op, uops=uop(2, "next"), iters=(1, 2), dst=(0, 1)),
            qnt(uops=uop(2, "scale"), iters=(1, 2), dst=(0, 1)),
            alu(op, uops=uop(2, "same"), imm=-3),
        ]


@pytest.mark.parametrize("model", MODELS)
@EVERYWHERE
def test_sequences(name, model):
    """One after the other, each on what the one before has left, and each alone."""
    config = CONFIGS[name]
    with Requantising(config, model=MODELS[model], seed=len(model)) as pair:
        pair.agree(*(insn for insns in sequences(pair) for insn in insns))
        if model == "latency20":
            for insns in sequences(pair):
                pair.agree(*insns)


@pytest.mark.parametrize("model", MODELS)
@EVERYWHERE
def test_beside_loads(name, model):
    """LOADs of ACC at the same time: of other tiles, and of those that were requantised, or that
    will be."""
    config = CONFIGS[name]
    for seed in range(6):
        rng = np.random.default_rng(seed)
        with Requantising(config, model=MODELS[model], seed=seed) as pair:
            insns = []
            for _ in range(60):
                kind = rng.integers(5)
                if kind < 2:
                    kind, x = (ACC, ACC_8BIT)[rng.integers(2)], int(rng.integers(1, 5))
                    pads = tuple(map(int, rng.integers(0, 2, 4) * (rng.random() < 0.4)))
                    size = (1 + pads[0] + pads[1]) * (x + pads[2] + pads[3])
                    insns.append(
                        pair.load(
                            kind,
                            sram=int(rng.integers(FIRST_SCALE - size + 1)),
                            dram=int(rng.integers(TILES)) if kind == ACC else int(rng.integers(99)),
                            x=x,
                            pads=pads,
                            pad_min=int(rng.integers(2)),
                        )
                    )
                    continue
                loops = {
                    "uops": uop(
                        int(rng.integers(8)), ("scale", "scale", "same", "next")[rng.integers(4)]
                    ),
                    "iters": ((1, 1), (1, 4), (3, 4), (1, 16), (4, 4))[rng.integers(5)],
                    "dst": (int(rng.integers(2)), int(rng.integers(2))),
                }
                if kind == 4:
                    insns.append(pair.alu(AluOp(int(rng.integers(7)) // 2 * 2), imm=3, **loops))
                else:
                    zero_point, lower = map(int, rng.integers(-128, 128, 2))
                    insns.append(pair.qnt(zero_point=zero_point, lower=lower, **loops))
            pair.agree(*insns)


@EVERYWHERE
def test_a_tile_that_was_just_requantised_is_stored(name):
    """The token comes after the last tile, never before."""
    with Requantising(CONFIGS[name]) as pair:
        for count in (1, 2, 5, 9):
            insns = [
                *pair.first,
                pair.qnt(uops=uop(0, "scale"), iters=(1, count), dst=(0, 1), push_next=1),
                pair.store(x=count, dram=100, pop_prev=1),
            ]
            pair.oracle.run(insns, BASE)
            pair.ok(*insns)
            expected = (pair.oracle.acc[:count] & 0xFF).astype(np.uint8).view(np.int8)
            np.testing.assert_array_equal(pair.out(count, elem=100), expected.reshape(count, -1))


@pytest.mark.parametrize("distance", [0, 1, 4])
def test_a_fault_right_behind(distance):
    """The QNTs before it are done; the fault belongs to its own instruction."""
    with Requantising(CONFIGS["tiny"]) as pair:
        config = pair.config
        before = [
            pair.qnt(uops=uop(0, "scale"), iters=(1, 4), dst=(0, 1)),
            *(pair.qnt(uops=uop(n, "scale"), push_next=1) for n in range(distance)),
        ]
        for bad in (
            pair.qnt(uops=uop(7, "scale"), iters=(1, config.acc_depth), dst=(0, 1)),
            pair.alu(AluOp.MOV, uops=uop(7, "same"), iters=(1, config.acc_depth), src=(0, 1)),
            pair.gemm(uops=uop(7, "0"), iters=(1, config.acc_depth), dst=(0, 1)),
        ):
            fault = pair.fault(*pair.first, *before, bad)
            assert (fault.cause, fault.insn_index) == ("sram_range", 4 + len(before))
            pair.reset()
        fault = pair.fault(*pair.first, *before, pair.alu(AluOp.QNT, imm=1))
        assert (fault.cause, fault.insn_index) == ("illegal_alu_opcode", 4 + len(before))
        pair.reset()
        fault = pair.fault(*pair.first, *before, pair.alu(7))
        assert (fault.cause, fault.insn_index) == ("illegal_alu_opcode", 4 + len(before))
        pair.reset()
        pair.check()


@pytest.mark.parametrize(
    ("memory", "least"), [(INP, -128), (WGT, -128), (ACC_8BIT, -128), (ACC, -(2**31))]
)
@EVERYWHERE
def test_pad_min(name, memory, least):
    """Padding of all kinds, seen in OUT: INP and WGT by way of GEMM."""
    with Requantising(CONFIGS[name]) as pair:
        pads = {"pads": (1, 1, 1, 1), "pad_min": 1}
        if memory in (ACC, ACC_8BIT):
            pair.agree(pair.load(memory, sram=2, x=2, y=2, **pads))
            assert (pair.oracle.acc[2] == least).all()
            return
        pair.first[:2] = [
            pair.load(INP, y=2, x=2, **(pads if memory == INP else {})),
            pair.load(WGT, y=1, x=2, push_next=1, **(pads if memory == WGT else {})),
        ]
        pair.agree(
            pair.gemm(uops=uop(0, "0"), reset=1, iters=(1, 12), dst=(0, 1)),
            pair.gemm(uops=uop(0, "0"), iters=(3, 4), dst=(4, 1), src=(4, 1), wgt=(0, 1)),
        )


def test_micro_ops_have_no_padding_but_zeros():
    with Requantising(CONFIGS["tiny"]) as pair:
        pair.agree(
            pair.load(UOP, x=1, dram=uop(3, "scale")[0], pads=(0, 0, 1, 1), pad_min=1),
            pair.qnt(uops=(0, 3)),
        )


@functools.cache
def cycles(count, kind):
    """Cycles of a run with one loop over `count` tiles."""
    with Requantising(CONFIGS["tiny"], model=MemoryModel(latency=20)) as pair:
        loops = {"uops": uop(0, "scale"), "iters": (1, count), "dst": (0, 1)}
        new = {"src": (0, 1)}
        insn = {
            "qnt_held": lambda: pair.qnt(**loops),
            "qnt_new": lambda: pair.qnt(**loops, **new),
            "mov_imm": lambda: pair.alu(AluOp.MOV, imm=-5, **loops),
            "mov_held": lambda: pair.alu(AluOp.MOV, **loops),
            "mov_new": lambda: pair.alu(AluOp.MOV, **loops, **new),
        }[kind]()
        return pair.ok(*pair.first, insn).cycles


@pytest.mark.parametrize(
    ("kind", "each"),
    [("qnt_held", 1), ("qnt_new", 2), ("mov_imm", 1), ("mov_held", 1), ("mov_new", 2)],
)
def test_cycles(kind, each):
    for few, many in ((2, 9), (9, 24)):
        assert cycles(many, kind) - cycles(few, kind) == each * (many - few)


def test_a_reset_in_mid_run():
    """Nothing of it is left in the line: the machine is as after power-on but for its buffers."""
    with Requantising(CONFIGS["tiny"]) as pair:
        loop = pair.qnt(uops=uop(0, "scale"), iters=(300, 20), dst=(0, 1))
        insns = [*pair.first, loop, pair.finish()]
        for limit in (400, 401, 402, 450):
            pair.rtl_memory.write(INSN_ADDR, Isa.words(insns))
            report = pair.rtl.run(INSN_ADDR, len(insns), BASE, max_cycles=limit)
            assert report.fault.cause == "timeout"
            assert report.stats["alu_counter"] > 10
            pair.reset()
            pair.check()
