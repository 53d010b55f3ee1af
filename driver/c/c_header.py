"""Writes the constants in `vta.h` from the tables that hardware and software share.

python -m vta.driver.c.c_header          writes them
python -m vta.driver.c.c_header --check  fails if they are not what it would write

The constants are between ``/* generated: NAME */`` and ``/* end of generated NAME */``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from vta.config import PRESETS
from vta.driver.c.flat_program import (
    BUFFER,
    FLAT_VERSION,
    HEADER,
    KINDS_OF_NUMBERS,
    MAGIC,
    RELOCATION,
    FlatWord,
)
from vta.isa import INSN_BYTES, Cause, Isa, ModuleId, Opcode
from vta.program import ROLES
from vta.registers import ID, REGISTERS, VERSIONS, config_words

__all__ = ["HEADER_FILE", "filled", "main"]

HEADER_FILE = Path(__file__).with_name("vta.h")

_PLACE = re.compile(r"(/\* generated: ([\w ]+) \*/\n).*?(/\* end of generated \2 \*/)", re.DOTALL)


def filled(text: str) -> str:
    """The text of a header with its generated parts written anew."""
    parts = {
        "registers": _registers,
        "configuration": _configuration,
        "instructions": _instructions,
        "causes": _causes,
        "roles": _roles,
        "flat form": _flat_form,
    }
    return _PLACE.sub(
        lambda place: place[1] + "".join(f"{line}\n" for line in parts[place[2]]()) + place[3], text
    )


def _registers() -> Iterator[str]:
    yield f"#define VTA_ID {ID:#x}u"
    for word, name in sorted(VERSIONS.items()):
        yield f"#define VTA_VERSION_{name.replace('.', '_')} {word:#x}u"
    for register in REGISTERS:
        yield f"#define VTA_REG_{register.name.upper()} {register.offset:#x}u"
    for register in REGISTERS:
        if register.name.startswith("config_"):
            continue
        for bits in register.fields:
            name = f"VTA_{register.name}_{bits.name}".upper()
            yield f"#define {name}_LOW {bits.low}"
            yield f"#define {name}_MASK {((1 << bits.bits) - 1) << bits.low:#x}u"


def _configuration() -> Iterator[str]:
    config = PRESETS["default"]
    yield f"#define VTA_CONFIG_WORDS {len(config_words(config))}"
    decisive = config.encoding()
    lines, other = [], []
    for register in REGISTERS:
        if not register.name.startswith("config_"):
            continue
        word = int(register.name.removeprefix("config_"))
        for bits in register.fields:
            key = bits.name.upper()
            if key in decisive:
                lines.append(f'    FIELD("{key}", {word}, {bits.low}, {bits.bits})')
            else:
                other += [
                    f"#define VTA_{key}_WORD {word}",
                    f"#define VTA_{key}_LOW {bits.low}",
                    f"#define VTA_{key}_BITS {bits.bits}",
                ]
    yield from other
    yield "/* What decides whether a program runs: key, word of the configuration, low bit, bits */"
    yield from _continued(["#define VTA_DECISIVE_FIELDS(FIELD)", *lines])


def _continued(lines: list[str]) -> Iterator[str]:
    """The lines of one macro."""
    width = max(map(len, lines))
    yield from (f"{line:{width}} \\" for line in lines[:-1])
    yield lines[-1]


def _instructions() -> Iterator[str]:
    mem = Isa(PRESETS["default"]).mem
    yield f"#define VTA_INSN_BYTES {INSN_BYTES}"
    for field in (mem.field("opcode"), mem.field("dram_base")):
        yield f"#define VTA_INSN_{field.name.upper()}_LOW {mem.offset(field.name)}"
        yield f"#define VTA_INSN_{field.name.upper()}_BITS {field.bits}"
    for opcode in (Opcode.LOAD, Opcode.STORE):
        yield f"#define VTA_OPCODE_{opcode.name} {int(opcode)}"


def _causes() -> Iterator[str]:
    yield "typedef enum vta_cause {"
    yield from (f"    VTA_CAUSE_{cause.name} = {int(cause)}," for cause in Cause)
    yield f"    VTA_CAUSES = {len(Cause)}"
    yield "} vta_cause;"
    yield ""
    yield "typedef enum vta_module {"
    yield from (f"    VTA_MODULE_{module.name} = {int(module)}," for module in ModuleId)
    yield f"    VTA_MODULES = {len(ModuleId)}"
    yield "} vta_module;"


def _roles() -> Iterator[str]:
    yield "typedef enum vta_role {"
    yield from (f"    VTA_ROLE_{role.upper()} = {number}," for number, role in enumerate(ROLES))
    yield f"    VTA_ROLES = {len(ROLES)}"
    yield "} vta_role;"


def _flat_form() -> Iterator[str]:
    yield f"#define VTA_FLAT_MAGIC {int.from_bytes(MAGIC, 'little'):#x}u"
    yield f"#define VTA_FLAT_FORMAT {FLAT_VERSION}u"
    yield f'#define VTA_FLAT_KINDS "{"".join(KINDS_OF_NUMBERS)}"'
    for name, words in (("HEADER", HEADER), ("BUFFER", BUFFER), ("RELOCATION", RELOCATION)):
        yield f"#define VTA_{name}_BYTES {4 * len(words)}u"
        yield from _offsets(name, words)


def _offsets(name: str, words: tuple[FlatWord, ...]) -> Iterator[str]:
    for index, word in enumerate(words):
        yield f"#define VTA_{name}_AT_{word.name.upper()} {4 * index}u"


def main(arguments: list[str], path: Path = HEADER_FILE) -> int:
    """Writes the constants, or with ``--check`` compares them."""
    text = path.read_text(encoding="utf-8")
    if "--check" not in arguments:
        path.write_text(filled(text), encoding="utf-8")
    elif text != filled(text):
        sys.stderr.write(f"out of date: {path.name} (run python -m vta.driver.c.c_header)\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
