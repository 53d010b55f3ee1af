"""Telling programs from memory images."""

from __future__ import annotations

import json

import numpy as np

from vta import image, program
from vta.errors import ProgramError
from vta.image import Image
from vta.program import Program

__all__ = ["load_any"]


def load_any(path: str) -> Image | Program:
    """The image or program in a file; the error says what is wrong with it."""
    kind = _kind(path)
    if kind == image.FORMAT:
        return Image.load(path)
    if kind is None or kind == program.FORMAT:
        return Program.load(path)
    raise ProgramError(f"{path}: must be a program or a memory image, not {kind!r}")


def _kind(path: str) -> object:
    """The manifest's `format`; None for a file so strange that its loader must explain."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            manifest = json.loads(bytes(archive["manifest"]))
            return manifest.get("format") if isinstance(manifest, dict) else None
    except Exception:  # whatever it is, the loader meets it again and names it
        return None
