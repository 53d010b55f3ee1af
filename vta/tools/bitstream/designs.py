"""The boards that bitstreams are made for: the design, the part, the toolchains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vta.config import Config
from vta.errors import ConfigError

if TYPE_CHECKING:
    from amaranth.hdl import Elaboratable

__all__ = ["DESIGNS", "BoardDesign", "design_for"]

MHZ = 1_000_000

# What Vivado is asked to write beside its reports: the time that is left in a cycle.
_SLACK = """\
set slack [get_property SLACK [get_timing_paths -quiet -max_paths 1 -nworst 1 -setup]]
set file [open vta_slack.txt w]
puts $file $slack
close $file"""

# Yosys's own block RAM is used; cells that only a simulation needs must go before nextpnr.
_OPENXC7 = (
    "synth_xilinx -flatten -abc9 -arch xc7 -top {{name}}; "
    "delete t:$check t:$print t:$scopeinfo; write_json {{name}}.json"
)


@dataclass(frozen=True)
class BoardDesign:
    """How a board's bitstream is made.

    Attributes
    ----------
    board : str
        The configuration's TARGET.
    part : str
    toolchains : tuple of str
        The first is the default.
    clock_hz : int
        What the tools are asked for by default.
    config : callable
        From the user's configuration to the board's: what programs do not depend on may change.
    elaborate : callable
        From configuration, clock in Hz and whether the processor's pads are wanted to the design.
    platform : callable
        From Amaranth's name of a toolchain to a platform.
    overrides : dict
        For Amaranth's templates.
    experimental : tuple of str
        The toolchains that nobody has tried with this board.
    """

    board: str
    part: str
    toolchains: tuple[str, ...]
    clock_hz: int
    config: Callable[[Config], Config]
    elaborate: Callable[[Config, int, bool], Elaboratable]
    platform: Callable[[str], Any]
    overrides: dict[str, str] = field(default_factory=dict)
    experimental: tuple[str, ...] = ()
    preset: str = ""
    """The configuration if the user names none: the one in the configuration file may not fit."""


def _bare_xilinx(device: str, package: str, speed: str) -> Callable[[str], Any]:
    """A Xilinx part without a board: all pins belong to the processor system."""

    def make(toolchain: str) -> Any:
        from amaranth.vendor import XilinxPlatform

        synthesis, *others = XilinxPlatform._xray_command_templates
        before, quote, rest = synthesis.partition('-p "')
        members = {
            "device": device,
            "package": package,
            "speed": speed,
            "resources": [],
            "connectors": [],
            "_xray_command_templates": [
                f'{before}{quote}{_OPENXC7}"{rest.partition(chr(34))[2]}',
                *others,
            ],
        }
        return type("BareXilinx", (XilinxPlatform,), members)(toolchain=toolchain)

    return make


def _axi3(config: Config) -> Config:
    """Bursts as AXI3 has them."""
    from vta.hw.boards.axi3_master import LONGEST, require_axi3

    config = config.replace(max_burst=min(config.max_burst, LONGEST))
    require_axi3(config)
    return config


def _zynq7000(config: Config, clock_hz: int, ps_pads: bool) -> Elaboratable:
    from vta.hw.boards.zynq7000 import Zynq7000

    return Zynq7000(config, clock_hz=clock_hz, ps_pads=ps_pads)


def _zynqmp(config: Config, clock_hz: int, ps_pads: bool) -> Elaboratable:
    from vta.hw.boards.zynqmp import ZynqMP

    return ZynqMP(config, clock_hz=clock_hz)


def _de10nano(config: Config, clock_hz: int, ps_pads: bool) -> Elaboratable:
    from vta.hw.boards.de10nano import De10Nano

    return De10Nano(config, clock_hz=clock_hz)


def _de10nano_platform(toolchain: str) -> Any:
    from amaranth_boards.de10_nano import DE10NanoPlatform

    return DE10NanoPlatform(toolchain=toolchain)


def _bus_of_64_bits(config: Config) -> Config:
    if config.bus_width != 64:
        raise ConfigError(
            f"LOG_BUS_WIDTH must be 6 for this memory port, not {config.log_bus_width}"
        )
    return config


def _ulx3s(config: Config, clock_hz: int, ps_pads: bool) -> Elaboratable:
    from vta.hw.boards.ulx3s import CLOCK_HZ, Ulx3s
    from vta.tools.bitstream.litedram import litedram_core

    if clock_hz != CLOCK_HZ:
        raise ConfigError(
            f"the clock of ulx3s must be {CLOCK_HZ / MHZ:g} MHz, not {clock_hz / MHZ:g} MHz: the "
            "rate of the serial line depends on it"
        )
    return Ulx3s(config, litedram_core(CLOCK_HZ))


def _ulx3s_platform(toolchain: str) -> Any:
    from amaranth_boards.ulx3s import ULX3S_85F_Platform

    return ULX3S_85F_Platform(toolchain=toolchain)


DESIGNS = {
    design.board: design
    for design in (
        BoardDesign(
            "pynq",
            "xc7z020clg400-1",
            ("vivado", "openxc7"),
            100 * MHZ,
            _axi3,
            _zynq7000,
            _bare_xilinx("xc7z020", "clg400", "1"),
            {"script_before_bitstream": _SLACK},
            experimental=("openxc7",),
        ),
        *(
            BoardDesign(
                board,
                f"{device}-{package}-{speed}",
                ("vivado",),
                200 * MHZ,
                _bus_of_64_bits,
                _zynqmp,
                _bare_xilinx(device, package, speed),
                {"script_before_bitstream": _SLACK},
            )
            for board, device, package, speed in (
                ("ultra96", "xczu3eg", "sbva484", "1-e"),
                ("zcu104", "xczu7ev", "ffvc1156", "2-e"),
            )
        ),
        BoardDesign(
            "de10nano",
            "5CSEBA6U23I7",
            ("quartus",),
            100 * MHZ,
            _axi3,
            _de10nano,
            _de10nano_platform,
        ),
        BoardDesign(
            "ulx3s",
            "LFE5U-85F-6BG381C",
            ("trellis",),
            45 * MHZ,
            _bus_of_64_bits,
            _ulx3s,
            _ulx3s_platform,
            # Whether the clock is fast enough is for us to say.
            {"nextpnr_opts": "--timing-allow-fail --seed 1", "ecppack_opts": "--compress"},
            preset="ecp5",
        ),
    )
}


def design_for(board: str) -> BoardDesign:
    """The design of a board.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if board not in DESIGNS:
        raise ConfigError(f"the board must be one of {', '.join(DESIGNS)}, not {board!r}")
    return DESIGNS[board]
