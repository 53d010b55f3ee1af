"""Instructions that are repeated: what the simulator keeps of the first must not show."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench import Bench, alu_reference
from vta.isa import AluOp


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_same_gemm_with_other_micro_ops(bench: Bench) -> None:
    gemm = bench.gemm(uops=(0, 2), iters=(1, 3), dst=(0, 1), src=(0, 1))
    bench.inp[:9] = np.arange(9).reshape(9, 1, 1)
    bench.machine.datapath.wgt[0] = 1
    block = bench.config.block
    for uops in ((0, 0, 0), (4, 3, 0)), ((0, 2, 0), (4, 1, 0)), ((0, 0, 0), (4, 3, 0)):
        bench.put_uops(*uops)
        bench.acc[...] = 7
        report = bench.ok(gemm, gemm)
        expected = np.full_like(bench.acc, 7)
        for dst, src, _ in uops:
            for i in range(3):
                expected[dst + i] += 2 * block * (src + i)
        np.testing.assert_array_equal(bench.acc, expected)
        assert report.stats["gemm_counter"] == 12


def test_the_same_loops_with_another_operation(bench: Bench) -> None:
    bench.put_uops((0, 8, 0), (4, 12, 0))
    start = np.arange(bench.acc.size, dtype=np.int32).reshape(bench.acc.shape) % 13
    for op in (AluOp.ADD, AluOp.MAX, AluOp.SHR, AluOp.ADD):
        bench.acc[...] = start
        loops = {"uops": (0, 2), "iters": (2, 2), "dst": (2, 1), "src": (2, 1)}
        bench.ok(bench.alu(op, **loops), bench.alu(op, imm=3, **loops))
        expected = start.tolist()
        for with_imm in (False, True):
            for outer in range(2):
                for inner in range(2):
                    for dst, src in ((0, 8), (4, 12)):
                        to, by = dst + 2 * outer + inner, src + 2 * outer + inner
                        expected[to] = [
                            alu_reference(op, left, 3 if with_imm else right)
                            for left, right in zip(expected[to], expected[by], strict=True)
                        ]
        np.testing.assert_array_equal(bench.acc, expected)


def test_results_that_later_iterations_read(bench: Bench) -> None:
    """The second run of the instruction still goes one step after the other."""
    bench.put_uops((1, 0, 0))
    chain = bench.alu(AluOp.ADD, iters=(1, 5), dst=(0, 1), src=(0, 1))
    bench.acc[:7] = 1
    bench.ok(chain, chain)
    np.testing.assert_array_equal(bench.acc[:6, 0], [1, 3, 6, 10, 15, 21])


def test_micro_ops_beyond_the_buffer_after_ones_within_it(bench: Bench) -> None:
    """The same loops and the same micro-ops, but the instruction asks for more than there are."""
    depth = bench.config.uop_depth
    bench.machine.datapath.uop[depth - 2 :] = 0
    within = bench.gemm(uops=(depth - 2, depth), iters=(1, 2))
    beyond = bench.gemm(uops=(depth - 2, depth + 1), iters=(1, 2))
    bench.ok(within)
    fault = bench.fault(within, beyond)
    assert (fault.cause, fault.insn_index) == ("sram_range", 1)


def test_indices_beyond_acc_each_time(bench: Bench) -> None:
    bench.put_uops((bench.config.acc_depth - 1, 0, 0), (0, 0, 0))
    for _ in range(2):
        fault = bench.fault(bench.gemm(uops=(0, 2), iters=(1, 2), dst=(0, 1)))
        assert fault.cause == "sram_range"
        bench.machine.reset()
