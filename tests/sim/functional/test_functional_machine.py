"""Whole programs, transfers, tokens and launches on the functional simulator (docs/isa.md)."""

import numpy as np
import pytest

from tests.bench import BASE, Bench
from tests.images import FAULTY, NAMES, image
from vta.config import PRESETS
from vta.errors import DeviceError
from vta.isa import AluOp, MemoryType
from vta.sim.functional.functional_machine import FunctionalMachine
from vta.sim.memory import Memory
from vta.sim.replay import replay

UOP, WGT, INP, ACC, OUT, ACC_8BIT = (
    MemoryType[name] for name in ("UOP", "WGT", "INP", "ACC", "OUT", "ACC_8BIT")
)


@pytest.fixture
def bench():
    return Bench()


def random_acc(rng, *shape):
    return rng.integers(-(2**31), 2**31, shape).astype(np.int32)


# -- whole programs ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_images(name):
    for seed in range(5):
        result = replay(
            image(name),
            lambda config, memory, seed=seed: FunctionalMachine(config, memory, seed=seed),
        )
        assert result.report.fault is None
        assert result.match, f"seed {seed}: {result.difference}"


@pytest.mark.parametrize("name", FAULTY)
def test_image_with_an_error(name):
    fault = replay(image(name), FunctionalMachine).report.fault
    assert fault is not None
    assert (fault.cause, fault.module, fault.insn_index) == ("sram_range", "compute", 2)


def test_statistics_of_a_vector_add():
    report = replay(image("own_vector_add"), FunctionalMachine).report
    assert report.target == "sim"
    assert report.cycles is None
    # 64 tiles of 64 bytes twice, 16 bytes each stored, one operation each.
    assert report.stats == {
        "load_insns": 0,
        "compute_insns": 5,
        "store_insns": 1,
        "uop_load_nbytes": 4,
        "inp_load_nbytes": 0,
        "wgt_load_nbytes": 0,
        "acc_load_nbytes": 2 * 64 * 64,
        "out_store_nbytes": 64 * 16,
        "gemm_counter": 0,
        "reset_counter": 0,
        "alu_counter": 64,
    }
    assert report.instructions == 6


# -- LOAD ----------------------------------------------------------------------------------------


def buffer_of(bench, memory):
    datapath = bench.machine.datapath
    buffer = {
        UOP: datapath.uop,
        WGT: datapath.wgt,
        INP: datapath.inp,
        ACC: datapath.acc,
        ACC_8BIT: datapath.acc,
    }[memory]
    return buffer.reshape(len(buffer), -1)


def lanes_and_dtype(config, memory):
    return {
        UOP: (1, np.uint32),
        WGT: (config.block**2, np.int8),
        INP: (config.batch * config.block, np.int8),
        ACC: (config.batch * config.block, np.int32),
        ACC_8BIT: (config.batch * config.block, np.int8),
    }[memory]


@pytest.mark.parametrize("memory", [UOP, WGT, INP, ACC, ACC_8BIT], ids=lambda memory: memory.name)
@pytest.mark.parametrize(
    ("y", "x", "stride", "pads"),
    [
        (1, 5, 5, (0, 0, 0, 0)),
        (3, 4, 4, (0, 0, 0, 0)),
        (3, 2, 5, (0, 0, 0, 0)),
        (2, 3, 4, (1, 2, 3, 4)),
        (2, 3, 1, (0, 0, 1, 0)),
        (4, 1, 0, (0, 0, 0, 0)),
        (3, 2, 0, (1, 0, 0, 1)),
        (0, 3, 3, (2, 1, 1, 1)),
        (0, 3, 0, (0, 0, 0, 0)),
        (1, 1, 1, (1, 1, 1, 1)),
    ],
)
def test_load_pads_and_strides(configs, memory, y, x, stride, pads):
    bench = Bench(configs)
    rng = np.random.default_rng(4)
    lanes, dtype = lanes_and_dtype(configs, memory)
    info = np.iinfo(dtype)
    source = rng.integers(info.min, info.max + 1, (40, lanes), dtype)
    base = "acc" if memory == ACC_8BIT else memory.name.lower()
    bench.memory.write(BASE[base], source)
    buffer = buffer_of(bench, memory)
    buffer[...] = rng.integers(0, 100, buffer.shape)
    y0, y1, x0, x1 = pads
    offset, sram = 3, 2
    tile = np.zeros((y, x, lanes), dtype)
    for row in range(y):
        tile[row] = source[offset + row * stride :][:x]
    expected = buffer.copy()
    padded = np.pad(tile, ((y0, y1), (x0, x1), (0, 0))).reshape(-1, lanes)
    insn = bench.load(memory, sram=sram, dram=offset, y=y, x=x, stride=stride, pads=pads)
    if len(padded) + sram > len(buffer):
        assert bench.fault(insn).cause == "sram_range"
        assert np.array_equal(buffer, expected)
        return
    expected[sram : sram + len(padded)] = padded

    report = bench.ok(insn)

    assert np.array_equal(buffer, expected)
    assert report.stats[f"{base}_load_nbytes"] == y * x * lanes * np.dtype(dtype).itemsize


