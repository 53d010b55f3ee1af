"""`UDmaBuf`: memory from the kernel module u-dma-buf, which also maintains the caches."""

from __future__ import annotations

from vta.driver.board.system import System
from vta.errors import DeviceError

__all__ = ["LINE", "UDmaBuf", "find_u_dma_buf"]

_CLASSES = ("sys/class/u-dma-buf", "sys/class/udmabuf")
"""The module's folder, by its present and its older name."""

LINE = 64
"""Bytes to which a range is widened: the longest cache line of these processors."""

_TO_DEVICE, _FROM_DEVICE = 1, 2


def find_u_dma_buf(system: System) -> str:
    """The folder of the first buffer, such as ``sys/class/u-dma-buf/udmabuf0``.

    Raises
    ------
    DeviceError
        If there is none.
    """
    for folder in _CLASSES:
        for name in system.names(folder):
            return f"{folder}/{name}"
    raise DeviceError(
        "there is no u-dma-buf device: load the kernel module u-dma-buf with the size of the "
        "memory, for example `insmod u-dma-buf.ko udmabuf0=67108864`"
    )


class UDmaBuf:
    """The whole of one u-dma-buf buffer, cached by the processor. See `ports.Arena`.

    Parameters
    ----------
    system : System
    folder : str
        From `find_u_dma_buf`.
    """

    def __init__(self, system: System, folder: str) -> None:
        self._system, self._folder = system, folder
        self.address = int(system.read(f"{folder}/phys_addr"), 0)
        self.nbytes = int(system.read(f"{folder}/size"), 0)
        self.view = system.map(f"dev/{folder.rsplit('/', 1)[1]}", self.nbytes)

    def flush(self, offset: int, nbytes: int) -> None:
        self._sync("sync_for_device", offset, nbytes, _TO_DEVICE)

    def invalidate(self, offset: int, nbytes: int) -> None:
        self._sync("sync_for_cpu", offset, nbytes, _FROM_DEVICE)

    def close(self) -> None:
        """Releases the processor's view."""
        self.view.release()

    def _sync(self, attribute: str, offset: int, nbytes: int, direction: int) -> None:
        """One write asks for all: where, how much (a multiple of 16), the direction, and "now"."""
        if nbytes <= 0:
            return
        start = offset // LINE * LINE
        size = min(-(-(offset + nbytes) // LINE) * LINE, self.nbytes) - start
        self._system.write(
            f"{self._folder}/{attribute}", f"0x{start:08X}{size & ~15 | direction << 2 | 1:08X}"
        )
