"""Reads a network's inputs: pictures, and files of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vta.errors import ArgumentError
from vta.extras import needed

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
    """A picture in an input's shape (1, C, H, W) and dtype.

    It is scaled to H rows of W pixels. Numbers of 0 to 1 become ``(pixel - mean) / std``, in
    float32, and are then quantised if the input is; a uint8 input without a scale gets the pixels.

    Raises
    ------
    ArgumentError
        If the file is no picture, or the input cannot hold one.
    """
    shape = info.shape
    if len(shape) != 4 or shape[0] != 1 or shape[1] not in (1, 3):
        raise ArgumentError(
            f"input {info.name} of shape {list(shape)} cannot hold a picture; it must be (1, 3, H, "
            "W) or (1, 1, H, W)"
        )
    with needed("a picture as input", "onnx"):
        from PIL import Image
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB" if shape[1] == 3 else "L")
            scaled = image.resize((shape[3], shape[2]), Image.Resampling.BILINEAR)
    except FileNotFoundError as error:
        raise ArgumentError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # Pillow's errors have no common base
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArgumentError(f"{path}: not a picture that can be read ({why})") from None
    pixels = np.asarray(scaled).reshape(*shape[2:], shape[1]).transpose(2, 0, 1)[None]
    if info.dtype == "uint8" and info.scale is None:
        return np.ascontiguousarray(pixels)
    mean, std = (
        np.array(how.get(name, [default]), np.float32).reshape(1, -1, 1, 1)
        for name, default in (("mean", 0.0), ("std", 1.0))
    )
    real: Array = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    if info.scale is not None:
        from vta.compiler.graph.reference import quantise

        return quantise(real, info)
    return np.ascontiguousarray(real.astype(info.dtype))
