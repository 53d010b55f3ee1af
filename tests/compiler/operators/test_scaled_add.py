"""Additions with real scales: whole numbers that equal float32 for every pair of int8."""

from __future__ import annotations

import collections
import logging

import numpy as np
import pytest

from vta import top
from vta.compiler.operators import ScaledAdd
from vta.compiler.operators.add_constants import find_constants
from vta.config import PRESETS
from vta.errors import ArgumentError, CompileError
from vta.isa import Isa

NEW = PRESETS["tiny"].replace(hw_ver="0.0.3")
NUMBERS = np.arange(-128, 128)
PAIRS = [side.reshape(-1).astype(np.int8) for side in np.meshgrid(NUMBERS, NUMBERS)]


def expected(a, b, scales, zero_points=(0, 0, 0), lower=-128):
    """The formula in numpy's float32, one operation after the other."""
    left, right, result = np.float32(scales)
    a_zero, b_zero, zero = map(np.float32, zero_points)
    first = (left / result) * (a.astype(np.float32) - a_zero)
    second = (right / result) * (b.astype(np.float32) - b_zero)
    return np.clip(np.rint(first + second + zero), lower, 127).astype(np.int8)


def random_case(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(0.005, 0.1, 2)
    points = tuple(int(value) for value in rng.integers(-128, 128, 3))
    return (float(a), float(b), float(max(a, b) * rng.uniform(0.8, 2))), points


@pytest.mark.parametrize(
    ("scales", "zero_points", "limbs"),
    [
        ((0.1, 0.1, 0.2), (0, 0, 0), 1),  # half of the pairs are ties
        ((0.1, 0.1, 0.2), (3, -7, 5), 1),  # and the zero point is odd
        ((1.0, 1.0, 1.0), (-128, -128, -128), 1),
        ((0.25, 0.5, 1.0), (0, 0, 1), 1),
        ((0.0131777, 0.0271333, 0.0310101), (-128, 5, -7), 2),
        ((0.0131777, 0.0271333, 0.0310101), (0, 0, -6), 2),
        ((1e-4, 0.1, 0.1), (0, 0, 0), 2),
    ],
)
def test_all_pairs(sim, scales, zero_points, limbs):
    spec = ScaledAdd(PAIRS[0].shape, scales, zero_points=zero_points, lower=-100)
    assert (spec.constants.differences, spec.constants.limbs) == (0, limbs)
    operator = spec.compile(PRESETS["default"].replace(hw_ver="0.0.3"))
    result, _ = top.run(operator, *PAIRS, device=sim(operator.config))
    np.testing.assert_array_equal(result, expected(*PAIRS, scales, zero_points, -100))


def test_a_greatest_result(sim):
    scales, points = (0.0131777, 0.0271333, 0.0310101), (-128, 5, -7)
    spec = ScaledAdd(PAIRS[0].shape, scales, zero_points=points, lower=-100, upper=33)
    operator = spec.compile(PRESETS["default"].replace(hw_ver="0.0.3"))
    result, _ = top.run(operator, *PAIRS, device=sim(operator.config))
    np.testing.assert_array_equal(result, np.minimum(expected(*PAIRS, scales, points, -100), 33))
    with pytest.raises(CompileError, match="upper must be at least lower, -100, not -101"):
        ScaledAdd((3,), scales, lower=-100, upper=-101)


@pytest.mark.parametrize("seed", range(8))
def test_random_scales(sim, seed):
    scales, zero_points = random_case(seed)
    spec = ScaledAdd((3, 7, 5), scales, zero_points=zero_points)
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(-128, 128, (3, 7, 5)).astype(np.int8) for _ in range(2))
    result, _ = top.run(spec.compile(NEW), a, b, device=sim(NEW))
    differ = int((result != expected(a, b, scales, zero_points)).sum())
    assert differ == 0 if spec.constants.differences == 0 else differ <= 1


def test_the_differences_are_counted_and_told(caplog):
    """0.7 and 0.35 make ties that rounding three times breaks one way or the other."""
    ratios = (float(np.float32(0.7)), float(np.float32(0.35)))
    constants = find_constants(ratios, (0, 0, 0))
    a, b = (side.astype(np.int64) for side in PAIRS)
    acc = a * constants.factors[0] + b * constants.factors[1] + constants.offset
    product = acc.astype(np.float32) * np.float32(constants.scale)
    found = np.clip(np.rint(product) + constants.zero_point, -128, 127)
    right = expected(*PAIRS, (0.7, 0.35, 1.0))
    assert constants.differences == (found != right).sum() > 0
    assert np.abs(found - right).max() == 1
    with caplog.at_level(logging.WARNING):
        ScaledAdd((4,), (0.7, 0.35, 1.0)).compile(NEW)
    assert f"differs from float32 for {constants.differences} of 65536 pairs" in caplog.text


