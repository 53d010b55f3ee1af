"""`Session`: a device in this process, with the interface of a remote device."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vta.driver.backends import open_device, require_backend
from vta.driver.board.board_device import BoardDevice
from vta.driver.module import LoadedModule
from vta.driver.ndarray import Context, cpu
from vta.errors import ArgumentError, ConfigError, DeviceError
from vta.files import replacing
from vta.program import Program

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from vta.config import Config
    from vta.driver.device import Device

__all__ = ["Session"]


class Session:
    """A folder for uploads and one device. It is a context manager; `close` may be called twice.

    Threads may share a session: its device serves one call at a time, and the others wait. `close`
    waits for the running call; every later use raises a `DeviceError`.

    Parameters
    ----------
    config : Config
        The configuration; its `TARGET` chooses the device.

    Raises
    ------
    ConfigError
        If the target has no back end.
    """

    def __init__(self, config: Config) -> None:
        require_backend(config.target)
        self.config = config
        self._lock = threading.Lock()
        self._device: Device | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="vta-session-"))
        # Runs when the session is closed or collected, or when the process ends. Scripts seldom
        # close one, and should not get the warning of tempfile.TemporaryDirectory.
        self._remove = weakref.finalize(self, shutil.rmtree, self._folder, True)
        self._closed = False

    def upload(self, path: str | os.PathLike[str], target: str | None = None) -> None:
        """Copies a file into the session, under its own name or `target`."""
        self._check_open()
        name = target if target is not None else Path(path).name
        try:
            with replacing(self._place(name)) as partial:
                shutil.copyfile(path, partial)
        except OSError as error:
            raise DeviceError(f"{path}: cannot be uploaded ({error.strerror or error})") from None

    def load_module(self, name: str) -> LoadedModule:
        """Loads the program in an uploaded file.

        Raises
        ------
        ProgramError
            If the file is damaged or of another kind, or made for another configuration.
        """
        self._check_open()
        place = self._place(name)
        if not place.is_file():
            there = ", ".join(sorted(item.name for item in place.parent.iterdir())) or "nothing"
            raise DeviceError(f"{name} was not uploaded to this session; there is {there}")
        return LoadedModule(Program.load(place), self.machine)

    def ext_dev(self, device_id: int = 0) -> Context:
        """The accelerator's memory."""
        if device_id != 0:
            raise DeviceError(f"ext_dev has only device 0, not {device_id}")
        return Context("ext_dev", device_id, self.machine)

    def cpu(self, device_id: int = 0) -> Context:
        """The host's memory."""
        self._check_open()
        return cpu(device_id)

    def device(self, device_type: str, device_id: int = 0) -> Context:
        """The context of a device type, ``ext_dev`` or ``cpu``."""
        if device_type == "ext_dev":
            return self.ext_dev(device_id)
        if device_type in ("cpu", "llvm"):
            return self.cpu(device_id)
        raise DeviceError(f"device_type must be ext_dev or cpu, not {device_type!r}")

    context = device

    @property
    def machine(self) -> Device:
        """The device that programs run on, opened at first use."""
        with self._lock:
            self._check_open()
            if self._device is None:
                self._device = self._open_device()
            return self._device

    @property
    def closed(self) -> bool:
        return self._closed

    def reconfigure(self, config: Config) -> None:
        """Makes the session fit a configuration, if it can.

        Raises
        ------
        ConfigError
            If programs for it mean something else on its machine.
        """
        self._check_open()
        if difference := config.encoding_difference(self.config):
            raise ConfigError(
                f"the session's machine has another configuration: {difference} "
                "(here: the environment, there: the session)"
            )

    def program_fpga(self, bitstream: str | os.PathLike[str] | None = None) -> None:
        """Programs the FPGA, if the device has one; see `BoardDevice.program`.

        Raises
        ------
        ConfigError
            If it has none and `bitstream` is given.
        """
        device = self.machine
        if isinstance(device, BoardDevice):
            device.program(bitstream)
        elif bitstream is not None:
            raise ConfigError(
                f"TARGET {self.config.target} has no FPGA to program with {bitstream}"
            )

    def close(self) -> None:
        """Closes the device and removes the uploaded files."""
        with self._lock:
            self._closed = True
            device = self._device
        # Another thread may be in a call of the device and need the session to finish it.
        if device is not None:
            device.close()
        self._remove()

    def get_function(self, name: str) -> Callable[..., Any]:
        """A function of the runtime, by the name that scripts for TVM use.

        ``tvm.contrib.vta.init`` programs the FPGA; ``vta.simulator.profiler_clear`` and
        ``profiler_status`` (JSON) are the device's statistics, also under ``vta.tsim``.

        Raises
        ------
        ArgumentError
            If there is no such function.
        """
        self._check_open()
        functions: dict[str, Callable[..., Any]] = {"tvm.contrib.vta.init": self.program_fpga}
        for kind in ("simulator", "tsim"):
            functions[f"vta.{kind}.profiler_clear"] = lambda: self.machine.clear_statistics()
            functions[f"vta.{kind}.profiler_status"] = lambda: json.dumps(self.machine.statistics())
        if name not in functions:
            raise ArgumentError(f"there is no function {name!r}; there are {', '.join(functions)}")
        return functions[name]

    def _open_device(self) -> Device:
        return open_device(self.config)

    def _place(self, name: str) -> Path:
        if not name or name in (".", "..") or Path(name).name != name:
            raise DeviceError(f"name must be a file name without folders, not {name!r}")
        return self._folder / name

    def _check_open(self) -> None:
        if self._closed:
            raise DeviceError("the session is closed")

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
