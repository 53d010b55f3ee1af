"""Generated pages are up to date, and what the documentation claims is so."""

from __future__ import annotations

import json
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

import vta
from vta.cli import app
from vta.config import PRESETS, TARGETS, Config
from vta.image import Image
from vta.isa import AluOp, Cause, Isa, MemoryType, Opcode
from vta.registers import REGISTERS

ROOT = Path(vta.__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(
    {ROOT / "README.md", *DOCS.glob("**/*.md"), *ROOT.glob("[A-Z]*.md"), *ROOT.glob("tests/*.md")}
)
PATH = re.compile(r"(?<![\w./])(?:[\w*-]+/)*(?:[\w*-]+\.(?:py|cpp|h|md|json|toml|yml)|[\w*-]+/)")
"""A file or folder: `hw/top.py`, `compiler/te/`, `vta/*.py`."""
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _generate(*arguments: str, folder: Path = DOCS) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(folder / "generate.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT)},
    )


def test_generated_pages_are_up_to_date() -> None:
    done = _generate("--check")
    assert done.returncode == 0, done.stderr


def test_check_notices_a_change(tmp_path: Path) -> None:
    for name in ("generate.py", "isa.md", "registers.md", "c_runtime.md", "networks.md"):
        (tmp_path / name).write_bytes((DOCS / name).read_bytes())
    assert _generate("--check", folder=tmp_path).returncode == 0
    page = tmp_path / "registers.md"
    page.write_text(page.read_text(encoding="utf-8").replace("0x004", "0x005"), encoding="utf-8")
    done = _generate("--check", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("out of date: registers.md")
    _generate(folder=tmp_path)
    assert page.read_bytes() == (DOCS / "registers.md").read_bytes()


def test_isa_page_names_everything() -> None:
    text = (DOCS / "isa.md").read_text(encoding="utf-8")
    isa = Isa(PRESETS["default"])
    for form in (isa.mem, isa.gemm, isa.alu, isa.uop):
        for field in form.fields:
            assert f"`{field.name}`" in text
    for name in (*Opcode.__members__, *AluOp.__members__, *MemoryType.__members__):
        assert f"| {name} |" in text
    for cause in Cause:
        assert f"| `{cause.name.lower()}` | {int(cause)} |" in text
    for key in Config.__dataclass_fields__:
        assert f"| `{key.upper()}` |" in text
    # By hand from the encoding: dram_base follows 3 + 4 + 3 + 16 bits.
    assert "| 0 | 57:26 | `dram_base` |" in text
    assert "| 1 | 63:48 | `imm` | signed; " in text


def test_citations_of_the_specification_name_its_sections() -> None:
    """Code and tests cite `docs/isa.md, "LOAD"`; nothing cites a file outside the repository."""
    headings = re.findall(r"^## (.+)$", (DOCS / "isa.md").read_text(encoding="utf-8"), re.M)
    cited = 0
    for folder in ("vta", "hw", "compiler", "driver", "sim", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            text = re.sub(r"\s+", " ", path.read_text(encoding="utf-8"))
            assert not re.search(r"(?<![\w/])(ISA|DESIGN|STYLE|REVIEW)" + r"\.md", text), path
            for names in re.findall(r'docs/isa\.md, ("[^"]+"(?:(?:,| and) "[^"]+")*)', text):
                for name in re.findall(r'"([^"]+)"', names):
                    assert name in headings, f"{path}: {name}"
                    cited += 1
    assert cited > 20


def test_registers_page_names_everything() -> None:
    text = (DOCS / "registers.md").read_text(encoding="utf-8")
    for register in REGISTERS:
        assert f"| `{register.offset:#05x}` | `{register.name}` | {register.access} |" in text
    assert "| `0x00c` | `insn_ptr` | rw |" in text


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def _prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_and_folder_that_a_page_names_exists(page: Path) -> None:
    """Counted from the top of the repository: `hw/core.py`, not `core.py`."""
    for span in re.findall(r"`([^`\n]+)`", _prose(page)):
        if PATH.fullmatch(span) and not span.startswith(("build/", "site/")):
            assert any(ROOT.glob(span.rstrip("/"))), f"{page.name} names `{span}`"


def test_a_page_that_names_a_missing_file_is_noticed() -> None:
    for name in ("hw/core.py", "compiler/te/", "vta/*.py", "loader.py", "hw/loader.py", "bus/"):
        assert PATH.fullmatch(name)
    assert not any(ROOT.glob("hw/loader.py"))


@pytest.mark.parametrize(
    "page",
    # The changelog names what things were called.
    [page for page in PAGES if page.name != "CHANGELOG.md"],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_dotted_name_of_a_page_resolves(page: Path) -> None:
    for name in re.findall(r"`(vta(?:\.\w+)+)(?:\([^`]*\))?`", _prose(page)):
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError):
            pytest.fail(f"{page.name} names `{name}`")


def test_the_reference_has_modules_that_exist() -> None:
    for page in (DOCS / "reference").glob("*.md"):
        for name in re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.M):
            pkgutil.resolve_name(name)


def test_readme_names_every_key_target_preset_and_command() -> None:
    for key in (*(key.upper() for key in Config.__dataclass_fields__), *TARGETS):
        assert f"`{key}`" in README
    assert f"`{' '.join(PRESETS)}`" in README
    for command in app.COMMANDS:
        assert f"| `vta {command}" in README


def _blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.M)


def _execute(page: Path) -> dict[str, Any]:
    """The names that a page's Python blocks leave, one after the other."""
    names: dict[str, Any] = {}
    for block in _blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)
    return names


