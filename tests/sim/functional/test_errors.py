"""Every error of docs/isa.md on the functional simulator: cause, module, index, what goes on."""

import time

import numpy as np
import pytest

from tests.bench import BASE, INSN_ADDR, Bench
from vta.config import PRESETS
from vta.errors import DeviceError
from vta.isa import AluOp, MemoryType

UOP, WGT, INP, ACC, OUT, ACC_8BIT = (
    MemoryType[name] for name in ("UOP", "WGT", "INP", "ACC", "OUT", "ACC_8BIT")
)
POPS = {"pop_prev": 1, "pop_next": 1, "push_prev": 1, "push_next": 1}


@pytest.fixture
def bench():
    return Bench()


def place(fault):
    return fault.cause, fault.module, fault.insn_index


# -- static checks, each alone -------------------------------------------------------------------


@pytest.mark.parametrize("opcode", [5, 6, 7])
def test_illegal_opcode(bench, opcode):
    fault = bench.fault(bench.nop(), bench.isa.common.pack(opcode=opcode, **POPS))
    assert place(fault) == ("illegal_opcode", "compute", 1)
    assert fault.insn.startswith(f"OPCODE_{opcode}")
    assert fault.detail == f"opcode {opcode} does not exist"


@pytest.mark.parametrize("token", ["pop_prev", "push_prev"])
@pytest.mark.parametrize("memory", [INP, WGT])
@pytest.mark.parametrize("x", [0, 1])
def test_load_has_no_previous_module(bench, token, memory, x):
    fault = bench.fault(bench.load(memory, x=x, **{token: 1}))
    assert place(fault) == ("illegal_token", "load", 0)
    assert fault.detail == "load has no prev module"


@pytest.mark.parametrize("token", ["pop_next", "push_next"])
@pytest.mark.parametrize("x", [0, 1])
def test_store_has_no_next_module(bench, token, x):
    fault = bench.fault(bench.store(x=x, **{token: 1}))
    assert place(fault) == ("illegal_token", "store", 0)
    assert fault.detail == "store has no next module"


@pytest.mark.parametrize("memory", [4, 6, 7])
def test_memory_that_cannot_be_loaded(bench, memory):
    fault = bench.fault(bench.load(memory, y=0))
    assert place(fault) == ("illegal_memory_type", "compute", 0)
    assert fault.detail == f"memory type {memory} cannot be loaded"


@pytest.mark.parametrize("memory", [0, 1, 2, 3, 5, 6, 7])
def test_memory_that_cannot_be_stored(bench, memory):
    fault = bench.fault(bench.store(memory))
    assert place(fault) == ("illegal_memory_type", "store", 0)
    assert fault.detail == f"memory type {memory} cannot be stored, only OUT"


@pytest.mark.parametrize("op", [5, 6, 7])
@pytest.mark.parametrize("uops", [(0, 1), (0, 0)])
def test_illegal_alu_opcode_even_with_empty_loops(op, uops):
    bench = Bench(PRESETS["default"].replace(hw_ver="0.0.2"))
    fault = bench.fault(bench.alu(op, uops=uops))
    assert place(fault) == ("illegal_alu_opcode", "compute", 0)
    new = {5: "QNT needs HW_VER 0.0.3", 6: "MOV needs HW_VER 0.0.3"}
    assert fault.detail == new.get(op, f"ALU opcode {op} does not exist")


def test_alu_opcode_7_is_illegal_with_each_encoding(bench):
    fault = bench.fault(bench.alu(7))
    assert place(fault) == ("illegal_alu_opcode", "compute", 0)


@pytest.mark.parametrize("pad", range(4))
def test_a_store_with_pads(bench, pad):
    pads = [0, 0, 0, 0]
    pads[pad] = 15
    fault = bench.fault(bench.store(pads=pads))
    assert place(fault) == ("illegal_padding", "store", 0)
    assert fault.detail.endswith(f"but {['y_pad_0', 'y_pad_1', 'x_pad_0', 'x_pad_1'][pad]} is 15")


