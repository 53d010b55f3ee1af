"""Configurations for random programs: presets and odd ones, and all with encoding 0.0.2."""

from __future__ import annotations

from vta.config import PRESETS

__all__ = ["CAMPAIGN", "CONFIGURATIONS", "ODD", "OLD"]

ODD = {
    # Tiles as wide as, or wider than, a beat; burst limits; more address bits.
    "block5-128": PRESETS["wide"].replace(addr_width=36, max_burst=16),
    "block5-256": PRESETS["wide"].replace(log_bus_width=8, log_batch=2),
    "block4-256": PRESETS["default"].replace(
        log_bus_width=8,
        log_batch=1,
        log_acc_buff_size=16,
        log_wgt_buff_size=15,
        log_inp_buff_size=13,
    ),
    # The smallest there is: every depth 8.
    "least": PRESETS["tiny"].replace(
        log_uop_buff_size=5, log_inp_buff_size=6, log_wgt_buff_size=9, log_acc_buff_size=8
    ),
    # Very unequal depths: more INP than ACC, little of WGT; and the other way round.
    "uneven": PRESETS["tiny"].replace(
        log_inp_buff_size=16,
        log_wgt_buff_size=9,
        log_acc_buff_size=9,
        log_bus_width=7,
        max_burst=256,
        addr_width=40,
    ),
    "uneven-acc": PRESETS["tiny"].replace(
        log_inp_buff_size=6, log_wgt_buff_size=14, log_acc_buff_size=15, log_uop_buff_size=6
    ),
    "block6": PRESETS["default"].replace(
        log_block=6, log_inp_buff_size=12, log_wgt_buff_size=16, log_acc_buff_size=13
    ),
    "batch4-block5": PRESETS["default"].replace(
        log_batch=2,
        log_block=5,
        log_uop_buff_size=10,
        log_inp_buff_size=13,
        log_wgt_buff_size=14,
        log_acc_buff_size=14,
    ),
}

OLD = {f"{name}-old": config.replace(hw_ver="0.0.2") for name, config in (PRESETS | ODD).items()}
"""The same with encoding 0.0.2."""

CONFIGURATIONS = PRESETS | ODD | OLD

CAMPAIGN = (
    "tiny",
    "tiny-old",
    "least",
    "least-old",
    "small",
    "small-old",
    "batch4",
    "uneven-acc",
    "block5-128",
    "block5-256-old",
    "default",
    "default-old",
)
"""What `vta fuzz` runs unless it is told otherwise."""
