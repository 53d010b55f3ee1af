"""`BoardDevice`: a board as a `Device`, here or at the other end of a connection."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vta.driver.allocator import Allocator
from vta.driver.board.bitstreams import fitting_bitstream, read_bitstream
from vta.driver.board.kinds import KINDS
from vta.driver.device import Device
from vta.driver.simulated import PROFILE
from vta.errors import DeviceError
from vta.isa import INSN_BYTES, Isa, MemoryType
from vta.readout import Readout, field_value, identity_problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vta.config import Config
    from vta.driver.board.board import BoardInfo, BoardLink
    from vta.program import RunReport

__all__ = ["BoardDevice"]

_RESERVED = 4096
"""Bytes at the start of the memory that are never allocated."""


class BoardDevice(Device):
    """A board.

    Memory is allocated here, and programs are linked here: the board only moves bytes and runs
    streams.

    Parameters
    ----------
    config : Config
        The configuration that the board's machine must have when a program runs.
    link : BoardLink
        The board; closed with the device.
    """

    def __init__(self, config: Config, link: BoardLink) -> None:
        super().__init__(config, config.target)
        self._link = link
        self._known = False
        info = link.info
        alignment = max(64, *(config.elem_bytes(kind) for kind in MemoryType))
        self._allocator = Allocator(info.address + _RESERVED, info.address + info.nbytes, alignment)

    @property
    def info(self) -> BoardInfo:
        """The kind of the board, and its memory."""
        return self._link.info

    def identify(self) -> dict[str, int]:
        """The registers that say what the machine is; none if the FPGA is not programmed."""
        with self._open():
            return self._link.identify()

    def program(self, bitstream: str | os.PathLike[str] | None = None) -> None:
        """Programs the board's FPGA.

        Parameters
        ----------
        bitstream : path, optional
            A .bit or .bin file. The default is the one that was made for this board and
            configuration, or, if there is none, the machine that is in the FPGA already.

        Raises
        ------
        DeviceError
            If there is no bitstream, or if its machine has another configuration.
        """
        with self._open():
            kind, emulated = self._link.info.kind, self._link.info.emulated
            found = (
                fitting_bitstream(kind, self.config, emulated=emulated)
                if bitstream is None
                else read_bitstream(Path(bitstream))
            )
            if found is not None:
                self._known = False
                self._link.program(found.data, found.clock_hz)
                self._check_identity()
            elif problem := self._identity_problem():
                raise DeviceError(
                    f"there is no bitstream for {kind} and {self.config.bitstream} here, and "
                    f"{problem}: make one by `vta bitstream {kind}`, or pass the path of one"
                )

    def _identity_problem(self) -> str:
        """Why the machine in the FPGA cannot be used; "" if it can."""
        found = self._link.identify()
        if not found:
            return "the FPGA is not programmed"
        return identity_problem(
            self.config, found.__getitem__, programs_only=True
        ) or self._burst_problem(found)

    def _burst_problem(self, found: Mapping[str, int]) -> str:
        kind = KINDS.get(self._link.info.kind)
        beats = field_value("config_2", "max_burst", found["config_2"])
        if kind is None or beats <= kind.longest_burst:
            return ""
        return (
            f"MAX_BURST is {beats} in hardware, and the memory port of {kind.name} takes bursts of "
            f"at most {kind.longest_burst} beats"
        )

    def _check_identity(self) -> None:
        if self._known:
            return
        if problem := self._identity_problem():
            kind = self._link.info.kind
            raise DeviceError(
                f"{problem}: program {kind} with a bitstream for {self.config.bitstream}, by "
                "vta.program_fpga(remote)"
            )
        self._known = True

    def _allocate(self, nbytes: int) -> int:
        try:
            return self._allocator.allocate(nbytes)
        except DeviceError as error:
            size = self._link.info.nbytes
            raise DeviceError(
                f"{error}; the board sets {size} bytes aside (docs/boards.md says how to raise it)"
            ) from None

    def _free(self, addr: int) -> None:
        self._allocator.free(addr)

    def _write(self, addr: int, data: NDArray[Any]) -> None:
        self._link.write(addr, _bytes_of(data))

    def _read(self, addr: int, nbytes: int) -> NDArray[np.uint8]:
        data = np.empty(nbytes, np.uint8)
        self._link.read(addr, data.data)
        return data

    def _launch(
        self,
        insn_addr: int,
        insn_count: int,
        base: Mapping[str, int],
        timeout: float | None,
        insns: NDArray[np.uint64] | None,
    ) -> RunReport:
        self._check_identity()
        stream = None if insns is None else _bytes_of(insns)
        run = self._link.launch(insn_addr, insn_count, base, timeout, stream)

        def text(index: int) -> str:
            if index >= insn_count:
                return ""
            word = self._read(insn_addr + index * INSN_BYTES, INSN_BYTES).tobytes()
            return str(Isa(self.config).decode(int.from_bytes(word, "little"), index))

        readout = Readout(run.registers.__getitem__, text)
        cycles = run.registers["cycle_count"]
        report = readout.report(self.target, cycles, readout.fault(), seconds=run.seconds)
        PROFILE.add(report)
        return report

    def _reset(self) -> None:
        self._link.reset()

    def _close(self) -> None:
        self._link.close()


def _bytes_of(data: NDArray[Any]) -> memoryview:
    """The bytes of an array, row-major."""
    return np.ascontiguousarray(data).reshape(-1).view(np.uint8).data
