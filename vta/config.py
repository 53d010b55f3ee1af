"""The machine's configuration: VTA's JSON file, checked, with all sizes that follow from it.

Every `Config` object is valid. The constructor raises a `ConfigError` for all others; it names the
key, its value and the allowed values. Derived sizes are properties and are not stored. Sizes in
JSON are base-2 logarithms, as VTA's users know them.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import functools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vta.config_limits import Problem, depth_problems, encoding_problems
from vta.errors import ConfigError
from vta.files import FileTooLargeError, read_limited
from vta.isa import UOP_BITS, MemoryType

__all__ = ["PRESETS", "SIMULATED_TARGETS", "TARGETS", "Config", "default_path"]

SIMULATED_TARGETS = ("sim", "tsim")
TARGETS = (*SIMULATED_TARGETS, "pynq", "ultra96", "zcu104", "de10nano", "intelfocl", "ulx3s")
HW_VERSIONS = ("0.0.1", "0.0.2", "0.0.3")
"""All versions have the same configuration keys. 0.0.1 and 0.0.2 are the same encoding; 0.0.3 is a
superset of it (docs/isa.md, "Encoding 0.0.3")."""

MAX_FILE_BYTES = 1 << 20
"""The most bytes of a configuration file; a few hundred are enough."""


def _key(doc: str, allowed: tuple[int, ...] | range, **options: Any) -> Any:
    return field(metadata={"doc": doc, "allowed": allowed}, **options)


@dataclass(frozen=True, kw_only=True)
class Config:
    """One configuration of the accelerator. It is immutable, and threads may share it.

    Field names are the JSON keys in lower case. The first eleven come from VTA and are required;
    the rest are additions of this project and optional.

    Raises
    ------
    ConfigError
        If a value is out of range, or if the instruction fields do not fit (docs/isa.md,
        "Encoding").
    """

    target: str = field(metadata={"doc": "where programs run"})
    hw_ver: str = field(metadata={"doc": "version of the instruction encoding"})
    log_inp_width: int = _key("bits of one INP number", (3,))
    log_wgt_width: int = _key("bits of one WGT number", (3,))
    log_acc_width: int = _key("bits of one ACC number", (5,))
    log_batch: int = _key("rows of a tile", range(3))
    log_block: int = _key("columns of a tile", range(3, 7))
    log_uop_buff_size: int = _key("bytes of the UOP buffer", range(5, 19))
    log_inp_buff_size: int = _key("bytes of the INP buffer", range(6, 25))
    log_wgt_buff_size: int = _key("bytes of the WGT buffer", range(9, 29))
    log_acc_buff_size: int = _key("bytes of the ACC buffer", range(8, 27))
    log_bus_width: int = _key("bits of the memory bus", range(6, 9), default=6)
    addr_width: int = _key("bits of a byte address", range(32, 41), default=32)
    max_burst: int = _key(
        "beats of the longest burst (16 for AXI3)", (16, 32, 64, 128, 256), default=64
    )
    log_insn_queue: int = _key("entries of each instruction queue", range(9, 13), default=9)

    def __post_init__(self) -> None:
        # Any name is legal here; opening a device checks whether it exists.
        if not isinstance(self.target, str) or not self.target or not self.target.isprintable():
            raise ConfigError(f"TARGET must be a name, not {self.target!r}")
        self._check_choice("HW_VER", self.hw_ver, HW_VERSIONS)
        for name in _ALLOWED:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigError(f"{name.upper()} must be a whole number, not {value!r}")
        for problem in self._problems():
            raise ConfigError(self._explain(problem))

    @staticmethod
    def _check_choice(key: str, value: object, allowed: tuple[str, ...]) -> None:
        if value not in allowed:
            raise ConfigError(f"{key} must be one of {', '.join(allowed)}, not {value!r}")

    def _problems(self) -> Iterator[Problem]:
        """All problems with the numbers."""
        outside = [name for name, allowed in _ALLOWED.items() if getattr(self, name) not in allowed]
        for name in outside:
            supported = "" if len(_ALLOWED[name]) > 1 else " (other widths are not supported)"
            yield Problem((name,), supported)
        if set(outside).isdisjoint(_TILE):
            yield from depth_problems(self)
            yield from encoding_problems(self)

    def _explain(self, problem: Problem) -> str:
        """The message of a problem, with the values that are allowed instead."""
        if len(problem.names) > 1:
            *names, last = (name.upper() for name in problem.names)
            return f"{', '.join(names)} and {last} must be smaller{problem.reason}"
        (name,) = problem.names
        left = {value: list(self._with(name, value)._problems()) for value in _ALLOWED[name]}
        # If another key is wrong too, this is the range of this key alone.
        accepted = [value for value, problems in left.items() if not problems] or [
            value
            for value, problems in left.items()
            if all(other.names != problem.names for other in problems)
        ]
        if isinstance(_ALLOWED[name], range) and len(accepted) > 1:
            spelled = f"{accepted[0]} to {accepted[-1]}"
        else:
            spelled = " or ".join(map(str, accepted))
        return f"{name.upper()} must be {spelled}, not {getattr(self, name)}{problem.reason}"

    def _with(self, name: str, value: int) -> Config:
        """A copy with one number changed, without checks."""
        changed = copy.copy(self)
        object.__setattr__(changed, name, value)
        return changed

    # -- JSON ------------------------------------------------------------------------------------

    @classmethod
    def from_dict(cls, values: object, source: str = "configuration") -> Config:
        """The configuration described by a JSON object.

        Keys of older files are accepted if they only repeat another key: `LOG_BLOCK_IN` and
        `LOG_BLOCK_OUT`, together or with `LOG_BLOCK`; and `LOG_OUT_WIDTH`.
        """
        if not isinstance(values, dict):
            raise ConfigError(f"{source}: must be a JSON object, not {type(values).__name__}")
        values = _without_repeats(values, source)
        keys = {item.name.upper(): item for item in dataclasses.fields(cls)}
        for key in values:
            if key not in keys:
                near = difflib.get_close_matches(str(key), keys, 1)
                hint = f"; did you mean {near[0]}?" if near else f"; allowed: {', '.join(keys)}"
                raise ConfigError(f"{source}: unknown key {key!r}{hint}")
        missing = [
            key
            for key, item in keys.items()
            if item.default is dataclasses.MISSING and key not in values
        ]
        if missing:
            raise ConfigError(f"{source}: missing key {', '.join(missing)}")
        try:
            return cls(**{key.lower(): value for key, value in values.items()})
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> Config:
        """The configuration in a file: `path`, or `$VTA_CONFIG`, or the package's default.

        `path` may also be a name in `PRESETS`.
        """
        if not isinstance(path, (str, os.PathLike, type(None))):
            raise ConfigError(f"a configuration must be a path or a preset's name, not {path!r}")
        file = Path(path) if path is not None else default_path()
        if str(file) in PRESETS:
            return PRESETS[str(file)]
        try:
            values = json.loads(
                read_limited(file, MAX_FILE_BYTES).decode("utf-8-sig"),
                object_pairs_hook=functools.partial(_unique, str(file)),
            )
        except FileTooLargeError as error:
            raise ConfigError(f"{file}: {error}, as a configuration") from None
        except OSError as error:
            near = difflib.get_close_matches(str(file), PRESETS, 1)
            hint = f"; did you mean the preset {near[0]!r}?" if near else ""
            raise ConfigError(f"{file}: cannot be read ({error.strerror}){hint}") from None
        except (ValueError, RecursionError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{file}: not JSON ({error})") from None
        return cls.from_dict(values, str(file))

    def to_dict(self) -> dict[str, Any]:
        """The JSON object; keys that this project added appear only if they are not default."""
        return {
            item.name.upper(): getattr(self, item.name)
            for item in dataclasses.fields(self)
            if item.default is dataclasses.MISSING or getattr(self, item.name) != item.default
        }

    def replace(self, **changes: Any) -> Config:
        """A copy with some fields changed; it is checked again."""
        return dataclasses.replace(self, **changes)

    def hardware(self) -> dict[str, Any]:
        """The values that define the hardware: every key except `TARGET` and `HW_VER`.

        A machine with encoding 0.0.3 has one more entry.
        """
        sizes = {
            item.name.upper(): getattr(self, item.name)
            for item in dataclasses.fields(self)
            if item.name not in ("target", "hw_ver")
        }
        return sizes | ({"REQUANTISES": True} if self.requantises else {})

    def encoding(self) -> dict[str, Any]:
        """The part of `hardware` that a linked stream depends on: number widths, tiles, depths.

        Encoding 0.0.3 is not included, because it only adds instructions. `vta.isa.Isa.first_new`
        finds the first instruction in a stream that needs it.
        """
        unseen = ("LOG_BUS_WIDTH", "ADDR_WIDTH", "MAX_BURST", "LOG_INSN_QUEUE", "REQUANTISES")
        return {key: value for key, value in self.hardware().items() if key not in unseen}

    def encoding_difference(self, other: Config) -> str:
        """The differences that decide whether one can run the other's programs; "" if none."""
        mine, theirs = self.encoding(), other.encoding()
        return ", ".join(
            f"{key} {mine[key]} here, {theirs[key]} there"
            for key in mine
            if mine[key] != theirs[key]
        )

    @property
    def requantises(self) -> bool:
        """Whether the machine has encoding 0.0.3: the ALU's QNT and MOV, and LOAD's `pad_min`."""
        return self.hw_ver == "0.0.3"

    # -- numbers ---------------------------------------------------------------------------------

    @property
    def log_out_width(self) -> int:
        return self.log_inp_width

    @property
    def log_out_buff_size(self) -> int:
        return self.log_acc_buff_size + self.log_out_width - self.log_acc_width

    @property
    def inp_width(self) -> int:
        """Bits of one INP number; `wgt_width`, `acc_width`, `out_width` likewise."""
        return 1 << self.log_inp_width

    @property
    def wgt_width(self) -> int:
        return 1 << self.log_wgt_width

    @property
    def acc_width(self) -> int:
        return 1 << self.log_acc_width

    @property
    def out_width(self) -> int:
        return 1 << self.log_out_width

    @property
    def batch(self) -> int:
        return 1 << self.log_batch

    @property
    def block(self) -> int:
        """BLOCK_IN and BLOCK_OUT, which are always equal in this project."""
        return 1 << self.log_block

    # -- elements (tiles), in bytes --------------------------------------------------------------

    def elem_bytes(self, kind: MemoryType) -> int:
        """Bytes in DRAM of one element of a memory; also as `uop_elem_bytes` and so on."""
        return int(getattr(self, f"{kind.name.lower()}_elem_bytes"))

    def log_elem_bytes(self, kind: MemoryType) -> int:
        """The binary logarithm of `elem_bytes`."""
        return self.elem_bytes(kind).bit_length() - 1

    @property
    def uop_elem_bytes(self) -> int:
        return UOP_BITS // 8

    @property
    def inp_elem_bytes(self) -> int:
        return self.batch * self.block * self.inp_width // 8

    @property
    def wgt_elem_bytes(self) -> int:
        return self.block * self.block * self.wgt_width // 8

    @property
    def acc_elem_bytes(self) -> int:
        return self.batch * self.block * self.acc_width // 8

    @property
    def out_elem_bytes(self) -> int:
        return self.batch * self.block * self.out_width // 8

    @property
    def acc_8bit_elem_bytes(self) -> int:
        """Bytes in DRAM of an element that LOAD ACC_8BIT reads."""
        return self.batch * self.block

    # -- depths, in elements ---------------------------------------------------------------------

    def depth(self, kind: MemoryType) -> int:
        """Elements in a memory (for ACC_8BIT those of ACC); also as `uop_depth` and so on."""
        return 1 << self.log_depth(kind)

    def log_depth(self, kind: MemoryType) -> int:
        """The binary logarithm of `depth`."""
        memory = MemoryType.ACC if kind == MemoryType.ACC_8BIT else kind
        return int(getattr(self, f"log_{memory.name.lower()}_depth"))

    @property
    def log_uop_depth(self) -> int:
        return self.log_uop_buff_size - 2

    @property
    def log_inp_depth(self) -> int:
        return self.log_inp_buff_size - (self.inp_elem_bytes.bit_length() - 1)

    @property
    def log_wgt_depth(self) -> int:
        return self.log_wgt_buff_size - (self.wgt_elem_bytes.bit_length() - 1)

    @property
    def log_acc_depth(self) -> int:
        return self.log_acc_buff_size - (self.acc_elem_bytes.bit_length() - 1)

    @property
    def log_out_depth(self) -> int:
        return self.log_acc_depth

    @property
    def uop_depth(self) -> int:
        return 1 << self.log_uop_depth

    @property
    def inp_depth(self) -> int:
        return 1 << self.log_inp_depth

    @property
    def wgt_depth(self) -> int:
        return 1 << self.log_wgt_depth

    @property
    def acc_depth(self) -> int:
        return 1 << self.log_acc_depth

    @property
    def out_depth(self) -> int:
        return self.acc_depth

    # -- the bus ---------------------------------------------------------------------------------

    @property
    def bus_width(self) -> int:
        """Data bits of the memory bus."""
        return 1 << self.log_bus_width

    @property
    def bus_bytes(self) -> int:
        return self.bus_width // 8

    @property
    def insn_queue_depth(self) -> int:
        return 1 << self.log_insn_queue

    @property
    def bitstream(self) -> str:
        """VTA's name for a bitstream of this configuration, such as 1x16_i8w8a32_15_15_18_17."""
        sizes = "_".join(
            str(getattr(self, f"log_{memory}_buff_size")) for memory in ("uop", "inp", "wgt", "acc")
        )
        return (
            f"{self.batch}x{self.block}_i{self.inp_width}w{self.wgt_width}a{self.acc_width}_{sizes}"
        )


