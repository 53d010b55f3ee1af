"""Convolutions with far more padding than data: few outputs are computed, all are right."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compiler.operators import reference
from vta import top
from vta.config import PRESETS

CONFIG = PRESETS["tiny"]


def check(sim, spec, seed):
    rng = np.random.default_rng(seed)
    data, weight = (
        rng.integers(-9, 9, shape).astype(np.int8) for shape in (spec.data_shape, spec.weight_shape)
    )
    bias = rng.integers(-99, 99, spec.weight_shape[0]).astype(np.int32)
    operator = spec.compile(CONFIG)
    found = top.run(operator, data, weight, bias, device=sim(CONFIG))[0]
    sums = reference.conv2d(
        data, weight, stride=spec.strides, padding=spec.pads, dilation=spec.dilations
    )
    np.testing.assert_array_equal(found, reference.finish(sums, bias=bias))
    return operator


EPILOGUE = top.Epilogue(bias=True)


@pytest.mark.parametrize(
    ("padding", "stride", "core"),
    [
        (90, 1, (12, 12)),  # ten outputs with data, and one of padding alone on each side
        ((40, 3), 1, (12, 12)),
        ((0, 50, 0, 0), 1, (6, 9)),
        ((0, 0, 120, 0), (7, 1), (3, 6)),
        (100, 9, (3, 3)),
    ],
)
def test_outputs_of_padding_alone_stand_for_each_other(sim, padding, stride, core):
    spec = top.Conv2d((1, 2, 8, 8), (3, 2, 3, 3), padding=padding, stride=stride, epilogue=EPILOGUE)
    operator = check(sim, spec, 1)
    assert spec.core.output_shape[2:] == core
    assert len(operator.program.insns) < 150


def test_a_padding_of_700_is_a_small_program():
    """1,406 x 1,406 outputs took 19,000 instructions."""
    spec = top.Conv2d((1, 1, 8, 8), (1, 1, 3, 3), padding=700)
    assert spec.output_shape == (1, 1, 1406, 1406)
    assert len(spec.compile(PRESETS["default"]).program.insns) < 40


@settings(max_examples=25)
@given(
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    taps=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(*[st.integers(0, 20)] * 4),
)
def test_any_padding(sim, size, taps, stride, dilation, padding):
    covered = [
        size[dim] + padding[dim] + padding[dim + 2] - (taps[dim] - 1) * dilation[dim]
        for dim in (0, 1)
    ]
    if min(covered) < 1:
        return
    spec = top.Conv2d(
        (1, 2, *size),
        (3, 2, *taps),
        stride=stride,
        dilation=dilation,
        padding=padding,
        epilogue=EPILOGUE,
    )
    check(sim, spec, sum(padding))


def test_usual_convolutions_are_compiled_as_they_are():
    for taps, padding in ((1, 0), (3, 1), (3, 2), (5, 2), (7, 3), (3, 4)):
        spec = top.Conv2d((1, 16, 14, 14), (16, 16, taps, taps), padding=padding)
        assert spec.core is spec
        assert math.prod(spec.core.output_shape) == math.prod(spec.output_shape)
