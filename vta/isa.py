"""The instruction set: defines every format once, and derives layouts, packing, decoding, text.

`docs/isa.md` is the specification. Words used throughout:

- *element* (tile): one row of an on-chip buffer; every base, size and stride counts elements.
- Modules have the order ``load``, ``compute``, ``store``; *prev* and *next* are a module's
  neighbours. Token queues keep their traditional names, in which g is the compute module:
  ``l2g`` load to compute, ``g2l`` compute to load, ``g2s`` compute to store, ``s2g`` store to
  compute.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vta.errors import EncodingError
from vta.insn_format import Field, Format

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vta.config import Config

__all__ = [
    "ALU_OPCODE_BITS",
    "DRAM_BITS",
    "IMM_BITS",
    "INSN_BYTES",
    "LOOP_BITS",
    "MAX_IMM",
    "MAX_ITER",
    "MAX_PAD",
    "MAX_SIZE",
    "MAX_TOKENS",
    "MEMORY_TYPE_BITS",
    "OPCODE_BITS",
    "PAD_BITS",
    "SIZE_BITS",
    "SRAM_BITS",
    "TOKEN_BITS",
    "TOKEN_LINKS",
    "TOKEN_QUEUES",
    "UOP_BITS",
    "WORD_BITS",
    "AluOp",
    "Cause",
    "Field",
    "Format",
    "Insn",
    "Isa",
    "MemoryType",
    "ModuleId",
    "Opcode",
    "TokenLink",
    "pack_qnt",
    "unpack_qnt",
]

INSN_BYTES = 16
WORD_BITS = 64
"""An instruction has two words; no field crosses from one into the other."""

UOP_BITS = 32
OPCODE_BITS = 3
MEMORY_TYPE_BITS = 3
ALU_OPCODE_BITS = 3
SRAM_BITS = 16
"""Bits of `sram_base`, which limit the depth of every buffer."""

DRAM_BITS = 32
"""Of `dram_base`."""

SIZE_BITS = 16
"""Bits of `y_size`, `x_size` and `x_stride`."""

PAD_BITS = 4
LOOP_BITS = 14
"""Bits of `iter_out` and `iter_in`."""

IMM_BITS = 16
MAX_SIZE = (1 << SIZE_BITS) - 1
MAX_PAD = (1 << PAD_BITS) - 1
MAX_ITER = (1 << LOOP_BITS) - 1
MAX_IMM = (1 << (IMM_BITS - 1)) - 1
TOKEN_BITS = 16
MAX_TOKENS = (1 << TOKEN_BITS) - 1
"""The most tokens that a queue holds; one more stalls the producer."""

TOKEN_QUEUES = ("l2g", "g2l", "g2s", "s2g")


class TokenLink(NamedTuple):
    """The two token queues between a module and its neighbour on one side."""

    pops: str
    pushes: str


class Opcode(enum.IntEnum):
    """Bits 0 to 2 of every instruction."""

    LOAD = 0
    STORE = 1
    GEMM = 2
    FINISH = 3
    ALU = 4


class MemoryType(enum.IntEnum):
    """`memory_type` of LOAD and STORE."""

    UOP = 0
    WGT = 1
    INP = 2
    ACC = 3
    OUT = 4
    ACC_8BIT = 5


class AluOp(enum.IntEnum):
    """`alu_opcode`."""

    MIN = 0
    MAX = 1
    ADD = 2
    SHR = 3
    MUL = 4
    QNT = 5
    """Encoding 0.0.3: requantises a tile to int8, with a binary32 scale for each lane."""
    MOV = 6
    """Encoding 0.0.3: copies the second operand."""


class ModuleId(enum.IntEnum):
    """The module that executes an instruction, by its number in the error registers."""

    FETCH = 0
    LOAD = 1
    COMPUTE = 2
    STORE = 3


TOKEN_LINKS = {
    (ModuleId.LOAD, "next"): TokenLink(pops="g2l", pushes="l2g"),
    (ModuleId.COMPUTE, "prev"): TokenLink(pops="l2g", pushes="g2l"),
    (ModuleId.COMPUTE, "next"): TokenLink(pops="s2g", pushes="g2s"),
    (ModuleId.STORE, "prev"): TokenLink(pops="g2s", pushes="s2g"),
}
"""Queues by module and side; a missing side has no neighbour, and a token for it is illegal."""


class Cause(enum.IntEnum):
    """Why a machine stopped; the causes are checked in this order."""

    NONE = 0
    ILLEGAL_OPCODE = 1
    ILLEGAL_TOKEN = 2
    ILLEGAL_MEMORY_TYPE = 3
    ILLEGAL_ALU_OPCODE = 4
    ILLEGAL_PADDING = 5
    SRAM_RANGE = 6
    MEMORY_RESPONSE = 7
    NO_FINISH = 8
    MISALIGNED_BASE = 9
    DEADLOCK = 10
    TIMEOUT = 11


def _name(kind: type[enum.IntEnum], value: int, otherwise: str) -> str:
    try:
        return kind(value).name
    except ValueError:
        return f"{otherwise}_{value}"


COMMON = (
    Field("opcode", OPCODE_BITS, "what to do"),
    Field("pop_prev", 1, "wait for a token of the module before"),
    Field("pop_next", 1, "wait for a token of the module after"),
    Field("push_prev", 1, "give the module before a token at the end"),
    Field("push_next", 1, "give the module after a token at the end"),
)


_OPCODE_MASK = (1 << OPCODE_BITS) - 1


@dataclass(frozen=True)
class Insn:
    """One decoded instruction, for simulators, printer, verifier and statistics.

    `values` holds every field of the instruction's format by name; fields can also be read as
    attributes (``insn.x_size``). `opcode` is the number in the stream, which may be illegal.
    """

    index: int
    opcode: int
    values: Mapping[str, int]

    def __getattr__(self, name: str) -> int:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(f"{self.name} has no field {name!r}") from None

    @property
    def name(self) -> str:
        """`LOAD`, `STORE`, `GEMM`, `FINISH`, `ALU`, or `OPCODE_n` if illegal."""
        return _name(Opcode, self.opcode, "OPCODE")

    @property
    def module(self) -> ModuleId:
        """The module to which fetch sends it (docs/isa.md, "Dispatch")."""
        if self.opcode == Opcode.STORE:
            return ModuleId.STORE
        if self.opcode == Opcode.LOAD and self.memory_type in (MemoryType.INP, MemoryType.WGT):
            return ModuleId.LOAD
        return ModuleId.COMPUTE

    @property
    def pops(self) -> tuple[str, ...]:
        """The neighbours whose tokens it waits for: "prev", "next", both or none."""
        return tuple(side for side in ("prev", "next") if self.values[f"pop_{side}"])

    @property
    def pushes(self) -> tuple[str, ...]:
        """The neighbours that it sends tokens to: "prev", "next", both or none."""
        return tuple(side for side in ("prev", "next") if self.values[f"push_{side}"])

    def __str__(self) -> str:
        tokens = [f"{verb}:{queue}" for verb, queue in self.tokens]
        return " ".join([self.operation, *self._operands(), *tokens])

    @property
    def operation(self) -> str:
        """The operation without operands: ``LOAD INP``, ``ALU ADD``, ``GEMM RESET``."""
        if self.opcode in (Opcode.LOAD, Opcode.STORE):
            return f"{self.name} {_name(MemoryType, self.memory_type, 'TYPE')}"
        if self.opcode == Opcode.ALU:
            return f"ALU {_name(AluOp, self.alu_opcode, 'OPCODE')}"
        if self.opcode == Opcode.GEMM and self.reset:
            return "GEMM RESET"
        return self.name

    def _operands(self) -> Iterator[str]:
        value = self.values
        if self.opcode in (Opcode.LOAD, Opcode.STORE):
            yield f"sram={value['sram_base']} dram={value['dram_base']:#x}"
            yield f"size={value['y_size']}x{value['x_size']} stride={value['x_stride']}"
            pads = [value[name] for name in ("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1")]
            if any(pads):
                yield "pad=y{}+{},x{}+{}".format(*pads)
            if value.get("pad_min"):
                yield "pad_min"
        elif self.opcode in (Opcode.GEMM, Opcode.ALU):
            yield f"uop={value['uop_bgn']}:{value['uop_end']}"
            yield f"iter={value['iter_out']}x{value['iter_in']}"
            for name in ("dst", "src", "wgt"):
                if f"{name}_factor_out" in value:
                    yield f"{name}={value[f'{name}_factor_out']},{value[f'{name}_factor_in']}"
            if self.opcode == Opcode.ALU and value["alu_opcode"] == AluOp.QNT:
                yield "zero_point={} lower={}".format(*unpack_qnt(value["imm"]))
            elif self.opcode == Opcode.ALU and value["use_imm"]:
                yield f"imm={value['imm']}"

    @property
    def tokens(self) -> tuple[tuple[str, str], ...]:
        """``pop`` or ``push`` and the queue, in the order of the bits; a neighbour that does not
        exist is ``prev?`` or ``next?``."""

        def link(side: str) -> TokenLink:
            return TOKEN_LINKS.get((self.module, side), TokenLink(f"{side}?", f"{side}?"))

        return (
            *(("pop", link(side).pops) for side in self.pops),
            *(("push", link(side).pushes) for side in self.pushes),
        )


def pack_qnt(zero_point: int, lower: int) -> int:
    """The `imm` field of a QNT.

    Raises
    ------
    EncodingError
        If a number is not an int8.
    """
    for name, number in (("zero_point", zero_point), ("lower", lower)):
        if not -128 <= number <= 127:
            raise EncodingError(f"ALU.{name} of QNT must be -128 to 127, not {number}")
    return (zero_point & 0xFF) | lower << 8


def unpack_qnt(imm: int) -> tuple[int, int]:
    """`zero_point` and `lower` (both int8) of a QNT's `imm`."""
    return (imm & 0xFF ^ 0x80) - 0x80, imm >> 8