@pytest.mark.parametrize(
    "page", [page for page in PAGES if _blocks(page, "python")], ids=lambda page: page.name
)
def test_the_programs_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = _execute(page)
    if page.name != "README.md":
        return
    values, result = names["a"].numpy(), names["b"].numpy()
    np.testing.assert_array_equal(result, (np.maximum(values, 0) >> 2).astype(np.int8))
    padded = np.pad(names["x"][0].astype(int), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    sums = np.einsum("ihwyx,oiyx->ohw", windows, names["w"].astype(int))
    np.testing.assert_array_equal(names["y"][0], np.clip(sums >> 8, 0, 127))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if _blocks(page, "sh")], ids=lambda page: page.name
)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    """Each `make` target, each subcommand of `vta`, each option."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for line in "".join(_blocks(page, "sh")).splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        assert words[0] in ("make", "vta", "git", "cd"), line
        if words[0] == "make":
            assert set(words[1:]) <= set(targets), line
        elif words[0] == "vta":
            command = app.cli.get_command(click.Context(app.cli), words[1])
            assert command is not None, line
            if isinstance(command, click.Group):
                command = command.get_command(click.Context(command), words[2])
                assert command is not None, line
            known = {option for param in command.params for option in param.opts}
            # What follows a script is the script's own.
            own = next((n for n, word in enumerate(words) if word.endswith(".py")), len(words))
            given = {word.partition("=")[0] for word in words[2:own] if word.startswith("-")}
            assert given <= known, line


def test_blocks_of_code_say_what_they_are() -> None:
    """What has no language is a picture or a listing, not code that no test runs."""
    for page in PAGES:
        for fence in re.findall(r"^```(.*)\n", page.read_text(encoding="utf-8"), re.M):
            # tests/driver/c/ compiles what is in C.
            assert fence in ("", "python", "sh", "text", "c"), f"{page.name}: {fence}"


def test_the_front_page_has_the_numbers_of_the_pages_that_it_names() -> None:
    rows = re.findall(
        r"^\| .*? \| ([\d.,]+) \| \[.*?\]\((.*?)\) \|$",
        (DOCS / "index.md").read_text(encoding="utf-8"),
        re.M,
    )
    assert len(rows) >= 8
    for number, page in rows:
        if number != "256":  # 16 x 16, at 1.000 cycles for an operation.
            assert number in (DOCS / page).read_text(encoding="utf-8"), number


def test_the_workflow_makes_every_preset_on_every_python() -> None:
    workflow = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    assert f"preset: [{', '.join(PRESETS)}]" in workflow
    oldest = re.search(r'requires-python = ">=3\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    assert oldest is not None
    assert f'python: ["3.{oldest[1]}", ' in workflow


def test_the_readme_explains_the_name_of_the_bitstream() -> None:
    assert f"`{PRESETS['default'].bitstream}`" in README


def test_an_image_made_by_the_page_loads(tmp_path: Path) -> None:
    """`docs/images.md` is enough to write an image with numpy alone."""
    manifest = {
        "format": "vta-image",
        "version": 1,
        "config": PRESETS["tiny"].to_dict(),
        "insn_addr": 64,
        "insn_count": 1,
    }
    stop = np.zeros(16, np.uint8)
    stop[0] = 3
    np.savez(
        tmp_path / "x.npz",
        manifest=np.frombuffer(json.dumps(manifest).encode(), np.uint8),
        before_addr=np.array([64], np.uint64),
        before_0=stop,
        after_addr=np.zeros(0, np.uint64),
    )
    image = Image.load(tmp_path / "x.npz")
    assert image.after == ()
    assert app.run(["replay", str(tmp_path / "x.npz")]) == 0
