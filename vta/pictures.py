"""Pictures as a network's input."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vta.errors import NetworkError
from vta.extras import needed

__all__ = ["SUFFIXES", "read_picture"]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
"""What the names of pictures end in."""

LARGEST = 1 << 26
"""A picture of more pixels is refused."""


def read_picture(
    path: str | os.PathLike[str],
    shape: Sequence[int],
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
) -> NDArray[np.float32]:
    """A picture as float32 numbers, ``(pixel / 255 - mean) / std``.

    The picture is made as small or large as it must be to cover the network's image, and what lies
    beside the middle is cut off.

    Parameters
    ----------
    path : path
    shape : tuple of int
        Of the result: (1, C, H, W) or (1, H, W, C) with C 1 (grey) or 3 (red, green, blue).
    mean, std : sequence of float
        One number, or one for each channel.

    Raises
    ------
    NetworkError
        If the file cannot be read, or if the shape is not one of a picture.
    ToolError
        If Pillow is not installed.
    """
    with needed("reading pictures", "onnx"):
        from PIL import Image, ImageOps
    channels_last = _channels_last(shape)
    channels, size = (shape[3], shape[1:3]) if channels_last else (shape[1], shape[2:4])
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, channels):
            raise NetworkError(
                f"{name} must be 1 number or {channels}, as the picture has channels, "
                f"not {len(values)}"
            )
    if not all(std):
        raise NetworkError("std must not be 0")
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > LARGEST:
                raise NetworkError(
                    f"{Path(path)}: a picture must have at most {LARGEST:,} pixels, not "
                    f"{picture.width} x {picture.height}"
                )
            upright = ImageOps.exif_transpose(picture).convert("L" if channels == 1 else "RGB")
            fitted: Any = ImageOps.fit(upright, (size[1], size[0]), Image.Resampling.BILINEAR)
    except NetworkError:
        raise
    except FileNotFoundError as error:
        raise NetworkError(f"{Path(path)}: cannot be read ({error.strerror})") from None
    except Exception as error:
        # Pillow's readers raise all kinds of errors for damaged files.
        text = " ".join(str(error).split())
        raise NetworkError(f"{Path(path)}: not a picture that can be read ({text})") from None
    pixels = np.asarray(fitted, np.float32).reshape(1, *size, channels) / np.float32(255)
    numbers: NDArray[np.float32] = pixels - np.asarray(mean, np.float32)
    numbers /= np.asarray(std, np.float32)
    return numbers if channels_last else np.ascontiguousarray(numbers.transpose(0, 3, 1, 2))


def _channels_last(shape: Sequence[int]) -> bool:
    if len(shape) == 4 and shape[0] == 1:
        if shape[1] in (1, 3):
            return False
        if shape[3] in (1, 3):
            return True
    raise NetworkError(
        "an input for pictures must have the shape (1, C, H, W) or (1, H, W, C) with C 1 or 3, "
        f"not {tuple(shape)}"
    )
