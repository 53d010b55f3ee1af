"""The search over tilings: what it offers is legal, and the cycle model agrees with the RTL."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.operators import reference
from tests.compiler.operators.conftest import operands
from vta import top
from vta.compiler.operators.cycle_model import choose, rough, simulate
from vta.compiler.operators.tiling import Tilings
from vta.config import PRESETS
from vta.driver.simulated import TsimDevice

EPILOGUE = top.Epilogue(bias=True, shift=8)

RESNET = {
    "C2": (56, 64, 64, 3, 1),
    "C3": (56, 64, 128, 3, 2),
    "C4": (56, 64, 128, 1, 2),
    "C5": (28, 128, 128, 3, 1),
    "C6": (28, 128, 256, 3, 2),
    "C7": (28, 128, 256, 1, 2),
    "C8": (14, 256, 256, 3, 1),
    "C9": (14, 256, 512, 3, 2),
    "C10": (14, 256, 512, 1, 2),
    "C11": (7, 512, 512, 3, 1),
}
"""Size, input channels, output channels, taps, stride."""


def resnet(name):
    size, inputs, outputs, taps, stride = RESNET[name]
    return top.Conv2d(
        (1, inputs, size, size),
        (outputs, inputs, taps, taps),
        stride=stride,
        padding=taps // 2,
        epilogue=EPILOGUE,
    )


def depthwise(size, channels, stride=1):
    return top.Conv2d(
        (1, channels, size, size),
        (channels, 1, 3, 3),
        stride=stride,
        padding=1,
        groups=channels,
        epilogue=EPILOGUE,
    )


def convolved(spec):
    return lambda x, w, b: reference.finish(
        reference.conv2d(x, w, stride=spec.strides, padding=spec.pads, groups=spec.groups),
        bias=b,
        shift=8,
    )


@pytest.mark.parametrize("name", RESNET)
def test_resnet_layers(agrees, name):
    agrees(resnet(name), convolved(resnet(name)), PRESETS["default"])


def test_tilings_fit_the_buffers(configs):
    (piece,), _ = resnet("C6").pieces(configs)
    tilings = Tilings.legal(piece.nest, configs)
    assert len(tilings) > 20
    for place in range(0, len(tilings), max(1, len(tilings) // 50)):
        tiling = tilings[place]
        rows = (tiling.rows - 1) * 2 + tiling.taps_y
        columns = (tiling.columns - 1) * 2 + tiling.taps_x
        block = tiling.outputs * tiling.rows * tiling.columns
        assert tiling.threads * tiling.inputs * rows * columns <= configs.inp_depth
        assert (
            tiling.threads * tiling.outputs * tiling.inputs * tiling.taps_y * tiling.taps_x
            <= configs.wgt_depth
        )
        assert tiling.threads * (block + tiling.outputs) <= configs.acc_depth


def test_the_model_chooses_what_it_simulates_best():
    config = PRESETS["default"]
    (piece,), _ = resnet("C10").pieces(config)
    tilings = Tilings.legal(piece.nest, config)
    found = choose(piece.nest, config)
    assert found is not None
    tiling, cycles = found
    assert cycles == simulate(piece.nest, tiling, config)
    order = np.argsort(rough(tilings), kind="stable")[:10]
    assert cycles <= min(simulate(piece.nest, tilings[int(place)], config) for place in order)


def test_any_tiling_that_is_given_is_used(agrees):
    spec = top.Conv2d((1, 48, 13, 11), (80, 48, 3, 3), padding=1, epilogue=EPILOGUE)
    for tiling in (
        top.Tiling(
            outputs=2, rows=5, columns=4, inputs=2, taps_y=3, taps_x=3, threads=2, axis="outputs"
        ),
        top.Tiling(
            outputs=3, rows=13, columns=2, inputs=1, taps_y=2, taps_x=2, threads=4, axis="columns"
        ),
    ):
        operator = agrees(spec, convolved(spec), PRESETS["default"], tiling=tiling)
        assert operator.tiling == tiling


def test_threads_pay():
    config = PRESETS["default"]
    (piece,), _ = resnet("C8").pieces(config)
    tilings = Tilings.legal(piece.nest, config)
    best = {
        threads: min(
            simulate(piece.nest, alone[int(place)], config)
            for alone in [tilings.where(tilings.threads == threads)]
            for place in np.argsort(rough(alone), kind="stable")[:10]
        )
        for threads in (1, 2)
    }
    assert best[2] < 0.95 * best[1]


def test_the_smallest_buffers_suffice(agrees):
    config = PRESETS["default"].replace(
        log_uop_buff_size=5, log_inp_buff_size=7, log_wgt_buff_size=11, log_acc_buff_size=9
    )
    assert {config.uop_depth, config.inp_depth, config.wgt_depth, config.acc_depth} == {8}
    spec = top.Conv2d((1, 20, 5, 6), (20, 20, 3, 3), padding=1, epilogue=EPILOGUE)
    agrees(spec, convolved(spec), config)
    agrees(
        top.MaxPool2d((1, 20, 7, 5), (4, 3), stride=2),
        lambda x: reference.max_pool2d(x, (4, 3), stride=(2, 2)),
        config,
    )
    agrees(
        top.Add((1, 40, 3, 5), epilogue=top.Epilogue(bias=True)),
        lambda a, b, bias: reference.finish(a.astype(int) + b, bias=bias),
        config,
    )


# -- on the RTL -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tsim():
    with TsimDevice(PRESETS["default"]) as device:
        yield device


def run(tsim, spec, expected):
    """Cycles on the RTL, of a right result that the model foresaw."""
    operator = spec.compile(PRESETS["default"])
    arrays = operands(spec, 7)
    result, report = top.run(operator, *arrays, device=tsim)
    np.testing.assert_array_equal(result, expected(*arrays))
    assert abs(operator.predicted_cycles - report.cycles) < 0.05 * report.cycles
    return report.cycles


def test_cycles_of_small_kernels(tsim):
    assert run(tsim, resnet("C10"), convolved(resnet("C10"))) < 36_500
    assert run(tsim, depthwise(7, 1024), convolved(depthwise(7, 1024))) < 52_000


@pytest.mark.parametrize("shape", [(1, 128, 2), (32, 32, 32), (128, 128, 64), (128, 512, 128)])
def test_cycles_of_matrix_products(tsim, shape):
    rows, inputs, outputs = shape
    run(tsim, top.Dense((rows, inputs), (outputs, inputs)), product)


def product(data, weight):
    return np.clip(data.astype(int) @ weight.T.astype(int), -128, 127)


def test_cycles_of_a_residual_addition(tsim):
    spec = top.Add((1, 64, 56, 56))
    cycles = run(tsim, spec, lambda a, b: np.clip(a.astype(int) + b, -128, 127))
    assert cycles <= 80_000
    # Few, long instructions.
    assert len(spec.compile(PRESETS["default"]).program.insns) < 1000


@pytest.mark.full
def test_cycles_of_resnet(tsim):
    assert sum(run(tsim, resnet(name), convolved(resnet(name))) for name in RESNET) <= 2_850_000


@pytest.mark.full
@pytest.mark.parametrize(
    ("size", "channels", "stride"),
    [
        (112, 32, 1),
        (112, 64, 2),
        (56, 128, 1),
        (56, 128, 2),
        (28, 256, 1),
        (28, 256, 2),
        (14, 512, 1),
        (14, 512, 2),
    ],
)
def test_cycles_of_mobilenet(tsim, size, channels, stride):
    spec = depthwise(size, channels, stride)
    run(tsim, spec, convolved(spec))


EVERY_KIND = (
    top.Conv2d((2, 20, 9, 11), (21, 20, 3, 3), padding=1, stride=2, epilogue=EPILOGUE),
    top.Conv2d((1, 24, 8, 8), (24, 1, 3, 3), padding=1, groups=24, epilogue=EPILOGUE),
    top.Conv2dTranspose((1, 20, 5, 6), (20, 9, 3, 3), stride=2, padding=1, epilogue=EPILOGUE),
    top.Dense((5, 70), (33, 70), epilogue=EPILOGUE),
    top.MaxPool2d((2, 20, 9, 8), 3, stride=2, padding=1),
    top.AvgPool2d((2, 20, 9, 8), 3, stride=2, padding=1, count_include_pad=False),
    top.Add((3, 20, 5, 9), epilogue=top.Epilogue(bias=True, relu=True)),
    top.Multiply((7, 99), epilogue=top.Epilogue(shift=6, rounding=True)),
)


@pytest.mark.full
@pytest.mark.parametrize("spec", EVERY_KIND, ids=lambda spec: spec.name)
def test_every_kind_on_the_rtl(sim, configs, spec):
    """The functional simulator, which other tests compare with NumPy, agrees with the RTL."""
    operator = spec.compile(configs)
    arrays = operands(spec, 3)
    with TsimDevice(configs) as device:
        found, _ = top.run(operator, *arrays, device=device)
    np.testing.assert_array_equal(found, top.run(operator, *arrays, device=sim(configs))[0])
