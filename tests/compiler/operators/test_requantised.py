"""Layers with float32 scales and zero points, on machines with encoding 0.0.3."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from vta import top
from vta.compiler.operators import (
    Add,
    AvgPool2d,
    Conv2d,
    Conv2dTranspose,
    Dense,
    Epilogue,
    MaxPool2d,
    Multiply,
)
from vta.config import PRESETS
from vta.errors import ArgumentError, CompileError
from vta.isa import Isa

from . import reference

CONFIGS = {name: PRESETS[name].replace(hw_ver="0.0.3") for name in ("tiny", "default", "batch4")}
NEW = CONFIGS["tiny"]
OLD = NEW.replace(hw_ver="0.0.2")
SCALED = Epilogue(scale=True, zero_point=-3, lower=-100)


def requantised(acc, scale, zero_point=-3, lower=-100):
    """ONNX's formula in float32, for sums (N, C, ...) and one scale for each channel."""
    product = acc.astype(np.float32) * scale.reshape(-1, *[1] * (acc.ndim - 2))
    return np.clip(np.rint(product).astype(np.int64) + zero_point, lower, 127).astype(np.int8)


def scales(channels, sums, seed=9):
    """Scales that spread results over int8, and beyond it."""
    return (np.random.default_rng(seed).uniform(20, 150, channels) / sums).astype(np.float32)


def int8(shape, seed):
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


def run(sim, spec, config, *arrays, expected, **options):
    operator = spec.compile(config, **options)
    result, _ = top.run(operator, *arrays, device=sim(config))
    np.testing.assert_array_equal(result, expected)
    return operator


def operations(operator):
    """How many instructions of each kind a program has."""
    stream = Isa(operator.config).decode_stream(operator.program.insns)
    return collections.Counter(insn.operation for insn in stream)


@pytest.mark.parametrize("name", sorted(CONFIGS))
@pytest.mark.parametrize("zero", [0, -128, 7])
@pytest.mark.parametrize(
    ("channels", "outputs", "groups", "window"),
    [(20, 24, 1, {"padding": 1}), (24, 24, 24, {"padding": (1, 2, 0, 1), "stride": 2})],
    ids=["full", "depthwise"],
)
def test_convolutions(sim, name, zero, channels, outputs, groups, window):
    data, weight = int8((2, channels, 7, 6), 1), int8((outputs, channels // groups, 3, 3), 2)
    bias = np.random.default_rng(3).integers(-9000, 9000, outputs).astype(np.int32)
    scale = scales(outputs, 30000 if groups == 1 else 9000)
    spec = Conv2d(
        data.shape,
        weight.shape,
        groups=groups,
        epilogue=Epilogue(bias=True, scale=True, zero_point=-3, lower=-100),
        input_zero_point=zero,
        **window,
    )
    pads = window["padding"]
    pads = pads if isinstance(pads, tuple) else (pads,) * 4
    sides = ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3]))
    padded = np.pad(data.astype(np.int64), sides, constant_values=zero) - zero
    strides = (window.get("stride", 1),) * 2
    sums = reference.conv2d(padded, weight, stride=strides, groups=groups)
    expected = requantised(sums + bias.reshape(-1, 1, 1), scale)
    operator = run(sim, spec, CONFIGS[name], data, weight, bias, scale, expected=expected)
    found = operations(operator)
    assert found["GEMM RESET"] == found["ALU ADD"] == found["ALU MAX"] == 0
    assert found["ALU MOV"] == found["ALU QNT"] > 0


def test_without_a_bias_the_sums_start_from_zero_or_what_the_zero_point_makes(sim):
    data, weight, scale = int8((4, 20), 1), int8((12, 20), 2), scales(12, 30000)
    for zero in (0, 100):
        spec = Dense(data.shape, weight.shape, epilogue=SCALED, input_zero_point=zero)
        sums = (data.astype(np.int64) - zero) @ weight.astype(np.int64).T
        operator = run(sim, spec, NEW, data, weight, scale, expected=requantised(sums, scale))
        assert (operations(operator)["GEMM RESET"] > 0) == (zero == 0)


