"""The plan of the micro-op buffer, executed: each kernel is there when it is used."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vta.compiler.encode.uop_buffer import plan_uops
from vta.compiler.ir.insn_ir import Kernel, MicroOp
from vta.config import PRESETS
from vta.errors import CompileError
from vta.isa import Opcode

TINY = PRESETS["tiny"]


def kernel(number, length):
    return Kernel(Opcode.GEMM, (), tuple(MicroOp(number, place, 0) for place in range(length)))


def executed(uses, config):
    """Goes through a plan; gives how many micro-ops were loaded."""
    plan = plan_uops(uses, config)
    buffer = [None] * config.uop_depth
    for index, item in uses:
        load = plan.loads.get(index)
        if load is not None:
            assert load.count >= 1
            assert load.base + load.count <= config.uop_depth
            buffer[load.base : load.base + load.count] = plan.uops[
                load.start : load.start + load.count
            ]
            assert len(plan.uops) >= load.start + load.count
        place = plan.places[index]
        assert tuple(buffer[place : place + len(item.uops)]) == item.uops
    assert set(plan.loads) <= {index for index, _ in uses}
    return sum(load.count for load in plan.loads.values())


@settings(max_examples=300)
@given(
    lengths=st.lists(
        st.one_of(st.integers(1, 12), st.integers(1, TINY.uop_depth)), min_size=6, max_size=12
    ),
    order=st.lists(st.integers(0, 11), min_size=20, max_size=60),
    gap=st.integers(1, 300),
)
def test_each_kernel_is_there_when_it_is_used(lengths, order, gap):
    items = [kernel(number, length) for number, length in enumerate(lengths)]
    uses = [(gap * place, items[number % len(items)]) for place, number in enumerate(order)]
    executed(uses, TINY)


def test_what_fits_is_loaded_once():
    items = [kernel(number, TINY.uop_depth // 4) for number in range(4)]
    uses = [(place, items[place % 4]) for place in range(40)]
    assert executed(uses, TINY) == TINY.uop_depth


def test_what_does_not_fit_is_loaded_again():
    items = [kernel(number, TINY.uop_depth // 2) for number in range(3)]
    uses = [(place, items[place % 3]) for place in range(9)]
    assert executed(uses, TINY) == 9 * TINY.uop_depth // 2


def test_small_kernels_come_together():
    uses = [(place, kernel(place, 1)) for place in range(20)]
    assert len(plan_uops(uses, TINY).loads) == 1


def test_a_kernel_larger_than_the_buffer():
    with pytest.raises(CompileError, match="65 micro-ops does not fit the micro-op buffer's 64"):
        plan_uops([(0, kernel(0, 65))], TINY)
