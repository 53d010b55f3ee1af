"""Writes the tables of the pages in `PAGES` from what hardware and software share.

python docs/generate.py           writes them
python docs/generate.py --check   fails if they are not what it would write

A page is prose; a table stands between `<!-- table: NAME -->` and `<!-- end of table -->`.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from vta.compiler.graph.operator_table import ROWS
from vta.config import HW_VERSIONS, PRESETS, TARGETS, Config
from vta.driver.c.flat_program import BUFFER, HEADER, RELOCATION, FlatWord
from vta.isa import AluOp, Cause, Field, Format, Isa, MemoryType, ModuleId, Opcode
from vta.registers import REGISTERS, Bits

__all__ = ["PAGES", "fill", "tables"]

PAGES = ("isa.md", "registers.md", "c_runtime.md", "networks.md")

_PLACE = re.compile(r"(<!-- table: ([\w ]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

_OPCODES = {
    Opcode.LOAD: "from DRAM into a buffer",
    Opcode.STORE: "from OUT to DRAM",
    Opcode.GEMM: "matrix products of tiles, summed in ACC",
    Opcode.FINISH: "end of the program",
    Opcode.ALU: "elementwise operations on ACC",
}
_ELEMENTS = {
    MemoryType.UOP: "one micro-op",
    MemoryType.WGT: "(BLOCK_OUT, BLOCK_IN) of int8, output-major",
    MemoryType.INP: "(BATCH, BLOCK_IN) of int8",
    MemoryType.ACC: "(BATCH, BLOCK_OUT) of int32",
    MemoryType.OUT: "(BATCH, BLOCK_OUT) of int8",
    MemoryType.ACC_8BIT: "in DRAM (BATCH, BLOCK_OUT) of int8",
}
_ALU = {
    AluOp.MIN: "the smaller of both, signed",
    AluOp.MAX: "the larger of both, signed",
    AluOp.ADD: "the sum, wrapping at 32 bits",
    AluOp.SHR: "`y` the second operand: for `y >= 0` an arithmetic shift right by min(`y`, 31); "
    "for `y < 0` a shift left by `-y`, which is 0 if `-y >= 32`",
    AluOp.MUL: "the low 32 bits of the full product",
    AluOp.QNT: "encoding 0.0.3 only: see [QNT](#qnt)",
    AluOp.MOV: "encoding 0.0.3 only: the second operand; see [MOV](#mov)",
}
_CAUSES = {
    Cause.NONE: "no error",
    Cause.ILLEGAL_OPCODE: "an opcode that does not exist",
    Cause.ILLEGAL_TOKEN: "a pop from or push to a neighbour that the module does not have",
    Cause.ILLEGAL_MEMORY_TYPE: "a LOAD of a memory type that cannot be loaded, or a STORE of one "
    "other than OUT",
    Cause.ILLEGAL_ALU_OPCODE: "an ALU operation that the encoding does not have, or QNT with "
    "`use_imm`",
    Cause.ILLEGAL_PADDING: "a STORE with pads",
    Cause.SRAM_RANGE: "an index or range beyond a buffer's depth",
    Cause.MEMORY_RESPONSE: "a response from memory other than OKAY, or an address beyond "
    "`ADDR_WIDTH`",
    Cause.NO_FINISH: "the stream ended without FINISH; the module is fetch, the index `insn_count`",
    Cause.MISALIGNED_BASE: "a base register or the instruction pointer is misaligned at launch",
    Cause.DEADLOCK: "every module waits for a token",
    Cause.TIMEOUT: "no progress for as many cycles as the `watchdog` register says",
}


def tables() -> dict[str, str]:
    """Every table as Markdown, by its name."""
    config = PRESETS["default"]
    isa = Isa(config)
    return {
        "parameters": _table(("key", "default", "legal", "what"), _parameters(config)),
        "memories": _table(
            ("memory", "`memory_type`", "one element", "bytes in DRAM", "depth"),
            (
                (
                    memory.name,
                    int(memory),
                    _ELEMENTS[memory],
                    config.elem_bytes(memory),
                    _depth(config, memory),
                )
                for memory in MemoryType
            ),
        ),
        "common": _format_table(isa.common),
        "opcodes": _table(
            ("opcode", "number", "what"), ((op.name, int(op), _OPCODES[op]) for op in Opcode)
        ),
        "uop": _format_table(isa.uop),
        "modules": _table(
            ("module", "number"), ((module.name.lower(), int(module)) for module in ModuleId)
        ),
        "mem": _format_table(isa.mem, skip=isa.common.fields),
        "gemm": _format_table(isa.gemm, skip=isa.common.fields),
        "alu": _format_table(isa.alu, skip=isa.common.fields),
        "alu operations": _table(
            ("operation", "`alu_opcode`", "result"), ((op.name, int(op), _ALU[op]) for op in AluOp)
        ),
        "causes": _table(
            ("cause", "number", "what"),
            ((f"`{cause.name.lower()}`", int(cause), _CAUSES[cause]) for cause in Cause),
        ),
        "registers": _table(
            ("offset", "name", "access", "reset", "what"),
            (
                (
                    f"`{register.offset:#05x}`",
                    f"`{register.name}`",
                    register.access,
                    "" if register.access == "ro" else f"`{register.reset:#x}`",
                    register.doc,
                )
                for register in REGISTERS
            ),
        ),
        "fields": _register_fields(),
        "onnx operators": _table(
            ("operator", "also as", "which cases"),
            ((row.kind, ", ".join(row.also), row.what) for row in ROWS.values()),
        ),
        "flat header": _flat_table(HEADER),
        "flat buffer": _flat_table(BUFFER),
        "flat relocation": _flat_table(RELOCATION),
    }


def fill(text: str) -> str:
    """A page with its tables written anew."""
    known = tables()
    return _PLACE.sub(lambda place: f"{place[1]}\n{known[place[2]]}\n{place[3]}", text)


def _parameters(config: Config) -> Iterable[Sequence[object]]:
    for item in dataclasses.fields(Config):
        default = getattr(config, item.name)
        if item.name == "target":
            legal = f"any name; with a back end: {' '.join(TARGETS)}"
        elif item.name == "hw_ver":
            legal = " ".join(HW_VERSIONS)
        else:
            allowed = item.metadata["allowed"]
            legal = (
                f"{allowed[0]} to {allowed[-1]}"
                if isinstance(allowed, range)
                else " ".join(str(number) for number in allowed)
            )
        yield f"`{item.name.upper()}`", default, legal, item.metadata["doc"]


def _register_fields() -> str:
    """The fields of each register that has any; registers with the same fields share a table."""
    owners: dict[tuple[Bits, ...], list[str]] = {}
    for register in REGISTERS:
        if register.fields:
            owners.setdefault(register.fields, []).append(register.name)
    return "\n".join(
        f"### {', '.join(names)}\n\n"
        + _table(
            ("bits", "name", "what"),
            ((_bits(field.low, field.bits), f"`{field.name}`", field.doc) for field in fields),
        )
        for fields, names in owners.items()
    )


def _depth(config: Config, memory: MemoryType) -> int | str:
    return "that of ACC" if memory == MemoryType.ACC_8BIT else config.depth(memory)


def _format_table(form: Format, skip: Sequence[Field] = ()) -> str:
    def rows() -> Iterable[Sequence[object]]:
        for index, word in enumerate(form.words):
            for field in word:
                if field not in skip:
                    low = form.offset(field.name) - index * form.word_bits
                    kind = "signed; " if field.signed else ""
                    yield index, _bits(low, field.bits), f"`{field.name}`", kind + field.doc

    return _table(("word", "bits", "field", "what"), rows())


def _flat_table(words: Sequence[FlatWord]) -> str:
    return _table(
        ("offset", "word", "what"),
        ((4 * index, f"`{word.name}`", word.doc) for index, word in enumerate(words)),
    )


def _bits(low: int, count: int) -> str:
    return f"{low}" if count == 1 else f"{low + count - 1}:{low}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Writes the tables, or with ``--check`` compares them."""
    folder = Path(__file__).resolve().parent
    stale = []
    for name in PAGES:
        path = folder / name
        text = path.read_text(encoding="utf-8")
        if "--check" not in arguments:
            path.write_text(fill(text), encoding="utf-8")
        elif text != fill(text):
            stale.append(name)
    if stale:
        sys.stderr.write(f"out of date: {', '.join(stale)} (run python docs/generate.py)\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