@pytest.mark.parametrize("memory", [*MemoryType, 6, 7])
def test_load_of_no_columns_does_only_its_tokens(bench, memory):
    bench.put("acc", np.ones(100, np.int32))
    for buffer in (bench.acc, bench.inp, bench.wgt, bench.machine.datapath.uop):
        buffer[...] = 9
    if memory in (INP, WGT):
        insns = [
            bench.load(memory, sram=65_535, y=9, x=0, pads=(15,) * 4, push_next=1),
            bench.nop(pop_prev=1),
        ]
    else:
        insns = [
            bench.load(memory, sram=65_535, y=9, x=0, pads=(15,) * 4, push_next=1),
            bench.nop("store", pop_prev=1),
        ]
    bench.ok(*insns)
    for buffer in (bench.acc, bench.inp, bench.wgt, bench.machine.datapath.uop):
        assert (buffer == 9).all()
    assert set(bench.machine.tokens.values()) == {0}


def test_acc_8bit_counts_quarter_elements_from_the_base_of_acc(bench):
    bench.memory.write(BASE["acc"] + 3 * 16, np.arange(-8, 8, dtype=np.int8))
    bench.ok(bench.load(ACC_8BIT, sram=1, dram=3))
    assert bench.acc[1].tolist() == list(range(-8, 8))


# -- STORE ---------------------------------------------------------------------------------------


def low_bits(values):
    return np.asarray(values).astype(np.int64).astype(np.int8)


@pytest.mark.parametrize(
    ("y", "x", "stride"), [(1, 7, 7), (3, 2, 2), (3, 2, 5), (4, 3, 1), (3, 2, 0)]
)
def test_store_of_a_loaded_acc_keeps_the_low_bits(configs, y, x, stride):
    bench = Bench(configs)
    rng = np.random.default_rng(5)
    lanes = bench.lanes
    values = random_acc(rng, y * x, lanes)
    bench.put("acc", values)
    report = bench.ok(
        bench.load(ACC, sram=1, x=y * x, push_next=1),
        bench.store(sram=1, dram=2, y=y, x=x, stride=stride, pop_prev=1),
    )
    expected = np.zeros((40, lanes), np.int8)
    for row in range(y):
        expected[2 + row * stride :][:x] = low_bits(values[row * x : (row + 1) * x])
    assert np.array_equal(bench.out(40), expected)
    assert report.stats["out_store_nbytes"] == y * x * lanes


def test_store_keeps_the_low_bits_after_gemm_alu_and_reset(bench):
    rng = np.random.default_rng(6)
    inp = rng.integers(-128, 128, (1, 16), np.int8)
    wgt = rng.integers(-128, 128, (16, 16), np.int8)
    bench.put("inp", inp)
    bench.put("wgt", wgt)
    bench.put_uops((0, 0, 0), (1, 0, 0), (2, 0, 0))
    bench.acc[...] = 1000
    bench.ok(
        bench.load(INP),
        bench.load(WGT, push_next=1),
        bench.gemm(uops=(0, 2), pop_prev=1),
        bench.alu(AluOp.ADD, uops=(1, 2), imm=777),
        bench.gemm(uops=(2, 3), reset=1, push_next=1),
        bench.store(x=4, pop_prev=1),
    )
    product = 1000 + inp.astype(int) @ wgt.astype(int).T
    assert np.array_equal(
        bench.out(4),
        low_bits(
            np.concatenate([product, product + 777, np.zeros((1, 16), int), np.full((1, 16), 1000)])
        ),
    )


