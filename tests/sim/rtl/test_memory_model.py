"""The C++ memory model: its timing to the cycle, its limits, its stalls, its check of the bus.

The device is a small one written for this (`bus_probe.v`): it plays what the test writes into it
and records the cycle of every handshake.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.sim.rtl.probe import DECERR, OKAY, SOON, WIDE_PROBE, Beat, Probe
from vta.errors import DeviceError, DeviceTimeout
from vta.sim.memory import Memory


@pytest.fixture
def memory():
    with Memory(20) as memory:
        memory.write(0, np.arange(1 << 18, dtype=np.uint32))
        memory.clear_dirty()
        yield memory


# -- reads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("latency", [1, 2, 20, 100])
def test_first_beat_comes_latency_cycles_after_the_address_and_then_one_a_cycle(memory, latency):
    probe = Probe(memory, latency=latency)
    probe.read(0x1000, 16, id=5)
    probe.go(SOON + latency + 16)
    (asked,) = probe.ar_cycles()
    beats = probe.beats()
    assert [beat.cycle - asked for beat in beats] == list(range(latency, latency + 16))
    assert [beat.low for beat in beats] == list(range(0x400, 0x420, 2))
    assert [beat.top for beat in beats] == list(range(0x401, 0x421, 2))
    assert [beat.last for beat in beats] == [False] * 15 + [True]
    assert {(beat.resp, beat.id) for beat in beats} == {(OKAY, 5)}


def test_latencies_of_several_bursts_overlap_and_beats_come_in_order(memory):
    probe = Probe(memory, latency=20)
    for index in range(6):
        probe.read(0x8000 - 0x1000 * index, 4, id=index)
    probe.go(SOON + 60)
    asked = probe.ar_cycles()
    assert [cycle - asked[0] for cycle in asked] == list(range(6))
    beats = probe.beats()
    assert [beat.cycle - asked[0] for beat in beats] == list(range(20, 44))
    assert [beat.id for beat in beats] == [index for index in range(6) for _ in range(4)]
    assert [beat.low for beat in beats[::4]] == [0x2000 - 0x400 * index for index in range(6)]


def test_a_beat_waits_for_its_own_latency_too(memory):
    probe = Probe(memory, latency=30, outstanding=2)
    for index in range(3):
        probe.read(0x100 * index, 2)
    probe.go(SOON + 80)
    first, second, third = probe.ar_cycles()
    # The third address is taken the cycle after the first burst's last beat.
    assert (second - first, third - first) == (1, 32)
    assert [beat.cycle - first for beat in probe.beats()] == [30, 31, 32, 33, 62, 63]


@pytest.mark.parametrize("outstanding", [1, 2, 3])
def test_outstanding_reads_are_limited(memory, outstanding):
    probe = Probe(memory, latency=10, outstanding=outstanding)
    for index in range(7):
        probe.read(0x100 * index, 3)
    probe.go(SOON + 7 * 13)
    asked, beats = probe.ar_cycles(), probe.beats()
    ends = [beat.cycle for beat in beats if beat.last]
    assert len(ends) == 7
    for index in range(outstanding, 7):
        assert asked[index] == ends[index - outstanding] + 1


def test_reads_wait_for_the_device_and_stay_put(memory):
    probe = Probe(memory, latency=3)
    probe.read(0x2000, 8)
    probe.ready(r=0x1084)
    probe.go(SOON + 60)
    beats = probe.beats()
    assert [beat.low for beat in beats] == list(range(0x800, 0x810, 2))
    assert {beat.cycle % 16 for beat in beats} == {2, 7, 12}
    assert probe.broken() == 0


def test_bus_of_256_bits_and_40_address_bits():
    with Memory(40) as memory:
        far = (1 << 40) - 0x1000
        data = np.arange(32 * 4, dtype=np.uint8)
        memory.write(far, data)
        memory.clear_dirty()
        probe = Probe(memory, verilog=WIDE_PROBE)
        probe.read(far, 4)
        probe.write(far + 0x800, data.tobytes()[::-1])
        probe.go(SOON + 40)
        words = data.view(np.uint32)
        assert [(beat.low, beat.top) for beat in probe.beats()] == [
            (words[8 * index], words[8 * index + 7]) for index in range(4)
        ]
        assert (memory.read(far + 0x800, 128) == data[::-1]).all()
        assert memory.dirty_pages().tolist() == [far >> 12]


def test_an_unaligned_address_reads_its_whole_first_beat(memory):
    probe = Probe(memory)
    probe.read(0x1004, 2)
    probe.go(SOON + 30)
    assert [beat.low for beat in probe.beats()] == [0x400, 0x402]


# -- writes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("write_response", [1, 2, 37])
def test_response_comes_write_response_cycles_after_the_last_beat(memory, write_response):
    probe = Probe(memory, write_response=write_response)
    probe.write(0x3000, bytes(range(64)), id=3)
    probe.go(SOON + 8 + write_response)
    taken = probe.w_cycles()
    assert [cycle - taken[0] for cycle in taken] == list(range(8))
    assert probe.responses() == [(taken[-1] + write_response, OKAY, 3)]
    assert memory.read(0x3000, 64).tobytes() == bytes(range(64))


def test_data_may_come_before_its_address(memory):
    probe = Probe(memory)
    probe.write(0x3000, bytes(range(32)), id=1)
    probe.write(0x4000, bytes(range(32, 64)), id=2)
    probe.go(SOON + 60, aw_delay=30)
    addresses, data = probe.aw_cycles(), probe.w_cycles()
    assert data[-1] < addresses[0]
    assert probe.responses() == [(addresses[0] + 1, OKAY, 1), (addresses[1] + 1, OKAY, 2)]
    assert memory.read(0x3000, 32).tobytes() == bytes(range(32))
    assert memory.read(0x4000, 32).tobytes() == bytes(range(32, 64))


def test_addresses_may_run_ahead_of_data(memory):
    probe = Probe(memory)
    for index in range(3):
        probe.write(0x3000 + 0x100 * index, bytes([index]) * 16, id=index)
    probe.go(SOON + 60, w_delay=30)
    assert max(probe.aw_cycles()) < min(probe.w_cycles())
    last = probe.w_cycles()[1::2]
    assert probe.responses() == [(last[index] + 1, OKAY, index) for index in range(3)]


@pytest.mark.parametrize("outstanding", [1, 2])
def test_outstanding_writes_are_limited(memory, outstanding):
    probe = Probe(memory, write_response=9, outstanding=outstanding)
    for index in range(5):
        probe.write(0x3000 + 0x100 * index, bytes(16))
    probe.go(SOON + 80)
    asked, answered = probe.aw_cycles(), [cycle for cycle, _, _ in probe.responses()]
    assert len(answered) == 5
    for index in range(outstanding, 5):
        assert asked[index] == answered[index - outstanding] + 1


def test_reads_and_writes_are_independent(memory):
    probe = Probe(memory, latency=5)
    probe.read(0x1000, 32)
    probe.write(0x3000, bytes(256))
    probe.go(SOON + 60)
    asked, taken = probe.ar_cycles()[0], probe.w_cycles()
    assert [beat.cycle - asked for beat in probe.beats()] == list(range(5, 37))
    assert [cycle - asked for cycle in taken] == list(range(32))


def test_strobes_and_dirty_pages(memory):
    before = memory.array.copy()
    probe = Probe(memory)
    probe.write(0x5FF8, b"ABCDEFGH", strobes=0b01100001)
    probe.write(0x9000, b"abcdefgh", strobes=0)
    probe.write(0xB000, b"12345678")
    probe.go(SOON + 20)
    assert len(probe.responses()) == 3
    before[[0x5FF8, 0x5FFD, 0x5FFE]] = np.frombuffer(b"AFG", np.uint8)
    before[0xB000:0xB008] = np.frombuffer(b"12345678", np.uint8)
    assert (memory.array == before).all()
    assert memory.dirty_pages().tolist() == [5, 11]


def test_memory_is_shared_without_copies(memory):
    view = memory.array[0x7000:0x7008]
    probe = Probe(memory)
    probe.write(0x7000, b"ABCDEFGH")
    probe.read(0x6000, 1)
    memory.array[0x6000:0x6004] = 0x5A  # after the simulation has been made
    probe.go(SOON + 40)
    assert view.tobytes() == b"ABCDEFGH"
    assert probe.beats()[0].low == 0x5A5A_5A5A


def test_a_read_sees_what_was_written_before_its_beat(memory):
    probe = Probe(memory, latency=12, write_response=1)
    probe.write(0x3000, bytes(range(8)))
    probe.read(0x3000, 1)
    probe.go(SOON + 30)
    assert probe.w_cycles()[0] < probe.beats()[0].cycle
    assert probe.beats()[0].low == 0x03020100


def test_addresses_beyond_memory_answer_decerr_and_write_nothing(memory):
    before = memory.array.copy()
    probe = Probe(memory)
    probe.read(0x10_0000, 3, id=1)
    probe.read(0xFFFF_FFF8, 1, id=2)
    probe.read(0xF_FFF8, 1, id=3)
    probe.write(0x10_0000, bytes(range(16)), id=4)
    probe.write(0xF_FFF0, bytes(range(16)), id=5)
    probe.go(SOON + 60)
    assert [(beat.id, beat.resp, beat.last) for beat in probe.beats()] == [
        (1, DECERR, False),
        (1, DECERR, False),
        (1, DECERR, True),
        (2, DECERR, True),
        (3, OKAY, True),
    ]
    assert [(resp, id) for _, resp, id in probe.responses()] == [(DECERR, 4), (OKAY, 5)]
    before[0xF_FFF0:] = range(16)
    assert (memory.array == before).all()
    assert memory.dirty_pages().tolist() == [0xFF]


# -- stalls --------------------------------------------------------------------------------------


def _stalled(memory: Memory, seed: int | None) -> tuple[Probe, tuple[list[int], ...]]:
    """Sixty read and sixty write bursts of random lengths; cycles of each channel's handshakes."""
    probe = Probe(memory, stall_seed=seed, latency=4)
    lengths = np.random.default_rng(1).integers(1, 9, 60).tolist()
    for index, beats in enumerate(lengths):
        probe.read(0x400 * index, beats, id=index % 8)
        probe.write(0x8_0000 + 0x400 * index, bytes([index]) * 8 * beats, id=index % 8)
    probe.ready(r=0xF7BF, b=0xDFEF)
    probe.go(20_000)
    return probe, (
        probe.ar_cycles(),
        [beat.cycle for beat in probe.beats()],
        probe.aw_cycles(),
        probe.w_cycles(),
        [cycle for cycle, _, _ in probe.responses()],
    )


