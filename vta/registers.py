"""The register map: hardware, driver and documentation are derived from `REGISTERS`.

Registers are 32-bit words on AXI4-Lite (docs/isa.md, "Registers").
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from vta.config import Config
from vta.isa import TOKEN_BITS

__all__ = [
    "BY_NAME",
    "ID",
    "MEMORIES",
    "MODULES",
    "POINTERS",
    "REGISTERS",
    "HostAccess",
    "Bits",
    "Register",
    "config_words",
    "field_of",
    "VERSIONS",
    "version_word",
]

ID = 0x2D415456
"""The value of `id`: the bytes "VTA-"."""


VERSIONS = {0x0000_0200: "0.0.2", 0x0000_0300: "0.0.3"}
"""The encodings by the value of `version`; 0.0.1 is the encoding of 0.0.2."""


class HostAccess(enum.StrEnum):
    """How the host may access a register. The hardware is built from this."""

    RW = "rw"
    """The host writes it and reads it back; the register file stores it."""

    RO = "ro"
    """The host can only read it."""

    W1 = "w1"
    """Writing 1 to a bit triggers an action; the hardware supplies the value that is read."""


@dataclass(frozen=True)
class Bits:
    """A named part of a register, from bit `low`."""

    name: str
    low: int
    bits: int
    doc: str


@dataclass(frozen=True)
class Register:
    """One 32-bit word at byte `offset`.

    Attributes
    ----------
    reset : int
        The value of an ``rw`` register at power-on.
    always : bool
        Whether the host may write it while the machine runs. Other ``rw`` registers ignore such
        writes.
    from_core : bool
        Whether the core supplies the value instead of the register file.
    """

    offset: int
    name: str
    access: HostAccess
    doc: str
    fields: tuple[Bits, ...] = ()
    reset: int = 0
    always: bool = False
    from_core: bool = False

    def bits(self, config: Config) -> int:
        """The number of its bits, from bit 0; the others read 0 and ignore writes."""
        if self.fields:
            return max(field.low + field.bits for field in self.fields)
        if self.name.endswith("_ptr_hi"):
            return config.addr_width - 32
        return 32


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
    (
        ("log_inp_width", 4),
        ("log_wgt_width", 4),
        ("log_acc_width", 4),
        ("log_batch", 4),
        ("log_block", 4),
        ("log_bus_width", 4),
    ),
    (
        ("log_uop_buff_size", 8),
        ("log_inp_buff_size", 8),
        ("log_wgt_buff_size", 8),
        ("log_acc_buff_size", 8),
    ),
    (("addr_width", 8), ("log_insn_queue", 8), ("max_burst", 16)),
)
"""The words `config_0`, `config_1`, ...: keys of the configuration and their bits, from bit 0."""

_EVENT_FIELDS = (Bits("done", 0, 1, "a run ended"), Bits("error", 1, 1, "the machine halted"))


def _reference_design() -> Iterator[Register]:
    """The registers of the reference design, so that its drivers work."""
    yield Register(
        0x00,
        "control",
        HostAccess.W1,
        "start and stop",
        (
            Bits("launch", 0, 1, "write 1 to run; reads 1 while running"),
            Bits("done", 1, 1, "the last run ended without error"),
            Bits(
                "reset",
                2,
                1,
                "write 1 to empty queues, tokens, counters and errors; reads 1 until that is done",
            ),
        ),
    )
    yield Register(
        0x04, "cycle_count", HostAccess.RO, "cycles of the last run, from launch to done"
    )
    yield Register(0x08, "insn_count", HostAccess.RW, "instructions in the stream")
    for index, name in enumerate(POINTERS):
        doc = (
            "byte address of the first instruction"
            if name == "insn"
            else f"base byte address of {name.upper()}, low 32 bits"
        )
        yield Register(0x0C + 4 * index, f"{name}_ptr", HostAccess.RW, doc)
    yield Register(
        0x24,
        "tile_count",
        HostAccess.RO,
        "tiles written by GEMM and ALU, resets included",
        from_core=True,
    )


def _identity() -> Iterator[Register]:
    """The identity of the hardware."""
    yield Register(0x40, "id", HostAccess.RO, f"{ID:#010x}, the bytes 'VTA-'")
    yield Register(0x44, "version", HostAccess.RO, "version of the encoding, then of this map")
    for index, keys in enumerate(_CONFIG_FIELDS):
        fields, low = [], 0
        for key, bits in keys:
            fields.append(Bits(key, low, bits, key.upper()))
            low += bits
        yield Register(
            0x48 + 4 * index, f"config_{index}", HostAccess.RO, "the configuration", tuple(fields)
        )


def _events() -> Iterator[Register]:
    """Errors, interrupts, tokens, and the high halves of pointers."""
    yield Register(
        0x54,
        "error",
        HostAccess.RO,
        "why the machine halted",
        (
            Bits("cause", 0, 4, "0 none, else a cause by its number"),
            Bits("module", 4, 2, "0 fetch, 1 load, 2 compute, 3 store"),
        ),
    )
    yield Register(
        0x58, "error_index", HostAccess.RO, "position in the stream of the error's instruction"
    )
    yield Register(
        0x5C,
        "irq_enable",
        HostAccess.RW,
        "which events raise the interrupt",
        _EVENT_FIELDS,
        always=True,
    )
    yield Register(
        0x60,
        "irq_status",
        HostAccess.W1,
        "which events have happened; write 1 to clear",
        _EVENT_FIELDS,
    )
    yield Register(
        0x64,
        "watchdog",
        HostAccess.RW,
        "cycles without progress until timeout; 0 for never",
        reset=1 << 20,
    )
    for offset, name, doc, queues in (
        (0x68, "tokens_prev", "load and compute", ("l2g", "g2l")),
        (0x6C, "tokens_next", "compute and store", ("g2s", "s2g")),
    ):
        ends = {"l": "load", "g": "compute", "s": "store"}
        yield Register(
            offset,
            name,
            HostAccess.RO,
            f"tokens between {doc}",
            tuple(
                Bits(
                    queue,
                    place * TOKEN_BITS,
                    TOKEN_BITS,
                    f"from {ends[queue[0]]} to {ends[queue[2]]}",
                )
                for place, queue in enumerate(queues)
            ),
            from_core=True,
        )
    for index, name in enumerate(POINTERS):
        yield Register(
            0x70 + 4 * index, f"{name}_ptr_hi", HostAccess.RW, f"bits 32 and up of {name}_ptr"
        )


def _status() -> Iterator[tuple[str, str, tuple[Bits, ...]]]:
    for module in MODULES:
        yield f"{module}_status", f"what {module} is doing", STATUS_FIELDS
        yield f"{module}_index", f"position of {module}'s current instruction", ()


def _counters() -> Iterator[tuple[str, str, tuple[Bits, ...]]]:
    for module in MODULES:
        yield f"{module}_busy", f"cycles in which {module} executed", ()
        yield f"{module}_wait_token", f"cycles in which {module} waited for a token", ()
        yield f"{module}_wait_memory", f"cycles in which {module} waited for memory", ()
    for memory in MEMORIES:
        verb = "written from" if memory == "out" else "read for"
        doc = f"bytes {verb} {memory.upper()} by instructions that have retired"
        yield f"{memory}_bytes", doc, ()
    yield "gemm_ops", "tiles that GEMM multiplied; resets do not count", ()
    yield "reset_ops", "tiles that GEMM set to zero", ()
    yield "alu_ops", "tiles that the ALU wrote", ()
    for module in MODULES[1:]:
        yield f"{module}_insns", f"instructions that {module} retired", ()


def _from_core(
    offset: int, registers: Iterator[tuple[str, str, tuple[Bits, ...]]]
) -> Iterator[Register]:
    """Consecutive registers from `offset` on that show the core's state."""
    for index, (name, doc, fields) in enumerate(registers):
        yield Register(offset + 4 * index, name, HostAccess.RO, doc, fields, from_core=True)


REGISTERS = (
    *_reference_design(),
    *_identity(),
    *_events(),
    *_from_core(0x90, _status()),
    *_from_core(0xC0, _counters()),
)
BY_NAME = {register.name: register for register in REGISTERS}


def field_of(register: str, name: str) -> Bits:
    """A field of a register, by the register's and the field's name."""
    return next(field for field in BY_NAME[register].fields if field.name == name)


def version_word(config: Config) -> int:
    """The value of `version`: the encoding (2 for 0.0.2), and revision 0 of this map's own part."""
    encoding = "0.0.3" if config.requantises else "0.0.2"
    return next(word for word, name in VERSIONS.items() if name == encoding)


def config_words(config: Config) -> tuple[int, ...]:
    """The values of `config_0`, `config_1`, ... on hardware of this configuration."""
    return tuple(
        sum(getattr(config, bits.name) << bits.low for bits in BY_NAME[f"config_{index}"].fields)
        for index in range(len(_CONFIG_FIELDS))
    )
