"""The FPGA families and parts that areas are compared with."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FAMILIES", "RESOURCES", "Family"]

RESOURCES = ("LUT", "FF", "DSP", "BRAM")
"""The columns of an area report, in this order."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """How to synthesise for a family, what its cells cost, and a part to compare with.

    `command` flattens what is not marked ``keep_hierarchy``. `cells` maps a cell type to
    (resource, amount); `free` are those that come with the LUTs. `capacity` is the part's, in the
    order of `RESOURCES`; `bram` says what unit its block RAM is counted in. `passes` is how many
    passes `command` runs one after the other.
    """

    name: str
    command: str
    cells: dict[str, tuple[str, float]]
    free: frozenset[str]
    part: str
    capacity: tuple[int, int, int, int]
    bram: str
    passes: int

    @property
    def columns(self) -> tuple[str, ...]:
        """`RESOURCES` with the family's own word for its block RAM."""
        return (*RESOURCES[:-1], self.bram)


def _luts(**amounts: float) -> dict[str, tuple[str, float]]:
    return {name: ("LUT", amount) for name, amount in amounts.items()}


# $scopeinfo is not hardware: it remembers where a flattened module was.
FAMILIES = {
    # Xilinx UG474: a LUT is a RAM of 64 x 1, or of 32 x 2 with a common address; a second read
    # port takes as many again. A RAM32M or RAM64M takes the four LUTs of a slice. An inverter
    # counts as a LUT, though the vendor's tools merge most of them into something else.
    "xc7": Family(
        name="xc7",
        command="synth_xilinx -family xc7 -flatten -noiopad -noclkbuf -top vta",
        cells={
            **_luts(
                **{f"LUT{inputs}": 1 for inputs in range(1, 7)},
                INV=1,
                RAM32M=4,
                RAM64M=4,
                RAM32X1S=1,
                RAM64X1S=1,
                RAM128X1S=2,
                RAM256X1S=4,
                RAM32X1D=2,
                RAM64X1D=2,
                RAM128X1D=4,
                SRL16E=1,
                SRLC32E=1,
            ),
            **{f"FD{kind}": ("FF", 1) for kind in ("RE", "SE", "CE", "PE")},
            "DSP48E1": ("DSP", 1),
            "RAMB36E1": ("BRAM", 1),
            "RAMB18E1": ("BRAM", 0.5),
        },
        free=frozenset({"CARRY4", "MUXF7", "MUXF8", "$scopeinfo"}),
        part="xc7z020",
        capacity=(53_200, 106_400, 220, 140),
        bram="BRAM36",
        passes=55,
    ),
    # Lattice FPGA-DS-02012: a distributed RAM of 16 x 4 takes the four LUTs of two slices and two
    # for its write port; a carry cell is two LUTs.
    "ecp5": Family(
        name="ecp5",
        command="synth_ecp5 -top vta",
        cells={
            **_luts(LUT4=1, CCU2C=2, TRELLIS_DPR16X4=6),
            "TRELLIS_FF": ("FF", 1),
            "MULT18X18D": ("DSP", 1),
            "DP16KD": ("BRAM", 1),
        },
        free=frozenset({"PFUMX", "L6MUX21", "$scopeinfo"}),
        part="lfe5u-85f",
        capacity=(83_640, 83_640, 156, 208),
        bram="EBR18",
        passes=52,
    ),
}
