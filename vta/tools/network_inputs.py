"""Reads a network's inputs: pictures, and files of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vta.errors import ArgumentError
from vta.pictures import read_picture

if TYPE_CHECKING:
    from vta.compiler.graph.int8_graph import TensorInfo
    from vta.net import Net

__all__ = ["picture", "read_inputs"]

Array = NDArray[Any]


def read_inputs(paths: Sequence[str], net: Net) -> dict[str, Array]:
    """An array for each input of a network, in the order of the files, or by name from a .npz.

    Raises
    ------
    ArgumentError
        If a file cannot be read, or there are too few or too many.
    """
    names = list(net.inputs)
    if len(paths) == 1 and paths[0].endswith(".npz"):
        found = _arrays(paths[0])
        if isinstance(found, Mapping):
            if len(names) == 1 and len(found) == 1:
                return dict(zip(names, found.values(), strict=True))
            return dict(found)
    if len(paths) != len(names):
        raise ArgumentError(
            f"the network has {len(names)} inputs ({', '.join(names)}), but {len(paths)} files are "
            "given"
        )
    values: dict[str, Array] = {}
    for name, path in zip(names, paths, strict=True):
        if path.endswith(".npy"):
            found = _arrays(path)
            assert isinstance(found, np.ndarray), "as `_arrays` checks"
            values[name] = found
        else:
            values[name] = picture(path, net.inputs[name], net.network.report.get("picture", {}))
    return values


def _arrays(path: str) -> Array | dict[str, Array]:
    """The array of a .npy file, or those of a .npz file."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray) == path.endswith(".npz"):
            raise ArgumentError(f"{path}: its name does not say what it is")
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except OSError as error:
        raise ArgumentError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ArgumentError:
        raise
    except Exception:  # zipfile and zlib have no common base
        raise ArgumentError(f"{path}: not a file of arrays, or a damaged one") from None


def picture(path: str, info: TensorInfo, how: Mapping[str, Any]) -> Array:
    """A picture in an input's shape and dtype.

    Its numbers of 0 to 1 become ``(pixel - mean) / std``, as `vta.pictures.read_picture` says, and
    are then quantised if the input is; a uint8 input without a scale gets the pixels.

    Raises
    ------
    NetworkError
        If the file is no picture, or the input cannot hold one.
    """
    if info.dtype == "uint8" and info.scale is None:
        pixels: Array = read_picture(path, info.shape) * np.float32(255)
        return np.rint(pixels).astype(np.uint8)
    numbers = read_picture(path, info.shape, how.get("mean", (0.0,)), how.get("std", (1.0,)))
    if info.scale is not None:
        from vta.compiler.graph.reference import quantise

        return quantise(numbers, info)
    return numbers.astype(info.dtype)
