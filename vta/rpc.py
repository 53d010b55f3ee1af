"""Sessions: `rpc.LocalSession()` runs programs on a device in this process."""

from __future__ import annotations

from typing import NoReturn

from vta.calls import check_calls
from vta.config import Config
from vta.driver import session
from vta.driver.module import LoadedModule
from vta.environment import get_env

__all__ = ["LocalSession"]


class LocalSession(session.Session):
    """A session on the device that the current environment's `TARGET` names.

    Threads may share it; see `vta.driver.session.Session`.

    Parameters
    ----------
    config : Config, optional
        The default is the configuration of the current environment.
    """

    def __init__(self, config: Config | None = None) -> None:
        super().__init__(config if config is not None else get_env().config)


def __getattr__(name: str) -> NoReturn:
    hint = ""
    if name in ("connect", "connect_tracker"):
        hint = (
            ": there are no remote devices yet; use rpc.LocalSession(), whose device is the one "
            "that TARGET names"
        )
    raise AttributeError(f"module 'vta.rpc' has no attribute {name!r}{hint}")


check_calls("rpc.", globals(), __all__, session.Session, LoadedModule)
