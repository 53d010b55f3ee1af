"""Each operator on every configuration, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.operators import reference
from vta import top
from vta.config import PRESETS
from vta.top import Epilogue

FULL = Epilogue(bias=True, shift=7)
ON = [
    name if name in ("default", "small", "batch4") else pytest.param(name, marks=pytest.mark.full)
    for name in sorted(PRESETS)
]

CONVOLUTIONS = {
    "1x1": ((1, 16, 8, 8), (24, 16, 1, 1), {}),
    "3x3, channels that fill no block": ((3, 20, 9, 11), (21, 20, 3, 3), {"padding": 1}),
    "5x5, stride 2": ((2, 16, 13, 12), (8, 16, 5, 5), {"padding": 2, "stride": 2}),
    "7x7 of 3 channels": ((1, 3, 16, 16), (16, 3, 7, 7), {"padding": 3, "stride": 2}),
    "dilated": ((1, 16, 12, 12), (16, 16, 3, 3), {"padding": 2, "dilation": 2}),
    "1x1, stride 2": ((1, 16, 12, 12), (16, 16, 1, 1), {"stride": 2}),
    "1x1, stride 2, padded": ((1, 16, 5, 6), (16, 16, 1, 1), {"stride": 2, "padding": 1}),
    "sides differ": (
        (1, 8, 6, 9),
        (8, 8, 3, 2),
        {"padding": (0, 1, 2, 0), "stride": (1, 2), "dilation": (2, 1)},
    ),
    "wider padding than a LOAD adds": ((1, 8, 4, 3), (8, 8, 3, 3), {"padding": (17, 0, 1, 2)}),
    "depthwise": ((1, 16, 12, 12), (16, 1, 3, 3), {"padding": 1, "groups": 16}),
    "depthwise, stride 2, 40 channels": (
        (2, 40, 7, 9),
        (40, 1, 3, 3),
        {"padding": 1, "groups": 40, "stride": 2},
    ),
    "depthwise with two outputs": ((1, 12, 6, 6), (24, 1, 3, 3), {"padding": 1, "groups": 12}),
    "groups share a block": ((1, 24, 12, 12), (12, 2, 3, 3), {"padding": 1, "groups": 12}),
    "groups of several blocks": ((1, 64, 6, 6), (96, 32, 3, 3), {"padding": 1, "groups": 2}),
    "groups that fill no block": ((1, 60, 6, 6), (60, 20, 3, 3), {"padding": 1, "groups": 3}),
    "a prime size": ((1, 8, 23, 37), (8, 8, 3, 3), {"padding": 1}),
}


@pytest.mark.parametrize("preset", ON)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_conv2d(agrees, name, preset):
    data, weight, options = CONVOLUTIONS[name]
    spec = top.Conv2d(data, weight, epilogue=FULL, **options)
    full = {
        "stride": spec.strides,
        "padding": spec.pads,
        "dilation": spec.dilations,
        "groups": spec.groups,
    }
    agrees(
        spec,
        lambda x, w, b: reference.finish(reference.conv2d(x, w, **full), bias=b, shift=7),
        PRESETS[preset],
    )


TRANSPOSED = {
    "2x2, stride 2": ((1, 16, 5, 6), (16, 24, 2, 2), {"stride": 2}),
    "3x3, stride 2": (
        (2, 20, 7, 6),
        (20, 9, 3, 3),
        {"stride": 2, "padding": 1, "output_padding": 1},
    ),
    "4x4, stride 2": ((1, 16, 5, 5), (16, 8, 4, 4), {"stride": 2, "padding": 1}),
    "stride 1": ((1, 8, 5, 5), (8, 8, 3, 3), {"padding": 1}),
    "phases without a tap": ((1, 20, 5, 6), (20, 5, 1, 2), {"stride": (2, 3), "groups": 2}),
    "dilated": ((1, 8, 4, 5), (8, 8, 3, 3), {"stride": (2, 3), "dilation": (3, 2)}),
    "cut on the far sides": ((1, 8, 4, 4), (8, 8, 4, 4), {"stride": 3, "padding": (0, 1, 4, 2)}),
}


@pytest.mark.parametrize("preset", ON)
@pytest.mark.parametrize("name", TRANSPOSED)
def test_conv2d_transpose(agrees, name, preset):
    data, weight, options = TRANSPOSED[name]
    spec = top.Conv2dTranspose(data, weight, epilogue=FULL, **options)
    extra = options.get("output_padding", 0)
    full = {
        "stride": spec.strides,
        "padding": spec.pads,
        "dilation": spec.dilations,
        "groups": spec.groups,
        "output_padding": (extra, extra),
    }
    agrees(
        spec,
        lambda x, w, b: reference.finish(reference.conv2d_transpose(x, w, **full), bias=b, shift=7),
        PRESETS[preset],
    )


@pytest.mark.parametrize("preset", ON)
@pytest.mark.parametrize(("m", "k", "n"), [(1, 16, 16), (5, 70, 33), (12, 8, 100)])
def test_dense(agrees, m, k, n, preset):
    agrees(
        top.Dense((m, k), (n, k), epilogue=FULL),
        lambda x, w, b: reference.finish(
            x.astype(np.int64) @ w.T.astype(np.int64), bias=b, shift=7
        ),
        PRESETS[preset],
    )


POOLS = {
    "3x3, stride 2": ((2, 20, 9, 8), 3, {"stride": 2, "padding": 1}),
    "2x2": ((1, 16, 6, 8), 2, {}),
    "all": ((1, 24, 7, 7), 7, {}),
    "sides differ": ((1, 8, 7, 9), (3, 2), {"stride": (1, 2), "padding": (2, 1, 0, 1)}),
    "dilated": ((1, 8, 9, 9), 3, {"stride": 1, "padding": 2, "dilation": 2}),
}


def pool_options(options, window):
    def pair(value):
        return (value, value) if isinstance(value, int) else value

    padding = options.get("padding", 0)
    padding = (padding,) * 4 if isinstance(padding, int) else padding
    window = pair(window)
    return window, {
        "stride": pair(options.get("stride", window)),
        "padding": padding,
        "dilation": pair(options.get("dilation", 1)),
    }


@pytest.mark.parametrize("preset", ON)
@pytest.mark.parametrize("name", POOLS)
def test_max_pool2d(agrees, name, preset):
    data, window, options = POOLS[name]
    pair, full = pool_options(options, window)
    agrees(
        top.MaxPool2d(data, window, **options),
        lambda x: reference.finish(reference.max_pool2d(x, pair, **full)),
        PRESETS[preset],
    )


@pytest.mark.parametrize("preset", ON)
@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("name", POOLS)
def test_avg_pool2d(agrees, name, include, preset):
    data, window, options = POOLS[name]
    pair, full = pool_options(options, window)
    spec = top.AvgPool2d(data, window, count_include_pad=include, **options)
    agrees(
        spec,
        lambda x: reference.finish(
            reference.avg_pool2d(x, pair, **full, count_include_pad=include)
        ),
        PRESETS[preset],
    )


@pytest.mark.parametrize("preset", ON)
def test_averages_of_many(agrees, preset):
    agrees(
        top.AvgPool2d((1, 24, 25, 26), 25, stride=1),
        lambda x: reference.avg_pool2d(x, (25, 25), stride=(1, 1)),
        PRESETS[preset],
    )


def test_pools_take_an_epilogue(agrees):
    config, epilogue = PRESETS["default"], Epilogue(bias=True, shift=6, rounding=True, relu=True)
    data, pads = (1, 20, 6, 6), (1, 1, 1, 1)
    finish = {"shift": 6, "rounding": True, "relu": True}
    agrees(
        top.MaxPool2d(data, 3, stride=2, padding=1, epilogue=epilogue),
        lambda x, b: reference.finish(
            reference.max_pool2d(x, (3, 3), stride=(2, 2), padding=pads), bias=b, **finish
        ),
        config,
    )
    agrees(
        top.AvgPool2d(data, 3, stride=2, padding=1, epilogue=epilogue),
        lambda x, b: reference.finish(
            reference.avg_pool2d(x, (3, 3), stride=(2, 2), padding=pads), bias=b, **finish
        ),
        config,
    )


@pytest.mark.parametrize("preset", ON)
@pytest.mark.parametrize("shape", [(1,), (7, 9), (1, 32, 8, 9), (3, 20, 5, 9)])
def test_add_and_multiply(agrees, shape, preset):
    agrees(top.Add(shape), lambda a, b: reference.finish(a.astype(int) + b), PRESETS[preset])
    agrees(
        top.Multiply(shape, epilogue=Epilogue(shift=6, rounding=True)),
        lambda a, b: reference.finish(a.astype(int) * b, shift=6, rounding=True),
        PRESETS[preset],
    )


@pytest.mark.parametrize("preset", ON)
@pytest.mark.parametrize("shape", [(5, 40), (3, 20, 5, 9), (1, 70, 3, 3, 2)])
def test_a_bias_for_each_channel(agrees, shape, preset):
    agrees(
        top.Add(shape, epilogue=Epilogue(bias=True, shift=6, rounding=True)),
        lambda a, b, bias: reference.finish(a.astype(int) + b, bias=bias, shift=6, rounding=True),
        PRESETS[preset],
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": True},
        {"shift": 5},
        {"shift": 5, "rounding": True},
        {"shift": 9, "clip": False},
        {"bias": True, "shift": 9, "rounding": True, "relu": True},
        {"relu": True, "clip": False},
        {"shift": 20, "rounding": True},
        {"shift": 31},
        {"bias": True, "shift": 1, "rounding": True},
    ],
)
def test_epilogues(agrees, options):
    spec = top.Dense((4, 40), (20, 40), epilogue=Epilogue(**options))
    rest = {key: value for key, value in options.items() if key != "bias"}
    agrees(
        spec,
        lambda x, w, *b: reference.finish(
            x.astype(np.int64) @ w.T.astype(np.int64), bias=b[0] if b else None, **rest
        ),
        PRESETS["default"],
    )


@pytest.mark.parametrize("log_block", [3, 4, 5, 6])
@pytest.mark.parametrize("log_batch", [0, 1, 2])
def test_every_shape_of_a_tile(agrees, log_batch, log_block):
    config = PRESETS["default"].replace(
        log_batch=log_batch,
        log_block=log_block,
        log_uop_buff_size=12,
        log_inp_buff_size=8 + log_batch + log_block - 2,
        log_wgt_buff_size=5 + 2 * log_block,
        log_acc_buff_size=8 + log_batch + log_block,
    )
    spec = top.Conv2d((3, 20, 9, 7), (40, 20, 3, 3), padding=1, epilogue=FULL)
    agrees(
        spec,
        lambda x, w, b: reference.finish(
            reference.conv2d(x, w, padding=(1, 1, 1, 1)), bias=b, shift=7
        ),
        config,
    )
