"""`XrtArena`: memory from XRT, which PYNQ's images have, where u-dma-buf is not loaded."""

from __future__ import annotations

import ctypes

from vta.driver.board.system import System
from vta.errors import DeviceError

__all__ = ["XrtArena"]

LIBRARY = "libxrt_coreutil.so.2"
NBYTES = 64 << 20
"""Bytes that are asked for first; where there are not so many, a half, and so on."""

LEAST = 1 << 20
_CACHEABLE = 1 << 24
_TO_DEVICE, _FROM_DEVICE = 0, 1

_FUNCTIONS = {
    "xrtDeviceOpen": (ctypes.c_void_p, (ctypes.c_uint,)),
    "xrtDeviceClose": (ctypes.c_int, (ctypes.c_void_p,)),
    "xrtBOAlloc": (
        ctypes.c_void_p,
        (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint64, ctypes.c_uint32),
    ),
    "xrtBOFree": (ctypes.c_int, (ctypes.c_void_p,)),
    "xrtBOAddress": (ctypes.c_uint64, (ctypes.c_void_p,)),
    "xrtBOMap": (ctypes.c_void_p, (ctypes.c_void_p,)),
    "xrtBOSync": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_size_t)),
}


class XrtArena:
    """One buffer object of XRT's device 0, cached by the processor. See `ports.Arena`.

    Raises
    ------
    DeviceError
        If XRT is not there, or gives no memory.
    """

    def __init__(self, system: System) -> None:
        self._library = system.library(LIBRARY)
        try:
            for name, (result, arguments) in _FUNCTIONS.items():
                function = getattr(self._library, name)
                function.restype, function.argtypes = result, arguments
        except AttributeError as error:
            raise DeviceError(f"{LIBRARY} is another XRT than expected ({error})") from None
        self._device = self._library.xrtDeviceOpen(0)
        if not self._device:
            raise DeviceError("XRT has no device 0")
        self.nbytes = NBYTES
        self._buffer = None
        while not self._buffer:
            if self.nbytes < LEAST:
                self._library.xrtDeviceClose(self._device)
                raise DeviceError(f"XRT has not even {LEAST} bytes of contiguous memory")
            self._buffer = self._library.xrtBOAlloc(self._device, self.nbytes, _CACHEABLE, 0)
            self.nbytes = self.nbytes if self._buffer else self.nbytes // 2
        self.address = int(self._library.xrtBOAddress(self._buffer))
        start = self._library.xrtBOMap(self._buffer)
        if not start:
            self.close()
            raise DeviceError("XRT cannot map its buffer")
        self.view = memoryview((ctypes.c_char * self.nbytes).from_address(start)).cast("B")

    def flush(self, offset: int, nbytes: int) -> None:
        self._sync(_TO_DEVICE, offset, nbytes)

    def invalidate(self, offset: int, nbytes: int) -> None:
        self._sync(_FROM_DEVICE, offset, nbytes)

    def close(self) -> None:
        """Gives the buffer back; may be called twice."""
        if self._buffer:
            if hasattr(self, "view"):
                self.view.release()
            self._library.xrtBOFree(self._buffer)
            self._library.xrtDeviceClose(self._device)
            self._buffer = None

    def _sync(self, direction: int, offset: int, nbytes: int) -> None:
        if nbytes > 0 and self._library.xrtBOSync(self._buffer, direction, nbytes, offset):
            raise DeviceError(f"XRT cannot maintain the cache of {nbytes} bytes at {offset:#x}")
