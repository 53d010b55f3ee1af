"""What the tests of the command share: four images, a saved program."""

from __future__ import annotations

from pathlib import Path

import pytest

import vta
from tests.vta.commands import TINY, make_image


@pytest.fixture
def images(tmp_path: Path) -> dict[str, Path]:
    """Files of four images: one that matches, one that does not, one without expectation, one
    whose third instruction fails."""
    files = {}
    for name, image in (
        ("good", make_image()),
        ("wrong", make_image("differ")),
        ("open", make_image("none")),
        ("fault", make_image(fault=True)),
    ):
        files[name] = tmp_path / f"{name}.npz"
        image.save(files[name])
    return files


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A saved vector add for the tiny configuration."""
    from vta.testing.programs import vector_add

    path = tmp_path / "vadd.o"
    with vta.Environment(TINY) as env:
        schedule, args = vector_add(env, m=4)
        vta.build(schedule, args, env.target, name="vadd").save(path)
    return path
