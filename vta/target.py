"""`Target`: the device that `vta.build` compiles a program for."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vta.calls import check_calls
from vta.errors import ConfigError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Target", "arm_cpu", "vta"]


@dataclass(frozen=True, init=False)
class Target:
    """A kind of device (``ext_dev`` is VTA) and its host.

    The host and the options have no effect: a program is data and needs no code on the host. They
    are kept for scripts that name them. ``with`` makes it the default target of `vta.build` in this
    thread.

    Parameters
    ----------
    kind : str, Target or mapping
        ``"ext_dev"``, perhaps with options, such as ``"ext_dev -model=x"``; or another target; or
        a mapping with a ``kind``, and perhaps a ``host`` and options.
    host : Target or str, optional
        The default is the host in `kind`.
    """

    kind: str
    host: Target | str | None
    options: str

    def __init__(
        self, kind: str | Target | Mapping[str, Any], host: Target | str | None = None
    ) -> None:
        own: Any = kind if isinstance(kind, str) else None
        options = ""
        if isinstance(kind, Target):
            own, host, options = kind.kind, host or kind.host, kind.options
        elif isinstance(kind, Mapping):
            words = [f"-{key}={kind[key]}" for key in kind if key not in ("kind", "host")]
            own, host, options = kind.get("kind"), host or kind.get("host"), " ".join(words)
        if not isinstance(own, str) or not own.strip():
            raise ConfigError(
                "target must be a name such as 'ext_dev', another target, or a mapping with a "
                f"'kind', not {kind!r}"
            )
        own, _, more = own.strip().partition(" ")
        fields = {"kind": own, "host": host, "options": f"{more} {options}".strip()}
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @staticmethod
    def current(allow_none: bool = True) -> Target | None:
        """The target of the innermost ``with``, or None."""
        if not _entered.get() and not allow_none:
            raise ConfigError("there is no current target: enter one with `with Target(...):`")
        return _entered.get()[-1] if _entered.get() else None

    def __enter__(self) -> Target:
        _entered.set((*_entered.get(), self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _entered.set(_entered.get()[:-1])

    def __str__(self) -> str:
        return f"{self.kind} {self.options}".strip()


def vta(model: str = "unknown", options: str = "") -> Target:
    """The target VTA, like `env.target`; model and options have no effect."""
    return Target(f"ext_dev -model={model} {options}")


def arm_cpu(model: str = "unknown", options: str = "") -> Target:
    """The target of a host, for scripts that name one."""
    return Target(f"llvm -model={model} {options}")


_entered: ContextVar[tuple[Target, ...]] = ContextVar("vta_targets", default=())

check_calls("target.", globals(), __all__)
