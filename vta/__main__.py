"""`python -m vta` is the command `vta`."""

from __future__ import annotations

from vta.cli import main

__all__: list[str] = []

main()
