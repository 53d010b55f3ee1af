"""The register map, once: hardware, driver and documentation are derived from `REGISTERS`.

32-bit words on AXI4-Lite (docs/isa.md, "Registers"). Access ``rw`` is written by the host and read
back, ``ro`` is read only, ``w1`` has bits that act when 1 is written. Writes while the machine runs
are ignored, but for `control.reset`, `irq_enable` and `irq_status`.
"""

from __future__ import annotations

from dataclasses import dataclass

from vta.config import Config
from vta.isa import TOKEN_BITS

__all__ = ["BY_NAME", "ID", "REGISTERS", "VERSION", "Bits", "Register", "config_words"]

ID = 0x2D415456
"""What `id` reads: the bytes "VTA-"."""

VERSION = 0x0000_0200
"""What `version` reads: encoding 0.0.2, revision 0 of this project's own registers."""


@dataclass(frozen=True)
class Bits:
    """A named part of a register, from bit `low`."""

    name: str
    low: int
    bits: int
    doc: str


@dataclass(frozen=True)
class Register:
    """One 32-bit word at byte `offset`."""

    offset: int
    name: str
    access: str
    doc: str
    fields: tuple[Bits, ...] = ()
    reset: int = 0


POINTERS = ("insn", "uop", "inp", "wgt", "acc", "out")
MODULES = ("fetch", "load", "compute", "store")
MEMORIES = ("uop", "wgt", "inp", "acc", "out", "acc_8bit")

STATUS_FIELDS = (
    Bits("busy", 0, 1, "executes an instruction"),
    Bits("pop_prev", 1, 1, "waits for a token of the module before"),
    Bits("pop_next", 2, 1, "waits for a token of the module after"),
    Bits("push_prev", 3, 1, "waits for room in the queue to the module before"),
    Bits("push_next", 4, 1, "waits for room in the queue to the module after"),
    Bits("cause", 8, 4, "why it stopped; 0 while it has not"),
)

_CONFIG_FIELDS = (
    ("log_inp_width", "log_wgt_width", "log_acc_width", "log_batch", "log_block", "log_bus_width"),
    ("log_uop_buff_size", "log_inp_buff_size", "log_wgt_buff_size", "log_acc_buff_size"),
    ("addr_width", "log_insn_queue"),
)
_CONFIG_BITS = (4, 8, 8)


def _build() -> tuple[Register, ...]:
    registers = [
        Register(
            0x00,
            "control",
            "w1",
            "start and stop",
            (
                Bits("launch", 0, 1, "write 1 to run; reads 1 while running"),
                Bits("done", 1, 1, "the last run ended without error"),
                Bits(
                    "reset",
                    2,
                    1,
                    "write 1 to empty queues, tokens, counters and errors; reads 1 until through",
                ),
            ),
        ),
        Register(0x04, "cycle_count", "ro", "cycles of the last run, from launch to done"),
        Register(0x08, "insn_count", "rw", "instructions in the stream"),
        *(
            Register(
                0x0C + 4 * index,
                f"{name}_ptr",
                "rw",
                "byte address of the first instruction"
                if name == "insn"
                else f"base byte address of {name.upper()}, low 32 bits",
            )
            for index, name in enumerate(POINTERS)
        ),
        Register(0x24, "tile_count", "ro", "tiles written by GEMM and ALU, resets included"),
        Register(0x40, "id", "ro", f"{ID:#010x}, the bytes 'VTA-'"),
        Register(0x44, "version", "ro", "version of the encoding, then of this map"),
        *(
            Register(
                0x48 + 4 * index,
                f"config_{index}",
                "ro",
                "the configuration",
                tuple(
                    Bits(name, place * _CONFIG_BITS[index], _CONFIG_BITS[index], name.upper())
                    for place, name in enumerate(names)
                ),
            )
            for index, names in enumerate(_CONFIG_FIELDS)
        ),
        Register(
            0x54,
            "error",
            "ro",
            "why the machine halted",
            (
                Bits("cause", 0, 4, "0 none, else a cause by its number"),
                Bits("module", 4, 2, "0 fetch, 1 load, 2 compute, 3 store"),
            ),
        ),
        Register(0x58, "error_index", "ro", "position in the stream of the error's instruction"),
        Register(
            0x5C,
            "irq_enable",
            "rw",
            "which events raise the interrupt",
            (Bits("done", 0, 1, "a run ended"), Bits("error", 1, 1, "the machine halted")),
        ),
        Register(
            0x60,
            "irq_status",
            "w1",
            "which events have happened; write 1 to clear",
            (Bits("done", 0, 1, "a run ended"), Bits("error", 1, 1, "the machine halted")),
        ),
        Register(
            0x64,
            "watchdog",
            "rw",
            "cycles without progress until timeout; 0 for never",
            reset=1 << 20,
        ),
        Register(
            0x68,
            "tokens_prev",
            "ro",
            "tokens between load and compute",
            (
                Bits("l2g", 0, TOKEN_BITS, "from load to compute"),
                Bits("g2l", TOKEN_BITS, TOKEN_BITS, "from compute to load"),
            ),
        ),
        Register(
            0x6C,
            "tokens_next",
            "ro",
            "tokens between compute and store",
            (
                Bits("g2s", 0, TOKEN_BITS, "from compute to store"),
                Bits("s2g", TOKEN_BITS, TOKEN_BITS, "from store to compute"),
            ),
        ),
        *(
            Register(0x70 + 4 * index, f"{name}_ptr_hi", "rw", f"bits 32 and up of {name}_ptr")
            for index, name in enumerate(POINTERS)
        ),
    ]
    offset = 0x90
    for module in MODULES:
        registers.append(
            Register(offset, f"{module}_status", "ro", f"what {module} is doing", STATUS_FIELDS)
        )
        registers.append(
            Register(
                offset + 4, f"{module}_index", "ro", f"position of {module}'s current instruction"
            )
        )
        offset += 8
    offset = 0xC0
    for module in MODULES:
        for event, doc in (
            ("busy", "executed"),
            ("wait_token", "waited for a token"),
            ("wait_memory", "waited for memory"),
        ):
            registers.append(
                Register(offset, f"{module}_{event}", "ro", f"cycles in which {module} {doc}")
            )
            offset += 4
    for memory in MEMORIES:
        verb = "written from" if memory == "out" else "read for"
        registers.append(
            Register(
                offset,
                f"{memory}_bytes",
                "ro",
                f"bytes {verb} {memory.upper()} by instructions that have retired",
            )
        )
        offset += 4
    for name, doc in (
        ("gemm_ops", "tiles that GEMM multiplied; resets do not count"),
        ("reset_ops", "tiles that GEMM set to zero"),
        ("alu_ops", "tiles that the ALU wrote"),
        ("load_insns", "instructions that load retired"),
        ("compute_insns", "instructions that compute retired"),
        ("store_insns", "instructions that store retired"),
    ):
        registers.append(Register(offset, name, "ro", doc))
        offset += 4
    return tuple(registers)


REGISTERS = _build()
BY_NAME = {register.name: register for register in REGISTERS}


def config_words(config: Config) -> tuple[int, ...]:
    """What `config_0`, `config_1`, ... read on hardware of this configuration."""
    return tuple(
        sum(getattr(config, bits.name) << bits.low for bits in BY_NAME[f"config_{index}"].fields)
        for index in range(len(_CONFIG_FIELDS))
    )
