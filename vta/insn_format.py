"""What a format of instructions or micro-ops is: fields in words, packed, unpacked, laid out."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vta.errors import EncodingError

if TYPE_CHECKING:
    from amaranth.lib.data import StructLayout
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Field", "Format"]


@dataclass(frozen=True)
class Field:
    """`bits` of a format, unsigned unless `signed`."""

    name: str
    bits: int
    doc: str
    signed: bool = False

    @property
    def min(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def max(self) -> int:
        return (1 << (self.bits - self.signed)) - 1


class Format:
    """An ordered list of fields in one or two words; no field crosses a word boundary.

    Parameters
    ----------
    name : str
        The name in messages and in the documentation.
    word_bits : int
        64 for instructions, 32 for micro-ops.
    words : tuple of tuples of Field
        The fields of each word, from bit 0 on. The machine ignores the remaining bits of a word;
        they are packed as zero.
    """

    def __init__(self, name: str, word_bits: int, *words: tuple[Field, ...]) -> None:
        self.name = name
        self.word_bits = word_bits
        self.words = words
        self._places = {
            field.name: (field, index, offset)
            for index, word in enumerate(words)
            for field, offset in zip(word, _offsets(word), strict=True)
        }

    @property
    def fields(self) -> tuple[Field, ...]:
        return tuple(field for word in self.words for field in word)

    @property
    def bits(self) -> int:
        return self.word_bits * len(self.words)

    def used_bits(self, word: int) -> int:
        """Bits of all fields of word number `word`; more than `word_bits` do not fit."""
        return sum(field.bits for field in self.words[word])

    def field(self, name: str) -> Field:
        """The field called `name`."""
        return self._places[name][0]

    def offset(self, name: str) -> int:
        """The lowest bit of a field, counted from bit 0 of word 0."""
        _, index, offset = self._places[name]
        return index * self.word_bits + offset

    @functools.cached_property
    def layout(self) -> StructLayout:
        """The Amaranth layout, with the padding between words as members ``_0``, ``_1``."""
        from amaranth import signed, unsigned
        from amaranth.lib.data import StructLayout

        members: dict[str, Any] = {}
        for index, word in enumerate(self.words):
            for field in word:
                members[field.name] = (signed if field.signed else unsigned)(field.bits)
            if left := self.word_bits - self.used_bits(index):
                members[f"_{index}"] = left
        return StructLayout(members)

    def pack(self, **values: int) -> int:
        """One integer of `bits` bits; fields that are not named are 0.

        Raises
        ------
        EncodingError
            If a field is unknown, or if a value does not fit.
        """
        word = 0
        for name, value in values.items():
            field = self._field(name)
            if not field.min <= value <= field.max:
                raise EncodingError(
                    f"{self.name}.{name} must be {field.min} to {field.max}, not {value}"
                )
            word |= (int(value) & ((1 << field.bits) - 1)) << self.offset(name)
        return word

    def pack_array(self, **values: ArrayLike) -> NDArray[np.uint64] | NDArray[np.uint32]:
        """`pack` in bulk: arrays that broadcast to (n,) give (n, words); (n,) for one word.

        The result is little-endian uint64 for instructions and uint32 for micro-ops.
        """
        arrays = {name: np.asarray(value) for name, value in values.items()}
        shape = np.broadcast_shapes((1,), *(array.shape for array in arrays.values()))
        packed = np.zeros((*shape, len(self.words)), np.uint64)
        for name, array in arrays.items():
            field = self._field(name)
            if array.dtype.kind not in "iub":
                raise EncodingError(f"{self.name}.{name} must be whole numbers, not {array.dtype}")
            if array.size and not (field.min <= array.min() and array.max() <= field.max):
                wrong = array[(array < field.min) | (array > field.max)].flat[0]
                raise EncodingError(
                    f"{self.name}.{name} must be {field.min} to {field.max}, not {wrong}"
                )
            _, index, offset = self._places[name]
            mask = np.uint64((1 << field.bits) - 1)
            packed[..., index] |= (array.astype(np.uint64) & mask) << np.uint64(offset)
        if self.word_bits == 32:
            return packed[..., 0].astype("<u4")
        return packed.astype("<u8", copy=False)

    def unpack(self, word: int) -> dict[str, int]:
        """The value of every field in an integer of `bits` bits."""
        values = {}
        for name, (field, _, _) in self._places.items():
            value = (word >> self.offset(name)) & ((1 << field.bits) - 1)
            values[name] = value - (1 << field.bits) if value > field.max else value
        return values

    def unpack_array(self, words: NDArray[Any]) -> dict[str, NDArray[np.int64]]:
        """`unpack` in bulk: (n, words) uint64, or (n,) uint32 micro-ops; gives (n,) int64 each."""
        columns = np.asarray(words).astype(np.uint64).reshape(-1, len(self.words))
        values = {}
        for name, (field, index, offset) in self._places.items():
            mask = np.uint64((1 << field.bits) - 1)
            value = ((columns[:, index] >> np.uint64(offset)) & mask).astype(np.int64)
            values[name] = np.where(value > field.max, value - (1 << field.bits), value)
        return values

    def _field(self, name: str) -> Field:
        if name not in self._places:
            raise EncodingError(
                f"{self.name} has no field {name!r}; it has {', '.join(self._places)}"
            )
        return self._places[name][0]


def _offsets(word: tuple[Field, ...]) -> Iterator[int]:
    offset = 0
    for field in word:
        yield offset
        offset += field.bits
