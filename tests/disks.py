"""Small disks that get full: a tmpfs that only one process sees, and that ends with it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

__all__ = ["on_a_small_disk"]

ROOT = Path(__file__).parents[1]
MOUNT = 'mount -t tmpfs -o size="$1" tmpfs "$2"'


def on_a_small_disk(folder: Path, size: str, code: str) -> str:
    """What Python prints when it runs `code` with a disk of that size at `folder`.

    The test is skipped where the system does not let users mount one.
    """
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    names = ["sh", size, str(folder)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*namespace, MOUNT, *names], capture_output=True).returncode != 0
    ):
        pytest.skip("this system lets nobody but root mount a disk")
    done = subprocess.run(
        [*namespace, f'{MOUNT} && shift 2 && exec "$@"', *names]
        + [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