@pytest.mark.parametrize("zero", [0, -128])
def test_padding_too_wide_for_a_load_holds_the_zero_point(sim, zero):
    data, weight, scale = int8((1, 4, 5, 3), 1), int8((4, 4, 3, 2), 2), scales(4, 9000)
    pads = (17, 0, 1, 20)
    spec = Conv2d(data.shape, weight.shape, padding=pads, epilogue=SCALED, input_zero_point=zero)
    sides = ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3]))
    padded = np.pad(data.astype(np.int64), sides, constant_values=zero) - zero
    expected = requantised(reference.conv2d(padded, weight), scale)
    run(sim, spec, NEW, data, weight, scale, expected=expected)


@pytest.mark.parametrize("zero", [0, -128, 9])
@pytest.mark.parametrize("stride", [2, 4])
def test_a_transposed_convolution(sim, stride, zero):
    """With a stride of 4, no tap reaches some of the outputs."""
    data, weight, scale = int8((1, 9, 5, 4), 1), int8((9, 7, 3, 3), 2), scales(7, 30000)
    spec = Conv2dTranspose(
        data.shape, weight.shape, stride=stride, padding=1, epilogue=SCALED, input_zero_point=zero
    )
    options = {"stride": (stride, stride), "padding": (1, 1, 1, 1)}
    sums = reference.conv2d_transpose(data.astype(np.int64) - zero, weight, **options)
    run(sim, spec, NEW, data, weight, scale, expected=requantised(sums, scale))


@pytest.mark.parametrize("zero", [0, -128, 9])
@pytest.mark.parametrize(
    ("window", "options"),
    [((6, 5), {}), ((3, 3), {"stride": 2, "padding": 1})],
    ids=["global", "windows"],
)
def test_average_pools_requantise_the_sum(sim, zero, window, options):
    data = int8((2, 11, 6, 5), 1)
    scale = np.float32(0.7 / (window[0] * window[1]))
    pad = options.get("padding", 0)
    padded = np.pad(
        data.astype(np.int64), ((0, 0), (0, 0), (pad,) * 2, (pad,) * 2), constant_values=zero
    )
    sums = reference.windows(
        padded - zero, window, (options.get("stride", window[0]),) * 2, (0,) * 4, (1, 1)
    ).sum((4, 5))
    spec = AvgPool2d(data.shape, window, epilogue=SCALED, input_zero_point=zero, **options)
    expected = requantised(sums, np.full(11, scale))
    run(sim, spec, NEW, data, scale, expected=expected)


@pytest.mark.parametrize("zero", [0, 9])
def test_average_pools_that_count_no_padding(sim, zero):
    """Windows at the corners, at the sides and inside have scales of their own."""
    data = int8((1, 11, 6, 5), 1)
    sides = ((0, 0), (0, 0), (1, 1), (1, 1))
    padded = np.pad(data.astype(np.int64) - zero, sides)
    inside = np.pad(np.ones((1, 1, 6, 5), np.int64), sides)
    sums, counts = (
        reference.windows(each, (3, 3), (2, 2), (0,) * 4, (1, 1)).sum((4, 5))
        for each in (padded, inside)
    )
    assert counts[0, 0].tolist() == [[4, 6, 4], [6, 9, 6], [6, 9, 6]]
    spec = AvgPool2d(
        data.shape,
        3,
        stride=2,
        padding=1,
        count_include_pad=False,
        epilogue=SCALED,
        input_zero_point=zero,
    )
    assert spec.counts == (4, 6, 4, 6, 9, 6)
    scale = (np.float32(0.7) / np.array(spec.counts, np.float32)).astype(np.float32)
    rows = np.tile(scale[:, None], (1, 11))
    product = sums.astype(np.float32) * (np.float32(0.7) / counts.astype(np.float32))
    expected = np.clip(np.rint(product).astype(np.int64) - 3, -100, 127).astype(np.int8)
    run(sim, spec, NEW, data, rows, expected=expected)


