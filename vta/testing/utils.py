"""A temporary folder for saved programs, and a way to run a function on the current device."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vta.calls import check_calls
from vta.config import SIMULATED_TARGETS
from vta.environment import Environment, get_env

if TYPE_CHECKING:
    from types import TracebackType

    from vta.driver.session import Session

__all__ = ["TempDirectory", "run", "tempdir"]


class TempDirectory:
    """A folder that is removed when it is closed or collected, or when the process ends.

    Threads may share it.
    """

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="vta-")
        # Unlike tempfile.TemporaryDirectory, it does not warn if it is never closed.
        self._remove = weakref.finalize(self, shutil.rmtree, self.path, True)

    def relpath(self, name: str) -> str:
        """The path of `name` in the folder."""
        return str(Path(self.path) / name)

    def listdir(self) -> list[str]:
        return sorted(os.listdir(self.path))

    def remove(self) -> None:
        self._remove()

    def __enter__(self) -> TempDirectory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()


def tempdir() -> TempDirectory:
    """A new temporary folder."""
    return TempDirectory()


def run(run_func: Callable[[Environment, Session], object]) -> None:
    """Calls ``run_func(env, remote)`` with the current environment and a session on its device.

    If TARGET is a board and `$VTA_RPC_HOST` is set, it connects there and programs the board.

    Raises
    ------
    ConfigError
        If the target has no back end.
    """
    from vta import rpc
    from vta.building import program_fpga

    env = get_env()
    away = env.TARGET not in SIMULATED_TARGETS and bool(os.environ.get("VTA_RPC_HOST"))
    with rpc.connect() if away else rpc.LocalSession() as remote:
        program_fpga(remote)
        run_func(env, remote)


check_calls("testing.", globals(), __all__)