@pytest.mark.parametrize("memory", [UOP, WGT, INP, ACC, ACC_8BIT], ids=lambda memory: memory.name)
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 1, 0, 1)])
def test_load_beyond_its_buffer(configs, memory, pads):
    bench = Bench(configs)
    depth = {
        UOP: configs.uop_depth,
        WGT: configs.wgt_depth,
        INP: configs.inp_depth,
        ACC: configs.acc_depth,
        ACC_8BIT: configs.acc_depth,
    }[memory]
    count = (pads[0] + 1 + pads[1]) * (1 + pads[3])
    bench.ok(bench.load(memory, sram=depth - count, pads=pads))
    fault = bench.fault(bench.load(memory, sram=depth - count + 1, pads=pads))
    module = "load" if memory in (INP, WGT) else "compute"
    assert place(fault) == ("sram_range", module, 0)
    assert fault.detail.endswith(f"{memory.name}, which has {depth}")


def test_a_faulty_load_transfers_nothing(bench):
    bench.put("acc", np.full((4, 16), 9, np.int32))
    assert bench.fault(bench.load(ACC, sram=2045, x=4)).cause == "sram_range"
    assert not bench.acc.any()


def test_padding_rows_alone_are_checked_and_no_rows_are_not(bench):
    bench.ok(bench.load(ACC, sram=65_535, y=0))
    fault = bench.fault(bench.load(ACC, sram=2047, y=0, x=1, pads=(2, 0, 0, 0)))
    assert fault.cause == "sram_range"


def test_store_beyond_its_buffer(bench):
    bench.ok(bench.store(sram=2042, y=3, x=2))
    fault = bench.fault(bench.store(sram=2043, y=3, x=2))
    assert place(fault) == ("sram_range", "store", 0)
    assert fault.detail == "elements 2043 to 2048 of OUT, which has 2048"


@pytest.mark.parametrize(
    ("memory", "elem"), [(UOP, 4), (WGT, 256), (INP, 16), (ACC, 64), (ACC_8BIT, 16)]
)
def test_load_past_the_end_of_memory(bench, memory, elem):
    # From base 2^31, element `last` is the last of the address space.
    base = dict.fromkeys(BASE, 2**31)
    last = 2**31 // elem - 1
    bench.ok(bench.load(memory, dram=last - 10, y=2, x=3, stride=8), base=base)
    fault = bench.fault(bench.load(memory, dram=last - 9, y=2, x=3, stride=8), base=base)
    assert place(fault) == ("memory_response", "load" if memory in (INP, WGT) else "compute", 0)
    assert "memory ends at 0xffffffff" in fault.detail


def test_addresses_do_not_wrap(bench):
    bench.put("uop", np.ones(4, np.uint32))
    # Modulo 2^32 this would be the base itself.
    fault = bench.fault(bench.load(UOP, dram=2**30))
    assert place(fault) == ("memory_response", "compute", 0)


def test_no_rows_are_read_from_nowhere(bench):
    bench.ok(bench.load(ACC, dram=2**32 - 1, y=0, pads=(1, 0, 0, 0)))


def test_store_past_the_end_of_memory(bench):
    base = dict.fromkeys(BASE, 2**31)
    last = 2**27 - 1
    bench.ok(bench.store(dram=last - 2, y=2, x=2, stride=1), base=base)
    bench.memory.clear_dirty()
    fault = bench.fault(bench.store(dram=last - 1, y=2, x=2, stride=1), base=base)
    assert place(fault) == ("memory_response", "store", 0)
    assert 2**20 - 1 not in bench.memory.dirty_pages()


# -- the order of the checks ---------------------------------------------------------------------


def test_causes_of_a_load_in_order(bench):
    wrong = {"memory": 7, "sram": 2048, "dram": 2**32 - 1}
    assert bench.fault(bench.load(**wrong)).cause == "illegal_memory_type"
    for memory in (ACC, INP):
        bench.machine.reset()
        assert bench.fault(bench.load(**wrong | {"memory": memory})).cause == "sram_range"
        bench.machine.reset()
        assert (
            bench.fault(bench.load(**wrong | {"memory": memory, "sram": 0})).cause
            == "memory_response"
        )
    bench.machine.reset()
    assert bench.fault(bench.load(**wrong | {"memory": INP}, pop_prev=1)).cause == "illegal_token"


