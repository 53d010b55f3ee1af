"""The requantiser against numpy's float32: by hand, at random, and where roundings tie."""

from __future__ import annotations

import ctypes
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.back import verilog
from amaranth.hdl import Fragment

from tests.hw.streams import simulate
from vta.hw.compute.requantiser import Requantiser
from vta.sim.rtl import verilator

FAMILIES = ("xc7", "ecp5")
"""Multipliers of 25 bits, and of 18."""

CORNERS = (-128, -127, -1, 0, 1, 126, 127)


def reference(acc, scale, zero_point, lower):
    """docs/isa.md, "Encoding 0.0.3", of (n,) int32, (n,) uint32, and twice (n,) int8."""
    exponent = scale >> 23 & 0xFF
    value = acc.astype(np.float32)
    factor = np.where(exponent == 0, np.uint32(0), scale).view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        product = value * factor
    huge = np.where((acc < 0) != (scale >= 2**31), -np.inf, np.inf)
    huge[acc == 0] = 0
    rounded = np.where(exponent == 255, huge, np.rint(product).astype(np.float64))
    return np.maximum(lower, np.minimum(127, rounded + zero_point)).astype(np.int8)


def bits(numbers):
    """The bits of (n,) numbers as float32: (n,) uint32."""
    return np.asarray(numbers, np.float64).astype(np.float32).view(np.uint32)


def nudged(rng, scale, ulps):
    """Scales up to `ulps` units in the last place away."""
    return scale + rng.integers(-ulps, ulps + 1, len(scale)).astype(np.uint32)


def integers(rng, count):
    """int32 with every number of significant bits."""
    return (rng.integers(-(2**31), 2**31, count) >> rng.integers(0, 32, count)).astype(np.int32)


def signs(rng, count):
    return rng.choice([-1, 1], count)


# Each returns (count,) int32 and (count,) uint32: numbers and scales.


def anything(rng, count):
    return integers(rng, count), rng.integers(0, 2**32, count, np.uint32)


def in_range(rng, count):
    """Products of 2^-4 to 2^10."""
    acc = integers(rng, count)
    product = 2.0 ** rng.uniform(-4, 10, count) * signs(rng, count)
    return acc, bits(product / np.maximum(np.abs(acc.astype(np.float64)), 1))


def extremes(rng, count):
    """Every exponent; numbers at the ends of int32 and of float32's integers."""
    acc = [0, 1, 2, 3, 127, 255, 256, 2**23 - 1, 2**23, 2**24 - 1, 2**24, 2**24 + 1, 2**24 + 3]
    acc += [2**25 + 2, 2**25 + 6, 2**30, 2**30 + 64, 2**31 - 65, 2**31 - 64, 2**31 - 63, 2**31 - 1]
    acc = np.array([*acc, *(-number for number in acc), -(2**31)], np.int32)
    mantissa = rng.choice([0, 1, 0x2A_AAAA, 0x40_0000, 0x7F_FFFF], count)
    exponent = rng.choice([*range(256), *[0, 1, 254, 255] * 8], count)
    sign = rng.integers(0, 2, count)
    return rng.choice(acc, count), (sign << 31 | exponent << 23 | mantissa).astype(np.uint32)


def exact_ties(rng, count):
    """Products of k + 1/2 exactly, and a unit of the scale beside it."""
    left, right = rng.integers(0, 16, count) * 2 + 1, rng.integers(0, 32, count) * 2 + 1
    shift = rng.integers(0, 26, count)
    acc = (left << shift) * signs(rng, count)
    scale = bits(right * 2.0 ** -(shift + 1) * signs(rng, count))
    return acc.astype(np.int32), nudged(rng, scale, rng.integers(0, 2))


def near_ties(rng, count):
    """Products within a few units in the last place of k + 1/2, up to beyond saturation."""
    acc = integers(rng, count)
    acc[acc == 0] = 1
    half = rng.integers(-300, 300, count) + 0.5
    return acc, nudged(rng, bits(half / acc.astype(np.float32)), 3)


def some_fractions(rng, count):
    """k + 1/2 and, up or down, 2^-p: the numerators and the p."""
    place = 2 + (14 * rng.random(count) ** 2).astype(np.int64)
    odd = rng.integers(0, 2 ** rng.integers(0, 8, count)) * 2 + 1
    return (odd << place - 1) + signs(rng, count), place


