"""Runs compiled networks: ``net = vta.net.load("model.vta"); y = net.run(x)``."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vta.compiler.graph.network_file import HostStep, MachineStep, Network, PackedTensor
from vta.compiler.graph.reference import run_node
from vta.compiler.graph.tensor_layout import as_image
from vta.driver.backends import open_device
from vta.driver.device import Device
from vta.driver.resident_program import ResidentProgram
from vta.driver.session import Session
from vta.errors import ArgumentError, DeviceError, MachineError, NetworkError, ToolError
from vta.onnx_session import onnx_session

if TYPE_CHECKING:
    from vta.compiler.graph.int8_graph import Node, TensorInfo
    from vta.program import Program, RunReport
    from vta.sim.rtl.recording import Recording

__all__ = ["Net", "StepTime", "load"]

Array = NDArray[Any]


@dataclass(frozen=True)
class StepTime:
    """How long a step of a call took.

    Attributes
    ----------
    name : str
        Of the program, or of the host's node.
    pack, run, unpack : float
        Seconds: making tiles of the inputs, the device's or the host's work, and the reverse.
    report : RunReport or None
        Of a program.
    recording : Recording or None
        Of a program on a `TsimDevice` that records.
    """

    name: str
    pack: float
    run: float
    unpack: float
    report: RunReport | None = None
    recording: Recording | None = None


def load(
    path: str | os.PathLike[str], device: Device | Session | None = None, *, target: str = "sim"
) -> Net:
    """The network in a file, to run on a device.

    Parameters
    ----------
    path : path
    device : Device or Session, optional
        May be remote. The default is a new one for `target` with the network's configuration.
    target : str
        ``sim`` or ``tsim``; only without `device`.

    Raises
    ------
    NetworkError
        If the file is damaged.
    ProgramError
        If it was compiled for another configuration than that of the device.
    """
    return Net(Network.load(path), device, target=target)


class Net:
    """A network on a device. It is a context manager; `close` may be called twice.

    Weights and streams are written to the device at the first call, and stay there. Threads may
    share a network, which runs one call at a time.

    Parameters
    ----------
    network : Network
    device : Device or Session, optional
    target : str
        As for `load`.

    Attributes
    ----------
    times : list of StepTime
        Of the last call.
    """

    def __init__(
        self, network: Network, device: Device | Session | None = None, *, target: str = "sim"
    ) -> None:
        self.network = network
        self.times: list[StepTime] = []
        self._own = device is None
        if device is None:
            device = open_device(network.config.replace(target=target))
        self._device = device.machine if isinstance(device, Session) else device
        self._residents = {
            index: ResidentProgram(step.program, self._device)
            for index, step in enumerate(network.steps)
            if isinstance(step, MachineStep)
        }
        self._arguments: dict[int, dict[str, int]] = {}
        self._sessions: dict[int, Any] = {}
        # A network that is forgotten gives its memory back at the device's next allocation.
        self._discard = weakref.finalize(self, _discard, self._device, self._arguments)

    @property
    def device(self) -> Device:
        return self._device

    @property
    def inputs(self) -> dict[str, TensorInfo]:
        """The arrays that a call takes."""
        return {name: self.network.tensors[name] for name in self.network.inputs}

    @property
    def outputs(self) -> dict[str, TensorInfo]:
        """The arrays that a call returns."""
        return {name: self.network.tensors[name] for name in self.network.outputs}

    def run(self, x: Any, *, timeout: float | None = None) -> Any:
        """What the network gives for one input.

        Parameters
        ----------
        x : array, or dict of arrays by the inputs' names
            Of the shapes and dtypes that `inputs` states.
        timeout : float, optional
            Seconds that a program may take on the device.

        Returns
        -------
        array, or a dict of arrays by the outputs' names if there are several

        Raises
        ------
        ArgumentError
            If an array has another shape or dtype.
        NetworkError
            If what the network's file says of a node on the host makes no sense.
        """
        values = self.run_all(x, timeout=timeout)
        found = {name: values[name] for name in self.network.outputs}
        return found if len(found) != 1 else next(iter(found.values()))

    def run_all(self, x: Any, *, timeout: float | None = None) -> dict[str, Array]:
        """The same with every tensor that the host sees."""
        values = self._checked(x)
        with self._device.lock:
            self.times = []
            for index, step in enumerate(self.network.steps):
                if isinstance(step, MachineStep):
                    self._run_program(index, step, values, timeout)
                else:
                    self._run_node(index, step, values)
        return values

    def close(self) -> None:
        """Frees the network's memory on the device, and closes the device that it opened."""
        self._discard.detach()
        with self._device.lock:
            for resident in self._residents.values():
                resident.close()
            for addresses in self._arguments.values():
                for address in addresses.values():
                    self._device.free(address)
            self._arguments.clear()
            if self._own:
                self._device.close()

    def __enter__(self) -> Net:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- steps -----------------------------------------------------------------------------------

    def _checked(self, x: Any) -> dict[str, Array]:
        infos = self.inputs
        if not isinstance(x, Mapping):
            if len(infos) != 1:
                raise ArgumentError(
                    f"the network has the inputs {', '.join(infos)}: give a dict of arrays"
                )
            x = dict.fromkeys(infos, x)
        if x.keys() != infos.keys():
            raise ArgumentError(
                f"the inputs must be {', '.join(infos)}, not {', '.join(map(str, x)) or 'nothing'}"
            )
        values = {}
        for name, info in infos.items():
            array = np.asarray(x[name])
            if array.shape != info.shape or array.dtype != info.dtype:
                raise ArgumentError(
                    f"input {name} must be {info.dtype}{list(info.shape)}, not "
                    f"{array.dtype}{list(array.shape)}"
                )
            values[name] = array
        return values

    def _run_program(
        self, index: int, step: MachineStep, values: dict[str, Array], timeout: float | None
    ) -> None:
        device, tensors = self._device, self.network.tensors
        addresses = self._upload(index, step.program)
        start = time.perf_counter()
        packed = [_packed(values[item.tensor], tensors[item.tensor], item) for item in step.inputs]
        ready = time.perf_counter()
        for item, tiles in zip(step.inputs, packed, strict=True):
            device.write(addresses[item.buffer], tiles)
        try:
            report = self._residents[index].run(addresses, timeout=timeout)
        except MachineError as error:
            raise DeviceError(f"{step.program.name}: {error}") from error
        raw = [device.read(addresses[item.buffer], item.layout.nbytes) for item in step.outputs]
        done = time.perf_counter()
        for item, found in zip(step.outputs, raw, strict=True):
            values[item.tensor] = _unpacked(found, tensors[item.tensor], item)
        end = time.perf_counter()
        self.times.append(
            StepTime(
                step.program.name,
                ready - start,
                done - ready,
                end - done,
                report,
                getattr(device, "recording", None),
            )
        )

    def _upload(self, index: int, program: Program) -> dict[str, int]:
        """The addresses of a program's arguments; the first call takes memory for the program."""
        if index in self._arguments:
            return self._arguments[index]
        addresses: dict[str, int] = {}
        try:
            for buffer in program.args:
                addresses[buffer.name] = self._device.allocate(buffer.nbytes)
            self._residents[index].reserve()
        except DeviceError as error:
            for address in addresses.values():
                self._device.free(address)
            raise DeviceError(
                f"the network needs {self.network.device_bytes:,} bytes of the device's memory: "
                f"{error}"
            ) from None
        self._arguments[index] = addresses
        return addresses

    def _run_node(self, index: int, step: HostStep, values: dict[str, Array]) -> None:
        node = step.node
        start = time.perf_counter()
        inputs = [values[name] for name in node.inputs]
        if node.op == "cpu":
            outputs = self._run_model(index, step, inputs)
        else:
            outputs = [_run_formula(node, inputs, self.network.tensors)]
        for name, output in zip(node.outputs, outputs, strict=True):
            values[name] = _as_stated(output, self.network.tensors[name])
        self.times.append(StepTime(node.name, 0.0, time.perf_counter() - start, 0.0))

    def _run_model(self, index: int, step: HostStep, inputs: list[Array]) -> list[Array]:
        """The outputs of a node that ONNX Runtime runs."""
        node = step.node
        try:
            if index not in self._sessions:
                what = "a part of the network that runs on the host"
                self._sessions[index] = onnx_session(step.model, what)
            found: list[Array] = self._sessions[index].run(
                list(node.outputs), dict(zip(node.inputs, inputs, strict=True))
            )
        except ToolError:
            raise
        except Exception as error:  # ONNX Runtime's errors have no common base
            text = str(error).splitlines()[0]
            raise DeviceError(f"{node.name}: ONNX Runtime failed: {text}") from error
        return found