@pytest.mark.parametrize("memory", range(8))
@pytest.mark.parametrize(("y", "x"), [(0, 3), (3, 0), (0, 0)])
def test_store_of_nothing_does_only_its_tokens_whatever_its_type(bench, memory, y, x):
    bench.acc[...] = 5
    report = bench.ok(
        bench.nop(push_next=1),
        bench.store(
            memory,
            sram=65_535,
            dram=2**32 - 1,
            y=y,
            x=x,
            pads=(1, 2, 3, 4),
            pop_prev=1,
            push_prev=1,
        ),
        bench.nop(pop_next=1),
    )
    assert not bench.out(8).any()
    assert report.stats["out_store_nbytes"] == 0
    assert set(bench.machine.tokens.values()) == {0}


def test_a_load_that_waits_for_a_store_reads_the_stored_bytes():
    for seed in range(8):
        bench = Bench(seed=seed)
        bench.acc[0] = range(16)
        # INP's base is moved onto OUT's memory.
        base = BASE | {"inp": BASE["out"]}
        bench.ok(
            bench.nop(push_next=1),
            bench.store(pop_prev=1, push_prev=1),
            bench.nop(pop_next=1, push_prev=1),
            bench.load(INP, sram=7, pop_next=1),
            base=base,
        )
        assert bench.inp[7].reshape(-1).tolist() == list(range(16))


# -- dispatch and tokens -------------------------------------------------------------------------


def outcomes(ordered):
    """What a STORE stores that races with, or is ordered after, the ALU; under many seeds."""
    results = set()
    for seed in range(30):
        bench = Bench(seed=seed)
        bench.put_uops((0, 0, 0))
        bench.ok(
            *[bench.alu(AluOp.ADD, imm=1)] * 5,
            bench.alu(AluOp.ADD, imm=1, push_next=int(ordered)),
            bench.store(pop_prev=int(ordered)),
        )
        results.add(int(bench.out(1)[0, 0]))
    return results


def test_a_missing_token_shows():
    assert outcomes(ordered=True) == {6}
    assert len(outcomes(ordered=False)) > 2


def test_the_interleaving_is_reproducible():
    def racing(**options):
        bench = Bench(**options)
        bench.put_uops((0, 0, 0))
        program = []
        for k in range(20):
            program += [bench.alu(AluOp.ADD, imm=1), bench.store(dram=k)]
        bench.ok(*program)
        return bench.out(20)[:, 0].tolist()

    assert racing(seed=3) == racing(seed=3)
    assert racing() == racing(seed=0)
    assert len({tuple(racing(seed=seed)) for seed in range(5)}) > 1


def test_fetch_stops_at_finish(bench):
    bench.acc[...] = 1
    report = bench.run(bench.finish(), bench.store(x=4), bench.isa.common.pack(opcode=7), count=3)
    assert report.fault is None
    assert report.instructions == 1
    assert not bench.out(4).any()


def test_finish_obeys_its_token_bits(bench):
    report = bench.run(
        bench.nop("load", push_next=1),
        bench.nop("store", push_prev=1),
        bench.finish(pop_prev=1, pop_next=1, push_prev=1, push_next=1),
    )
    assert report.fault is None
    assert bench.machine.tokens == {"l2g": 0, "g2l": 1, "g2s": 1, "s2g": 0}


def test_left_over_tokens_and_buffers_survive_launches(bench):
    bench.put("acc", np.arange(16, dtype=np.int32))
    bench.ok(bench.load(ACC, push_next=1))
    assert bench.machine.tokens["g2s"] == 1
    bench.ok(bench.store(pop_prev=1))
    assert bench.out(1)[0].tolist() == list(range(16))
    assert bench.machine.tokens["g2s"] == 0


def test_reset_empties_tokens_and_keeps_buffers(bench):
    bench.put("acc", np.arange(16, dtype=np.int32))
    bench.put("inp", np.arange(16, dtype=np.int8))
    bench.put("wgt", np.ones(256, np.int8))
    bench.put_uops((0, 0, 0))
    bench.ok(
        bench.load(INP, push_next=1),
        bench.load(WGT, push_next=1),
        bench.load(UOP),
        bench.load(ACC, push_next=1, push_prev=1),
    )
    bench.machine.reset()
    assert set(bench.machine.tokens.values()) == {0}
    assert bench.acc[0].tolist() == list(range(16))
    assert bench.fault(bench.store(pop_prev=1)).cause == "deadlock"
    bench.machine.reset()
    bench.ok(bench.gemm())
    assert bench.acc[0].tolist() == [value + sum(range(16)) for value in range(16)]