_ALLOWED: dict[str, tuple[int, ...] | range] = {
    item.name: item.metadata["allowed"]
    for item in dataclasses.fields(Config)
    if "allowed" in item.metadata
}
"""The allowed values of each number; the other numbers may restrict them further."""

_TILE = ("log_inp_width", "log_wgt_width", "log_acc_width", "log_batch", "log_block")
"""The numbers that the size of an element depends on."""


def _without_repeats(values: dict[str, Any], source: str) -> dict[str, Any]:
    """`values` with `LOG_BLOCK` instead of its two older keys, and without derived keys."""
    for groups in (
        ("LOG_BLOCK", "LOG_BLOCK_IN", "LOG_BLOCK_OUT"),
        ("LOG_OUT_WIDTH", "LOG_INP_WIDTH"),
    ):
        given = [key for key in groups if key in values]
        for key in given[1:]:
            if repr(values[key]) != repr(values[given[0]]):
                raise ConfigError(
                    f"{source}: {given[0]} and {key} must be equal, not {values[given[0]]!r} and "
                    f"{values[key]!r}"
                )
    if "LOG_BLOCK_IN" in values and "LOG_BLOCK_OUT" in values:
        values = {"LOG_BLOCK": values["LOG_BLOCK_IN"]} | values
    return {
        key: value
        for key, value in values.items()
        if key not in ("LOG_BLOCK_IN", "LOG_BLOCK_OUT", "LOG_OUT_WIDTH")
    }


