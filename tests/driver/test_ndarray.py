"""Tensors on the host and on a device."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import vta
from vta import nd, top
from vta.config import PRESETS
from vta.driver.ndarray import Context
from vta.driver.simulated import SimDevice
from vta.errors import ArgumentError, DeviceError


@pytest.fixture
def ctx():
    with SimDevice(PRESETS["tiny"]) as device:
        yield Context("ext_dev", 0, device)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "float32", "bool"])
def test_round_trip_on_device_and_host(ctx: Context, dtype: str) -> None:
    values = np.random.default_rng(1).integers(-9, 9, (3, 4, 5)).astype(dtype)
    for where in (ctx, None, nd.cpu()):
        array = nd.array(values, where)
        assert array.shape == (3, 4, 5)
        assert array.dtype == dtype
        np.testing.assert_array_equal(array.numpy(), values)
        np.testing.assert_array_equal(array.asnumpy(), values)
        np.testing.assert_array_equal(np.asarray(array), values)


def test_accepts_what_is_not_contiguous_or_not_native(ctx: Context) -> None:
    values = np.arange(24, dtype=">i4").reshape(4, 6).T[::2]
    array = nd.array(values, ctx)
    assert array.dtype == "int32"
    np.testing.assert_array_equal(array.numpy(), values)
    np.testing.assert_array_equal(nd.array([[1, 2], [3, 4]], ctx).numpy(), [[1, 2], [3, 4]])
    np.testing.assert_array_equal(nd.array(array, nd.cpu()).numpy(), values)


def test_numpy_gives_a_copy(ctx: Context) -> None:
    array = nd.array(np.zeros(4, np.int8), ctx)
    array.numpy()[:] = 5
    np.testing.assert_array_equal(array.numpy(), 0)


class ForeignTensor:
    """Speaks DLPack and nothing else."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __dlpack__(self, **options: object) -> object:
        return self._values.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._values.__dlpack_device__()


def test_dlpack_in_and_out(ctx: Context) -> None:
    values = np.arange(12, dtype=np.int32).reshape(3, 4)
    array = nd.array(ForeignTensor(values), ctx)
    np.testing.assert_array_equal(array.numpy(), values)
    np.testing.assert_array_equal(np.from_dlpack(array), values)
    assert array.__dlpack_device__() == (1, 0)
    with pytest.raises(BufferError, match="only be copied"):
        np.from_dlpack(array, copy=False)


def test_empty_and_copyfrom(ctx: Context) -> None:
    array = nd.empty((2, 3), "int8", ctx)
    array.copyfrom(np.full((2, 3), 7, np.int8))
    np.testing.assert_array_equal(array.numpy(), 7)
    assert nd.empty(5, np.int32, ctx).shape == (5,)
    assert repr(array) == "NDArray(int8[2, 3], ext_dev(0))"
    with pytest.raises(ArgumentError, match=r"must be int8\[2, 3\], not int32\[2, 3\]"):
        array.copyfrom(np.zeros((2, 3), np.int32))
    with pytest.raises(ArgumentError, match=r"must be int8\[2, 3\], not int8\[3, 2\]"):
        array.copyfrom(np.zeros((3, 2), np.int8))


def test_copyto(ctx: Context) -> None:
    values = np.arange(6, dtype=np.int8).reshape(2, 3)
    for source in (nd.array(values), nd.array(values, ctx)):
        for target in (nd.empty((2, 3), "int8"), nd.empty((2, 3), "int8", ctx)):
            assert source.copyto(target) is target
            np.testing.assert_array_equal(target.numpy(), values)
        for where in (ctx, nd.cpu()):
            copied = source.copyto(where)
            assert copied.ctx == where
            assert copied is not source
            np.testing.assert_array_equal(copied.numpy(), values)
    with pytest.raises(ArgumentError, match=r"must be int8\[3\], not int8\[2, 3\]"):
        nd.array(values).copyto(nd.empty((3,), "int8", ctx))
    with pytest.raises(ArgumentError, match="target must be an NDArray or a context, not 5"):
        nd.array(values).copyto(5)