class Isa:
    """The formats of one configuration.

    Attributes
    ----------
    mem, gemm, alu, common : Format
        128-bit instructions; `common` has the fields that all of them share.
    alu_ops : tuple of AluOp
        The ALU operations in the configuration's encoding.
    uop : Format
        The 32-bit micro-op.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        acc, inp, wgt = config.log_acc_depth, config.log_inp_depth, config.log_wgt_depth
        uop = config.log_uop_depth
        new = config.requantises
        self.alu_ops = tuple(op for op in AluOp if new or op <= AluOp.MUL)
        pad_min = Field("pad_min", 1, "LOAD: padding is the least number, not zero")
        loops = (
            Field("uop_bgn", uop, "first micro-op"),
            Field("uop_end", uop + 1, "one past the last micro-op"),
            Field("iter_out", LOOP_BITS, "count of the outer loop"),
            Field("iter_in", LOOP_BITS, "count of the inner loop"),
        )
        self.common = Format("instruction", WORD_BITS, COMMON, ())
        self.mem = Format(
            "LOAD/STORE",
            WORD_BITS,
            (
                *COMMON,
                Field("memory_type", MEMORY_TYPE_BITS, "which buffer"),
                Field("sram_base", SRAM_BITS, "first element on chip"),
                Field(
                    "dram_base", DRAM_BITS, "first element in memory, relative to the base register"
                ),
                *((pad_min,) if new else ()),
            ),
            (
                Field("y_size", SIZE_BITS, "rows"),
                Field("x_size", SIZE_BITS, "elements in a row"),
                Field("x_stride", SIZE_BITS, "elements from row to row in memory"),
                Field("y_pad_0", PAD_BITS, "rows of zeros before"),
                Field("y_pad_1", PAD_BITS, "rows of zeros after"),
                Field("x_pad_0", PAD_BITS, "zeros before each row"),
                Field("x_pad_1", PAD_BITS, "zeros after each row"),
            ),
        )
        self.gemm = Format(
            "GEMM",
            WORD_BITS,
            (*COMMON, Field("reset", 1, "write zeros instead of sums"), *loops),
            (
                Field("dst_factor_out", acc, "step of the ACC index in the outer loop"),
                Field("dst_factor_in", acc, "step of the ACC index in the inner loop"),
                Field("src_factor_out", inp, "step of the INP index in the outer loop"),
                Field("src_factor_in", inp, "step of the INP index in the inner loop"),
                Field("wgt_factor_out", wgt, "step of the WGT index in the outer loop"),
                Field("wgt_factor_in", wgt, "step of the WGT index in the inner loop"),
            ),
        )
        self.alu = Format(
            "ALU",
            WORD_BITS,
            (*COMMON, Field("reset", 1, "ignored"), *loops),
            (
                Field("dst_factor_out", acc, "step of the destination in the outer loop"),
                Field("dst_factor_in", acc, "step of the destination in the inner loop"),
                Field("src_factor_out", acc, "step of the source in the outer loop"),
                Field("src_factor_in", acc, "step of the source in the inner loop"),
                Field("alu_opcode", ALU_OPCODE_BITS, "the operation"),
                Field("use_imm", 1, "the second operand is imm, not acc[src]"),
                Field("imm", IMM_BITS, "the immediate operand", signed=True),
            ),
        )
        self.uop = Format(
            "micro-op",
            UOP_BITS,
            (
                Field("dst_idx", acc, "ACC element"),
                Field("src_idx", max(acc, inp), "INP element (GEMM) or ACC element (ALU)"),
                Field("wgt_idx", wgt, "WGT element"),
            ),
        )

    def is_alu_op(self, alu_opcode: int, use_imm: int) -> bool:
        """Whether an ALU instruction's operation is legal; QNT takes no immediate operand."""
        return alu_opcode <= self.alu_ops[-1] and not (alu_opcode == AluOp.QNT and use_imm)

    def first_new(self, insns: NDArray[np.uint64]) -> Insn | None:
        """The first instruction in a stream that needs encoding 0.0.3, or None.

        Parameters
        ----------
        insns : (n, 2) uint64
            A stream for a configuration with encoding 0.0.3.
        """
        for insn in self.decode_stream(insns):
            new_op = insn.opcode == Opcode.ALU and insn.alu_opcode in (AluOp.QNT, AluOp.MOV)
            if new_op or (insn.opcode == Opcode.LOAD and insn.values.get("pad_min")):
                return insn
        return None

    def format_of(self, opcode: int) -> Format:
        """The format of an opcode's instruction; `common` for FINISH and illegal opcodes."""
        formats: dict[int, Format] = {
            Opcode.LOAD: self.mem,
            Opcode.STORE: self.mem,
            Opcode.GEMM: self.gemm,
            Opcode.ALU: self.alu,
        }
        return formats.get(opcode, self.common)

    def decode(self, word: int, index: int = 0) -> Insn:
        """Decodes an instruction from a 128-bit integer."""
        opcode = word & _OPCODE_MASK
        return Insn(index, opcode, self.format_of(opcode).unpack(word))

    def decode_stream(self, words: NDArray[np.uint64], first: int = 0) -> list[Insn]:
        """The instructions of an (n, 2) uint64 array, numbered from `first` on."""
        decoded: list[Insn | None] = [None] * len(words)
        opcodes = (words[:, 0] & np.uint64(_OPCODE_MASK)).astype(int)
        for opcode in np.unique(opcodes):
            where = np.flatnonzero(opcodes == opcode)
            columns = self.format_of(opcode).unpack_array(words[where])
            rows = zip(*(column.tolist() for column in columns.values()), strict=True)
            for index, row in zip(where.tolist(), rows, strict=True):
                decoded[index] = Insn(
                    first + index, int(opcode), dict(zip(columns, row, strict=True))
                )
        return [insn for insn in decoded if insn is not None]

    @staticmethod
    def words(insns: list[int]) -> NDArray[np.uint64]:
        """128-bit integers as an (n, 2) little-endian uint64 array."""
        raw = b"".join(insn.to_bytes(INSN_BYTES, "little") for insn in insns)
        return np.frombuffer(raw, "<u8").reshape(-1, 2)
