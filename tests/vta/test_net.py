"""`vta.net`: what a call takes and gives, and what stays on the device."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vta
from tests.compiler.graph.hand_made import evaluate, random_inputs
from tests.compiler.graph.test_network import config
from vta.compiler.graph.int8_graph import Graph
from vta.compiler.graph.network import compile_network
from vta.driver.allocator import Allocator
from vta.driver.session import Session
from vta.driver.simulated import SimDevice
from vta.errors import ArgumentError, DeviceError
from vta.net import Net
from vta.tools.bench.draft_network import Draft

TINY = config("tiny")


def two_inputs() -> Graph:
    draft = Draft("two")
    a, b = draft.input(1, 16, 4, 4), draft.input(1, 16, 4, 4, zero=3)
    return draft.graph(draft.add(a, b, scale=0.03), draft.conv(b, 8))


def one_input() -> Graph:
    draft = Draft("one")
    return draft.graph(draft.conv(draft.input(1, 16, 4, 4), 8, 3))


def test_load_and_run(tmp_path: Path) -> None:
    made = one_input()
    compile_network(made, TINY).save(tmp_path / "model.vta")
    values = random_inputs(made)
    with vta.net.load(tmp_path / "model.vta") as net:
        found = net.run(values["input_0"])
        assert [step.name for step in net.times] == ["one_0"]
    np.testing.assert_array_equal(found, evaluate(made, values)[made.outputs[0]])


def test_a_board_needs_numpy_alone(tmp_path: Path) -> None:
    """Without the packages that compile networks, and those of the command line."""
    made = one_input()
    compile_network(made, TINY).save(tmp_path / "model.vta")
    values = random_inputs(made)
    np.save(tmp_path / "x.npy", values["input_0"])
    others = ("onnx", "onnxruntime", "PIL", "click", "rich", "amaranth", "platformdirs", "plotly")
    program = f"""
import sys
sys.modules.update(dict.fromkeys({others}))
import numpy as np
import vta
with vta.net.load("model.vta") as net:
    np.save("y.npy", net.run(np.load("x.npy")))
"""
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(vta.__file__).parent.parent)},
        check=True,
    )
    found = np.load(tmp_path / "y.npy")
    np.testing.assert_array_equal(found, evaluate(made, values)[made.outputs[0]])


def test_several_inputs_and_outputs_are_dicts() -> None:
    made = two_inputs()
    values = random_inputs(made)
    wanted = evaluate(made, values)
    with Net(compile_network(made, TINY)) as net:
        found = net.run(values)
    assert tuple(found) == made.outputs
    for name in made.outputs:
        np.testing.assert_array_equal(found[name], wanted[name])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((1, 16, 4, 5), np.int8), r"int8\[1, 16, 4, 4\], not int8\[1, 16, 4, 5\]"),
        (np.zeros((1, 16, 4, 4), np.uint8), r"must be int8\[1, 16, 4, 4\], not uint8"),
        (np.zeros((1, 16, 4, 4), np.float32), "must be int8.*, not float32"),
        ({"other": np.zeros(3)}, "inputs must be input_0, not other"),
        ({}, "inputs must be input_0, not nothing"),
    ],
)
def test_inputs_that_do_not_fit(x: Any, message: str) -> None:
    with (
        Net(compile_network(one_input(), TINY)) as net,
        pytest.raises(ArgumentError, match=message),
    ):
        net.run(x)


def test_one_array_for_two_inputs() -> None:
    with (
        Net(compile_network(two_inputs(), TINY)) as net,
        pytest.raises(ArgumentError, match="inputs input_0, input_1: give a dict"),
    ):
        net.run(np.zeros((1, 16, 4, 4), np.int8))


class Counting(SimDevice):
    """Counts the bytes that are written to it."""

    def __init__(self) -> None:
        super().__init__(TINY)
        self.written = 0

    def _write(self, addr: int, data: Any) -> None:
        self.written += data.nbytes
        super()._write(addr, data)


def test_constants_and_streams_are_written_once() -> None:
    made = one_input()
    network = compile_network(made, TINY)
    (program,) = network.programs
    constants = sum(buffer.nbytes for buffer in program.buffers if buffer.data is not None)
    inputs = sum(buffer.nbytes for buffer in program.buffers if buffer.role == "input")
    with Counting() as device, Net(network, device) as net:
        net.run(random_inputs(made))
        assert device.written == constants + inputs + program.nbytes
        net.run(random_inputs(made, 2))
        assert device.written == constants + 2 * inputs + program.nbytes


def test_memory_is_given_back() -> None:
    made = one_input()
    with SimDevice(TINY) as device:
        net = Net(compile_network(made, TINY), device)
        net.run(random_inputs(made))
        assert device._allocator.used > 0
        net.close()
        net.close()
        assert device._allocator.used == 0
        forgotten = Net(compile_network(made, TINY), device)
        forgotten.run(random_inputs(made))
        del forgotten
        device.free(device.allocate(16))
        assert device._allocator.used == 0


def test_a_session_is_a_device() -> None:
    made = one_input()
    values = random_inputs(made)
    with Session(TINY) as session, Net(compile_network(made, TINY), session) as net:
        np.testing.assert_array_equal(net.run(values), evaluate(made, values)[made.outputs[0]])


def test_memory_that_is_too_small() -> None:
    made = one_input()
    network = compile_network(made, TINY)
    with SimDevice(TINY) as device:
        device._allocator = Allocator(4096, 4096 + network.device_bytes // 2, 64)
        with pytest.raises(DeviceError, match="the network needs [0-9,]+ bytes of the device's"):
            Net(network, device).run(random_inputs(made))
        assert device._allocator.used == 0