def test_statistics_are_of_one_launch(bench):
    assert bench.ok(bench.nop(), bench.nop()).instructions == 3
    assert bench.ok(bench.nop()).instructions == 2


def test_the_stream_may_span_many_reads(bench):
    """More instructions than are decoded at a time, indices included."""
    bench.put_uops((0, 0, 0))
    bench.ok(*[bench.alu(AluOp.ADD, imm=1)] * 10_000)
    assert (bench.acc[0] == 10_000).all()
    fault = bench.fault(*[bench.nop()] * 9000, bench.isa.common.pack(opcode=5))
    assert (fault.cause, fault.insn_index) == ("illegal_opcode", 9000)


def test_instruction_queues_hold_512(bench):
    """The first waits for a token that fetch can only reach if 512 fit behind one another."""

    def program(slack):
        return [bench.nop(pop_prev=1), *[bench.nop()] * (slack - 1), bench.nop("load", push_next=1)]

    bench.ok(*program(512))
    fault = bench.fault(*program(513))
    assert (fault.cause, fault.module, fault.insn_index) == ("deadlock", "compute", 0)
    assert "fetch is blocked at instruction 512: compute's queue holds 512" in fault.detail


def test_instruction_queues_of_another_size():
    bench = Bench(PRESETS["default"].replace(log_insn_queue=10))
    bench.ok(bench.nop("store", pop_prev=1), *[bench.nop("store")] * 1023, bench.nop(push_next=1))


def test_an_instruction_that_has_its_tokens_has_left_the_queue(bench):
    bench.ok(
        bench.nop("load", push_next=1),
        bench.nop(pop_prev=1),
        bench.nop(pop_next=1),
        *[bench.nop()] * 511,
        bench.nop("store", push_prev=1),
    )


def test_a_full_token_queue_stalls_its_producer(bench):
    many = [bench.nop("load", push_next=1)] * 65_536
    bench.ok(*many, bench.nop(pop_prev=1))
    assert bench.machine.tokens["l2g"] == 65_535
    fault = bench.fault(bench.nop("load", push_next=1))
    assert (fault.cause, fault.module, fault.insn_index) == ("deadlock", "load", 0)
    assert fault.waiting[0]["token"] == "l2g full"


def test_nothing_is_pushed_until_all_queues_have_room(bench):
    bench.machine.tokens["g2l"] = 65_535
    fault = bench.fault(bench.nop(push_prev=1, push_next=1))
    assert fault.waiting[0]["token"] == "g2l full"
    assert bench.machine.tokens["g2s"] == 0


# -- the Python side -----------------------------------------------------------------------------


def test_memory_must_fit_the_configuration():
    with Memory(33) as memory, pytest.raises(DeviceError, match=r"must have 2\^32 bytes"):
        FunctionalMachine(PRESETS["default"], memory)


def test_forty_address_bits():
    bench = Bench(PRESETS["default"].replace(addr_width=40))
    base = BASE | {"out": 2**40 - 16}
    bench.acc[0] = range(16)
    bench.ok(bench.store(), base=base, addr=2**39)
    assert bench.memory.read(2**40 - 16, 16).tolist() == list(range(16))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": -1}, "insn_count must be 0 to"),
        ({"count": 2**32}, "insn_count must be 0 to"),
        ({"base": {"uop": 0}}, "base must have the keys uop, inp"),
        ({"base": BASE | {"inp": 2**32}}, "inp must be 0 to 0xffffffff"),
        ({"base": BASE | {"acc": -64}}, "acc must be 0 to 0xffffffff"),
        ({"max_cycles": -1}, "max_cycles must be 0 or more, not -1"),
    ],
)
def test_calls_that_make_no_sense(bench, options, message):
    with pytest.raises(DeviceError, match=message):
        bench.run(**({"count": 1} | options))


def test_progress_is_told(bench):
    seen = []
    bench.ok(*[bench.nop()] * 20_000, progress=seen.append)
    assert seen == sorted(seen)
    assert 0 < seen[-1] <= 20_001


def test_close_twice(bench):
    bench.machine.close()
    bench.machine.close()