def test_causes_of_a_store_in_order(bench):
    wrong = {"memory": 7, "pads": (1, 1, 1, 1), "sram": 2048, "dram": 2**32 - 1, "push_next": 1}
    for name, right, cause in (
        ("push_next", 0, "illegal_token"),
        ("memory", OUT, "illegal_memory_type"),
        ("pads", (0,) * 4, "illegal_padding"),
        ("sram", 0, "sram_range"),
        ("dram", 0, "memory_response"),
    ):
        assert bench.fault(bench.store(**wrong)).cause == cause
        bench.machine.reset()
        wrong[name] = right
    bench.ok(bench.store(**wrong))


def test_static_errors_are_found_before_waiting_for_tokens(bench):
    for insn in (
        bench.isa.common.pack(opcode=6, pop_prev=1),
        bench.load(6, pop_prev=1),
        bench.alu(7, pop_next=1),
        bench.load(ACC, sram=2048, pop_prev=1),
        bench.load(INP, dram=2**32 - 1, pop_next=1),
        bench.store(UOP, pop_prev=1),
    ):
        assert bench.fault(insn).cause != "deadlock"
        bench.machine.reset()


# -- indices of GEMM and ALU ---------------------------------------------------------------------


def test_gemm_stops_at_the_first_index_out_of_range(bench):
    bench.put_uops((2045, 0, 0))
    bench.inp[0], bench.wgt[0] = 1, 1
    report = bench.run(bench.nop(), bench.gemm(iters=(2, 3), dst=(2, 1)), bench.finish())
    # 2045 2046 2047 | 2047 2048
    assert place(report.fault) == ("sram_range", "compute", 1)
    assert report.fault.detail == (
        "dst index 2048 of ACC, which has 2048 elements, at iter_out 1, iter_in 1, uop 0"
    )
    assert report.stats["gemm_counter"] == 4
    assert report.stats["compute_insns"] == report.instructions == 1
    assert bench.acc[2045:, 0].tolist() == [16, 16, 32]


@pytest.mark.parametrize(
    ("name", "factors", "limit"),
    [
        ("src", {"src": (0, 1)}, "INP, which has 2048"),
        ("wgt", {"wgt": (0, 1)}, "WGT, which has 1024"),
        ("dst", {"dst": (0, 1)}, "ACC, which has 2048"),
    ],
)
def test_each_index_of_gemm(bench, name, factors, limit):
    bench.put_uops((0, 0, 0))
    report = bench.run(bench.gemm(iters=(1, 2050), **factors), bench.finish())
    assert report.fault.detail.startswith(f"{name} index ")
    assert limit in report.fault.detail
    assert report.stats["gemm_counter"] == (1024 if name == "wgt" else 2048)


def test_only_used_indices_are_checked(bench):
    bench.put_uops((0, 2047, 1023))
    more = {"iters": (2, 2), "src": (1, 1)}
    bench.ok(bench.gemm(reset=1, wgt=(1, 1), **more), bench.alu(AluOp.MAX, imm=3, **more))
    assert bench.fault(bench.gemm(**more)).cause == "sram_range"
    bench.machine.reset()
    assert bench.fault(bench.alu(AluOp.MAX, **more)).cause == "sram_range"
    bench.machine.reset()
    assert bench.fault(bench.gemm(wgt=(1, 0), iters=(2, 1))).cause == "sram_range"


def test_alu_stops_at_the_first_index_out_of_range(bench):
    bench.put_uops((0, 2046, 0), (10, 2046, 0))
    bench.acc[2046:] = [[5], [6]]
    report = bench.run(
        bench.alu(AluOp.ADD, uops=(0, 2), iters=(1, 5), dst=(0, 1), src=(0, 1)), bench.finish()
    )
    assert report.fault.detail.startswith("src index 2048 of ACC")
    assert report.fault.detail.endswith("iter_out 0, iter_in 2, uop 0")
    assert report.stats["alu_counter"] == 4


def test_sums_do_not_wrap(bench):
    bench.put_uops((0, 0, 0))
    fault = bench.fault(bench.gemm(iters=(2, 2), dst=(1024, 1024), reset=1))
    assert fault.detail.startswith("dst index 2048 ")


def test_a_single_iteration_out_of_range():
    """A micro-op's src_idx is as wide as the deeper of ACC and INP."""
    config = PRESETS["default"].replace(log_inp_buff_size=13)
    assert (config.inp_depth, config.acc_depth) == (512, 2048)
    bench = Bench(config)
    bench.put_uops((0, 512, 0))
    bench.ok(bench.alu(AluOp.MAX))
    report = bench.run(bench.gemm(), bench.finish())
    assert place(report.fault) == ("sram_range", "compute", 0)
    assert report.stats["gemm_counter"] == 0


