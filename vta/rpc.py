"""Sessions: `rpc.LocalSession()` runs programs on a device of this process."""

from __future__ import annotations

from vta.calls import check_calls
from vta.config import Config
from vta.driver import session
from vta.driver.module import LoadedModule
from vta.environment import get_env

__all__ = ["LocalSession"]


class LocalSession(session.Session):
    """A session on the device that the current environment's `TARGET` names.

    Threads may share it, as `vta.driver.session.Session` says.

    Parameters
    ----------
    config : Config, optional
        In place of the current environment's.
    """

    def __init__(self, config: Config | None = None) -> None:
        super().__init__(config if config is not None else get_env().config)


check_calls("rpc.", globals(), __all__, session.Session, LoadedModule)
