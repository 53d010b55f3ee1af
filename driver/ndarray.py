"""`NDArray`, a tensor on the host or on a device, and `array` and `empty`, which make one."""

from __future__ import annotations

import math
import operator
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from vta.driver.device import Device
from vta.errors import ArgumentError

__all__ = ["Context", "NDArray", "array", "cpu", "empty"]

_KINDS = "biufc"
"""Numpy's dtype kinds for numbers (and booleans)."""


@dataclass(frozen=True)
class Context:
    """The place of an array: a device, or the host if None. Threads may share it."""

    device_type: str
    device_id: int = 0
    device: Device | None = None

    def __str__(self) -> str:
        return f"{self.device_type}({self.device_id})"


def cpu(device_id: int = 0) -> Context:
    """The host's memory."""
    if device_id != 0:
        raise ArgumentError(f"cpu has only device 0, not {device_id}")
    return Context("cpu")


class NDArray:
    """A contiguous row-major array; made by `array` and `empty`.

    Device memory is freed when the array is no longer referenced. DLPack and numpy get a copy on
    the host, because they must not keep references to device memory.

    Threads may share an array; each copy to or from it is atomic. The threads themselves must
    order their reads and writes.

    Attributes
    ----------
    shape : tuple of int
    dtype : str
        Numpy's name, such as ``int8``.
    ctx : Context
    addr : int or None
        The byte address in the device's memory; None on the host.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str, ctx: Context) -> None:
        self.shape = shape
        self.dtype = dtype
        self.ctx = ctx
        self.addr: int | None = None
        self._host = _host_zeros(shape if ctx.device is None else (0,), dtype)
        if ctx.device is not None:
            self.addr = ctx.device.allocate(self.nbytes)
            weakref.finalize(self, ctx.device.discard, self.addr)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def copyfrom(self, source: Any) -> NDArray:
        """Copies an array-like of the same shape and dtype into this one; returns it."""
        values = _as_numpy(source)
        if values.shape != self.shape or values.dtype != np.dtype(self.dtype):
            raise ArgumentError(
                f"source must be {_spell(self.shape, self.dtype)}, not "
                f"{_spell(values.shape, values.dtype.name)}"
            )
        if self.ctx.device is None or self.addr is None:
            self._host[...] = values
        else:
            self.ctx.device.write(self.addr, np.ascontiguousarray(values))
        return self

    def copyto(self, target: NDArray | Context) -> NDArray:
        """Copies this array into another, or to a context; returns the copy."""
        if isinstance(target, Context):
            return array(self, target)
        if not isinstance(target, NDArray):
            raise ArgumentError(f"target must be an NDArray or a context, not {target!r}")
        return target.copyfrom(self)

    def __getitem__(self, index: Any) -> Any:
        """A copy of an element or a part, indexed as in numpy; it always reads the whole array."""
        return self.numpy()[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.numpy())

    def __setitem__(self, index: Any, values: Any) -> None:
        if index is not ... and not (isinstance(index, slice) and index == slice(None)):
            raise ArgumentError(
                "an NDArray is set as a whole, by a[:] = values or a.copyfrom(values)"
            )
        self.copyfrom(values)

    def numpy(self) -> np.ndarray[Any, Any]:
        """A copy as a numpy array."""
        if self.ctx.device is None or self.addr is None:
            return self._host.copy()
        raw = self.ctx.device.read(self.addr, self.nbytes)
        return raw.view(self.dtype).reshape(self.shape)

    asnumpy = numpy

    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError("an NDArray can only be copied: its memory is the device's")
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        if copy is False:
            raise BufferError("an NDArray can only be copied: its memory is the device's")
        return self.numpy().__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # host memory, because `__dlpack__` returns a copy there

    def __repr__(self) -> str:
        return f"NDArray({_spell(self.shape, self.dtype)}, {self.ctx})"


def array(source: Any, ctx: Context | None = None) -> NDArray:
    """An array on `ctx` (default: the host) with the values of an array-like.

    `source` is a numpy array, nested lists, an `NDArray`, or an object that supports DLPack or
    numpy's array protocol.
    """
    values = _as_numpy(source)
    return empty(values.shape, values.dtype, ctx).copyfrom(values)


def empty(
    shape: int | Sequence[int], dtype: DTypeLike = "float32", ctx: Context | None = None
) -> NDArray:
    """An array on `ctx` (default: the host) with undefined values."""
    try:
        sizes = tuple(map(operator.index, shape if isinstance(shape, Iterable) else (shape,)))
    except TypeError:
        raise ArgumentError(f"shape must be whole numbers, not {shape!r}") from None
    if any(size < 0 for size in sizes):
        raise ArgumentError(f"shape must have sizes of at least 0, not {sizes}")
    if ctx is not None and not isinstance(ctx, Context):
        raise ArgumentError(f"ctx must be a context, such as remote.ext_dev(0), not {ctx!r}")
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        raise ArgumentError(f"dtype must be one of NumPy's, not {dtype!r}") from None
    if wanted.kind not in _KINDS:
        raise ArgumentError(f"dtype must be one of numbers, not {wanted}")
    return NDArray(sizes, wanted.name, ctx or cpu())


def _as_numpy(source: Any) -> np.ndarray[Any, Any]:
    """`source` as an array in the host's byte order."""
    if isinstance(source, NDArray):
        return source.numpy()
    if hasattr(source, "__dlpack__") and not isinstance(source, np.ndarray):
        try:
            return np.from_dlpack(source)
        except (BufferError, RuntimeError, TypeError) as error:
            raise ArgumentError(f"source cannot be read through DLPack ({error})") from None
    if isinstance(source, np.ma.MaskedArray):
        raise ArgumentError(
            "source must have no mask; give masked elements a value by .filled(value)"
        )
    try:
        values = np.asarray(source)
    except ValueError as error:
        raise ArgumentError(f"source must be an array ({error})") from None
    if values.dtype.kind not in _KINDS:
        raise ArgumentError(f"source must be an array of numbers, not of {values.dtype}")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _host_zeros(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    try:
        return np.zeros(shape, dtype)
    except (MemoryError, ValueError):
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        raise ArgumentError(
            f"an array {_spell(shape, dtype)} of {nbytes} bytes does not fit the host's memory"
        ) from None


def _spell(shape: tuple[int, ...], dtype: str) -> str:
    return f"{dtype}[{', '.join(str(size) for size in shape)}]"
