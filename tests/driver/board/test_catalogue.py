"""The list of boards agrees with what else is known of them."""

from __future__ import annotations

import pytest

from vta.config import TARGETS
from vta.driver.board.catalogue import CATALOGUE, entry_named
from vta.driver.board.kinds import KINDS
from vta.errors import ConfigError
from vta.tools.bitstream.designs import DESIGNS
from vta.tools.bitstream.toolchains import BITSTREAM_TOOLS


def test_every_board_that_is_emulated_is_listed_as_such() -> None:
    for name in KINDS:
        assert entry_named(name).state.startswith("emulated; ")
        assert entry_named(name).part_in_file == KINDS[name].part
    assert {name for name in TARGETS if name not in ("sim", "tsim")} <= set(CATALOGUE)


def test_what_a_board_refers_to_exists() -> None:
    for name, entry in CATALOGUE.items():
        assert name == entry.name
        assert set(entry.toolchains) <= set(BITSTREAM_TOOLS)
        assert bool(entry.loader) == bool(entry.suffixes) == bool(entry.vendor)


def test_parts_and_toolchains_are_those_of_the_bitstreams() -> None:
    assert set(DESIGNS) <= set(CATALOGUE)
    for name, design in DESIGNS.items():
        entry = CATALOGUE[name]
        assert entry.toolchains == design.toolchains
        assert design.part.replace("-", "").upper().startswith(entry.part.replace("-", "")[:7])


def test_an_unknown_board() -> None:
    with pytest.raises(ConfigError, match="must be one of pynq, .* not 'ulx3'; did you mean ulx3s"):
        entry_named("ulx3")
