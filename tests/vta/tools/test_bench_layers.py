"""The operators among the benchmark streams."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.operators import reference
from tests.compiler.operators.conftest import operands
from vta.config import PRESETS
from vta.sim.functional.functional_machine import FunctionalMachine
from vta.sim.replay import replay
from vta.tools.bench.bound import Bound
from vta.tools.bench.layers import DEPTHWISE, RESNET, Layer, accumulator_cycles, operator_kernels
from vta.tools.bench.scaled_layers import MOBILENET, scaled_kernels


@pytest.mark.parametrize(
    "layer",
    [
        Layer("a", 7, 8, 12, 3),
        Layer("b", 8, 8, 4, 1, 2),
        Layer("c", 9, 6, 6, 3, 2, 6),
        Layer("d", 6, 5, 5, 5, 1, 5),
    ],
)
def test_the_expected_result(layer):
    data, weight, bias = operands(layer.spec(), 3)
    np.testing.assert_array_equal(
        layer.result(data, weight, bias),
        reference.finish(
            reference.conv2d(
                data,
                weight,
                stride=(layer.stride,) * 2,
                padding=(layer.taps // 2,) * 4,
                groups=layer.groups,
            ),
            bias=bias,
            shift=8,
        ),
    )


def test_every_layer_is_there():
    names = [kernel.name for kernel in operator_kernels(PRESETS["default"])]
    assert names == [layer.name for layer in (*RESNET, *DEPTHWISE)] + ["residual_add_56x56x64"]
    for preset in PRESETS.values():
        assert operator_kernels(preset)


@pytest.mark.parametrize(
    ("preset", "name"),
    [
        ("default", "resnet_c10"),
        ("default", "depthwise_14x14x512_s2"),
        ("default", "residual_add_56x56x64"),
        ("wide", "depthwise_7x7x1024"),
        ("batch4", "resnet_c10"),
        ("tiny", "depthwise_7x7x1024"),
    ],
)
def test_images_expect_what_programs_store(preset, name):
    (kernel,) = (item for item in operator_kernels(PRESETS[preset]) if item.name == name)
    image = kernel.build()
    result = replay(image, FunctionalMachine)
    assert result.report.fault is None
    assert result.match
    assert kernel.predicted is not None
    assert kernel.predicted() > result.report.stats["gemm_counter"]


@pytest.mark.parametrize(
    "name",
    [
        "resnet_c10_scaled",
        "mobilenet_23_14x14x576_576_scaled",
        "mobilenet_30_1x1x1280_1000_scaled",
        "residual_add_56x56x64_scaled",
    ],
)
def test_scaled_layers_expect_what_programs_store(name):
    """NumPy's float32 formula, in the image, is what the functional simulator stores."""
    (kernel,) = (
        item
        for item in scaled_kernels(PRESETS["default"].replace(hw_ver="0.0.3"))
        if item.name == name
    )
    result = replay(kernel.build(), FunctionalMachine)
    assert result.report.fault is None
    assert result.match
    assert kernel.predicted() > 0


def test_mobilenet_has_its_layers():
    """53 layers of 300 million products, as the paper of MobileNetV2 says."""
    assert sum(count for _, count in MOBILENET) == 53
    products = sum(
        count
        * (-(-layer.size // layer.stride)) ** 2
        * layer.outputs
        * layer.taps**2
        * (layer.inputs // layer.groups)
        for layer, count in MOBILENET
    )
    assert 300e6 < products < 301e6


def test_loaded_tiles_use_the_accumulator():
    (kernel,) = (
        item
        for item in operator_kernels(PRESETS["default"])
        if item.name == "residual_add_56x56x64"
    )
    limit = Bound(gemm=1, alu=10, read=0, write=0)
    assert accumulator_cycles(kernel.build(), limit) == 11 + 2 * 56 * 56 * 64 // 16
