"""Random operators on random configurations: what they give equals NumPy."""

from __future__ import annotations

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
    return top.Epilogue(
        bias=draw(st.booleans()),
        shift=draw(st.integers(0, 12)),
        rounding=draw(st.booleans()),
        relu=draw(st.booleans()),
        clip=draw(st.booleans()),
    )


def finished(sums, bias, epilogue):
    return reference.finish(
        sums,
        bias=bias[0] if bias else None,
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
        **options,
    )
    return spec, lambda x, w, *b: finished(reference.conv2d(x, w, **options), b, spec.epilogue)


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
    include = draw(st.booleans())
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


OPERATORS = st.one_of(convolutions(), transposed(), pools(), elementwise(), products())
LENIENT = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@given(configs(), OPERATORS, st.integers(0, 99))
@settings(LENIENT, max_examples=60)
def test_some_operators(agrees, config, operator, seed):
    agrees(*operator, config, seed)


@pytest.mark.full
@given(configs(), OPERATORS, st.integers(0, 99))
@settings(LENIENT, max_examples=600)
def test_many_operators(agrees, config, operator, seed):
    agrees(*operator, config, seed)