@pytest.mark.parametrize("seed", [0, 7])
def test_stalls_are_legal_and_lose_nothing(memory, seed):
    probe, cycles = _stalled(memory, seed)
    lengths = np.random.default_rng(1).integers(1, 9, 60).tolist()
    assert [len(channel) for channel in cycles] == [60, sum(lengths), 60, sum(lengths), 60]
    assert [beat.low for beat in probe.beats()] == [
        0x100 * index + 2 * beat for index, beats in enumerate(lengths) for beat in range(beats)
    ]
    for index, beats in enumerate(lengths):
        assert (memory.read(0x8_0000 + 0x400 * index, 8 * beats) == index).all()
    assert probe.broken() == 0


def test_every_channel_stalls_briefly_and_for_long(memory):
    gaps: list[set[int]] = [set() for _ in range(5)]
    for seed in range(4):
        _, cycles = _stalled(memory, seed)
        for seen, channel in zip(gaps, cycles, strict=True):
            seen.update(np.diff(channel).tolist())
    for seen in gaps:
        assert 1 in seen
        assert any(2 <= gap <= 4 for gap in seen)
        assert max(seen) > 32


def test_stalls_follow_from_the_seed(memory):
    _, first = _stalled(memory, 3)
    _, again = _stalled(memory, 3)
    _, other = _stalled(memory, 4)
    _, none = _stalled(memory, None)
    assert first == again
    for one, another, free in zip(first, other, none, strict=True):
        assert one != another
        assert one[-1] - one[0] > free[-1] - free[0]


