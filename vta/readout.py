"""What the machine's registers say: whether it is the right one, and how a run ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vta.errors import Fault
from vta.isa import TOKEN_LINKS, Cause, ModuleId
from vta.program import RunReport
from vta.registers import (
    BY_NAME,
    ID,
    MODULES,
    REGISTERS,
    VERSIONS,
    config_words,
    field_of,
    version_word,
)

if TYPE_CHECKING:
    from vta.config import Config

__all__ = ["STAT_COUNTERS", "Readout", "field_value", "identity_problem"]

_WAITS = tuple(
    (module.name.lower(), flag, queue)
    for (module, side), link in TOKEN_LINKS.items()
    for flag, queue in ((f"pop_{side}", link.pops), (f"push_{side}", f"{link.pushes} full"))
)
"""Each module, a flag in its status register, and the queue that the flag refers to."""

STAT_COUNTERS = {
    "load_insns": ("load_insns",),
    "compute_insns": ("compute_insns",),
    "store_insns": ("store_insns",),
    "uop_load_nbytes": ("uop_bytes",),
    "inp_load_nbytes": ("inp_bytes",),
    "wgt_load_nbytes": ("wgt_bytes",),
    "acc_load_nbytes": ("acc_bytes", "acc_8bit_bytes"),
    "out_store_nbytes": ("out_bytes",),
    "gemm_counter": ("gemm_ops",),
    "reset_counter": ("reset_ops",),
    "alu_counter": ("alu_ops",),
}
"""The statistics that the ISA defines, each the sum of some counter registers."""

_COUNTERS = tuple(
    register.name
    for register in REGISTERS
    if register.name == "tile_count" or register.offset >= BY_NAME["fetch_busy"].offset
)

# Faults that do not belong to one instruction, or whose instruction cannot be read.
_NO_INSN = ("misaligned_base", "no_finish")


def identity_problem(
    config: Config, read: Callable[[str], int], *, programs_only: bool = False
) -> str:
    """Why a machine is not the one of a configuration, in words; "" if it is.

    Parameters
    ----------
    config : Config
    read : callable
        The value of a register, by name.
    programs_only : bool
        Whether to compare only what decides whether programs for the configuration run.
    """
    # Hardware with encoding 0.0.3 executes programs of 0.0.2.
    versions = {version_word(config)}
    if programs_only:
        versions.add(version_word(config.replace(hw_ver="0.0.3")))
    for name, legal in (("id", {ID}), ("version", versions)):
        found = read(name)
        if found not in legal:
            other = VERSIONS.get(found) if name == "version" else None
            if other and (other == "0.0.3") != config.requantises:
                return (
                    f"the hardware has encoding {other}, and the configuration has HW_VER "
                    f"{config.hw_ver}"
                )
            wanted = " or ".join(f"{word:#010x}" for word in sorted(legal))
            return f"the hardware's {name} register must read {wanted}, not {found:#010x}"
    decisive = config.encoding()
    differences = []
    for index, expected in enumerate(config_words(config)):
        name = f"config_{index}"
        found = read(name)
        differences += [
            f"{bits.doc} is {_part(found, bits.low, bits.bits)} in hardware and "
            f"{_part(expected, bits.low, bits.bits)} here"
            for bits in BY_NAME[name].fields
            if _part(found ^ expected, bits.low, bits.bits)
            and (not programs_only or bits.name.upper() in decisive)
        ]
    if differences:
        return "the hardware was made for another configuration: " + ", ".join(differences)
    return ""


class Readout:
    """The registers of a machine that has ended a run.

    Parameters
    ----------
    read : callable
        The value of a register, by name.
    text : callable
        The instruction at a position of the stream, as text; "" if there is none.
    """

    def __init__(self, read: Callable[[str], int], text: Callable[[int], str]) -> None:
        self._read, self._text = read, text

    def report(
        self, target: str, cycles: int, fault: Fault | None, *, seconds: float | None = None
    ) -> RunReport:
        """The report of the run."""
        counters = {name: self._read(name) for name in _COUNTERS}
        stats = {
            name: sum(counters[counter] for counter in parts)
            for name, parts in STAT_COUNTERS.items()
        }
        return RunReport(
            target=target,
            cycles=cycles,
            stats=stats,
            fault=fault,
            counters=counters,
            instructions=sum(stats[f"{module}_insns"] for module in MODULES[1:]),
            seconds=seconds,
        )

    def fault(self) -> Fault | None:
        """The fault in the error registers, with its instruction and the waiting modules."""
        error, index = self._read("error"), self._read("error_index")
        if not error:
            return None
        cause = Cause(field_value("error", "cause", error)).name.lower()
        module = ModuleId(field_value("error", "module", error)).name.lower()
        insn = "" if cause in _NO_INSN else self._text(index)
        waiting = self._waiting() if cause == "deadlock" else ()
        return Fault(cause=cause, module=module, insn_index=index, insn=insn, waiting=waiting)

    def timeout(self, max_cycles: int | None) -> Fault:
        """The fault of a run that takes too long, in the module with the earliest instruction."""
        active = [
            (self._read(f"{module}_index"), module)
            for module in MODULES
            if self._read(f"{module}_status") & 0x1F
        ]
        index, module = min(
            active, key=lambda entry: entry[0], default=(self._read("fetch_index"), "fetch")
        )
        return Fault(
            cause="timeout",
            module=module,
            insn_index=index,
            insn=self._text(index),
            detail=f"the run takes more than {max_cycles} cycles",
        )

    def _waiting(self) -> tuple[dict[str, Any], ...]:
        entries = []
        for module in MODULES[1:]:
            status = self._read(f"{module}_status")
            queues = [
                queue
                for waiter, flag, queue in _WAITS
                if waiter == module and field_value(f"{module}_status", flag, status)
            ]
            if queues:
                index = self._read(f"{module}_index")
                entries.append(
                    {
                        "module": module,
                        "insn_index": index,
                        "insn": self._text(index),
                        "token": " and ".join(queues),
                    }
                )
        return tuple(sorted(entries, key=lambda entry: entry["insn_index"]))


def field_value(register: str, name: str, word: int) -> int:
    """The value of a field of a register that reads `word`."""
    bits = field_of(register, name)
    return _part(word, bits.low, bits.bits)


def _part(word: int, low: int, bits: int) -> int:
    return (word >> low) & ((1 << bits) - 1)