@pytest.mark.parametrize("zero_points", [(0, 0), (5, 0), (-128, 127)])
def test_products_of_data_with_zero_points(sim, zero_points):
    a, b = int8((1, 11, 6, 5), 1), int8((1, 11, 6, 5), 2)
    spec = Multiply(a.shape, epilogue=SCALED, zero_points=zero_points)
    scale = scales(11, 9000)
    product = (a.astype(np.int64) - zero_points[0]) * (b.astype(np.int64) - zero_points[1])
    run(sim, spec, NEW, a, b, scale, expected=requantised(product, scale))


@pytest.mark.parametrize("pads", [(1, 1, 1, 1), (2, 0, 1, 2), (0, 0, 0, 0)])
def test_maximum_pools_are_padded_by_the_load(sim, pads):
    data = int8((1, 20, 9, 8), 1)
    spec = MaxPool2d(data.shape, 3, stride=2, padding=pads)
    expected = reference.max_pool2d(data, (3, 3), stride=(2, 2), padding=pads)
    operator = run(sim, spec, NEW, data, expected=expected.astype(np.int8))
    found = operations(operator)
    assert found["ALU QNT"] == 0  # what is pooled needs no clip
    loads = [
        insn
        for insn in Isa(NEW).decode_stream(operator.program.insns)
        if insn.operation == "LOAD ACC_8BIT"
    ]
    assert any(insn.pad_min for insn in loads) == any(pads)


def test_a_maximum_pool_requantises(sim):
    data, scale = int8((1, 20, 9, 8), 1), scales(20, 128)
    spec = MaxPool2d(data.shape, 3, stride=1, padding=1, epilogue=SCALED)
    most = reference.max_pool2d(data, (3, 3), stride=(1, 1), padding=(1, 1, 1, 1))
    run(sim, spec, NEW, data, scale, expected=requantised(most, scale))


@pytest.mark.parametrize("bias", [False, True])
def test_elementwise_operators_requantise(sim, bias):
    a, b, scale = int8((2, 11, 6), 1), int8((2, 11, 6), 2), scales(11, 9000)
    more = [np.arange(-500, 600, 100, dtype=np.int32)] if bias else []
    epilogue = Epilogue(bias=bias, scale=True, zero_point=-3, lower=-100)
    start = more[0].reshape(-1, 1) if bias else 0
    product = a.astype(np.int64) * b + start
    run(
        sim,
        Multiply(a.shape, epilogue=epilogue),
        NEW,
        a,
        b,
        *more,
        scale,
        expected=requantised(product, scale),
    )
    total = a.astype(np.int64) + b + start
    spec = Add(a.shape, epilogue=epilogue)
    run(sim, spec, NEW, a, b, *more, scale, expected=requantised(total, scale))


def test_relu_is_the_least_result(sim):
    data, weight, scale = int8((4, 20), 1), int8((12, 20), 2), scales(12, 30000)
    epilogue = Epilogue(scale=True, zero_point=10, lower=-100, relu=True)
    sums = data.astype(np.int64) @ weight.astype(np.int64).T
    spec = Dense(data.shape, weight.shape, epilogue=epilogue)
    run(sim, spec, NEW, data, weight, scale, expected=requantised(sums, scale, 10, 10))