@pytest.mark.parametrize("iters", [(1, 1), (16_383, 16_383)])
def test_micro_ops_beyond_their_buffer(bench, iters):
    report = bench.run(bench.gemm(uops=(8190, 8193), iters=iters, reset=1), bench.finish())
    assert place(report.fault) == ("sram_range", "compute", 0)
    assert report.fault.detail == "micro-op 8192, but UOP has 8192 elements"
    assert report.stats["reset_counter"] == 2


def test_a_bad_index_before_a_bad_micro_op_is_reported(bench):
    bench.machine.datapath.uop[8191] = bench.isa.uop.pack(src_idx=2047)
    fault = bench.fault(bench.alu(AluOp.ADD, uops=(8191, 8192), iters=(1, 2), src=(0, 1)))
    assert fault.detail.startswith("src index 2048")


def test_an_index_out_of_range_behind_many_iterations(bench):
    """2^28 iterations are asked for; the fault comes after some 50,000."""
    bench.put_uops((0, 0, 0))
    report = bench.run(
        bench.alu(AluOp.MAX, iters=(16_383, 16_383), dst=(512, 0), imm=7), bench.finish()
    )
    assert report.fault.detail.startswith("dst index 2048 of ACC")
    assert report.stats["alu_counter"] == 4 * 16_383
    assert (bench.acc[[0, 512, 1024, 1536]] == 7).all()


# -- fetch, launch, the end ----------------------------------------------------------------------


def test_no_finish_is_reported_when_all_has_retired(bench):
    bench.acc[0] = 3
    report = bench.run(bench.nop(push_next=1), bench.store(pop_prev=1))
    assert place(report.fault) == ("no_finish", "fetch", 2)
    assert report.fault.insn == ""
    assert report.instructions == 2
    assert (bench.out(1) == 3).all()


def test_an_empty_stream(bench):
    report = bench.run(count=0)
    assert place(report.fault) == ("no_finish", "fetch", 0)
    assert report.instructions == 0


