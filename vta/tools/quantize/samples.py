"""Calibration data: pictures in a folder, or arrays in an .npz file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vta.errors import NetworkError
from vta.pictures import SUFFIXES, read_picture

__all__ = ["ArraySamples", "InputShape", "PictureSamples", "open_samples"]

Array = NDArray[Any]


@dataclass(frozen=True)
class InputShape:
    """An input of the network."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class PictureSamples:
    """The pictures of a folder, each the network's only input."""

    paths: tuple[Path, ...]
    target: InputShape
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        for path in self.paths:
            yield {self.target.name: read_picture(path, self.target.shape, self.mean, self.std)}


@dataclass(frozen=True)
class ArraySamples:
    """Arrays by input, each (N, ...) with N samples."""

    arrays: Mapping[str, Array]

    def __len__(self) -> int:
        return min(len(array) for array in self.arrays.values())

    def __iter__(self) -> Iterator[dict[str, Array]]:
        for index in range(len(self)):
            yield {name: array[index : index + 1] for name, array in self.arrays.items()}


def open_samples(
    path: str,
    inputs: Sequence[InputShape],
    mean: tuple[float, ...] = (0.0,),
    std: tuple[float, ...] = (1.0,),
) -> PictureSamples | ArraySamples:
    """The samples in a folder of pictures or in an .npz file.

    Parameters
    ----------
    path : str
    inputs : sequence of InputShape
        Of the network; the first size of each shape is 1.
    mean, std : tuple of float
        What happens to pictures, as in `vta.pictures.read_picture`.

    Raises
    ------
    NetworkError
        If there are no samples, or if they do not fit the network.
    """
    place = Path(path)
    if place.is_dir():
        names = sorted(each for each in place.iterdir() if each.suffix.lower() in SUFFIXES)
        if not names:
            raise NetworkError(f"{place} must hold at least one picture ({', '.join(SUFFIXES)})")
        if len(inputs) != 1 or inputs[0].dtype != "float32":
            raise NetworkError(
                "a network that is calibrated with pictures must have one input of float32, "
                f"not {', '.join(f'{each.name} ({each.dtype})' for each in inputs)}"
            )
        return PictureSamples(tuple(names), inputs[0], mean, std)
    return ArraySamples(_arrays(place, inputs))


def _arrays(place: Path, inputs: Sequence[InputShape]) -> dict[str, Array]:
    try:
        opened = np.load(place, allow_pickle=False)
        if isinstance(opened, np.ndarray):
            raise ValueError("it is one array, not an archive")
        with opened as file:
            found = {name: file[name] for name in file.files}
    except Exception as error:  # zipfile and zlib have no common base
        text = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise NetworkError(
            f"{place} must be a folder of pictures or an .npz file of arrays: {text}"
        ) from None
    if len(inputs) == 1 and inputs[0].name not in found and len(found) == 1:
        found = {inputs[0].name: next(iter(found.values()))}
    chosen = {}
    for each in inputs:
        if each.name not in found:
            raise NetworkError(f"{place} must have an array for the input {each.name}")
        array = found[each.name]
        wanted = (*("N" if not axis else str(n) for axis, n in enumerate(each.shape)),)
        if array.ndim != len(each.shape) or array.shape[1:] != each.shape[1:]:
            raise NetworkError(
                f"the array {each.name} in {place} must have the shape ({', '.join(wanted)}), "
                f"not {array.shape}"
            )
        if not np.can_cast(array.dtype, each.dtype, "same_kind"):
            raise NetworkError(
                f"the array {each.name} in {place} must be {each.dtype}, not {array.dtype}"
            )
        if not len(array):
            raise NetworkError(f"the array {each.name} in {place} must have at least one sample")
        chosen[each.name] = array.astype(each.dtype)
    return chosen
