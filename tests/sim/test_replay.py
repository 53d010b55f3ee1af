"""Replaying images: tokens made before, every changed byte compared, results kept."""

import dataclasses

import numpy as np
import pytest

from tests.bench import Bench
from vta.config import PRESETS
from vta.errors import DeviceError, ImageError, MachineError
from vta.image import Image, Segment
from vta.isa import TOKEN_QUEUES, AluOp, Isa
from vta.sim.functional.functional_machine import FunctionalMachine
from vta.sim.replay import _free_address, replay

INSN_ADDR, ACC_BASE, OUT_BASE = 0x10_0000, 0x2000_0000, 0x4000_0800
CONFIG = PRESETS["default"]


def segment(addr, data):
    raw = data if isinstance(data, bytes) else data.tobytes()
    return Segment(addr, np.frombuffer(raw, np.uint8))


def make_image(insns, *, after=None, before=(), tokens=None, **more):
    stream = segment(INSN_ADDR, Isa.words(insns))
    values = np.arange(3 * 16, dtype=np.int32) + 1
    return Image(
        config=CONFIG,
        insn_addr=INSN_ADDR,
        insn_count=len(insns),
        before=(stream, segment(ACC_BASE, values), *before),
        after=after,
        base={"uop": 0, "inp": 0, "wgt": 0, "acc": ACC_BASE, "out": OUT_BASE},
        tokens_before=dict.fromkeys(TOKEN_QUEUES, 0) | (tokens or {}),
        **more,
    )


@pytest.fixture
def store_three():
    """LOAD ACC and STORE, three tiles with the values 1 to 48."""
    bench = Bench()
    return [bench.load(3, x=3, push_next=1), bench.store(x=3, pop_prev=1), bench.finish()]


EXPECTED = np.arange(1, 49, dtype=np.int8)


def test_match(store_three):
    result = replay(
        make_image(store_three, after=(segment(OUT_BASE, EXPECTED),)), FunctionalMachine
    )
    assert result.match is True
    assert result.difference is None
    assert result.report.fault is None
    assert result.report.instructions == 3
    assert [(part.addr, bytes(part.data)) for part in result.after] == [
        (OUT_BASE, EXPECTED.tobytes())
    ]


def test_expectation_may_come_in_any_order_and_pieces(store_three):
    pieces = [segment(OUT_BASE + k, EXPECTED[k : k + 5]) for k in range(0, 48, 5)]
    empty = segment(OUT_BASE + 48, b"")
    result = replay(make_image(store_three, after=(empty, *pieces[::-1])), FunctionalMachine)
    assert result.match is True


def test_no_expectation(store_three):
    result = replay(make_image(store_three), FunctionalMachine)
    assert result.match is None
    assert result.difference is None
    assert len(result.after) == 1


def test_the_first_wrong_byte_is_named(store_three):
    wrong = EXPECTED.copy()
    wrong[[7, 30]] = 99
    result = replay(make_image(store_three, after=(segment(OUT_BASE, wrong),)), FunctionalMachine)
    assert result.match is False
    assert result.difference == f"byte {OUT_BASE + 7:#x} must be 0x63, not 0x08"


def test_a_byte_that_must_not_change(store_three):
    result = replay(make_image(store_three, after=()), FunctionalMachine)
    assert result.match is False
    assert result.difference == f"byte {OUT_BASE:#x} must be 0x00, not 0x01"
    result = replay(
        make_image(store_three, after=(segment(OUT_BASE, EXPECTED[:47]),)), FunctionalMachine
    )
    assert result.difference == f"byte {OUT_BASE + 47:#x} must be 0x00, not 0x30"


def test_a_change_that_does_not_come(store_three):
    far = segment(0xF000_0123, b"\x05")
    result = replay(
        make_image(store_three, after=(segment(OUT_BASE, EXPECTED), far)), FunctionalMachine
    )
    assert result.difference == "byte 0xf0000123 must be 0x05, not 0x00"


def test_what_before_says_stays_where_after_says_nothing(store_three):
    old = segment(OUT_BASE - 16, np.full(80, 7, np.uint8))
    result = replay(
        make_image(store_three, before=(old,), after=(segment(OUT_BASE, EXPECTED),)),
        FunctionalMachine,
    )
    assert result.match is True
    # Element 6 of 48 was 7 already.
    assert [(part.addr, len(part.data)) for part in result.after] == [(OUT_BASE, 48)]


