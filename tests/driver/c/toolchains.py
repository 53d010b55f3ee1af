"""C compilers, and what runs what they make."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import vta

ROOT = Path(vta.__file__).parent.parent
RUNTIME = ROOT / "driver" / "c"
HERE = Path(__file__).parent

STRICT = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror")
# The tests' own programs call read and write; the runtime needs no more than C99.
POSIX = ("-D_POSIX_C_SOURCE=200809L",)
SANITIZE = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
BARE = ("-ffreestanding", "-nostdlib", "-static")
ARMV7 = (*BARE, "-mcpu=cortex_a15")


@dataclass(frozen=True)
class Toolchain:
    """A compiler with its options.

    Attributes
    ----------
    name : str
    compiler : str
        A program, or ``zig`` for the clang in the Python package ziglang.
    options : tuple of str
    emulator : str
        The program that runs what it makes; "" for this processor.
    """

    name: str
    compiler: str
    options: tuple[str, ...] = ()
    emulator: str = ""

    def command(self) -> list[str]:
        """The compiler's command; skips the test if it is missing."""
        if self.compiler == "zig":
            if importlib.util.find_spec("ziglang") is None:
                pytest.skip("the Python package ziglang is not installed")
            return [sys.executable, "-m", "ziglang", "cc", *self.options]
        if shutil.which(self.compiler) is None:
            pytest.skip(f"there is no {self.compiler}")
        return [self.compiler, *self.options]

    def build(self, folder: Path, *sources: Path) -> list[str]:
        """The command that runs a program of these sources and the runtime."""
        if self.emulator and shutil.which(self.emulator) is None:
            pytest.skip(f"there is no {self.emulator} (Debian, Ubuntu: apt install qemu-user)")
        command = self.command()
        file = folder / f"{sources[0].stem}-{self.name}"
        runtime = [*sources, RUNTIME / "vta.c"]
        done = compile_c([*command, f"-I{RUNTIME}", "-O1", "-o", str(file)], *runtime)
        if "sanitize" in done and "cannot find" in done:
            pytest.skip(f"{self.compiler} has no sanitizers here")
        assert done == "", done
        return [*([self.emulator] if self.emulator else []), str(file)]


def compile_c(command: list[str], *sources: Path) -> str:
    """Compiles with all warnings as errors; what the compiler says."""
    done = subprocess.run(
        [*command, *STRICT, *POSIX, *map(str, sources)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 or done.stderr
    return done.stderr


GCC = Toolchain("gcc", "gcc")
CLANG = Toolchain("clang", "clang")
ZIG = Toolchain("zig", "zig")
SANITIZED = Toolchain("gcc with sanitizers", "gcc", SANITIZE)
ARM = Toolchain("32-bit Arm", "zig", ("-target", "arm-linux-musleabihf", *ARMV7), "qemu-arm")
BIG_ENDIAN = Toolchain(
    "big-endian Arm", "zig", ("-target", "armeb-linux-musleabihf", *ARMV7), "qemu-armeb"
)
RISCV = Toolchain("32-bit RISC-V", "zig", ("-target", "riscv32-linux-musl", *BARE), "qemu-riscv32")