@pytest.mark.parametrize(
    ("name", "elem"), [("uop", 4), ("inp", 16), ("wgt", 256), ("acc", 64), ("out", 16)]
)
def test_misaligned_bases(bench, name, elem):
    for wrong in (1, elem // 2, elem + elem // 2):
        fault = bench.fault(base=BASE | {name: BASE[name] + wrong})
        assert place(fault) == ("misaligned_base", "fetch", 0)
        assert fault.detail.startswith(f"the {name} base must be a multiple of {elem} bytes")
        bench.machine.reset()
    bench.ok(base=BASE | {name: BASE[name] + elem})


def test_a_misaligned_instruction_pointer(bench):
    fault = bench.fault(addr=INSN_ADDR + 8)
    assert place(fault) == ("misaligned_base", "fetch", 0)
    assert fault.detail.startswith("the instruction pointer must be a multiple of 16")
    bench.machine.reset()
    assert bench.run(addr=8, count=0).fault.cause == "misaligned_base"


def test_fetch_past_the_end_of_memory(bench):
    fault = bench.run(bench.nop(), bench.nop(), addr=2**32 - 32).fault
    assert fault.cause == "no_finish"
    bench.machine.reset()
    report = bench.run(addr=2**32 - 32, count=3)
    assert place(report.fault) == ("memory_response", "fetch", 2)
    assert report.instructions == 2


@pytest.mark.parametrize("seed", range(10))
def test_the_lowest_instruction_index_is_reported(seed):
    bench = Bench(seed=seed)
    load, compute, store = (bench.load(INP, sram=9999), bench.load(6), bench.store(UOP))
    for program in (
        [bench.nop(), load, compute, store],
        [bench.nop(), store, load, compute],
        [bench.nop(), compute, store, load],
    ):
        assert bench.fault(*program).insn_index == 1
        bench.machine.reset()
    # An error counts more than a lower instruction that waits.
    fault = bench.fault(bench.nop(pop_prev=1), bench.nop("store"), store)
    assert place(fault) == ("illegal_memory_type", "store", 2)


@pytest.mark.parametrize("seed", range(5))
def test_the_others_go_on_and_the_stopped_one_pushes_nothing(seed):
    bench = Bench(seed=seed)
    bench.acc[...] = 4
    report = bench.run(
        bench.load(INP, sram=9999, push_next=1),
        bench.load(INP),
        bench.nop(),
        *[bench.store(dram=k) for k in range(10)],
        bench.nop(pop_prev=1),
        bench.finish(),
    )
    assert place(report.fault) == ("sram_range", "load", 0)
    assert (bench.out(10) == 4).all()
    assert report.stats["load_insns"] == 0
    assert report.stats["compute_insns"] == 1
    assert report.stats["store_insns"] == 10
    assert bench.machine.tokens["l2g"] == 0


def test_a_halted_machine_runs_only_after_reset(bench):
    bench.fault(bench.load(6))
    with pytest.raises(DeviceError, match="halted by illegal_memory_type .* reset it first"):
        bench.run(bench.finish())
    bench.machine.reset()
    bench.ok(bench.nop())


# -- deadlock ------------------------------------------------------------------------------------


def test_deadlock_names_who_waits_for_what(bench):
    fault = bench.fault(
        bench.nop(),
        bench.nop("store", pop_prev=1),
        bench.nop(pop_prev=1, pop_next=1),
        bench.nop("load"),
        bench.nop("load", pop_next=1),
    )
    assert place(fault) == ("deadlock", "store", 1)
    assert fault.insn.startswith("STORE OUT")
    assert [(w["module"], w["insn_index"], w["token"]) for w in fault.waiting] == [
        ("store", 1, "g2s"),
        ("compute", 2, "l2g and s2g"),
        ("load", 4, "g2l"),
    ]
    assert "load waits for g2l at instruction 4" in str(fault)


def test_only_missing_tokens_are_named_and_none_is_taken(bench):
    fault = bench.fault(bench.nop("load", push_next=1), bench.nop(pop_prev=1, pop_next=1))
    assert fault.waiting[0]["token"] == "s2g"
    assert bench.machine.tokens["l2g"] == 1


def test_waiting_after_finish_is_a_deadlock(bench):
    fault = bench.fault(bench.nop("store", pop_prev=1))
    assert place(fault) == ("deadlock", "store", 0)
    bench.machine.reset()
    report = bench.run(bench.finish(pop_prev=1))
    assert place(report.fault) == ("deadlock", "compute", 0)
    assert report.fault.insn == "FINISH pop:l2g"


def test_waiting_counts_more_than_a_missing_finish(bench):
    assert bench.run(bench.nop(pop_prev=1)).fault.cause == "deadlock"


# -- timeout -------------------------------------------------------------------------------------


def test_work_is_bounded_by_max_cycles(bench):
    program = [
        bench.load(ACC, x=10),
        bench.gemm(iters=(1, 20), dst=(0, 1)),
        bench.nop(push_next=1),
        bench.store(x=5, pop_prev=1),
    ]
    # Five instructions, 10 + 5 elements, 20 tiles.
    bench.ok(*program, max_cycles=40)
    fault = bench.fault(*program, max_cycles=39)
    assert fault.cause == "timeout"
    assert "max_cycles" in fault.detail


@pytest.mark.parametrize("kind", ["gemm", "reset", "add", "mixed"])
def test_enormous_loops_end_in_time_and_bounded_memory(bench, kind):
    loops = {"uops": (0, 8192), "iters": (16_383, 16_383)}
    insn = {
        "gemm": bench.gemm(**loops),
        "reset": bench.gemm(reset=1, **loops),
        "add": bench.alu(AluOp.ADD, imm=1, **loops),
        "mixed": bench.alu(AluOp.SHR, imm=None, **loops),
    }[kind]
    start = time.monotonic()
    report = bench.run(bench.nop(), insn, bench.finish(), max_cycles=100_000)
    assert time.monotonic() - start < 20
    assert place(report.fault) == ("timeout", "compute", 1)
    assert sum(report.stats[f"{name}_counter"] for name in ("gemm", "reset", "alu")) <= 100_000


def test_an_enormous_count_of_instructions_ends_at_finish(bench):
    bench.memory.write(INSN_ADDR, bench.isa.words([bench.nop(), bench.finish()]))
    assert bench.run(count=2**32 - 1).instructions == 2