def test_a_segment_that_ends_one_byte_into_a_page(store_three):
    old = segment(OUT_BASE // 4096 * 4096 - 10, np.full(11, 7, np.uint8))
    result = replay(
        make_image(store_three, before=(old,), after=(segment(OUT_BASE, EXPECTED),)),
        FunctionalMachine,
    )
    assert result.match is True


def test_a_run_that_changes_nothing(store_three):
    old = segment(OUT_BASE, EXPECTED)
    result = replay(make_image(store_three, before=(old,), after=()), FunctionalMachine)
    assert result.match is True
    assert result.after == ()


def test_distant_changes_are_segments_of_their_own():
    bench = Bench()
    insns = [
        bench.load(3, x=3, push_next=1),
        bench.store(y=3, x=1, stride=65_535, pop_prev=1),
        bench.finish(),
    ]
    result = replay(make_image(insns), FunctionalMachine)
    assert [(part.addr, len(part.data)) for part in result.after] == [
        (OUT_BASE + k * 65_535 * 16, 16) for k in range(3)
    ]
    assert replay(result.to_image(), FunctionalMachine).match is True


def test_the_saved_image_is_the_expectation_of_the_next_run(store_three, tmp_path):
    result = replay(make_image(store_three, description="three tiles"), FunctionalMachine)
    result.to_image().save(tmp_path / "after.npz")
    image = Image.load(tmp_path / "after.npz")
    assert image.description == "three tiles"
    assert replay(image, FunctionalMachine).match is True


def test_a_fault_is_in_the_report(store_three):
    result = replay(
        make_image([*store_three[:1], Bench().isa.common.pack(opcode=7)], after=()),
        FunctionalMachine,
    )
    assert result.report.fault.cause == "illegal_opcode"
    assert result.match is True


def test_no_instructions_is_the_machines_error():
    image = dataclasses.replace(make_image([0]), insn_count=0)
    assert replay(image, FunctionalMachine).report.fault.cause == "no_finish"


def test_max_cycles_and_progress_reach_the_machine():
    bench = Bench()
    image = make_image([bench.nop()] * 20_000 + [bench.finish()])
    seen = []
    assert replay(image, FunctionalMachine, progress=seen.append).report.fault is None
    assert seen
    assert replay(image, FunctionalMachine, max_cycles=100).report.fault.cause == "timeout"


# -- tokens before -------------------------------------------------------------------------------


def pop_all():
    """A program that takes one token of each queue."""
    bench = Bench()
    return [
        bench.nop("load", pop_next=1),
        bench.nop("store", pop_prev=1),
        bench.nop(pop_prev=1, pop_next=1),
        bench.finish(),
    ]


def test_tokens_before():
    image = make_image(pop_all(), tokens=dict.fromkeys(TOKEN_QUEUES, 1), after=())
    result = replay(image, FunctionalMachine)
    assert result.report.fault is None
    assert result.report.instructions == 4
    assert result.match is True


@pytest.mark.parametrize("queue", TOKEN_QUEUES)
def test_each_token_is_in_its_own_queue(queue):
    tokens = dict.fromkeys(TOKEN_QUEUES, 1) | {queue: 0}
    fault = replay(make_image(pop_all(), tokens=tokens), FunctionalMachine).report.fault
    assert fault.cause == "deadlock"
    assert [entry["token"] for entry in fault.waiting] == [queue]


def test_the_queues_can_be_full():
    machines = []

    def make(config, memory):
        machines.append(FunctionalMachine(config, memory))
        return machines[-1]

    tokens = {"l2g": 65_535, "g2l": 3, "g2s": 2, "s2g": 65_535}
    replay(make_image([Bench().finish()], tokens=tokens, after=()), make)
    assert machines[0].tokens == tokens


def test_instructions_for_tokens_leave_no_trace():
    """They are put where the image says nothing, though it covers both ends of memory."""
    bench = Bench()
    bench.machine.close()
    # LOAD 512 bytes of INP from just below the segment at the top: zero, as the image says.
    top = segment(2**32 - 4096, np.ones(4096, np.uint8))
    insns = [bench.load(2, x=1, dram=(2**32 - 4096) // 16 - 1, pop_next=1), bench.finish()]
    machines = []

    def make(config, memory):
        machines.append(FunctionalMachine(config, memory))
        machines[-1].datapath.inp[...] = 9
        return machines[-1]

    image = make_image(insns, before=(top,), tokens={"g2l": 1}, after=())
    assert replay(image, make).match is True
    assert not machines[0].datapath.inp[0].any()


class Cramped(FunctionalMachine):
    """Cannot even run no-ops."""

    def run(self, *arguments, **options):
        return super().run(*arguments, **options | {"max_cycles": 1})


def test_tokens_that_cannot_be_made():
    with pytest.raises(MachineError, match="the machine reported timeout"):
        replay(make_image(pop_all(), tokens={"l2g": 5}), Cramped)


def test_no_room_for_tokens():
    """An image without a gap cannot be tried in earnest: it has 4 GiB."""
    whole = Segment(0, np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (2**32,), (0,)))
    image = Image(
        config=CONFIG,
        insn_addr=0,
        insn_count=1,
        before=(),
        after=(whole,),
        tokens_before=dict.fromkeys(TOKEN_QUEUES, 1),
    )
    with pytest.raises(ImageError, match="the image leaves no 80 bytes free"):
        replay(image, FunctionalMachine)


@pytest.mark.parametrize("low", range(0x8000, 0x8011))
@pytest.mark.parametrize("size", [79, 80, 81, 95, 96, 97])
def test_the_free_address_at_the_edges_of_a_gap(low, size):
    """A gap of which no more than 16 bytes are to spare, before a segment to memory's end.

    Below it all is taken, too. 80 bytes are asked for; they begin at a multiple of 16.
    """
    high = low + size
    segments = [_reserved(0, low), _reserved(high, 2**32)]
    places = [start for start in range(0, high, 16) if low <= start and start + 80 <= high]
    for order in (segments, segments[::-1]):
        image = Image(config=CONFIG, insn_addr=0, insn_count=1, before=(), after=tuple(order))
        if places:
            assert _free_address(image, 80) == places[-1]
        else:
            with pytest.raises(ImageError, match="no 80 bytes free"):
                _free_address(image, 80)


@pytest.mark.parametrize("left", range(17))
def test_the_free_address_at_memorys_ends(left):
    """The room is at the top or at the bottom, 80 bytes and up to 16 more."""
    size = 80 + left
    top = Image(
        config=CONFIG, insn_addr=0, insn_count=1, before=(), after=(_reserved(0, 2**32 - size),)
    )
    assert _free_address(top, 80) == 2**32 - 80
    bottom = Image(
        config=CONFIG, insn_addr=0, insn_count=1, before=(), after=(_reserved(size, 2**32),)
    )
    assert _free_address(bottom, 80) == left // 16 * 16


def test_an_empty_segment_takes_no_room():
    gap = (_reserved(0, 0x8000), Segment(0x8010, np.zeros(0, np.uint8)), _reserved(0x8050, 2**32))
    image = Image(config=CONFIG, insn_addr=0, insn_count=1, before=(), after=gap)
    assert _free_address(image, 80) == 0x8000


def _reserved(start, end):
    """A segment of any size that takes no memory of the test."""
    return Segment(
        start, np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (end - start,), (0,))
    )


def test_the_machine_is_closed(store_three):
    closed = []

    class Closing(FunctionalMachine):
        def close(self):
            closed.append(True)

    replay(make_image(store_three), Closing)
    assert closed == [True]

    class Failing(Closing):
        def run(self, *arguments, **options):
            raise DeviceError("no")

    with pytest.raises(DeviceError, match="no"):
        replay(make_image(store_three), Failing)
    assert closed == [True, True]


def test_large_segments(store_three):
    """64 MiB before, one changed byte expected in it."""
    big = np.zeros(1 << 26, np.uint8)
    big[-1] = 1
    image = make_image(
        store_three, before=(Segment(0x8000_0000, big),), after=(segment(OUT_BASE, EXPECTED),)
    )
    assert replay(image, FunctionalMachine).match is True
    image = dataclasses.replace(
        image, after=(segment(OUT_BASE, EXPECTED), segment(0x8000_0000 + (1 << 26) - 1, b"\x02"))
    )
    assert replay(image, FunctionalMachine).difference == "byte 0x83ffffff must be 0x02, not 0x01"


def test_an_alu_program_with_uops_in_memory():
    bench = Bench()
    uop = segment(0, np.array([bench.isa.uop.pack(dst_idx=1)], np.uint32))
    insns = [
        bench.load(0),
        bench.load(3, x=3),
        bench.alu(AluOp.MUL, imm=3, push_next=1),
        bench.store(x=3, pop_prev=1),
        bench.finish(),
    ]
    expected = np.arange(1, 49)
    expected[16:32] *= 3
    image = make_image(insns, before=(uop,), after=(segment(OUT_BASE, expected.astype(np.int8)),))
    assert replay(image, FunctionalMachine).match is True
