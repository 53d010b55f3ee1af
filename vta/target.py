"""`Target`: what a program is compiled for, as `vta.build` takes it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Target"]


@dataclass(frozen=True)
class Target:
    """A kind of device (``ext_dev`` is VTA), and the host beside it.

    `host` is kept for scripts that name one: a program is data, and needs no code on the host.
    """

    kind: str
    host: Target | str | None = None

    def __str__(self) -> str:
        return self.kind
