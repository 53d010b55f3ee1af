"""`vta.top` as functions on arrays, on the current environment's device."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest

import vta
from tests.compiler.operators import reference
from vta import nd, rpc, top
from vta.calls import CallError
from vta.config import PRESETS
from vta.driver.simulated import SimDevice
from vta.errors import ArgumentError, CompileError, ProgramError

RNG = np.random.default_rng(5)
DATA = RNG.integers(-128, 128, (2, 20, 9, 8)).astype(np.int8)
WEIGHT = RNG.integers(-128, 128, (12, 20, 3, 3)).astype(np.int8)
BIAS = RNG.integers(-9000, 9000, 12).astype(np.int32)


@pytest.fixture(params=["default", "small"], autouse=True)
def environment(request):
    with vta.Environment(PRESETS[request.param]) as env:
        yield env


def test_conv2d():
    found = top.conv2d(DATA, WEIGHT, BIAS, stride=2, padding=1, shift=8, rounding=True, relu=True)
    np.testing.assert_array_equal(
        found,
        reference.finish(
            reference.conv2d(DATA, WEIGHT, stride=(2, 2), padding=(1,) * 4),
            bias=BIAS,
            shift=8,
            rounding=True,
            relu=True,
        ),
    )


def test_conv2d_in_groups_without_bias():
    weight = WEIGHT[:20, :1]
    found = top.conv2d(DATA[:, :12], weight, groups=12, dilation=2, shift=6)
    np.testing.assert_array_equal(
        found,
        reference.finish(
            reference.conv2d(DATA[:, :12], weight, dilation=(2, 2), groups=12), shift=6
        ),
    )


def test_conv2d_transpose():
    weight = WEIGHT.transpose(1, 0, 2, 3)
    found = top.conv2d_transpose(DATA, weight, BIAS, stride=2, padding=1, output_padding=1, shift=9)
    np.testing.assert_array_equal(
        found,
        reference.finish(
            reference.conv2d_transpose(
                DATA, weight, stride=(2, 2), padding=(1,) * 4, output_padding=(1, 1)
            ),
            bias=BIAS,
            shift=9,
        ),
    )


def test_dense():
    data, weight = DATA.reshape(16, -1), WEIGHT.reshape(12, -1)
    found = top.dense(data, weight, BIAS, shift=9)
    np.testing.assert_array_equal(
        found, reference.finish(data.astype(int) @ weight.T.astype(int), bias=BIAS, shift=9)
    )


def test_pools():
    np.testing.assert_array_equal(
        top.max_pool2d(DATA, 3, stride=2, padding=1),
        reference.max_pool2d(DATA, (3, 3), stride=(2, 2), padding=(1,) * 4),
    )
    np.testing.assert_array_equal(
        top.avg_pool2d(DATA, (9, 8)), reference.avg_pool2d(DATA, (9, 8), stride=(9, 8))
    )


def test_add_and_multiply():
    a, b = DATA, DATA[::-1].copy()
    np.testing.assert_array_equal(top.add(a, b, relu=True), np.clip(a.astype(int) + b, 0, 127))
    np.testing.assert_array_equal(
        top.multiply(a, b, shift=7), (a.astype(int) * b >> 7).clip(-128, 127)
    )


def test_an_epilogue_for_all_options():
    epilogue = top.Epilogue(shift=9, rounding=True, relu=True)
    for given in (epilogue, dataclasses.replace(epilogue, bias=True)):
        found = top.conv2d(DATA, WEIGHT, BIAS, padding=1, epilogue=given)
        np.testing.assert_array_equal(
            found,
            reference.finish(
                reference.conv2d(DATA, WEIGHT, padding=(1,) * 4),
                bias=BIAS,
                shift=9,
                rounding=True,
                relu=True,
            ),
        )
    assert top.add([100], [100], epilogue=top.Epilogue(clip=False)).tolist() == [-56]


def test_every_function_shows_the_options():
    for name in ("dense", "conv2d", "conv2d_transpose", "max_pool2d", "avg_pool2d", "add"):
        shown = list(inspect.signature(getattr(top, name)).parameters)
        options = ["shift", "rounding", "relu", "clip", "zero_point", "lower"]
        assert shown[-9:] == ["scale", "epilogue", "device", *options]


def test_lists_and_device_arrays_are_taken():
    assert top.add([1, 2], [3, -4]).tolist() == [4, -2]
    found = top.add(nd.array(DATA), DATA)
    np.testing.assert_array_equal(found, np.clip(DATA.astype(int) * 2, -128, 127))


def test_compiled_once(environment):
    spec = top.Conv2d(DATA.shape, WEIGHT.shape, padding=1)
    assert top.compile(spec) is top.compile(top.Conv2d(DATA.shape, WEIGHT.shape, padding=(1, 1)))
    operator = top.compile(spec)
    assert operator.config == environment.config
    result, report = top.run(operator, DATA, WEIGHT)
    np.testing.assert_array_equal(
        result, reference.finish(reference.conv2d(DATA, WEIGHT, padding=(1,) * 4))
    )
    assert report.instructions == len(operator.program.insns)
    assert "cycles expected" in repr(operator)


def test_a_device_or_a_session_of_ones_own(environment):
    with SimDevice(environment.config) as device, rpc.LocalSession() as session:
        for place in (device, session):
            assert top.add([100], [100], device=place).tolist() == [127]
    # The device's configuration counts, not the environment's.
    with SimDevice(PRESETS["wide"]) as device:
        assert top.add([100], [100], device=device).tolist() == [127]
        with pytest.raises(ProgramError, match="configuration"):
            top.run(top.compile(top.Add((1,))), [1], [1], device=device)


def test_packed_arrays_are_the_programs_arguments(environment):
    operator = top.compile(
        top.Conv2d(DATA.shape, WEIGHT.shape, padding=1, epilogue=top.Epilogue(bias=True, shift=8))
    )
    packed = operator.pack(DATA, WEIGHT, BIAS)
    inputs = [buffer for buffer in operator.program.args if buffer.role == "input"]
    assert [(array.shape, array.dtype.name) for array in packed] == [
        (buffer.shape, buffer.dtype) for buffer in inputs
    ]
    tiles = top.pack_data(DATA, environment.config)
    np.testing.assert_array_equal(packed[0].reshape(tiles.shape), tiles)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: top.conv2d(DATA, WEIGHT[:, :5]), CompileError, "must have 20 input channels"),
        (lambda: top.conv2d(DATA, WEIGHT, groups=3), CompileError, "groups must divide 20"),
        (lambda: top.conv2d(DATA[0], WEIGHT), CompileError, "data_shape must be 4 whole numbers"),
        (
            lambda: top.conv2d(DATA, WEIGHT, stride=0),
            CompileError,
            "stride must be 1 or 2 whole .* 1",
        ),
        (
            lambda: top.conv2d(DATA, WEIGHT, padding=(1, 2, 3)),
            CompileError,
            "padding must be 1 or 2",
        ),
        (lambda: top.conv2d(DATA, WEIGHT, padding=-1), CompileError, "of 0 to 65535, not -1"),
        (
            lambda: top.conv2d(DATA, WEIGHT, padding=10**12),
            CompileError,
            "of 0 to 65535, not 10000",
        ),
        (lambda: top.conv2d(DATA, WEIGHT, stride=10**30), CompileError, "of 1 to 65535, not 1000"),
        (
            lambda: top.conv2d(DATA, WEIGHT, padding=60000),
            CompileError,
            "larger than the memory of 2",
        ),
        (lambda: top.conv2d(None, WEIGHT), ArgumentError, "must be an array of numbers, not None"),
        (lambda: top.conv2d([[1], [2, 3]], WEIGHT), ArgumentError, "must be an array of numbers"),
        (
            lambda: top.conv2d(DATA, WEIGHT, device="sim"),
            ArgumentError,
            "a device or a session, not 'sim'; TARGET",
        ),
        (
            lambda: top.add([1], [1], epilogue=top.Epilogue(), relu=True, shift=1),
            ArgumentError,
            "relu, shift must be given in the epilogue, not beside it",
        ),
        (
            lambda: top.dense([[1]], [[1]], epilogue=top.Epilogue(bias=True)),
            ArgumentError,
            "bias must be given, because the epilogue adds one",
        ),
        (
            lambda: top.add([1], [1], epilogue="relu"),
            ArgumentError,
            "epilogue must be an Epilogue, not 'relu'",
        ),
        (
            lambda: top.add([1], [1], colour=3),
            CallError,
            "top.add has no argument 'colour'; it takes a, b, bias, scales, zero_points, scale, "
            "epilogue, device, shift, rounding, relu, clip, zero_point, lower",
        ),
        (lambda: top.add([1], [1], device=None, bais=[1]), CallError, "did you mean bias"),
        (lambda: top.compile(None), ArgumentError, "compile takes a spec, such as Conv2d"),
        (lambda: top.run(3, DATA), ArgumentError, "run takes an Operator"),
        (lambda: top.Add((3,)).compile("tiny"), CompileError, "takes a Config .* not 'tiny'"),
        (lambda: top.compile(top.Add((3,), epilogue="relu")), CompileError, "must be an Epilogue"),
        (
            lambda: top.Tiling(images=0),
            CompileError,
            "images of a tiling must be .* 1 or more, not 0",
        ),
        (lambda: top.Tiling(axis="foo"), CompileError, "axis of a tiling must be one of images"),
        (
            lambda: top.compile(top.Add((3,))).unpack(np.zeros(3, np.int8)),
            ArgumentError,
            "outputs must have the shapes",
        ),
        (
            lambda: top.pack_bias(BIAS, 3, 1),
            ArgumentError,
            "blocking must be a ChannelBlocking, not 3",
        ),
        (
            lambda: top.conv2d(DATA, WEIGHT, dilation=9),
            CompileError,
            "height: the window reaches over",
        ),
        (
            lambda: top.conv2d(DATA, WEIGHT, shift=32),
            CompileError,
            "shift must be .* 0 to 31, not 32",
        ),
        (
            lambda: top.conv2d(DATA, WEIGHT, relu=1),
            CompileError,
            "relu must be True or False, not 1",
        ),
        (
            lambda: top.conv2d(DATA, WEIGHT, BIAS[:3]),
            ArgumentError,
            r"bias must be \[12\], not \[3\]",
        ),
        (
            lambda: top.conv2d(DATA.astype(float), WEIGHT),
            ArgumentError,
            "data must be int8, not float",
        ),
        (
            lambda: top.add([128], [0]),
            ArgumentError,
            "a must be int8, not int64 with values out of range",
        ),
        (lambda: top.add([1], [0, 1]), ArgumentError, r"b must be \[1\], not \[2\]"),
        (lambda: top.add([1], [1], bias=[1]), CompileError, "bias needs a second dimension"),
        (
            lambda: top.dense(DATA[0, 0], DATA[0, 0, :, :4]),
            CompileError,
            "end with the same number$",
        ),
        (
            lambda: top.dense(np.ones((2, 3), np.int8), np.ones((3, 4), np.int8)),
            CompileError,
            r"same number: the weight is \(outputs, inputs\), so pass weight\.T",
        ),
        (
            lambda: top.max_pool2d(DATA, 2, padding=2),
            CompileError,
            "window 0 along the height sees",
        ),
        (lambda: top.conv2d_transpose(DATA, WEIGHT), CompileError, "begin with the data's 20"),
        (
            lambda: top.conv2d_transpose(DATA, WEIGHT.transpose(1, 0, 2, 3), output_padding=1),
            CompileError,
            "output_padding must be less than the stride",
        ),
        (
            lambda: top.conv2d_transpose(DATA, WEIGHT.transpose(1, 0, 2, 3), padding=9),
            CompileError,
            "must leave some of the output",
        ),
        (
            lambda: top.run(top.compile(top.Add((3,))), [1, 2, 3]),
            ArgumentError,
            r"add takes 2 arrays \(a, b\), not 1",
        ),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("pool", [top.max_pool2d, top.avg_pool2d])
@pytest.mark.parametrize("options", [{}, {"count_include_pad": False}])
def test_windows_that_see_nothing_are_refused(pool, options):
    """A tap on either side of all data, by dilation, and a window behind the data."""
    if pool is top.max_pool2d and options:
        options = {"bias": None}
    for shape, window, named in (
        ((1, 1, 1, 1), {"window": 2, "dilation": 2, "padding": 1}, "window 0 along the height"),
        (
            (1, 1, 4, 1),
            {"window": (1, 2), "dilation": (1, 2), "padding": (0, 1)},
            "window 0 along the width",
        ),
        ((1, 1, 2, 2), {"window": (1, 1), "padding": (0, 0, 0, 2)}, "window 2 along the width"),
    ):
        with pytest.raises(CompileError, match=f"{named} sees only padding"):
            pool(np.full(shape, 5, np.int8), stride=1, **window, **options)


def test_padding_that_no_window_reaches_is_fine():
    """Wider than the window, but the last window ends before it."""
    data = DATA[:, :, :4, :4]
    found = top.max_pool2d(data, 2, stride=5, padding=(0, 0, 2, 2))
    np.testing.assert_array_equal(found, data[:, :, :2, :2].max((2, 3), keepdims=True))


def test_sizes_may_be_arrays():
    found = top.max_pool2d(DATA, np.array([3, 2]), stride=np.array([2, 1]), padding=np.array([1]))
    np.testing.assert_array_equal(
        found, top.max_pool2d(DATA, (3, 2), stride=(2, 1), padding=(1, 1))
    )
    with pytest.raises(CompileError, match=r"padding must be 1 or 2 or 4 whole numbers .*not 'ab'"):
        top.max_pool2d(DATA, 3, padding="ab")
