"""Which bytes of a device's memory are in use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vta.driver.allocator import Allocator
from vta.errors import DeviceError


def test_first_fit_reuses_the_lowest_hole() -> None:
    allocator = Allocator(64, 1024, 64)
    first, second, third = (allocator.allocate(size) for size in (1, 64, 65))
    assert (first, second, third) == (64, 128, 192)
    allocator.free(first)
    allocator.free(second)
    assert allocator.allocate(128) == 64
    assert allocator.used == 128 + 128


def test_start_is_rounded_up_and_an_empty_buffer_has_an_address() -> None:
    allocator = Allocator(1, 1024, 256)
    empty = allocator.allocate(0)
    assert empty == 256
    assert allocator.allocate(1) == 512


def test_errors() -> None:
    allocator = Allocator(0, 256, 64)
    addr = allocator.allocate(64)
    with pytest.raises(DeviceError, match="out of device memory: 193 bytes .* block has 192"):
        allocator.allocate(193)
    allocator.free(addr)
    with pytest.raises(DeviceError, match="0x0 is not allocated"):
        allocator.free(addr)
    with pytest.raises(DeviceError, match="at least 0, not -1"):
        allocator.allocate(-1)
    with pytest.raises(DeviceError, match="power of two, not 48"):
        Allocator(0, 256, 48)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 500)), max_size=60))
def test_blocks_never_overlap_and_all_memory_comes_back(steps: list[tuple[bool, int]]) -> None:
    allocator, live = Allocator(100, 8192, 32), {}
    for take, number in steps:
        if take or not live:
            try:
                addr = allocator.allocate(number)
            except DeviceError:
                continue
            assert addr % 32 == 0
            assert addr >= 100
            assert addr + number <= 8192
            for other, size in live.items():
                assert addr >= other + max(size, 1) or other >= addr + max(number, 1)
            live[addr] = number
        else:
            addr = sorted(live)[number % len(live)]
            allocator.free(addr)
            del live[addr]
    for addr in live:
        allocator.free(addr)
    assert allocator.used == 0
    assert allocator.allocate(8192 - 128) == 128
