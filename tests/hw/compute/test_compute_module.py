"""The compute module: random instruction sequences against numpy, errors, tokens, overlap."""

import random

import numpy as np
import pytest

from tests.hw.compute.compute_bench import ACC_BASE, UOP_BASE, Bench, random_program
from vta.config import PRESETS
from vta.isa import AluOp, Cause, Isa, MemoryType, Opcode


@pytest.mark.parametrize(
    ("stalls", "shift"),
    [("none", 24), ("short", 0), pytest.param("long", 12, marks=pytest.mark.full)],
)
@pytest.mark.parametrize("name", ["tiny", pytest.param("small", marks=pytest.mark.full)])
def test_random_programs(name, stalls, shift):
    """Strictly sequential meaning, whatever overlaps. OUT shows eight bits of each number; which
    of them, the last instruction decides."""
    bench = Bench(PRESETS[name], seed=len(name + stalls), stalls=stalls)
    bench.load(MemoryType.UOP, x=16)
    random_program(bench, random.Random(f"compute {name} {stalls}"), 60)
    bench.load(MemoryType.UOP, y=0, x=1, pads=(1, 0, 0, 0))
    bench.loop(op=3, imm=shift, iters=(1, 24), dst=(0, 1))
    bench.run()


@pytest.mark.parametrize("shift", [8, 16, 24])
def test_all_bits_of_acc(shift):
    bench = Bench()
    bench.load(MemoryType.ACC, x=20)
    bench.loop(op=3, imm=shift, iters=(1, 20), dst=(0, 1))
    bench.run()


def test_loads_wait_for_loops_and_loops_for_loads():
    """Micro-ops and tiles replaced right behind the loop that uses them, and used at once."""
    bench = Bench(latency=30)
    for number in range(6):
        bench.load(MemoryType.UOP, sram=0, dram=5 * number, x=4)
        bench.loop(uops=(0, 4), iters=(3, 4), dst=(8, 1), src=(2, 1), wgt=(1, 1))
        bench.load(MemoryType.ACC, sram=number, dram=number, y=2, x=3, stride=5)
        bench.loop(op=2, uops=(0, 4), iters=(2, 2), dst=(1, 2), src=(2, 1))
        bench.load(MemoryType.ACC_8BIT, sram=3, dram=9 * number, x=2, pads=(0, 1, 1, 0))
    bench.run()


def test_a_load_of_micro_ops_runs_beside_a_loop():
    """Other micro-ops than the loop reads: the load's latency is hidden."""
    times = {}
    for where in (0, 8):
        bench = Bench(latency=60)
        bench.load(MemoryType.UOP, x=4)
        bench.loop(uops=(0, 4), iters=(5, 6), dst=(0, 1))
        bench.load(MemoryType.UOP, sram=where, dram=50, x=4)
        bench.loop(uops=(where, where + 4), iters=(1, 1))
        bench.run()
        times[where] = bench.module.times[-1]
    # 120 iterations hide all of the 60 cycles.
    assert times[0] - times[8] >= 50


def uops_at(bench, *uops):
    """Puts micro-ops (dst, src) at the start of UOP, and a loop that waits for them."""
    for number, (dst, src) in enumerate(uops):
        bench.uop_table[number] = (dst, src, 0)
        bench.memory.write(
            UOP_BASE + 4 * number,
            np.array([bench.isa.uop.pack(dst_idx=dst, src_idx=src)], "<u4").tobytes(),
        )
    bench.load(MemoryType.UOP, x=len(uops))
    bench.loop(op=0, uops=(0, len(uops)))


@pytest.mark.parametrize(
    ("uop", "options", "waits"),
    [
        ((8, 0), {"imm": 7}, False),
        ((8, 41), {"imm": 7}, False),
        ((41, 0), {"imm": 7}, True),
        ((8, 0), {}, False),
        ((41, 0), {}, True),
        ((8, 41), {}, True),
        ((39, 44), {}, False),
        ((43, 0), {}, True),
        ((8, 40), {}, True),
    ],
)
def test_a_loop_runs_beside_loads_of_other_tiles(uop, options, waits):
    """It waits only if it touches what they write: tiles 40 to 43."""
    bench = Bench(latency=100)
    uops_at(bench, uop)
    bench.load(MemoryType.ACC, sram=40, x=3)
    bench.load(MemoryType.ACC_8BIT, sram=43)
    bench.loop(op=2, iters=(1, 40), **options)
    bench.run()
    after = bench.module.times[-1] - bench.module.times[-2]
    assert (after >= 40) == waits
    assert waits or after <= 2


