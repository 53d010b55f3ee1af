"""Random operators on random configurations: what they give equals NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.compiler.operators import reference
from vta import top
from vta.config import PRESETS, Config
from vta.errors import ConfigError

# Each strategy below gives a spec and what it must compute, a function of its operands.


@st.composite
def configs(draw) -> Config:
    """`sizes`, with either encoding."""
    return draw(sizes()).replace(hw_ver=draw(st.sampled_from(["0.0.2", "0.0.3"])))


@st.composite
def sizes(draw) -> Config:
    """A preset, or any configuration whose buffers hold a few tiles."""
    batch, block = draw(st.integers(0, 2)), draw(st.integers(3, 6))
    if draw(st.booleans()):
        return PRESETS[draw(st.sampled_from(sorted(PRESETS)))]
    try:
        return PRESETS["default"].replace(
            log_batch=batch,
            log_block=block,
            log_bus_width=draw(st.integers(6, 8)),
            log_uop_buff_size=draw(st.integers(9, 13)),
            log_inp_buff_size=batch + block + draw(st.integers(6, 9)),
            log_wgt_buff_size=2 * block + draw(st.integers(4, 8)),
            log_acc_buff_size=batch + block + 2 + draw(st.integers(5, 9)),
        )
    except ConfigError:
        return PRESETS["small"]


@st.composite
def epilogues(draw) -> top.Epilogue:
    if draw(st.booleans()):
        return top.Epilogue(
            bias=draw(st.booleans()),
            scale=True,
            relu=draw(st.booleans()),
            zero_point=draw(st.integers(-128, 127)),
            lower=draw(st.integers(-128, 127)),
        )
    return top.Epilogue(
        bias=draw(st.booleans()),
        shift=draw(st.integers(0, 12)),
        rounding=draw(st.booleans()),
        relu=draw(st.booleans()),
        clip=draw(st.booleans()),
    )


def finished(sums, channels, epilogue):
    bias = channels[0] if epilogue.bias else None
    if epilogue.scale:
        zero_point, lower = epilogue.zero_point, epilogue.lower
        lower = max(lower, zero_point) if epilogue.relu else lower
        return reference.requantise(
            sums, channels[-1], bias=bias, zero_point=zero_point, lower=lower
        )
    return reference.finish(
        sums,
        bias=bias,
        shift=epilogue.shift,
        rounding=epilogue.rounding,
        relu=epilogue.relu,
        clip=epilogue.clip,
    )


def pair(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def convolutions(draw):
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 5, 20]))
    zero = draw(st.sampled_from([0, 0, -128, 11]))
    most = 40 if groups == 1 else 12 if groups < 20 else 2
    inputs, outputs = draw(pair(1, most))
    taps, stride, dilation = draw(pair(1, 5)), draw(pair(1, 3)), draw(pair(1, 2))
    padding = draw(st.tuples(*[st.integers(0, 3)] * 4))
    sizes = [
        draw(st.integers(max(1, (taps[dim] - 1) * dilation[dim] + 1 - sum(padding[dim::2])), 14))
        for dim in range(2)
    ]
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    spec = top.Conv2d(
        (draw(st.integers(1, 5)), groups * inputs, *sizes),
        (groups * outputs, inputs, *taps),
        epilogue=draw(epilogues()),
        input_zero_point=zero,
        **options,
    )
    unpadded = options | {"padding": (0, 0, 0, 0)}
    around = ((0, 0), (0, 0), padding[::2], padding[1::2])

    def sums(x, w):
        padded = np.pad(x.astype(np.int64), around, constant_values=zero) - zero
        return reference.conv2d(padded, w, **unpadded)

    return spec, lambda x, w, *b: finished(sums(x, w), b, spec.epilogue)


@st.composite
def transposed(draw):
    groups = draw(st.sampled_from([1, 1, 2, 9]))
    inputs, outputs = draw(st.integers(1, 20 if groups == 1 else 4)), draw(st.integers(1, 9))
    taps, stride, dilation = draw(pair(1, 4)), draw(pair(1, 3)), draw(pair(1, 2))
    sizes, extra = draw(pair(1, 6)), tuple(draw(st.integers(0, size - 1)) for size in stride)
    reach = [
        (sizes[dim] - 1) * stride[dim] + (taps[dim] - 1) * dilation[dim] + extra[dim]
        for dim in range(2)
    ]
    before = [draw(st.integers(0, min(3, reach[dim]))) for dim in range(2)]
    after = [draw(st.integers(0, min(3, reach[dim] - before[dim]))) for dim in range(2)]
    options = {
        "stride": stride,
        "padding": (*before, *after),
        "dilation": dilation,
        "output_padding": extra,
        "groups": groups,
    }
    spec = top.Conv2dTranspose(
        (draw(st.integers(1, 3)), groups * inputs, *sizes),
        (groups * inputs, outputs, *taps),
        epilogue=draw(epilogues()),
        **options,
    )
    return spec, lambda x, w, *b: finished(
        reference.conv2d_transpose(x, w, **options), b, spec.epilogue
    )


@st.composite
def pools(draw):
    window, dilation = draw(pair(1, 4)), draw(pair(1, 2))
    reach = [(window[dim] - 1) * dilation[dim] for dim in range(2)]
    # Every window sees something that is not padding.
    padding = tuple(draw(st.integers(0, min(2, reach[dim % 2] // 2))) for dim in range(4))
    sizes = [draw(st.integers(reach[dim] + 1, 12)) for dim in range(2)]
    options = {"stride": draw(pair(1, 3)), "padding": padding, "dilation": dilation}
    data, epilogue = (draw(st.integers(1, 3)), draw(st.integers(1, 40)), *sizes), draw(epilogues())
    if draw(st.booleans()):
        spec = top.MaxPool2d(data, window, epilogue=epilogue, **options)
        return spec, lambda x, *b: finished(reference.max_pool2d(x, window, **options), b, epilogue)
    include = epilogue.scale or draw(st.booleans())
    if epilogue.scale:
        spec = top.AvgPool2d(data, window, epilogue=epilogue, **options)
        sides = options["stride"], options["padding"], options["dilation"]
        return spec, lambda x, *b: finished(
            reference.windows(x, window, *sides).sum((4, 5)), b, epilogue
        )
    spec = top.AvgPool2d(data, window, epilogue=epilogue, count_include_pad=include, **options)
    return spec, lambda x, *b: finished(
        reference.avg_pool2d(x, window, **options, count_include_pad=include), b, epilogue
    )


@st.composite
def elementwise(draw):
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=2, max_size=5)))
    epilogue = draw(epilogues())
    if draw(st.booleans()):
        return top.Add(shape, epilogue=epilogue), lambda a, b, *bias: finished(
            a.astype(int) + b, bias, epilogue
        )
    return top.Multiply(shape, epilogue=epilogue), lambda a, b, *bias: finished(
        a.astype(int) * b, bias, epilogue
    )


@st.composite
def products(draw):
    m, k, n = draw(st.integers(1, 20)), draw(st.integers(1, 150)), draw(st.integers(1, 150))
    epilogue = draw(epilogues())
    return top.Dense((m, k), (n, k), epilogue=epilogue), lambda x, w, *b: finished(
        x.astype(int) @ w.T.astype(int), b, epilogue
    )


def able(config, spec):
    """The configuration, with encoding 0.0.3 if the operator needs it."""
    return config.replace(hw_ver="0.0.3") if spec.epilogue.scale else config


OPERATORS = st.one_of(convolutions(), transposed(), pools(), elementwise(), products())
LENIENT = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@given(configs(), OPERATORS, st.integers(0, 99))
@settings(LENIENT, max_examples=40)
def test_some_operators(agrees, config, operator, seed):
    agrees(*operator, able(config, operator[0]), seed)


@pytest.mark.full
@given(configs(), OPERATORS, st.integers(0, 99))
@settings(LENIENT, max_examples=600)
def test_many_operators(agrees, config, operator, seed):
    agrees(*operator, able(config, operator[0]), seed)