# -- the order of reads ---------------------------------------------------------------------------


def _reordered(memory: Memory, seed: int | None, **model: int) -> list[Beat]:
    """Forty bursts of two to nine beats and eight identifiers, all in flight at once."""
    probe = Probe(memory, order_seed=seed, latency=200, **model)
    for index in range(40):
        probe.read(0x400 * index, 2 + index % 8, id=index * 5 % 8)
    probe.go(3000)
    assert probe.broken() == 0
    return probe.beats()


@pytest.mark.parametrize("stalls", [{}, {"stall_seed": 2}])
@pytest.mark.parametrize("seed", [0, 9])
def test_reads_come_out_of_order_but_in_order_for_each_identifier(memory, seed, stalls):
    beats = _reordered(memory, seed, **stalls)
    for id in range(8):
        mine = [index for index in range(40) if index * 5 % 8 == id]
        expected = [
            (0x100 * index + 2 * beat, beat == 1 + index % 8)
            for index in mine
            for beat in range(2 + index % 8)
        ]
        assert [(beat.low, beat.last) for beat in beats if beat.id == id] == expected


def test_bursts_overtake_each_other_and_interleave(memory):
    beats = _reordered(memory, 0)
    firsts = [beat.low // 0x100 for beat in beats if beat.low % 0x100 == 0]
    assert firsts != sorted(firsts)
    # A burst is left before it has ended.
    left = [
        one
        for one, other in zip(beats, beats[1:], strict=False)
        if not one.last and one.id != other.id
    ]
    assert len(left) > 10
    assert [beat.low for beat in _reordered(memory, None)] == sorted(beat.low for beat in beats)
    assert _reordered(memory, 0) == beats != _reordered(memory, 1)


# -- the protocol --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("misbehave", "message"),
    [
        (1, "ARVALID dropped before ARREADY"),
        (2, "AR changed while it waited for ARREADY"),
        (3, "WVALID dropped before WREADY"),
        (4, "W changed while it waited for WREADY"),
        (5, "AWVALID dropped before AWREADY"),
    ],
)
def test_what_waits_must_stay(memory, misbehave, message):
    probe = Probe(memory, stall_seed=1)
    for index in range(40):
        probe.read(0x100 * index, 1)
        probe.write(0x8000 + 0x100 * index, bytes(8))
    probe.sim.write(0x08, misbehave)
    with pytest.raises(DeviceError, match=f"AXI protocol violation.*{message} .cycle "):
        probe.go(20_000)
    with pytest.raises(DeviceError, match=message):
        probe.sim.step(1)