def test_iterations_wait_for_the_loads_that_they_meet():
    """Of 34 iterations the last four meet the load; the others run beside it."""
    bench = Bench(latency=100)
    uops_at(bench, (10, 0))
    bench.load(MemoryType.ACC, sram=40, x=4)
    bench.loop(op=2, imm=1, iters=(1, 34), dst=(0, 1))
    bench.run()
    assert 4 <= bench.module.times[-1] - bench.module.times[-2] <= 7


@pytest.mark.parametrize(
    ("sram", "waits"), [(8, False), (26, False), (27, True), (45, True), (59, True), (60, False)]
)
def test_a_load_of_acc_runs_beside_a_loop_of_other_tiles(sram, waits):
    """Its latency is hidden behind a loop over tiles 30 to 59, unless it writes one of them."""
    bench = Bench(latency=100)
    uops_at(bench, (30, 0))
    bench.loop(op=2, imm=3, iters=(5, 30), dst=(0, 1))
    bench.load(MemoryType.ACC, sram=sram, x=4)
    bench.run()
    after = bench.module.times[-1] - bench.module.times[-2]
    assert after >= 100 if waits else after <= 2


def test_a_load_waits_for_a_loop_that_has_not_begun():
    """What a loop behind another one will touch is not known yet."""
    bench = Bench(latency=5)
    uops_at(bench, (0, 0), (20, 0), (10, 20))
    for uop in (0, 1, 2):
        bench.loop(
            op=2,
            imm=None if uop == 2 else 3,
            uops=(uop, uop + 1),
            iters=(5, 6),
            dst=(0, 1),
            src=(0, 1),
        )
    bench.load(MemoryType.ACC, sram=20, x=6)
    bench.loop(op=2, uops=(0, 1), iters=(1, 6), dst=(0, 1))
    bench.load(MemoryType.ACC_8BIT, sram=10, x=6)
    bench.run()


