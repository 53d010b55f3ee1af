"""The design's own names, out of those that synthesis makes of them."""

from __future__ import annotations

import re

__all__ = ["of_cell", "of_net"]

# A cell or net without a name gets that of a neighbour with the type and pin between them, over
# and over: `ready_LUT4_A_Z_PFUMX_BLUT_Z`.
_CELLS = (
    r"LUT\d",
    "PFUMX",
    "L6MUX21",
    "CCU2C",
    "TRELLIS_FF",
    "TRELLIS_DPR16X4",
    "TRELLIS_COMB",
    "TRELLIS_RAMW",
    "MULT18X18D",
    "ALU54B",
    "DP16KD",
    "CARRY4",
    r"MUXF\d",
    "FD[RSCP]E",
    "RAMB(?:18|36)E1",
    r"RAM\d+(?:M|X\d[SD])",
    "SRLC?(?:16|32)E",
    "DSP48E1",
    "INV",
)
_NEIGHBOUR = re.compile(rf"_({'|'.join(_CELLS)})(_.*)?$")
# A memory becomes a grid of cells, whose pins may lend a name too: `storage.0.2_DI_3`.
_BLOCK = re.compile(r"(\.\d+){2,}(_[A-Z]+\d*(_\d+)?)?(\[\d+\])?$")
# Amaranth numbers signals of the same name, and calls those without one `$signal`.
_NUMBER = re.compile(r"\$[\d$]+")
_NAMELESS = re.compile(r"\.\$.*$")
_TOP = "top."
"""The machine in its wrapper of shift registers."""


def of_net(name: str) -> tuple[str, bool]:
    """A signal of the design, its bit included, and True; or the nearest signal and False."""
    near = _near(name)
    return _plain(near), near == name


def of_cell(name: str) -> str:
    """The signal that a register or a memory is."""
    return _plain(_near(name))


def _near(name: str) -> str:
    """A signal's name in the netlist, or its module's if it has none."""
    return _NAMELESS.sub("", _BLOCK.sub("", _NEIGHBOUR.sub("", name)))


def _plain(name: str) -> str:
    return _NUMBER.sub("", name).removeprefix(_TOP)
