"""Which folder may import which, that imports have no circles, and what else holds of all files."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import vta

ROOT = Path(vta.__file__).parent.parent
TOPS = ("hw", "compiler", "driver", "sim")

FOLDERS = {
    "hw": ("bus", "issue", "transfer", "compute", "control", "core", "top", "boards", "verilog"),
    "compiler": ("te", "ir", "passes", "check", "encode", "pipeline", "operators", "graph"),
}
"""In these folders each part stands on those before it."""

GROUND = (
    "config",
    "config_limits",
    "insn_format",
    "isa",
    "registers",
    "errors",
    "archive",
    "extras",
    "files",
    "processes",
    "cache",
    "program",
    "readout",
    "image",
)
"""Modules of `vta` that import nothing above them."""

RTL_BUILD = ("driver.verilog_cache", "hw.verilog")
"""The one import across: the driver asks for Verilog, inside the function that needs a build."""

SAME_FILE_NAMES = {
    "top": "vta.top is the public operator library, hw/top.py the top of the hardware",
    "verilog": "the subcommand and what it calls",
    **dict.fromkeys(
        ("board", "cache", "config", "profile", "replay"), "a subcommand is named for what it shows"
    ),
}
"""File names that stand twice, each with its reason."""


def _modules() -> dict[str, Path]:
    found = {}
    for top in ("vta", *TOPS):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[0] == "vta":
                parts = parts[1:]
                if parts[0] in TOPS:
                    continue
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = _modules()
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def _imports(name: str, lazy: bool) -> Iterator[str]:
    """What a module imports of the package; `lazy` includes imports inside functions.

    Imports for type checkers alone do not count.
    """

    def visit(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if not lazy and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            yield child
            yield from visit(child)

    for node in visit(TREES[name]):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for found in names:
            module = found.removeprefix("vta.")
            if found.startswith("vta.") and module in MODULES and module != name:
                yield module


def _part(module: str) -> str:
    """The part of the project that a module belongs to."""
    first = module.split(".")[0]
    if first in TOPS:
        return first
    return "ground" if first in GROUND else "face"


ALLOWED = {
    "ground": {"ground"},
    "hw": {"ground", "hw"},
    "compiler": {"ground", "compiler"},
    "sim": {"ground", "sim"},
    "driver": {"ground", "sim", "driver"},
    "face": {"ground", "hw", "compiler", "sim", "driver", "face"},
}


def test_parts_stand_on_one_another() -> None:
    wrong = [
        f"{name} imports {other}"
        for name in MODULES
        for other in _imports(name, lazy=True)
        if _part(other) not in ALLOWED[_part(name)] and (name, other) != RTL_BUILD
    ]
    assert wrong == []


def test_the_rtl_build_is_imported_inside_a_function() -> None:
    name, other = RTL_BUILD
    assert other in set(_imports(name, lazy=True))
    assert other not in set(_imports(name, lazy=False))


@pytest.mark.parametrize("top", sorted(FOLDERS))
def test_folders_stand_on_those_before(top: str) -> None:
    order = FOLDERS[top]
    wrong = []
    for name in MODULES:
        if name.split(".")[0] != top or name == top:
            continue
        own = name.split(".")[1]
        assert own in order, f"{name} has no place in the order"
        for other in _imports(name, lazy=True):
            parts = other.split(".")
            if parts[0] == top and len(parts) > 1 and order.index(parts[1]) > order.index(own):
                wrong.append(f"{name} imports {other}")
    assert wrong == []


def test_the_proof_shares_nothing_with_what_it_proves() -> None:
    """A mistake in code that both used would hide itself."""
    reached, todo = set(), ["compiler.check.proof"]
    while todo:
        module = todo.pop()
        if module not in reached and _part(module) == "compiler":
            reached.add(module)
            todo += _imports(module, lazy=True)
    folders = ("compiler", "compiler.check")
    assert reached - set(folders) == {"compiler.check.proof", "compiler.check.footprints"}


def test_the_plain_interpreter_shares_only_the_decoding() -> None:
    """It checks compiler, simulators and hardware, so it uses nothing of them."""
    imported = set(_imports("tools.fuzz.plain_interpreter", lazy=True))
    assert {name for name in imported if _part(name) != "ground"} == set()
    assert imported & set(GROUND) == {"config", "isa"}


def test_no_circles() -> None:
    state: dict[str, int] = {}
    path: list[str] = []

    def visit(name: str) -> None:
        if state.get(name) == 2:
            return
        assert state.get(name) != 1, " -> ".join([*path[path.index(name) :], name])
        state[name] = 1
        path.append(name)
        for other in _imports(name, lazy=False):
            # A package does not import its modules because they import each other.
            visit(other)
        path.pop()
        state[name] = 2

    for name in MODULES:
        visit(name)


def test_no_class_name_stands_twice() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(name)
    # A private class is its module's own; two of one name would still mislead a search.
    assert {name: where for name, where in found.items() if len(where) > 1} == {}


def test_no_file_name_stands_twice() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for name, path in MODULES.items():
        if path.stem not in ("__init__", "__main__"):
            found[path.stem].append(name)
    twice = {stem: where for stem, where in found.items() if len(where) > 1}
    assert {stem: where for stem, where in twice.items() if stem not in SAME_FILE_NAMES} == {}
    assert set(SAME_FILE_NAMES) <= set(twice), "an exception that is needed no more"


def test_files_and_functions_are_short() -> None:
    """Files of at most 500 lines, functions of at most 80."""
    sources = [*MODULES.values(), *sorted((ROOT / "tests").rglob("*.py"))]
    long = [str(path) for path in sources if len(path.read_text("utf-8").splitlines()) > 500]
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > 80:
                    long.append(f"{path}:{node.name} ({lines} lines)")
    assert long == []


def test_every_folder_says_what_it_is() -> None:
    for name, path in MODULES.items():
        if path.stem == "__init__":
            assert ast.get_docstring(TREES[name]), name


def test_no_loop_of_the_compiler_is_endless() -> None:
    """Each has a condition, or runs through something."""
    endless = [
        f"{name}, line {node.lineno}"
        for name, tree in TREES.items()
        if name.split(".")[0] == "compiler"
        for node in ast.walk(tree)
        if isinstance(node, ast.While) and isinstance(node.test, ast.Constant)
    ]
    assert endless == []
