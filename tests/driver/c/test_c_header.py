"""The constants in the C header are those of the tables."""

from __future__ import annotations

import re

from vta.driver.c.c_header import HEADER_FILE, filled, main
from vta.isa import Cause
from vta.registers import REGISTERS

TEXT = HEADER_FILE.read_text(encoding="utf-8")


def test_the_header_is_up_to_date():
    assert main(["--check"]) == 0


def test_check_notices_a_change(tmp_path, capsys):
    file = tmp_path / "vta.h"
    file.write_text(TEXT.replace("VTA_REG_WATCHDOG 0x64u", "VTA_REG_WATCHDOG 0x68u"))
    assert main(["--check"], file) == 1
    assert capsys.readouterr().err == ("out of date: vta.h (run python -m vta.driver.c.c_header)\n")
    assert main([], file) == 0
    assert file.read_text(encoding="utf-8") == TEXT


def test_an_empty_header_is_filled():
    """Nothing of a part survives that the generator does not write."""
    emptied = re.sub(
        r"(/\* generated: ([\w ]+) \*/\n).*?(/\* end of generated \2 \*/)",
        r"\1\3",
        TEXT,
        flags=re.DOTALL,
    )
    assert emptied != TEXT
    assert filled(emptied) == TEXT


def test_it_has_every_register_and_cause():
    for register in REGISTERS:
        assert f"#define VTA_REG_{register.name.upper()} {register.offset:#x}u\n" in TEXT
    for cause in Cause:
        assert f"    VTA_CAUSE_{cause.name} = {int(cause)},\n" in TEXT
    # By hand, from docs/registers.md.
    for line in (
        "VTA_REG_INSN_PTR 0xcu",
        "VTA_CONTROL_RESET_MASK 0x4u",
        "VTA_ERROR_MODULE_LOW 4",
        "VTA_ERROR_MODULE_MASK 0x30u",
        "VTA_INSN_DRAM_BASE_LOW 26",
        "VTA_HEADER_BYTES 64u",
    ):
        assert f"#define {line}\n" in TEXT
