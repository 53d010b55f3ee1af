"""`vta quantize`: tidy, quantise, compare; bad data gets one clear line."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from PIL import Image

from tests.compiler.graph.checking import compare, session
from tests.compiler.graph.networks import Net, quantise, small_net
from vta.compiler.graph.read_model import read


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a network, and arrays as its data."""
    monkeypatch.chdir(tmp_path)
    net = Net((1, 3, 12, 12))
    x = net.conv("x", 8, bias=False)
    numbers = [net.numbers(8) for _ in range(3)]
    x = net.op("BatchNormalization", x, *numbers, net.constant(np.ones(8, np.float32)))
    x = net.clip6(x)
    weight, bias = net.numbers(8, 6, 2, 2, scale=0.2), net.numbers(6)
    x = net.op("ConvTranspose", x, weight, bias, strides=[2, 2], channels=6)
    x = net.relu(net.op("Add", x, net.numbers(1, 6, 1, 1)))
    x = net.op("ReduceMean", x, axes=[2, 3], keepdims=0)
    x = net.op("Add", net.op("MatMul", x, net.numbers(6, 5)), net.numbers(5))
    model = net.model(net.op("Softmax", x))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    onnx.save(model, "net.onnx")
    data = np.random.default_rng(0).standard_normal((12, 3, 12, 12)).astype(np.float32)
    np.savez("data.npz", x=data)
    return tmp_path


def test_a_network_becomes_int8(run, folder) -> None:
    result = run("quantize", "net.onnx", "-o", "int8.onnx", "--data", "data.npz", "--compare")
    assert result.status == 0
    assert "int8.onnx: 6 nodes in int8, 1 for ONNX Runtime" in result.out
    assert "Softmax: no operation of the accelerator" in result.out
    assert "softmax_9" in result.out
    assert "dB" in result.out
    model = onnx.load("int8.onnx")
    onnx.checker.check_model(model, full_check=True)
    found = compare(model, interpret=False)
    kinds = ["quantize", "conv", "conv_transpose", "avg_pool", "reshape", "dense", "cpu"]
    assert found.ops == kinds
    for node in found.graph.nodes:
        if node.op in ("conv", "conv_transpose", "dense"):
            # A scale for each channel, and what was folded is in the bias.
            assert len(np.unique(node.constants["scale"])) > 1
            assert "bias" in node.constants


def test_the_int8_network_agrees_with_the_float_one(run, folder) -> None:
    run("quantize", "net.onnx", "-o", "int8.onnx", "--data", "data.npz")
    wanted, found = (session(onnx.load(name)) for name in ("net.onnx", "int8.onnx"))
    with np.load("data.npz") as file:
        for sample in file["x"]:
            a, b = (each.run(None, {"x": sample[None]})[0] for each in (wanted, found))
            np.testing.assert_allclose(a, b, atol=0.02)


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_other_ranges(run, folder, method) -> None:
    arguments = ("quantize", "net.onnx", "-o", "int8.onnx", "--data", "data.npz")
    assert run(*arguments, "--method", method).status == 0
    assert read("int8.onnx").nodes


def test_pictures(run, folder) -> None:
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for index in range(3):
        pixels = rng.integers(0, 256, (12, 12, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{index}.png")
    (folder / "pictures" / "notes.txt").write_text("no picture")
    result = run(
        *("quantize", "net.onnx", "-o", "int8.onnx", "--data", "pictures", "--compare"),
        *("--mean", "0.5,0.5,0.5", "--std", "0.25"),
    )
    assert result.status == 0
    assert "float32 and int8, 3 examples" in result.out
    # Numbers from -2 to 2, in 255 steps.
    scale = read("int8.onnx").tensors["x_QuantizeLinear_Output"].scale
    assert scale == pytest.approx(4 / 255, rel=0.03)


def fails(run, expected, *arguments):
    result = run("quantize", *arguments)
    assert result.status == 2
    assert expected in result.complaint


def test_data_that_does_not_fit(run, folder) -> None:
    arguments = ("net.onnx", "-o", "int8.onnx", "--data")
    np.savez("shape.npz", x=np.zeros((4, 3, 10, 12), np.float32))
    np.savez("none.npz", x=np.zeros((0, 3, 12, 12), np.float32))
    np.savez("dtype.npz", x=np.zeros((4, 3, 12, 12), np.complex64))
    np.savez("names.npz", y=np.zeros(3), z=np.zeros(3))
    np.save("one.npy", np.zeros((4, 3, 12, 12), np.float32))
    np.savez_compressed("flip.npz", x=np.ones((4, 3, 12, 12), np.float32))
    raw = bytearray((folder / "flip.npz").read_bytes())
    raw[60:90] = b"\xff" * 30
    (folder / "flip.npz").write_bytes(raw)
    (folder / "empty").mkdir()
    fails(run, "must have the shape (N, 3, 12, 12), not (4, 3, 10, 12)", *arguments, "shape.npz")
    fails(run, "must have at least one sample", *arguments, "none.npz")
    fails(run, "must be float32, not complex64", *arguments, "dtype.npz")
    fails(run, "must have an array for the input x", *arguments, "names.npz")
    fails(run, "must be a folder of pictures or an .npz file of arrays", *arguments, "one.npy")
    fails(run, "must be a folder of pictures or an .npz file of arrays", *arguments, "net.onnx")
    fails(run, "must be a folder of pictures or an .npz file of arrays", *arguments, "flip.npz")
    fails(run, "No such file", *arguments, "missing.npz")
    fails(run, "must hold at least one picture", *arguments, "empty")


def test_models_that_cannot_be_quantised(run, folder) -> None:
    onnx.save(quantise(small_net(), folder), "done.onnx")
    fails(run, "it is quantised already", "done.onnx", "-o", "a.onnx", "--data", "data.npz")
    fails(run, "must be an ONNX file", "data.npz", "-o", "a.onnx", "--data", "data.npz")
    fails(
        run,
        "must be numbers with commas between, not 'a,b'",
        *("net.onnx", "-o", "a.onnx", "--data", "data.npz", "--mean", "a,b"),
    )