def random_regions(bench, rng, count):
    """LOADs and longer loops, mostly over different regions of ACC at a time."""
    regions = [(first, first + 16) for first in range(0, 64, 16)]
    uops = [(rng.randrange(64), rng.randrange(64)) for _ in range(8)]
    for number in range(4):
        uops[number] = (16 * number + rng.randrange(4), 16 * number + rng.randrange(4))
    uops_at(bench, *uops)
    for _ in range(count):
        begin, end = rng.choice(regions)
        if rng.random() < 0.4:
            kind = rng.choice((MemoryType.ACC, MemoryType.ACC_8BIT))
            cols, pads = rng.randint(1, 5), tuple(rng.choice((0, 0, 0, 1)) for _ in range(4))
            rows = rng.randint(0, 2)
            size = (rows + pads[0] + pads[1]) * (cols + pads[2] + pads[3])
            sram = min(rng.randrange(begin, end), 64 - size)
            bench.load(kind, sram=sram, dram=rng.randrange(99), y=rows, x=cols, pads=pads)
            continue
        first = rng.choice((begin // 16, begin // 16, rng.randrange(8)))
        uop = (first, first + 1 if first < 4 else min(8, first + rng.randint(1, 3)))
        inner = 63 - max(max(pair) for pair in uops[uop[0] : uop[1]])
        iters = (rng.randint(1, 5), rng.randint(1, min(inner + 1, 12)))
        imm = rng.choice((None, rng.randrange(-99, 99)))
        bench.loop(
            op=rng.randrange(5),
            imm=imm,
            uops=uop,
            iters=iters,
            dst=(0, rng.randrange(2)),
            src=(0, rng.randrange(2)),
        )


@pytest.mark.parametrize(
    ("shift", "stalls", "latency"),
    [
        (8, "short", 5),
        (24, "none", 40),
        *(
            pytest.param(*case, marks=pytest.mark.full)
            for case in (
                (0, "none", 40),
                (0, "short", 5),
                (0, "long", 20),
                (8, "none", 40),
                (8, "long", 20),
                (16, "none", 40),
                (16, "long", 20),
                (16, "short", 5),
                (24, "short", 5),
                (24, "long", 20),
            )
        ),
    ],
)
def test_random_loads_beside_random_loops(shift, stalls, latency):
    bench = Bench(stalls=stalls, latency=latency)
    random_regions(bench, random.Random(f"{stalls} {shift}"), 50)
    bench.load(MemoryType.UOP, y=0, x=1, pads=(1, 0, 0, 0))
    bench.loop(op=3, imm=shift, iters=(1, 64), dst=(0, 1))
    bench.run()


def test_no_gap_between_loops():
    """Loops follow each other without draining the pipeline."""
    bench = Bench()
    bench.load(MemoryType.UOP, x=2)
    for _ in range(20):
        bench.loop(uops=(0, 2), iters=(1, 4), dst=(0, 0))
    bench.run()
    times = bench.module.times[1:]
    assert times[-1] - times[0] == 19 * 8


def test_tokens_of_both_sides():
    bench = Bench(tokens=(2, 1))
    bench.load(MemoryType.UOP, pop_prev=1, push_next=1)
    bench.loop(reset=1, pop_prev=1, pop_next=1, push_prev=1, push_next=1)
    bench.insns.append(bench.isa.common.pack(opcode=Opcode.FINISH, push_prev=1))
    bench.moved.append(0)
    bench.run()
    assert bench.module.tokens == {"pop_prev": 0, "pop_next": 0}
    assert bench.module.pushed == {"push_prev": 2, "push_next": 2}


def cases():
    isa = Isa(PRESETS["tiny"])
    mem, loops = isa.mem.pack, {"uop_end": 1, "iter_out": 1, "iter_in": 1}
    for opcode in (5, 6, 7):
        yield isa.common.pack(opcode=opcode), Cause.ILLEGAL_OPCODE
    for kind in (4, 6, 7):
        yield mem(memory_type=kind, x_size=1, y_size=1), Cause.ILLEGAL_MEMORY_TYPE
        yield mem(memory_type=kind, x_size=1), Cause.ILLEGAL_MEMORY_TYPE
    yield isa.alu.pack(opcode=4, alu_opcode=7, **loops), Cause.ILLEGAL_ALU_OPCODE
    # Even where no iteration is executed.
    yield isa.alu.pack(opcode=4, alu_opcode=7), Cause.ILLEGAL_ALU_OPCODE
    yield mem(memory_type=0, sram_base=63, y_size=1, x_size=2), Cause.SRAM_RANGE
    yield mem(memory_type=3, sram_base=63, x_size=1, y_pad_0=2), Cause.SRAM_RANGE
    yield mem(memory_type=5, sram_base=64, y_size=1, x_size=1), Cause.SRAM_RANGE
    yield mem(memory_type=5, dram_base=(1 << 32) - 1, y_size=1, x_size=1), Cause.MEMORY_RESPONSE
    # Index errors come with their iterations.
    yield (
        isa.gemm.pack(opcode=2, uop_end=1, iter_out=1, iter_in=3, dst_factor_in=32),
        Cause.SRAM_RANGE,
    )
    yield (
        isa.gemm.pack(opcode=2, uop_end=1, iter_out=3, iter_in=1, wgt_factor_out=16),
        Cause.SRAM_RANGE,
    )
    yield isa.gemm.pack(opcode=2, uop_bgn=63, uop_end=65, iter_out=1, iter_in=1), Cause.SRAM_RANGE
    yield (
        isa.alu.pack(opcode=4, alu_opcode=2, uop_end=1, iter_out=1, iter_in=3, src_factor_in=32),
        Cause.SRAM_RANGE,
    )


@pytest.mark.parametrize("alu_opcode", [AluOp.QNT, AluOp.MOV])
def test_older_encodings_do_not_requantise(alu_opcode):
    bench = Bench(PRESETS["tiny"].replace(hw_ver="0.0.2"))
    insn = Isa(PRESETS["tiny"]).alu.pack(
        opcode=Opcode.ALU, alu_opcode=alu_opcode, uop_end=1, iter_out=1, iter_in=1
    )
    status = bench.run([insn], retire=0, check=False, settle=120)
    assert (status["cause"], status["index"]) == (Cause.ILLEGAL_ALU_OPCODE, 0)


@pytest.mark.parametrize(("insn", "cause"), list(cases()))
def test_errors(insn, cause):
    bench = Bench()
    finish = bench.isa.common.pack(opcode=Opcode.FINISH, push_next=1)
    status = bench.run([finish, insn, finish], retire=1, check=False, settle=120)
    assert (status["cause"], status["index"]) == (cause, 1)
    assert bench.module.pushed["push_next"] == 1
    assert not status["active"]


def test_what_looks_like_an_error_and_is_none():
    """One after the other, and all retire."""
    bench = Bench()
    isa = bench.isa
    mem, gemm, alu = isa.mem.pack, isa.gemm.pack, isa.alu.pack
    insns = [
        # Nothing is loaded: nothing is wrong.
        *(mem(memory_type=kind, x_size=0, y_size=1) for kind in (4, 6, 7)),
        # The whole of a buffer is in range.
        mem(memory_type=3, y_size=8, x_size=8, x_stride=8),
        # A size of 0 executes nothing.
        gemm(opcode=2, uop_bgn=5, uop_end=5, iter_out=9, iter_in=9, dst_factor_in=63),
        gemm(opcode=2, uop_end=1, iter_in=9),
        # A reset reads neither INP nor WGT, an immediate no source.
        gemm(
            opcode=2,
            reset=1,
            uop_end=1,
            iter_out=3,
            iter_in=1,
            wgt_factor_out=16,
            src_factor_out=63,
        ),
        alu(opcode=4, alu_opcode=2, use_imm=1, uop_end=1, iter_out=1, iter_in=3, src_factor_in=32),
    ]
    finish = isa.common.pack(opcode=Opcode.FINISH, push_next=1)
    status = bench.run([*insns, finish], retire=len(insns) + 1, check=False, settle=120)
    assert status["cause"] == Cause.NONE
    assert bench.module.pushed["push_next"] == 1


def test_a_bad_response_counts_before_a_loop_that_ran_ahead():
    """The error is the older instruction's; and the loop ends where it is then."""
    bench = Bench(latency=60)
    bench.load(MemoryType.UOP, x=1)
    bench.load(MemoryType.ACC, sram=40, x=4)
    for faulty in (0, 1):
        bench.insns.append(
            bench.isa.alu.pack(
                opcode=Opcode.ALU,
                use_imm=1,
                uop_end=1,
                iter_out=16000,
                iter_in=1 + 63 * faulty,
                dst_factor_in=faulty,
                push_next=1,
            )
        )
    bench.memory.bad = {ACC_BASE + 32}
    status = bench.run(retire=1, check=False, settle=300)
    assert (status["cause"], status["index"]) == (Cause.MEMORY_RESPONSE, 1)
    assert not status["active"]
    assert bench.module.pushed["push_next"] == 0


@pytest.mark.parametrize("before", [0, 1])
def test_a_faulty_loop_beside_loads(before):
    """The error of the earlier instruction counts, whichever is found first."""
    bench = Bench(latency=60)
    bench.load(MemoryType.UOP, x=1)
    load = bench.isa.mem.pack(memory_type=MemoryType.ACC, sram_base=1, x_size=4, y_size=1)
    loop = bench.isa.alu.pack(
        opcode=Opcode.ALU, use_imm=1, uop_end=1, iter_out=1, iter_in=64, dst_factor_in=1
    )
    long = bench.isa.alu.pack(opcode=Opcode.ALU, use_imm=1, uop_end=1, iter_out=100, iter_in=1)
    bench.uop_table[0] = (40, 0, 0)
    bench.memory.write(UOP_BASE, np.array([bench.isa.uop.pack(dst_idx=40)], "<u4").tobytes())
    bench.memory.bad = {ACC_BASE + 32}
    insns = [*bench.insns, long, load, loop] if before else [*bench.insns, loop, load, long]
    status = bench.run(insns, retire=2 if before else 1, check=False, settle=300)
    assert (status["cause"], status["index"]) == (
        (Cause.MEMORY_RESPONSE, 2) if before else (Cause.SRAM_RANGE, 1)
    )


def test_a_bad_response():
    bench = Bench()
    bench.load(MemoryType.UOP, x=4)
    bench.load(MemoryType.ACC, dram=4, x=4, push_prev=1)
    bench.load(MemoryType.ACC, dram=64, x=4)
    bench.memory.bad = {ACC_BASE + 6 * 32}
    status = bench.run(retire=1, check=False, settle=150)
    assert (status["cause"], status["index"]) == (Cause.MEMORY_RESPONSE, 1)
    assert bench.module.pushed["push_prev"] == 0
