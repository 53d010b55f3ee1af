"""`UioInterrupt`: the interrupt of a UIO device."""

from __future__ import annotations

import os
import select

from vta.errors import DeviceError

__all__ = ["UioInterrupt"]


class UioInterrupt:
    """An interrupt that Linux's UIO driver passes on.

    Writing a 1 lets the next interrupt through. Reading gives the count of interrupts, and waits
    for the next one; the driver has then disabled the interrupt.

    Parameters
    ----------
    file : int
        The descriptor of the device file; closed by `close`.

    Raises
    ------
    DeviceError
        From `enable` and `wait`, if the device has no interrupt.
    """

    def __init__(self, file: int) -> None:
        self._file = file

    def enable(self) -> None:
        try:
            os.write(self._file, (1).to_bytes(4, "little"))
        except OSError as error:
            raise _no_interrupt(error) from None

    def wait(self, seconds: float) -> bool:
        if not select.select([self._file], [], [], seconds)[0]:
            return False
        try:
            os.read(self._file, 4)
        except OSError as error:
            raise _no_interrupt(error) from None
        return True

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _no_interrupt(error: OSError) -> DeviceError:
    return DeviceError(
        f"the UIO device has no interrupt ({error.strerror}): its device tree node must name one"
    )