def _unique(source: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The pairs of a JSON object as a dict; refuses a key that is given twice."""
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise ConfigError(f"{source}: key {twice!r} is given twice")
    return values


def default_path() -> Path:
    """The file that `Config.load()` reads: `$VTA_CONFIG`, else the one in the package."""
    named = os.environ.get("VTA_CONFIG")
    return Path(named) if named else Path(__file__).with_name("vta_config.json")


_DEFAULT = Config(
    target="sim",
    hw_ver="0.0.3",
    log_inp_width=3,
    log_wgt_width=3,
    log_acc_width=5,
    log_batch=0,
    log_block=4,
    log_uop_buff_size=15,
    log_inp_buff_size=15,
    log_wgt_buff_size=18,
    log_acc_buff_size=17,
)

PRESETS = {
    "default": _DEFAULT,
    # Small buffers build and run fast, and tests soon reach the ends of their ranges.
    "tiny": _DEFAULT.replace(
        log_block=3,
        log_uop_buff_size=8,
        log_inp_buff_size=9,
        log_wgt_buff_size=11,
        log_acc_buff_size=11,
    ),
    # Two rows in a tile, odd buffer sizes, a bus wider than an INP element.
    "small": _DEFAULT.replace(
        log_batch=1,
        log_block=3,
        log_uop_buff_size=9,
        log_inp_buff_size=10,
        log_wgt_buff_size=10,
        log_acc_buff_size=11,
        log_bus_width=8,
        max_burst=16,
    ),
    # Fits the LFE5U-85F, whose block RAM and multipliers the default exceeds.
    "ecp5": _DEFAULT.replace(
        log_block=3,
        log_uop_buff_size=14,
        log_inp_buff_size=14,
        log_wgt_buff_size=16,
        log_acc_buff_size=16,
    ),
    "wide": _DEFAULT.replace(
        log_block=5,
        log_uop_buff_size=14,
        log_inp_buff_size=15,
        log_wgt_buff_size=18,
        log_acc_buff_size=17,
        log_bus_width=7,
    ),
    "batch4": _DEFAULT.replace(
        log_batch=2,
        log_block=3,
        log_uop_buff_size=13,
        log_inp_buff_size=14,
        log_wgt_buff_size=15,
        log_acc_buff_size=16,
    ),
}
"""Named configurations for tests and bug reports; a name can replace a file's path."""
