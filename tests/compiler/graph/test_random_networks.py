"""Random networks in QDQ form are what an interpreter of ONNX gives, tensor by tensor."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from tests.compiler.graph.checking import compare
from tests.compiler.graph.random_networks import quantised_networks


def check(model) -> None:
    found = compare(model)
    # Means of few numbers with one scale often lie halfway between two results.
    averages = found.ties.pop("avg_pool", 0)
    assert averages <= 0.2 * found.values
    assert found.ties.total() <= 1


@given(quantised_networks())
@settings(max_examples=30)
def test_random_networks(model) -> None:
    check(model)


@pytest.mark.full
@given(quantised_networks())
@settings(max_examples=1000)
def test_more_random_networks(model) -> None:
    check(model)