@pytest.mark.parametrize(
    ("burst", "message"),
    [
        ({"addr": 0xFF8, "beats": 2}, "burst of 2 beats at 0xff8 crosses a 4 KiB boundary"),
        ({"addr": 0x1000, "beats": 17}, "a burst of 17 beats; at most 16 are allowed"),
        ({"addr": 0x1000, "beats": 1, "size": 2}, "SIZE is 2: a beat must be 8 bytes"),
        ({"addr": 0x1000, "beats": 1, "burst": 2}, "BURST is 2, not INCR"),
    ],
)
def test_illegal_bursts(memory, burst, message):
    probe = Probe(memory, max_burst=16)
    probe.read(**burst)
    with pytest.raises(DeviceError, match=f"AR.*{message}"):
        probe.go(SOON)


def test_the_longest_burst_may_end_at_the_boundary(memory):
    probe = Probe(memory, max_burst=16)
    probe.read(0x1F80, 16)
    probe.go(SOON + 60)
    assert len(probe.beats()) == 16


@pytest.mark.parametrize(
    ("write", "message"),
    [
        ({"last": 2}, "WLAST comes 1 beats early"),
        ({"last": 99}, "WLAST is missing at the last beat"),
        ({"beats": 3}, "WLAST is missing at the last beat"),
        ({"addr": 0xFF0}, "AW burst of 4 beats at 0xff0 crosses a 4 KiB boundary"),
        ({"addr": 0x1002}, "WSTRB 0xff writes below the burst's address"),
    ],
)
def test_illegal_writes(memory, write, message):
    before = memory.array.copy()
    probe = Probe(memory)
    probe.write(**{"addr": 0x1000, "data": bytes(32)} | write)
    with pytest.raises(DeviceError, match=message):
        probe.go(SOON + 20)
    assert (memory.array[0x2000:] == before[0x2000:]).all()


# -- the simulation ------------------------------------------------------------------------------


def test_step_counts_cycles_and_ends_at_the_interrupt(memory):
    sim = Probe(memory).sim
    start = sim.cycle
    assert sim.step(1000) == 1000
    assert sim.cycle == start + 1000
    now = sim.read(0x9C)
    sim.write(0xA0, now + 500)
    assert sim.step(10_000, until_irq=True) < 500
    assert 0 <= sim.read(0x9C) - (now + 500) <= 4


def test_registers_that_do_not_answer(memory):
    sim = Probe(memory).sim
    with pytest.raises(DeviceError, match="refuses a read of register 0xffc"):
        sim.read(0xFFC)
    with pytest.raises(DeviceTimeout, match="does not answer a write to register 0xff8"):
        sim.write(0xFF8, 1)


def test_simulations_are_independent(memory):
    with Memory(20) as other:
        first, second = Probe(memory), Probe(other, latency=50)
        wide = Probe(other, verilog=WIDE_PROBE)
        first.sim.step(100)
        assert second.sim.cycle < first.sim.cycle
        for probe in (first, second, wide):
            probe.read(0x1000, 1)
            probe.go(100)
        assert first.beats()[0].low == 0x400
        assert second.beats()[0].low == 0
        assert second.beats()[0].cycle - second.ar_cycles()[0] == 50


def test_close(memory):
    sim = Probe(memory).sim
    sim.close()
    sim.close()
    with pytest.raises(DeviceError, match="the simulation is closed"):
        sim.step(1)