@pytest.mark.parametrize("name", sorted(CONFIGS))
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_shifts_stay_exact_and_take_fewer_operations(sim, name, relu, bias):
    """MOV of the bias or of the rounding's half, the products, a shift, and a clip by QNT."""
    data, weight = int8((1, 20, 7, 6), 1), int8((24, 20, 3, 3), 2)
    given = [np.random.default_rng(3).integers(-9000, 9000, 24).astype(np.int32)] * bias
    options = {"shift": 9, "rounding": True, "relu": relu}
    spec = Conv2d(data.shape, weight.shape, padding=1, epilogue=Epilogue(bias=bias, **options))
    sums = reference.conv2d(data, weight, padding=(1, 1, 1, 1))
    expected = reference.finish(sums, bias=given[0] if bias else None, **options)
    operator = run(sim, spec, CONFIGS[name], data, weight, *given, expected=expected)
    found = operations(operator)
    assert found["GEMM RESET"] == found["ALU MAX"] == found["ALU MIN"] == 0
    blocks = found["STORE OUT"]
    # One MOV, two more operations for the constant.
    assert (found["ALU MOV"], found["ALU SHR"]) == (blocks + 1, blocks + 1)
    assert (found["ALU QNT"], found["ALU ADD"]) == (blocks, 1)