def fractions(rng, count):
    product, place = some_fractions(rng, count)
    more = rng.integers(0, 32 - np.frexp(product)[1])
    scale = bits(2.0 ** -(place + more) * signs(rng, count))
    return (product << more).astype(np.int32) * signs(rng, count).astype(np.int32), scale


def near_fractions(rng, count):
    """The same but for a unit in the last place or less."""
    acc = integers(rng, count)
    acc[acc == 0] = 1
    product, place = some_fractions(rng, count)
    return acc, bits(product * 2.0**-place * signs(rng, count) / acc.astype(np.float32))


def rounded_numbers(rng, count):
    """Numbers halfway between two of float32, or beside that, or that round up to a power of two;
    products near k + 1/2."""
    # The longest are the only ones whose lowest bit counts.
    extra = np.minimum(rng.integers(1, 12, count), 7)
    acc = (rng.integers(2**23, 2**24, count) * 2 + 1) << (extra - 1)
    acc += rng.integers(-1, 2, count)
    top = np.minimum(2**24 << extra, 2**31) - rng.integers(1, 300, count)
    acc = np.where(rng.random(count) < 0.2, top, acc) * signs(rng, count)
    half = rng.integers(0, 256, count) + 0.5
    scale = bits(half / acc.astype(np.float32))
    return acc.astype(np.int32), nudged(rng, scale, 2)


