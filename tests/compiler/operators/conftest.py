"""Devices that stay open, and running an operator beside its reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from vta import top
from vta.compiler.operators import Operator, Spec
from vta.config import Config
from vta.driver.simulated import SimDevice


@pytest.fixture(scope="session")
def sim() -> Iterator[Callable[[Config], SimDevice]]:
    """The functional simulator of a configuration."""
    devices: dict[Config, SimDevice] = {}

    def device(config: Config) -> SimDevice:
        if config not in devices:
            devices[config] = SimDevice(config)
        return devices[config]

    yield device
    for opened in devices.values():
        opened.close()


@pytest.fixture(scope="session")
def agrees(sim: Callable[[Config], SimDevice]) -> Callable[..., Operator]:
    """Compiles and runs a spec on random operands, and compares with `reference` of them."""

    def check(
        spec: Spec, reference: Callable[..., Any], config: Config, seed: int = 1, **options: Any
    ) -> Operator:
        operator = spec.compile(config, **options)
        arrays = operands(spec, seed)
        result, _ = top.run(operator, *arrays, device=sim(config))
        assert result.dtype == np.int8
        np.testing.assert_array_equal(result, reference(*arrays))
        return operator

    return check


def operands(spec: Spec, seed: int) -> list[np.ndarray]:
    """Random operands; biases are such that sums come near the ends of int8."""
    rng = np.random.default_rng(seed)
    return [
        rng.integers(-128, 128, operand.shape).astype(np.int8)
        if operand.dtype == "int8"
        else rng.uniform(1e-4, 1e-2, operand.shape).astype(np.float32)
        if operand.dtype == "float32"
        else rng.integers(-9000, 9000, operand.shape).astype(np.int32)
        for operand in spec.operands
    ]
