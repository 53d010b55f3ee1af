"""The FPGA families and parts that areas are compared with."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FAMILIES", "RESOURCES", "Family"]

RESOURCES = ("LUT", "FF", "DSP", "BRAM")
"""The columns of an area report, in this order."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """How to synthesise for a family, what its cells cost, and a part to compare with.

    `cells` maps a cell type to (resource, amount). `capacity` is the part's, in the order of
    `RESOURCES`.
    """

    name: str
    command: str
    cells: dict[str, tuple[str, float]]
    part: str
    capacity: tuple[int, int, int, int]
    bram: str


def _luts(**amounts: float) -> dict[str, tuple[str, float]]:
    return {name: ("LUT", amount) for name, amount in amounts.items()}


FAMILIES = {
    # Xilinx UG474: a RAM32M or RAM64M takes the four LUTs of a slice.
    "xc7": Family(
        name="xc7",
        command="synth_xilinx -family xc7 -flatten -noiopad -noclkbuf -top vta",
        cells={
            **_luts(**{f"LUT{inputs}": 1 for inputs in range(1, 7)}, INV=1, RAM32M=4, RAM64M=4,
                    RAM32X1D=2, RAM64X1D=2, RAM128X1D=4, SRL16E=1, SRLC32E=1),
            **{f"FD{kind}": ("FF", 1) for kind in ("RE", "SE", "CE", "PE")},
            "DSP48E1": ("DSP", 1),
            "RAMB36E1": ("BRAM", 1),
            "RAMB18E1": ("BRAM", 0.5),
        },
        part="xc7z020", capacity=(53_200, 106_400, 220, 140), bram="BRAM36"),
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
        part="lfe5u-85f", capacity=(83_640, 83_640, 156, 208), bram="EBR18"),
}