def _run_formula(node: Node, inputs: list[Array], tensors: Mapping[str, TensorInfo]) -> Array:
    try:
        return run_node(node, inputs, tensors)
    except NetworkError:
        raise
    except Exception as error:  # a damaged file may claim anything about a node
        raise NetworkError(f"{node.name}: the network is damaged ({error!r})") from error


def _discard(device: Device, arguments: dict[int, dict[str, int]]) -> None:
    for addresses in arguments.values():
        for address in addresses.values():
            device.discard(address)


def _packed(values: Array, info: TensorInfo, item: PackedTensor) -> NDArray[np.int8]:
    """A tensor as the tiles of a program's input."""
    data = (values ^ np.uint8(128)).view(np.int8) if info.offset else values
    data = data.reshape(as_image(info.shape))
    for windows in item.windows:
        data = windows.apply(data)
    return item.layout.pack(data.reshape(item.layout.shape))


def _unpacked(tiles: NDArray[np.uint8], info: TensorInfo, item: PackedTensor) -> Array:
    data = item.layout.unpack(tiles.view(np.int8)).reshape(info.shape)
    return data.view(np.uint8) ^ np.uint8(128) if info.offset else data


def _as_stated(output: Any, info: TensorInfo) -> Array:
    """A host's result, which must be as the file says."""
    array = np.asarray(output)
    if array.shape != info.shape or array.dtype != info.dtype:
        raise DeviceError(
            f"tensor {info.name} must be {info.dtype}{list(info.shape)}, not "
            f"{array.dtype}{list(array.shape)}"
        )
    return array
