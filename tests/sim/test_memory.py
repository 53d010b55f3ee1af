"""Memory: lazily allocated, bounds checked, and it knows which pages were written."""

import numpy as np
import pytest

from vta.errors import ConfigError, DeviceError
from vta.sim.memory import PAGE_BYTES, Memory
from vta.sim.rtl.memory_model import MemoryModel


@pytest.fixture
def memory():
    with Memory(32) as memory:
        yield memory


def test_is_zero_everywhere_at_first(memory):
    assert memory.size == 2**32
    assert memory.array.shape == (2**32,)
    for addr in (0, 12_345_678, 2**32 - 16):
        assert not memory.read(addr, 16).any()


def test_reads_what_was_written_up_to_the_last_byte(memory):
    memory.write(2**32 - 3, b"abc")
    assert bytes(memory.read(2**32 - 4, 4)) == b"\0abc"


def test_writes_arrays_of_any_dtype_row_major(memory):
    array = np.arange(12, dtype=np.int32).reshape(3, 4)
    memory.write(100, array.T)
    assert np.array_equal(memory.read(100, 48).view(np.int32), array.T.reshape(-1))


def test_read_is_a_copy(memory):
    copy = memory.read(0, 4)
    copy[:] = 1
    assert not memory.read(0, 4).any()


@pytest.mark.parametrize(("addr", "nbytes"), [(2**32 - 3, 4), (2**32 + 1, 0), (-1, 4), (0, -1)])
def test_bounds_of_read(memory, addr, nbytes):
    with pytest.raises(DeviceError, match="cannot read .* memory has 0x100000000 bytes"):
        memory.read(addr, nbytes)


@pytest.mark.parametrize("addr", [2**32 - 1, -1])
def test_bounds_of_write(memory, addr):
    with pytest.raises(DeviceError, match="cannot write 2 bytes"):
        memory.write(addr, b"ab")
    assert not len(memory.dirty_pages())


def test_dirty_pages_are_those_written(memory):
    memory.write(5 * PAGE_BYTES - 1, b"ab")
    memory.write(1000 * PAGE_BYTES, b"")
    memory.mark(70 * PAGE_BYTES, 1)
    memory.mark(80 * PAGE_BYTES, 0)
    memory.write(2**32 - 1, b"z")
    assert memory.dirty_pages().tolist() == [4, 5, 70, 2**20 - 1]
    memory.clear_dirty()
    assert memory.dirty_pages().tolist() == []
    assert bytes(memory.read(5 * PAGE_BYTES - 1, 2)) == b"ab"


def test_wide_addresses():
    with Memory(40) as memory:
        memory.write(2**40 - 2, b"xy")
        assert memory.dirty_pages().tolist() == [2**28 - 1]
        assert bytes(memory.read(2**40 - 2, 2)) == b"xy"


def test_an_impossible_size_is_refused():
    with pytest.raises(DeviceError, match=r"2\^62 bytes cannot be mapped"):
        Memory(62)


def test_close_twice_and_with_a_view_alive():
    memory = Memory(32)
    memory.write(0, b"q")
    view = memory.array[:1]
    memory.close()
    memory.close()
    assert view[0] == ord("q")
    with pytest.raises(DeviceError, match="cannot read"):
        memory.read(0, 1)


def test_memory_model_defaults():
    assert MemoryModel() == MemoryModel(
        latency=20, write_response=1, outstanding=None, stall_seed=None, order_seed=None
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latency", 0),
        ("latency", 2**31),
        ("latency", True),
        ("latency", 1.5),
        ("latency", None),
        ("write_response", 0),
        ("outstanding", 0),
        ("stall_seed", -1),
        ("stall_seed", 2**32),
        ("order_seed", -1),
    ],
)
def test_memory_model_refuses(name, value):
    with pytest.raises(ConfigError, match=f"{name} must be a whole number from [01] to"):
        MemoryModel(**{name: value})
