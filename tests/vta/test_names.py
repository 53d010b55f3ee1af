"""The public modules: every name that they list can be read, and others are refused."""

from __future__ import annotations

import importlib

import pytest


@pytest.mark.parametrize("module", ["vta", "vta.te", "vta.topi", "vta.top", "vta.rpc", "vta.nd"])
def test_listed_names(module: str) -> None:
    found = importlib.import_module(module)
    assert [name for name in found.__all__ if getattr(found, name, None) is None] == []


@pytest.mark.parametrize("module", ["vta", "vta.te", "vta.rpc", "vta.testing"])
def test_names_that_do_not_exist(module: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{module}' has no .*'nonsense'"):
        importlib.import_module(module).nonsense  # noqa: B018


def test_testing_lists_what_it_has() -> None:
    testing = importlib.import_module("vta.testing")
    assert [name for name in testing.__all__ if getattr(testing, name, None) is None] == []
    with pytest.raises(AttributeError, match="it has programs, run, simulator, utils"):
        testing.nonsense  # noqa: B018
