"""How wide an FPGA's multipliers are, which decides how the products are made."""

__all__ = ["has_wide_multipliers"]

NARROW = ("ecp5", "machxo2", "nexus")
"""The families, as Amaranth's platforms name them, whose multipliers are narrower than 25 bits."""


def has_wide_multipliers(platform: object) -> bool:
    """Whether 25 by 8 bits fit one multiplier: assumed of all families that are not in `NARROW`."""
    return getattr(platform, "family", None) not in NARROW