def test_what_it_takes():
    """Two products for each limb; the scale and a large offset are constants."""

    def operations(scales, zero_points):
        operator = ScaledAdd((64,), scales, zero_points=zero_points).compile(NEW)
        stream = Isa(NEW).decode_stream(operator.program.insns)
        blocks = sum(insn.operation == "STORE OUT" for insn in stream)
        found = collections.Counter(insn.operation for insn in stream)
        return {name: found[name] / blocks for name in ("GEMM", "GEMM RESET", "ALU QNT")}

    assert operations((0.1, 0.1, 0.2), (0, 0, 0)) == {"GEMM": 1, "GEMM RESET": 1, "ALU QNT": 1}
    assert operations((0.0131777, 0.0271333, 0.0310101), (0, 0, 0)) == {
        "GEMM": 2,
        "GEMM RESET": 1,
        "ALU QNT": 1,
    }


def test_the_function(sim):
    a, b = (side[:300].reshape(3, 100) for side in PAIRS)
    scales, points = (0.02, 0.03, 0.04), (-128, 4, 2)
    found = top.add(a, b, scales=scales, zero_points=points, lower=2, device=sim(NEW))
    np.testing.assert_array_equal(found, expected(a, b, scales, points, 2))
    with pytest.raises(ArgumentError, match="shift, bias must be left out where there are scales"):
        top.add(a, b, scales=scales, shift=1, bias=[1] * 100, device=sim(NEW))
    found = top.add(a, b, scales=np.array(scales), zero_points=np.array(points), device=sim(NEW))
    np.testing.assert_array_equal(found, expected(a, b, scales, points))
    for wrong in (points, 3, None):
        with pytest.raises(ArgumentError, match="zero_points must be left out"):
            top.add(a, b, zero_points=wrong, device=sim(NEW))


@pytest.mark.parametrize("scales", [(2.0**15, 1.0, 1.0), (1.0, 30011.0, 1.0), (1.0, 2.0**14, 9.0)])
def test_scales_that_are_far_apart(scales):
    """The larger operand decides nearly every result; what differs does so by one."""
    constants = ScaledAdd((4,), scales).constants
    a, b = (side.astype(np.int64) for side in PAIRS)
    acc = a * constants.factors[0] + b * constants.factors[1] + constants.offset
    found = np.clip(np.rint(acc.astype(np.float32) * np.float32(constants.scale)), -128, 127)
    assert np.abs(found - expected(*PAIRS, scales)).max() <= 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ScaledAdd((4,), (1.0, 2.0)), "scales must be three numbers"),
        (lambda: ScaledAdd((4,), (1.0, 0.0, 2.0)), "scale must be positive, finite"),
        (lambda: ScaledAdd((4,), (1.0, float("nan"), 2.0)), "scale must be positive, finite"),
        (lambda: ScaledAdd((4,), (1.0, 10**400, 2.0)), "scale must be positive, finite"),
        (lambda: ScaledAdd((4,), 3), "scales must be three numbers, of a, b and the result, not 3"),
        (lambda: ScaledAdd((4,), (1.0, 1e30, 1.0)), "by a factor of at most 2\\^20"),
        (lambda: ScaledAdd((4,), (45000.0, 1.0, 1.0)), "and those of a and b by at most 2\\^15"),
        (lambda: ScaledAdd((4,), (1024.0, 2**-10, 1.0)), "and those of a and b by at most 2\\^15"),
        (
            lambda: ScaledAdd((4,), (1.0, 1.0, 1.0), zero_points=(0, 200, 0)),
            "zero point must be a whole number of -128 to 127, not 200",
        ),
        (
            lambda: ScaledAdd((4,), (1.0, 1.0, 1.0)).compile(NEW.replace(hw_ver="0.0.2")),
            r"an addition with scales needs HW_VER 0\.0\.3 in the configuration, not 0\.0\.2",
        ),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(CompileError, match=message):
        make()


def test_the_model_stays_below_eleven_cycles_a_tile():
    """A residual addition of ResNet with two limbs and an offset; the RTL must take 135,000."""
    spec = ScaledAdd((1, 64, 56, 56), (0.0131777, 0.0271333, 0.0310101), zero_points=(-128, 5, -7))
    assert spec.plan(PRESETS["default"].replace(hw_ver="0.0.3")).cycles <= 135_000
