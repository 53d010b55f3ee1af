"""Pictures become float32 numbers in the network's shape."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vta.errors import NetworkError
from vta.pictures import read_picture

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_pixels_and_channels(picture) -> None:
    expected = (PIXELS.astype(np.float32) / 255).transpose(2, 0, 1)[None]
    found = read_picture(picture, (1, 3, 6, 8))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_mean_and_deviation(picture) -> None:
    found = read_picture(picture, (1, 6, 8, 3), (0.5, 0.4, 0.3), (0.25,))
    expected = (PIXELS / 255 - [0.5, 0.4, 0.3]) / 0.25
    np.testing.assert_allclose(found, expected[None], rtol=1e-5, atol=1e-5)


def test_the_middle_of_a_wider_picture(tmp_path) -> None:
    # A white square between black bars: only the square remains.
    pixels = np.zeros((4, 12), np.uint8)
    pixels[:, 4:8] = 255
    Image.fromarray(pixels).save(tmp_path / "b.png")
    found = read_picture(tmp_path / "b.png", (1, 1, 4, 4))
    np.testing.assert_array_equal(found, np.ones((1, 1, 4, 4)))


@pytest.mark.parametrize("shape", [(1, 4, 6, 8), (1, 3), (2, 3, 6, 8)])
def test_an_input_that_is_no_picture(picture, shape) -> None:
    with pytest.raises(NetworkError, match=r"must have the shape \(1, C, H, W\) or"):
        read_picture(picture, shape)


def test_numbers_of_means(picture) -> None:
    with pytest.raises(NetworkError, match="mean must be 1 number or 3, .* not 2"):
        read_picture(picture, (1, 3, 6, 8), (0.1, 0.2))
    with pytest.raises(NetworkError, match="std must not be 0"):
        read_picture(picture, (1, 3, 6, 8), std=(0,))


def test_files_that_are_not_pictures(tmp_path, picture) -> None:
    with pytest.raises(NetworkError, match=r"none\.png: cannot be read \(No such file"):
        read_picture(tmp_path / "none.png", (1, 3, 6, 8))
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(NetworkError, match=r"text\.png: not a picture that can be read"):
        read_picture(tmp_path / "text.png", (1, 3, 6, 8))
    data = picture.read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(NetworkError, match=r"cut\.png: not a picture that can be read"):
        read_picture(tmp_path / "cut.png", (1, 3, 6, 8))