def half_ulps():
    """Rows (f, m, s): f * m / 2^s is k + 1/2, more or less half a unit in its last place of 24
    bits, and f and m have at most 24 bits."""
    rows = []
    for k in range(300):
        for length in (25, 26):
            shift = length - (2 * k + 1).bit_length()
            for beside in (-1, 1):
                product = ((2 * k + 1) << shift) + beside
                factors = np.arange(1, 4000, 2)
                factors = factors[product % factors == 0]
                factors = factors[product // factors < 2**24]
                rows += [(factor, product // factor, shift + 1) for factor in factors]
    return np.array(rows)


def ties_of_the_product(rng, count):
    """Products halfway between k + 1/2 and the next binary32 number, and a unit beside."""
    factor, mantissa, shift = rng.choice(half_ulps(), count).T
    swap = rng.random(count) < 0.5
    factor, mantissa = np.where(swap, mantissa, factor), np.where(swap, factor, mantissa)
    more = (rng.random(count) * (31 - np.ceil(np.log2(factor + 1)))).astype(np.int64)
    acc = (factor << more) * signs(rng, count)
    scale = bits(mantissa * 2.0 ** -(shift + more) * signs(rng, count))
    return acc.astype(np.int32), nudged(rng, scale, rng.integers(0, 2))


KINDS = (
    anything,
    in_range,
    extremes,
    exact_ties,
    near_ties,
    rounded_numbers,
    ties_of_the_product,
    fractions,
    near_fractions,
)


def bounds(rng, count):
    """Zero points and lower ends, often at the extremes: two (count,) int8."""

    def some():
        return np.where(
            rng.random(count) < 0.4, rng.choice(CORNERS, count), rng.integers(-128, 128, count)
        )

    zero_point, lower = some(), some()
    # Often out of the way, so that the sum shows.
    lower[rng.random(count) < 0.4] = -128
    # ReLU's.
    relu = rng.random(count) < 0.2
    lower[relu] = zero_point[relu]
    return zero_point.astype(np.int8), lower.astype(np.int8)


def requantised(cases, family):
    """What the block makes of (acc, scale, zero_point, lower), a new one in every cycle."""
    dut = Requantiser()
    results = []

    async def bench(ctx):
        idle = [(0, 0, 0, 0)] * dut.LATENCY
        scale_before = 0
        for number, (acc, scale, zero_point, lower) in enumerate([*cases, *idle]):
            ctx.set(dut.acc, int(acc))
            ctx.set(dut.zero_point, int(zero_point))
            ctx.set(dut.lower, int(lower))
            ctx.set(dut.scale, int(scale_before))
            scale_before = scale
            if number >= dut.LATENCY:
                results.append(ctx.get(dut.result))
            await ctx.tick()

    simulate(Fragment.get(dut, SimpleNamespace(family=family)), bench)
    return results


def check(inputs, results):
    expected = reference(*inputs)
    wrong = np.flatnonzero(np.asarray(results) != expected)
    assert not len(wrong), [
        (*(array[index] for array in inputs), results[index], expected[index])
        for index in wrong[:10]
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_by_hand(family):
    """Cases of the specification, worked out without numpy."""
    one, half, minus_half, quarter = 0x3F80_0000, 0x3F00_0000, 0xBF00_0000, 0x3E80_0000
    cases = {
        # Ties to even, of both signs.
        (1, half, 0, -128): 0,
        (3, half, 0, -128): 2,
        (5, half, 0, -128): 2,
        (-1, half, 0, -128): 0,
        (-3, half, 0, -128): -2,
        (3, minus_half, 0, -128): -2,
        (-5, minus_half, 0, -128): 2,
        (-3, quarter, 0, -128): -1,
        (3, quarter, 0, -128): 1,
        # 1.5 less a quarter of 2^-23 rounds to 1.5, and that to 2.
        (2**24 - 3, 0x33C0_0002, 0, -128): 2,
        # 1.5 less three quarters does not.
        (2**24 - 1, 0x33C0_0000, 0, -128): 1,
        # 0.5 + 2^-25 - 2^-48 rounds to 0.5, and that to 0.
        (2**24 - 1, 0x3300_0001, 0, -128): 0,
        # 2^24 + 1 rounds to 2^24, and 2^25 - 1 to 2^25; times 2^-25 and 2^-24.
        (2**24 + 1, 0x3300_0000, 0, -128): 0,
        (2**25 - 1, 0x3380_0000, 0, -128): 2,
        # The ends of int32.
        (-(2**31), 0x3300_0000, 0, -128): -64,
        (2**31 - 1, 0x3300_0000, 0, -128): 64,
        # The sum is limited, not the product.
        (200, one, -100, -128): 100,
        (-200, one, 100, -128): -100,
        (128, one, 0, -128): 127,
        (127, one, 0, -128): 127,
        (-128, one, 0, -128): -128,
        (-129, one, 0, -128): -128,
        (511, one, -128, -128): 127,
        (-512, one, 127, 3): 3,
        # `lower` below, at and above the sum.
        (10, one, -20, -10): -10,
        (10, one, -20, -11): -10,
        (10, one, -20, -9): -9,
        (-1000, one, 0, 127): 127,
        (1000, one, 0, -128): 127,
        # Exponent fields of 0, and of 255 with the mantissas of infinity and a NaN.
        (2**31 - 1, 0x007F_FFFF, 5, -128): 5,
        (-(2**31), 0x8000_0000, 5, -128): 5,
        (1, 0x7F80_0000, -128, -128): 127,
        (-1, 0x7F80_0000, 127, -7): -7,
        (1, 0xFFC0_0000, 127, -7): -7,
        (-1, 0xFFC0_0000, 127, -7): 127,
        (0, 0x7F80_0000, 9, -128): 9,
        (0, 0xFFC0_0000, 9, 10): 10,
    }
    results = requantised(cases, family)
    assert dict(zip(cases, results, strict=True)) == cases


LOW_BITS = (
    (14696249, 8716041, 40),
    (11963110, 11626427, 40),
    (9790108, 9096983, 41),
    (15700008, 8719053, 40),
    (13291024, 9017121, 41),
    (8472736, 9992333, 41),
    (10113728, 13752419, 40),
    (12497024, 10249889, 40),
    (15734016, 8560445, 40),
    (11475456, 8479557, 40),
    (10392576, 8992813, 41),
    (11180032, 8900315, 40),
    (8892416, 12673715, 40),
    (8953856, 15042701, 40),
    (9289728, 12900999, 41),
    (9011200, 11042459, 40),
    (11075584, 10324441, 44),
    (9306112, 14473303, 40),
    (10747904, 11099561, 40),
    (8912896, 9992313, 41),
    (11534336, 10009135, 41),
    (10485760, 12215911, 40),
    (16759227, 8463219, 41),
    (13366822, 16451355, 44),
    (13953740, 14025851, 42),
    (13972824, 15737859, 44),
    (9797872, 15374063, 41),
    (10335648, 15531557, 42),
    (16739264, 13728079, 41),
    (12552576, 12788507, 42),
    (11980544, 15601711, 42),
    (13268480, 15330291, 41),
    (11408384, 14071117, 42),
    (12560384, 15494237, 41),
    (15970304, 11635187, 41),
    (15720448, 13218943, 41),
    (13942784, 12775131, 42),
    (12353536, 15753673, 41),
    (16056320, 12736989, 42),
    (13762560, 14779929, 41),
    (14942208, 14790441, 41),
    (15204352, 14607749, 42),
    (13631488, 14599405, 41),
    (14680064, 11084947, 43),
    (12582912, 12582913, 45),
)
"""Rows (f, m, s) found by search: f * m / 2^s is a tie of the product above an even k + 1/2, plus
one bit of the product: the bits 0 to 21 of 47, then the bits 0 to 22 of 48."""


@pytest.mark.parametrize("family", FAMILIES)
def test_every_low_bit_counts(family):
    """With the bit, the product is no tie any more, and rounds to k + 1 rather than k."""
    factor, mantissa, shift = np.array(LOW_BITS).T
    exact = factor * mantissa
    length = np.frexp(exact)[1]
    expected = (exact >> shift) + 1
    assert not (exact >> shift & 1).any()
    zeros, lowest = np.zeros(len(exact), np.int8), np.full(len(exact), -128, np.int8)
    inputs = (factor.astype(np.int32), bits(mantissa * 2.0**-shift), zeros, lowest)
    np.testing.assert_array_equal(requantised(zip(*inputs, strict=True), family), expected)
    # What is left of the product without k + 1/2 and half a unit in the last place.
    rest = exact - (exact >> shift << shift) - (1 << shift - 1) - (1 << length - 25)
    np.testing.assert_array_equal(rest, 1 << np.array([*range(22), *range(23)]))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_against_numpy(kind, family):
    rng = np.random.default_rng(len(kind.__name__))
    inputs = (*kind(rng, 600), *bounds(rng, 600))
    check(inputs, requantised(zip(*inputs, strict=True), family))


HARNESS = r"""
#include "Vrequantiser.h"
extern "C" void run(size_t count, int latency, const int32_t* acc, const uint32_t* scale,
                    const int8_t* zero_point, const int8_t* lower, int8_t* result) {
    Vrequantiser dut;
    dut.rst = 0;
    for (size_t cycle = 0; cycle < count + latency; cycle++) {
        if (cycle < count) {
            dut.acc = acc[cycle];
            dut.zero_point = zero_point[cycle];
            dut.lower = lower[cycle];
        }
        if (cycle > 0 && cycle <= count) dut.scale = scale[cycle - 1];
        dut.clk = 0;
        dut.eval();
        if (cycle >= size_t(latency)) result[cycle - latency] = dut.result;
        dut.clk = 1;
        dut.eval();
    }
}
"""


@pytest.fixture(scope="module", params=FAMILIES)
def verilated(tmp_path_factory, request):
    """The block in Verilator: a function of the four inputs that returns the results."""
    folder = tmp_path_factory.mktemp("requantiser")
    (folder / "dut.v").write_text(
        verilog.convert(
            Requantiser(), name="requantiser", platform=SimpleNamespace(family=request.param)
        )
    )
    (folder / "harness.cpp").write_text(HARNESS)
    tool, compiler = verilator.find(), verilator.find_compiler()
    arguments = "--cc --no-timing -O3 -Wno-lint -Wno-style --top-module requantiser --Mdir ."
    done = tool.run(*arguments.split(), "dut.v", cwd=folder)
    assert done.returncode == 0, done.stderr
    include = tool.root / "include"
    options = "-std=c++17 -O1 -fPIC -shared -pthread -DVL_IGNORE_UNKNOWN_ARCH -DVM_TRACE=0"
    subprocess.run(
        [
            *(*compiler.command, *options.split(), "-I.", f"-I{include}", f"-I{include}/vltstd"),
            *map(str, (*folder.glob("*.cpp"), include / "verilated.cpp")),
            *(str(include / "verilated_threads.cpp"), "-o", "dut.so"),
        ],
        cwd=folder,
        check=True,
    )
    library = ctypes.CDLL(str(folder / "dut.so"))

    def run(*inputs):
        results = np.empty(len(inputs[0]), np.int8)
        arrays = [np.ascontiguousarray(array) for array in (*inputs, results)]
        library.run(
            ctypes.c_size_t(len(results)),
            Requantiser.LATENCY,
            *(ctypes.c_void_p(array.ctypes.data) for array in arrays),
        )
        return arrays[-1]

    return run


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_millions_against_numpy(kind, verilated):
    for seed in range(4):
        rng = np.random.default_rng([len(kind.__name__), seed])
        count = 1_000_000
        inputs = (*kind(rng, count), *bounds(rng, count))
        check(inputs, verilated(*inputs))