def test_functions_take_a_number_or_an_array(sim):
    data, weight = int8((1, 6, 5, 5), 1), int8((5, 6, 3, 3), 2)
    sums = reference.conv2d(data.astype(np.int64) + 128, weight)
    for scale in (0.001, scales(5, 30000)):
        found = top.conv2d(
            data,
            weight,
            scale=scale,
            zero_point=-128,
            lower=-128,
            input_zero_point=-128,
            device=sim(NEW),
        )
        wide = np.broadcast_to(np.float32(scale), 5)
        np.testing.assert_array_equal(found, requantised(sums, wide, -128, -128))
    flat = top.dense(data.reshape(5, 30), int8((4, 30), 3), scale=0.01, device=sim(NEW))
    product = data.reshape(5, 30).astype(np.int64) @ int8((4, 30), 3).T.astype(np.int64)
    np.testing.assert_array_equal(flat, requantised(product, np.full(4, 0.01, "f4"), 0, -128))
    mean = top.avg_pool2d(data, 5, scale=0.04, input_zero_point=3, device=sim(NEW))
    sums = data.astype(np.int64).sum((2, 3), keepdims=True) - 3 * 25
    np.testing.assert_array_equal(mean, requantised(sums, np.full(6, 0.04, "f4"), 0, -128))


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (float("nan"), "scale must be positive, finite and at least 2.-126 .*, not nan"),
        (float("inf"), "scale must be positive, finite"),
        (0.0, "scale must be positive, finite and at least 2.-126 .*, not 0.0"),
        ([1, 2, -3, 4], "scale must be positive, finite and at least 2.-126 .*, not -3"),
        ([1e-40] * 4, "scale must be positive, finite"),
        ([1.0, 2.0], r"scale must be one number or \[4\], not \[2\]"),
        ([[1.0] * 4], r"scale must be one number or \[4\], not \[1, 4\]"),
        ([True] * 4, "scale must be numbers, not bool"),
    ],
)
def test_wrong_scales(sim, scale, message):
    with pytest.raises(ArgumentError, match=message):
        top.dense(int8((2, 3), 1), int8((4, 3), 2), scale=scale, device=sim(NEW))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Epilogue(scale=True, shift=1), "shift, rounding and clip must be left out"),
        (lambda: Epilogue(scale=True, clip=False), "shift, rounding and clip must be left out"),
        (lambda: Epilogue(zero_point=1), "zero_point, lower and upper must be left out"),
        (lambda: Epilogue(scale=0.5), "scale must be True or False"),
        (lambda: Epilogue(scale=True, zero_point=128), "zero_point must be a whole .* -128 to 127"),
        (lambda: Epilogue(scale=True, lower=-129), "lower must be a whole number of -128 to 127"),
        (
            lambda: Dense((2, 3), (4, 3), input_zero_point=200),
            "input_zero_point must be a whole number of -128 to 127, not 200",
        ),
        (
            lambda: AvgPool2d((1, 2, 4, 4), 2, input_zero_point=1),
            "input_zero_point must be 0 where there is no scale",
        ),
        (lambda: Multiply((2, 3), zero_points=(1, 200)), "a zero point must be a whole number"),
        (lambda: Multiply((2, 3), zero_points=(1,)), "zero_points must be two numbers"),
        (
            lambda: Dense((2, 3), (4, 3), epilogue=SCALED).compile(OLD),
            r"a scale needs HW_VER 0\.0\.3 in the configuration, not 0\.0\.2",
        ),
        (lambda: Add((5,), epilogue=SCALED), "scale needs a second dimension"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(CompileError, match=message):
        make()


def test_an_epilogue_that_requantises_needs_its_scale(sim):
    with pytest.raises(
        ArgumentError, match="scale must be given, because the epilogue requantises"
    ):
        top.dense(int8((2, 3), 1), int8((4, 3), 2), epilogue=SCALED, device=sim(NEW))


def test_a_zero_point_works_on_an_older_machine(sim):
    """Only the scale needs QNT; there, packing adds the padding."""
    data, weight = int8((1, 6, 5, 5), 1), int8((5, 6, 3, 3), 2)
    spec = Conv2d(
        data.shape, weight.shape, padding=1, input_zero_point=-128, epilogue=Epilogue(shift=8)
    )
    sides = ((0, 0), (0, 0), (1, 1), (1, 1))
    padded = np.pad(data.astype(np.int64), sides, constant_values=-128) + 128
    expected = reference.finish(reference.conv2d(padded, weight), shift=8)
    run(sim, spec, OLD, data, weight, expected=expected)


@pytest.mark.parametrize("zero", [-128, 7])
@pytest.mark.parametrize(
    ("channels", "taps", "options"),
    [
        (3, (7, 7), {"stride": 2, "padding": 3}),
        (1, (3, 3), {"padding": (2, 0, 1, 1), "dilation": (2, 1)}),
        (2, (1, 5), {"padding": (0, 2)}),
        (3, (5, 1), {"stride": (1, 2)}),
        (3, (1, 1), {}),
    ],
)
def test_few_channels_make_windows_channels(sim, zero, channels, taps, options):
    """Whether the columns of a window, all of it, or nothing is folded: the result is the same."""
    config = NEW
    data, weight = int8((2, channels, 9, 8), 1), int8((10, channels, *taps), 2)
    bias = np.random.default_rng(3).integers(-900, 900, 10).astype(np.int32)
    scale = scales(10, 9000)
    epilogue = Epilogue(bias=True, scale=True, zero_point=-3, lower=-100)
    spec = Conv2d(data.shape, weight.shape, epilogue=epilogue, input_zero_point=zero, **options)
    top_, left, bottom, right = spec.pads
    sides = ((0, 0), (0, 0), (top_, bottom), (left, right))
    padded = np.pad(data.astype(np.int64), sides, constant_values=zero) - zero
    sums = reference.conv2d(padded, weight, stride=spec.strides, dilation=spec.dilations)
    expected = requantised(sums + bias.reshape(-1, 1, 1), scale)
    run(sim, spec, config, data, weight, bias, scale, expected=expected)
    for folded in spec.folds():
        arrays = spec._fold_arrays(folded, data, weight)
        run(sim, folded, config, *arrays, bias, scale, expected=expected)


def test_the_search_folds_first_layers_where_tiles_would_be_empty():
    config = CONFIGS["default"]
    resnet = Conv2d((1, 3, 56, 56), (64, 3, 7, 7), stride=2, padding=3, epilogue=SCALED)
    assert resnet.compile(config).args[0].shape[2:5] == (10, 28, 28)  # 147 channels in ten blocks
    wide = Conv2d((1, 8, 56, 56), (64, 8, 7, 7), stride=2, padding=3, epilogue=SCALED)
    assert wide.compile(config).args[0].shape[2:5] == (1, 56, 56)
    shifts = Conv2d(resnet.data_shape, resnet.weight_shape, stride=2, padding=3)
    assert shifts.compile(config.replace(hw_ver="0.0.2")).args[0].shape[2:5] == (1, 56, 56)