def test_reading_by_index(ctx: Context) -> None:
    values = np.arange(6, dtype=np.int8).reshape(2, 3)
    for array in (nd.array(values), nd.array(values, ctx)):
        assert array[1, 2] == 5
        np.testing.assert_array_equal(array[0], [0, 1, 2])
        np.testing.assert_array_equal(array[:, ::2], [[0, 2], [3, 5]])
        array[0][:] = 9  # a copy
        np.testing.assert_array_equal(array.numpy(), values)
        assert [row.tolist() for row in array] == values.tolist()
        with pytest.raises(IndexError):
            _ = array[2]


def test_writing_by_index_is_of_the_whole(ctx: Context) -> None:
    array = nd.array(np.zeros((2, 3), np.int8), ctx)
    array[:] = np.full((2, 3), 4, np.int8)
    np.testing.assert_array_equal(array.numpy(), 4)
    array[...] = np.full((2, 3), 5, np.int8)
    np.testing.assert_array_equal(array.numpy(), 5)
    for index in (0, (0, 1), slice(1), slice(None, None, 2)):
        with pytest.raises(ArgumentError, match=r"set as a whole, .*a\.copyfrom\(values\)"):
            array[index] = 1


def test_errors(ctx: Context) -> None:
    with pytest.raises(ArgumentError, match="at least 0"):
        nd.empty((2, -1), "int8", ctx)
    with pytest.raises(ArgumentError, match="one of NumPy's, not 'int7'"):
        nd.empty((2,), "int7", ctx)
    with pytest.raises(ArgumentError, match="array of numbers"):
        nd.array([object()], ctx)
    with pytest.raises(ArgumentError, match="must be an array"):
        nd.array([[1, 2], [3]], ctx)
    for text in ("abc", ["abc"]):
        with pytest.raises(ArgumentError, match="array of numbers"):
            nd.array(text, ctx)
    with pytest.raises(ArgumentError, match="one of numbers, not object"):
        nd.empty((2,), object, ctx)
    for shape in ("ab", 1.5, (1.5, 2), None):
        with pytest.raises(ArgumentError, match="shape must be whole numbers, not"):
            nd.empty(shape, "int8", ctx)
    with pytest.raises(ArgumentError, match="ctx must be a context, .*not 5"):
        nd.array([1], 5)
    with pytest.raises(DeviceError, match="out of device memory"):
        nd.empty((1 << 33,), "int8", ctx)


def test_sizes_that_no_memory_has(ctx: Context) -> None:
    with pytest.raises(ArgumentError, match="2305843009213693952 bytes .* host"):
        nd.empty((1 << 61,), "int8")
    for where in (ctx, None):
        # Their bytes are a multiple of 2^64.
        with pytest.raises(DeviceError, match="1208925819614629174706176 bytes"):
            nd.empty((1 << 40, 1 << 40), "int8", where)


def test_the_host_runs_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("vta.driver.ndarray.np.zeros", full)
    with pytest.raises(ArgumentError, match=r"int8\[1099511627776\] of 1099511627776 .* host"):
        nd.empty((1 << 40,), "int8")


def test_a_mask_is_not_lost(ctx: Context) -> None:
    masked = np.ma.masked_array(np.arange(3, dtype=np.int8), [True, False, False])
    for take in (lambda: nd.array(masked, ctx), lambda: top.add(masked, masked)):
        with pytest.raises(ArgumentError, match=r"must have no mask; .*\.filled\("):
            take()


def test_memory_is_given_back_when_the_array_goes() -> None:
    with SimDevice(PRESETS["tiny"]) as device:
        array = nd.array(np.zeros(1000, np.int8), Context("ext_dev", 0, device))
        first = array.addr
        del array
        gc.collect()
        assert nd.empty(10, "int8", Context("ext_dev", 0, device)).addr == first


def test_an_array_may_outlive_its_device() -> None:
    with SimDevice(PRESETS["tiny"]) as device:
        array = vta.nd.array(np.zeros(4, np.int8), Context("ext_dev", 0, device))
    with pytest.raises(DeviceError, match="the sim device is closed"):
        array.numpy()
    del array
    gc.collect()
