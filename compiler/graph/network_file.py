"""`Network`: a compiled network, and its file.

A network is a list of steps: programs for the accelerator, and nodes that run on the host. Its file
is an ``.npz`` of plain arrays with a JSON manifest and without pickles. Everything that the
manifest claims is checked, so that a file from an untrusted source can be opened.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vta.archive import read_npz
from vta.compiler.check.proof import check_bounds
from vta.compiler.graph.embedded_model import check_embedded_model
from vta.compiler.graph.int8_graph import HOST_OPS, MACHINE_OPS, Node, TensorInfo
from vta.compiler.graph.tensor_layout import TensorLayout, Windows, as_image
from vta.config import Config
from vta.errors import CompileError, NetworkError, ProgramError, VtaError
from vta.files import replacing
from vta.program import Program

__all__ = ["HostStep", "MachineStep", "Network", "PackedTensor"]

FORMAT = "vta-network"
VERSION = 1

MAX_ELEMENTS = 1 << 31
"""The most values that a tensor may have."""


@dataclass(frozen=True, kw_only=True)
class PackedTensor:
    """A tensor in a buffer of a program.

    Attributes
    ----------
    tensor, buffer : str
    layout : TensorLayout
    windows : tuple of Windows
        What the host does with an input before it packs it.
    """

    tensor: str
    buffer: str
    layout: TensorLayout
    windows: tuple[Windows, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MachineStep:
    """A program, and the tensors in its buffers."""

    program: Program
    inputs: tuple[PackedTensor, ...]
    outputs: tuple[PackedTensor, ...]


@dataclass(frozen=True, kw_only=True)
class HostStep:
    """A node on the host; `model` is the ONNX model of a node with op ``cpu``."""

    node: Node
    model: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A compiled network. It is immutable, and threads may share it.

    Attributes
    ----------
    name : str
    config : Config
        The configuration that it was compiled for.
    inputs, outputs : tuple of str
    tensors : mapping of str to TensorInfo
        The tensors that pass between steps.
    steps : tuple
        In the order in which they run.
    report : mapping
        Facts about the nodes and the memory, for `vta compile --report`.
    """

    name: str
    config: Config
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, TensorInfo]
    steps: tuple[MachineStep | HostStep, ...]
    report: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def programs(self) -> tuple[Program, ...]:
        return tuple(step.program for step in self.steps if isinstance(step, MachineStep))

    @property
    def device_bytes(self) -> int:
        """Bytes that the programs' buffers and streams take in a device's memory."""
        return sum(
            program.nbytes + sum(buffer.nbytes for buffer in program.buffers)
            for program in self.programs
        )

    # -- file ------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the file atomically.

        Raises
        ------
        NetworkError
            If the file cannot be written.
        """
        arrays: dict[str, NDArray[Any]] = {}
        steps = [_to_item(step, index, arrays) for index, step in enumerate(self.steps)]
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "config": self.config.to_dict(),
            "inputs": self.inputs,
            "outputs": self.outputs,
            "tensors": [dataclasses.asdict(info) for info in self.tensors.values()],
            "steps": steps,
            "report": self.report,
        }
        raw = np.frombuffer(json.dumps(manifest).encode(), np.uint8)
        try:
            with replacing(path) as partial, open(partial, "wb") as file:
                np.savez(file, allow_pickle=False, manifest=raw, **arrays)
        except OSError as error:
            raise NetworkError(f"{path}: cannot be written ({error.strerror})") from None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Network:
        """The network in a file.

        Raises
        ------
        NetworkError
            If the file is missing, damaged, of another kind, or of a later version.
        """
        manifest, arrays = read_npz(path, FORMAT, VERSION, NetworkError)
        try:
            tensors = {info.name: info for info in map(_to_tensor, manifest["tensors"])}
            network = cls(
                name=str(manifest["name"]),
                config=Config.from_dict(manifest["config"]),
                inputs=tuple(map(str, manifest["inputs"])),
                outputs=tuple(map(str, manifest["outputs"])),
                tensors=tensors,
                steps=tuple(
                    _from_item(item, index, arrays) for index, item in enumerate(manifest["steps"])
                ),
                report=dict(manifest["report"]),
            )
            _check(network)
        except (NetworkError, ProgramError, CompileError) as error:
            raise NetworkError(f"{path}: a damaged network file ({error})") from None
        except VtaError as error:
            raise NetworkError(f"{path}: {error}") from None
        except (
            KeyError,
            TypeError,
            ValueError,
            IndexError,
            AttributeError,
            OverflowError,
        ) as error:
            raise NetworkError(f"{path}: a damaged network file ({error!r})") from None
        return network


def _to_item(
    step: MachineStep | HostStep, index: int, arrays: dict[str, NDArray[Any]]
) -> dict[str, Any]:
    """A step as a JSON object; its arrays go into `arrays`."""
    if isinstance(step, HostStep):
        node = step.node
        for name, array in node.constants.items():
            arrays[f"{index}/{name}"] = np.asarray(array)
        if node.op == "cpu":
            arrays[f"{index}/model"] = np.frombuffer(step.model, np.uint8)
        return {
            "kind": "host",
            "name": node.name,
            "op": node.op,
            "inputs": node.inputs,
            "outputs": node.outputs,
            "attributes": dict(node.attributes),
            "reason": node.reason,
        }
    manifest, own = step.program.to_parts()
    arrays.update({f"{index}/{name}": array for name, array in own.items()})
    return {
        "kind": "machine",
        "program": manifest,
        "inputs": [dataclasses.asdict(item) for item in step.inputs],
        "outputs": [dataclasses.asdict(item) for item in step.outputs],
    }


def _from_item(
    item: Mapping[str, Any], index: int, arrays: Mapping[str, NDArray[Any]]
) -> MachineStep | HostStep:
    prefix = f"{index}/"
    own = {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
    if item["kind"] == "machine":
        return MachineStep(
            program=Program.from_parts(item["program"], own),
            inputs=tuple(map(_to_packed, item["inputs"])),
            outputs=tuple(map(_to_packed, item["outputs"])),
        )
    model = own.pop("model").tobytes() if item["op"] == "cpu" else b""
    node = Node(
        name=str(item["name"]),
        op=str(item["op"]),
        inputs=tuple(map(str, item["inputs"])),
        outputs=tuple(map(str, item["outputs"])),
        attributes={str(name): _tuples(value) for name, value in item["attributes"].items()},
        constants=own,
        reason=str(item["reason"]),
    )
    return HostStep(node=node, model=model)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _to_tensor(item: Mapping[str, Any]) -> TensorInfo:
    scale = item["scale"]
    info = TensorInfo(
        name=str(item["name"]),
        shape=tuple(int(size) for size in item["shape"]),
        dtype=np.dtype(item["dtype"]).name,
        scale=None if scale is None else float(scale),
        zero_point=int(item["zero_point"]),
    )
    if any(size < 0 for size in info.shape) or math.prod(info.shape) > MAX_ELEMENTS:
        raise NetworkError(f"tensor {info.name} has the shape {list(info.shape)}")
    return info


def _to_packed(item: Mapping[str, Any]) -> PackedTensor:
    layout = {name: _tuples(value) for name, value in item["layout"].items()}
    windows = tuple(
        Windows(**{name: _tuples(value) for name, value in each.items()})
        for each in item["windows"]
    )
    return PackedTensor(
        tensor=str(item["tensor"]),
        buffer=str(item["buffer"]),
        layout=TensorLayout(**layout),
        windows=windows,
    )


# -- checks --------------------------------------------------------------------------------------


def _check(network: Network) -> None:
    """Refuses a network whose steps do not fit together."""
    known = set(network.inputs)
    _require(network, network.inputs)
    for step in network.steps:
        if isinstance(step, MachineStep):
            if step.program.config != network.config:
                raise NetworkError("a program has another configuration than the network")
            _check_machine(network, step)
            read = [item.tensor for item in step.inputs]
            made = [item.tensor for item in step.outputs]
        else:
            read, made = list(step.node.inputs), list(step.node.outputs)
            _check_host(step)
        _require(network, (*read, *made))
        for name in read:
            if name not in known:
                raise NetworkError(f"tensor {name} is read before it is there")
        known.update(made)
    for name in network.outputs:
        if name not in known:
            raise NetworkError(f"output {name} is never computed")
    _check_report(network)


ROW = {
    "node": str,
    "op": str,
    "where": str,
    "why": str,
    "shape": list,
    "macs": int,
    "cycles": int,
    "bound": str,
    "least": int,
    "reads": list,
    "bytes": int,
    "instructions": int,
}
REGION = {
    "instructions": int,
    "firsts": list,
    "arena_bytes": int,
    "constant_bytes": int,
    "buffer_bytes": int,
}
"""What a report has for each node and for each program."""


def _check_report(network: Network) -> None:
    """Refuses a report that others could not read."""
    report = network.report
    for name, wanted in (("rows", ROW), ("regions", REGION)):
        for item in report[name]:
            for key, kind in wanted.items():
                if not isinstance(item[key], kind):
                    raise NetworkError(f"the report's {key} is no {kind.__name__}")
    names = {row["node"] for row in report["rows"]}
    sizes = [size for row in report["rows"] for size in row["shape"]]
    reads = [name for row in report["rows"] for name in row["reads"]]
    if not all(isinstance(size, int) for size in sizes) or not names.issuperset(reads):
        raise NetworkError("the report's rows do not fit together")
    if len(report["regions"]) != len(network.programs):
        raise NetworkError("the report speaks of other programs")
    for region, program in zip(report["regions"], network.programs, strict=True):
        places = [int(first) for _, first in region["firsts"]]
        if places != sorted(places) or not all(0 <= n < len(program.insns) for n in places):
            raise NetworkError("the report's instructions are not in order")
    for name in ("mean", "std"):
        numbers = [float(number) for number in report.get("picture", {}).get(name, [1.0])]
        if len(numbers) not in (1, 3) or not all(map(math.isfinite, numbers)):
            raise NetworkError(f"the {name} of pictures must be one number or three")


def _require(network: Network, names: tuple[str, ...]) -> None:
    for name in names:
        if name not in network.tensors:
            raise NetworkError(f"there is no tensor {name}")


def _check_host(step: HostStep) -> None:
    node = step.node
    if node.op not in (*HOST_OPS, *MACHINE_OPS):
        raise NetworkError(f"there is no operation {node.op}")
    if not node.outputs or (node.op != "cpu" and not node.inputs):
        raise NetworkError(f"{node.name} has no inputs or no outputs")
    if node.op == "cpu":
        check_embedded_model(step.model)


def _check_machine(network: Network, step: MachineStep) -> None:
    program = step.program
    check_bounds(program)
    buffers = {buffer.name: buffer for buffer in program.buffers}
    if len(buffers) != len(program.buffers):
        raise NetworkError("two buffers of a program have the same name")
    for role, items in (("input", step.inputs), ("output", step.outputs)):
        wanted = {buffer.name for buffer in program.args if buffer.role == role}
        if wanted != {item.buffer for item in items}:
            raise NetworkError(f"a program's {role}s are not those that it has buffers for")
        for item in items:
            buffer, layout = buffers[item.buffer], item.layout
            _check_packed(network, item)
            tile = (network.config.batch, network.config.block)
            if (layout.batch, layout.block) != tile or buffer.nbytes != layout.nbytes:
                raise NetworkError(f"tensor {item.tensor} does not fit its buffer")
            if role == "output" and item.windows:
                raise NetworkError("an output has no windows")


def _check_packed(network: Network, item: PackedTensor) -> None:
    info = network.tensors.get(item.tensor)
    if info is None or not info.quantised or info.dtype not in ("int8", "uint8"):
        raise NetworkError(f"tensor {item.tensor} is not quantised")
    layout, shape = item.layout, as_image(info.shape)
    for windows in item.windows:
        windows.check(shape)
        shape = windows.shape(shape)
        if math.prod(shape) > MAX_ELEMENTS:
            raise NetworkError(f"windows give tensor {item.tensor} the shape {list(shape)}")
    if math.prod(layout.shape) != math.prod(shape):
        raise NetworkError(f"tensor {item.tensor} does not have the values of its layout")
