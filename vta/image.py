"""Memory images: one run of a machine as plain arrays (memory before the run, and after it).

The format is described in `docs/images.md`: a JSON ``manifest`` and segments ``before_addr``,
``before_0`` …, ``after_addr``, ``after_0`` ….
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vta.archive import read_npz
from vta.config import Config
from vta.errors import ConfigError, ImageError
from vta.files import replacing
from vta.isa import INSN_BYTES, MAX_TOKENS, TOKEN_QUEUES

__all__ = ["BASES", "Image", "Segment"]

FORMAT = "vta-image"
VERSION = 1

BASES = ("uop", "inp", "wgt", "acc", "out")
"""The base registers, in the order of the manifest."""


@dataclass(frozen=True)
class Segment:
    """The bytes `data` (uint8), which start at byte address `addr`."""

    addr: int
    data: NDArray[np.uint8]

    @property
    def end(self) -> int:
        return self.addr + len(self.data)


@dataclass(frozen=True, kw_only=True)
class Image:
    """A run: configuration, stream, base registers, memory before, and memory after (or None).

    Missing keys in `base` and `tokens_before` mean 0.

    It is immutable, and threads may share it.
    """

    config: Config
    insn_addr: int
    insn_count: int
    before: tuple[Segment, ...]
    after: tuple[Segment, ...] | None = None
    base: dict[str, int] = field(default_factory=lambda: dict.fromkeys(BASES, 0))
    tokens_before: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOKEN_QUEUES, 0))
    description: str = ""

    def __post_init__(self) -> None:
        limit = 1 << self.config.addr_width
        for name, segments in (("before", self.before), ("after", self.after or ())):
            _check_segments(name, segments, limit)
        if not isinstance(self.description, str):
            raise ImageError(f"description must be text, not {self.description!r}")
        _check_number("insn_addr", self.insn_addr, limit - 1)
        _check_number("insn_count", self.insn_count, (1 << 32) - 1)
        for name, keys, most in (
            ("base", BASES, limit - 1),
            ("tokens_before", TOKEN_QUEUES, MAX_TOKENS),
        ):
            object.__setattr__(self, name, _counts(name, getattr(self, name), keys, most))

    def stream(self) -> NDArray[np.uint64]:
        """The (n, 2) uint64 instructions in `before`; zeros where it has no data.

        Raises
        ------
        ImageError
            If there are more instructions than the segments could hold.
        """
        size = sum(len(segment.data) for segment in self.before)
        if self.insn_count * INSN_BYTES > size:
            raise ImageError(
                f"insn_count {self.insn_count} is more than the image's {size} bytes hold"
            )
        start, end = self.insn_addr, self.insn_addr + self.insn_count * INSN_BYTES
        raw = np.zeros(end - start, np.uint8)
        for segment in self.before:
            low, high = max(start, segment.addr), min(end, segment.end)
            if low < high:
                raw[low - start : high - start] = segment.data[
                    low - segment.addr : high - segment.addr
                ]
        return raw.view("<u8").reshape(-1, 2)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Image:
        """The image in a file; raises `ImageError` with the file's name and the problem."""
        manifest, arrays = read_npz(path, FORMAT, VERSION, ImageError)
        try:
            known = {
                key: manifest[key]
                for key in ("base", "tokens_before", "description")
                if key in manifest
            }
            for key in ("config", "insn_addr", "insn_count"):
                if key not in manifest:
                    raise ImageError(f"manifest has no {key}")
            return cls(
                config=Config.from_dict(manifest["config"]),
                insn_addr=manifest["insn_addr"],
                insn_count=manifest["insn_count"],
                before=_segments(arrays, "before") or (),
                after=_segments(arrays, "after"),
                **known,
            )
        except (ConfigError, ImageError) as error:
            raise ImageError(f"{path}: {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the file atomically."""
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "description": self.description,
            "config": self.config.to_dict(),
            "insn_addr": self.insn_addr,
            "insn_count": self.insn_count,
            "base": self.base,
            "tokens_before": self.tokens_before,
        }
        arrays: dict[str, NDArray[Any]] = {
            "manifest": np.frombuffer(json.dumps(manifest).encode(), np.uint8)
        }
        for name, segments in (("before", self.before), ("after", self.after)):
            if segments is not None:
                arrays[f"{name}_addr"] = np.array([part.addr for part in segments], np.uint64)
                arrays |= {f"{name}_{index}": part.data for index, part in enumerate(segments)}
        try:
            with replacing(path) as partial, open(partial, "wb") as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)
        except OSError as error:
            raise ImageError(f"{path}: cannot be written ({error.strerror})") from None


def _segments(arrays: dict[str, NDArray[Any]], name: str) -> tuple[Segment, ...] | None:
    if f"{name}_addr" not in arrays:
        if name == "before":
            raise ImageError("before_addr is missing")
        return None
    addresses = arrays[f"{name}_addr"]
    if addresses.ndim != 1 or addresses.dtype.kind not in "ui" and addresses.size:
        raise ImageError(
            f"{name}_addr must be uint64[k], not {addresses.dtype}{list(addresses.shape)}"
        )
    segments = []
    for index, address in enumerate(addresses.tolist()):
        data = arrays.get(f"{name}_{index}")
        if data is None:
            raise ImageError(
                f"{name}_{index} is missing: {name}_addr has {len(addresses)} segments"
            )
        if data.dtype != np.uint8 or data.ndim != 1:
            raise ImageError(f"{name}_{index} must be uint8[n], not {data.dtype}{list(data.shape)}")
        segments.append(Segment(int(address), data))
    return tuple(segments)


def _check_segments(name: str, segments: tuple[Segment, ...], limit: int) -> None:
    for index, segment in enumerate(segments):
        if segment.addr < 0 or segment.end > limit:
            raise ImageError(
                f"{name}_{index} must lie below {limit:#x}, not at "
                f"{segment.addr:#x} to {segment.end:#x}"
            )
    order = sorted(range(len(segments)), key=lambda index: segments[index].addr)
    for low, high in zip(order, order[1:], strict=False):
        if segments[low].end > segments[high].addr:
            raise ImageError(
                f"{name}_{low} and {name}_{high} overlap: the first ends at "
                f"{segments[low].end:#x}, the second starts at {segments[high].addr:#x}"
            )


def _check_number(name: str, value: object, limit: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
        raise ImageError(f"{name} must be 0 to {limit:#x}, not {value!r}")


def _counts(name: str, values: object, keys: tuple[str, ...], limit: int) -> dict[str, int]:
    """`values`, with 0 for the keys that are left out."""
    if not isinstance(values, dict) or not set(values) <= set(keys):
        raise ImageError(f"{name} must have only the keys {', '.join(keys)}, not {values!r}")
    for key, value in values.items():
        _check_number(f"{name}.{key}", value, limit)
    return {key: values.get(key, 0) for key in keys}
