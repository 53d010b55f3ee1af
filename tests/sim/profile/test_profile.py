"""Profiles: what the C++ side records, what is made of it, and both against the RTL's counters."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sim.rtl.probe import Probe
from vta.config import PRESETS
from vta.driver.verilog_cache import simulated_verilog
from vta.image import Image, Segment
from vta.isa import AluOp, Insn, Isa, MemoryType, Opcode
from vta.sim.memory import Memory
from vta.sim.profile.profile import Profile, analyse, profile
from vta.sim.rtl.memory_model import MemoryModel
from vta.sim.rtl.recording import MODULES, Recording
from vta.sim.rtl.rtl_machine import RtlMachine
from vta.tools.bench.stream import Stream

TINY = PRESETS["tiny"]
ISA = Isa(TINY)

# The bits of a word, as simulator.h and the port's layout have them.
BITS = {
    f"{event}_{module}": 3 * group + number
    for group, event in enumerate(("issue", "retire", "wait_prev", "wait_next", "wait_memory"))
    for number, module in enumerate(("load", "compute", "store"))
} | {"read": 15, "write": 16, "pending": 17}


def record(cycles: int, **events: list[int]) -> Recording:
    """A recording in which each event holds in the cycles that are listed."""
    if cycles == 0:
        return Recording(0, np.zeros(1, np.int64), np.zeros(1, np.int64))
    words = np.zeros(cycles, np.int64)
    for event, held in events.items():
        words[held] |= 1 << BITS[event]
    changes = np.flatnonzero(np.diff(words, prepend=-1))
    return Recording(cycles, changes, words[changes])


def insns(*words: int) -> list[Insn]:
    return ISA.decode_stream(Isa.words([*words, ISA.common.pack(opcode=Opcode.FINISH)]))


def load(kind: MemoryType, **tokens: int) -> int:
    return ISA.mem.pack(opcode=Opcode.LOAD, memory_type=kind, y_size=1, x_size=1, **tokens)


def gemm(tiles: int, **tokens: int) -> int:
    return ISA.gemm.pack(opcode=Opcode.GEMM, uop_end=1, iter_out=1, iter_in=tiles, **tokens)


STORE = ISA.mem.pack(opcode=Opcode.STORE, memory_type=MemoryType.OUT, y_size=1, x_size=1)


# -- the recorder --------------------------------------------------------------------------------

PROBE_START = 8
"""The probe's own clock starts with the end of the reset."""


def test_the_recorder_sees_events_and_beats() -> None:
    with Memory() as memory:
        probe = Probe(memory, latency=5)
        probe.ready(r=0x5A5A, b=0xFFFF)
        probe.read(0x1000, 16)
        probe.write(0x2000, bytes(range(64)))
        begin = probe.sim.cycle
        probe.sim.record(True)
        probe.go(100)
        probe.sim.record(False)
        at, words = probe.sim.changes()
        end = probe.sim.cycle
        probe.sim.step(50)
        np.testing.assert_array_equal(probe.sim.changes()[0], at)
        recording = Recording.cut(at, words, begin, end - begin)

        def cycles(chosen: np.ndarray) -> list[int]:
            held = np.repeat(chosen, recording.lengths())
            return (np.flatnonzero(held) + begin - PROBE_START).tolist()

        reads, writes = [beat.cycle for beat in probe.beats()], probe.w_cycles()
        assert (len(reads), len(writes)) == (16, 8)
        assert cycles(recording.beats("read")) == reads
        assert cycles(recording.beats("write")) == writes
        # From the cycle after the first address to the last answer.
        pending = set(cycles(recording.pending()))
        begun = min(*probe.ar_cycles(), *probe.aw_cycles()) + 1
        ended = max(*reads, *(cycle for cycle, _, _ in probe.responses()))
        assert pending == set(range(begun, ended + 1))
        marks = [
            cycle for cycle in range(begin - PROBE_START, end - PROBE_START) if cycle % 16 == 0
        ]
        assert cycles(recording.bit("issue", "load")) == marks
        assert not recording.bit("issue", "compute").any()
        probe.sim.record(True)
        assert len(probe.sim.changes()[0]) == 0
        probe.sim.close()


def test_a_recording_is_cut_out_of_changes() -> None:
    at, words = np.array([10, 14, 15, 20, 30]), np.array([1, 0, 3, 1, 0])
    recording = Recording.cut(at, words, 12, 10)
    assert recording.starts.tolist() == [0, 2, 3, 8]
    assert recording.words.tolist() == [1, 0, 3, 1]
    assert recording.lengths().tolist() == [2, 1, 5, 2]
    assert recording.pulses("issue", "load").tolist() == [0, 1, 3, 4, 5, 6, 7, 8, 9]
    assert recording.pulses("issue", "compute").tolist() == [3, 4, 5, 6, 7]
    empty = Recording.cut(at, words, 12, 0)
    assert (empty.cycles, empty.lengths().tolist()) == (0, [0])
    assert empty.pulses("issue", "load").tolist() == []


# -- the analysis, by hand -----------------------------------------------------------------------


def test_waits_work_and_idleness_of_each_module() -> None:
    stream = insns(
        load(MemoryType.INP, push_next=1),
        load(MemoryType.WGT, pop_next=1),
        gemm(3, pop_prev=1),
        STORE,
    )
    found = analyse(
        stream,
        record(
            20,
            issue_load=[2, 10],
            retire_load=[5, 12],
            wait_memory_load=[3, 4],
            wait_next_load=[7, 8, 9],
            issue_compute=[6, 15],
            retire_compute=[13, 15],
            wait_prev_compute=[1, 2, 3, 4, 5],
            wait_next_compute=[5, 14],
            issue_store=[16],
            wait_memory_store=[18, 19],
            wait_prev_store=[12, 13],
            read=[4, 5, 11],
            write=[17],
        ),
        bus_bytes=8,
    )
    load_module, compute, store = (found.modules[name] for name in MODULES)
    assert load_module.totals() == {
        "idle": 2 + 1 + 7,
        "LOAD INP": 2,
        "memory": 2,
        "g2l": 3,
        "LOAD WGT": 3,
    }
    assert compute.totals() == {
        "idle": 1 + 4,
        "l2g": 4,
        "l2g and s2g": 1,
        "GEMM": 8,
        "s2g": 1,
        "FINISH": 1,
    }
    # It has not retired: in flight until the end.
    assert store.totals() == {"idle": 14, "g2s": 2, "STORE": 2, "memory": 2}
    assert [(span.issue, span.retire, span.cycles) for span in found.spans()] == [
        (2, 5, 4),
        (10, 12, 3),
        (6, 13, 8),
        (16, None, 4),
        (15, 15, 1),
    ]
    assert [span.insn.index for span in found.slowest(2)] == [2, 0]
    assert (found.beats("read"), found.beats("write")) == (3, 1)
    assert compute.busy() == {"GEMM": 8, "FINISH": 1}
    assert compute.wait_token() == {"l2g": 4, "l2g and s2g": 1, "s2g": 1}
    assert (load_module.wait_memory, load_module.idle) == (2, 10)


def test_a_wait_with_something_in_flight_is_for_room() -> None:
    found = analyse(
        insns(load(MemoryType.INP, push_next=1)),
        record(6, issue_load=[1], retire_load=[5], wait_next_load=[3, 4]),
        bus_bytes=8,
    )
    assert found.modules["load"].totals() == {"idle": 1, "LOAD INP": 3, "l2g full": 2}
    assert found.modules["load"].wait_token() == {"l2g full": 2}


def test_gemms_in_flight_together_execute_one_after_the_other() -> None:
    alu = ISA.alu.pack(opcode=Opcode.ALU, uop_end=1, iter_out=1, iter_in=4, use_imm=1)
    found = analyse(
        insns(gemm(5), alu, load(MemoryType.UOP)),
        record(
            30,
            issue_compute=[2, 3, 4, 25],
            retire_compute=[12, 17, 18, 25],
            wait_memory_compute=[6, 7],
        ),
        bus_bytes=8,
    )
    # The LOAD retires in order behind them; that memory delays it meanwhile does not matter.
    assert found.modules["compute"].totals() == {
        "idle": 2 + 6 + 4,
        "GEMM": 11,
        "ALU": 5,
        "LOAD UOP": 1,
        "FINISH": 1,
    }


def test_a_gemm_that_retires_behind_an_older_load_counts_for_its_steps() -> None:
    found = analyse(
        insns(load(MemoryType.ACC), gemm(10)),
        record(
            200,
            issue_compute=[0, 1, 150],
            retire_compute=[100, 101, 150],
            wait_memory_compute=list(range(60, 90)),
        ),
        bus_bytes=8,
    )
    totals = found.modules["compute"].totals()
    # 10 steps, at most 24 cycles for the last one to get through, the cycle in which it retires.
    assert totals["GEMM"] == 10 + 24 + 1
    assert totals["memory"] == 30
    assert totals["LOAD ACC"] == 1 + (101 - 35 - 30)
    # It retires much later than the LOAD: then it waited for the LOAD's tiles and came after.
    found = analyse(
        insns(load(MemoryType.ACC), gemm(10)),
        record(200, issue_compute=[0, 1, 150], retire_compute=[100, 110, 150]),
        bus_bytes=8,
    )
    assert found.modules["compute"].totals()["GEMM"] == 10 + 24


def test_what_was_not_issued_and_what_follows_finish() -> None:
    stream = insns(load(MemoryType.INP), load(MemoryType.INP))
    stream += [dataclasses.replace(stream[0], index=3)]
    found = analyse(stream, record(5, issue_load=[1], retire_load=[2]), bus_bytes=8)
    spans = found.spans()
    assert [span.insn.index for span in spans] == [0, 1, 2]
    assert [(span.issue, span.retire, span.cycles) for span in spans] == [
        (1, 2, 2),
        (None, None, 0),
        (None, None, 0),
    ]


def test_no_cycles_and_no_instructions() -> None:
    found = analyse([], record(0), bus_bytes=8)
    assert [module.totals() for module in found.modules.values()] == [{}, {}, {}]
    found = analyse([], record(3), bus_bytes=8)
    assert [module.totals() for module in found.modules.values()] == [{"idle": 3}] * 3


@given(st.data())
def test_states_add_up_to_the_run(data: st.DataObject) -> None:
    """Whatever the waits are and however many of the instructions came."""
    cycles = data.draw(st.integers(1, 60))
    some = st.lists(st.integers(0, cycles - 1), unique=True)
    # Load has no neighbour before it, store none after.
    never = ("wait_prev_load", "wait_next_store")
    events = {
        name: sorted(data.draw(some))
        for name in BITS
        if not name.startswith("retire") and name not in never
    }
    for module in MODULES:
        late = data.draw(st.lists(st.integers(1, 9), min_size=cycles, max_size=cycles))
        retires: list[int] = []
        for issue, delay in zip(events[f"issue_{module}"], late, strict=False):
            retires.append(max(issue + delay, retires[-1] + 1 if retires else 0))
        events[f"retire_{module}"] = [cycle for cycle in retires if cycle < cycles]
    stream = insns(
        *data.draw(
            st.lists(
                st.sampled_from(
                    [load(MemoryType.INP), load(MemoryType.ACC), gemm(1), gemm(7), STORE]
                ),
                max_size=20,
            )
        )
    )
    found = analyse(stream, record(cycles, **events), bus_bytes=8)
    for module in found.modules.values():
        assert sum(module.totals().values()) == cycles
        assert (
            sum(module.busy().values())
            + sum(module.wait_token().values())
            + module.wait_memory
            + module.idle
            == cycles
        )


# -- on the RTL ----------------------------------------------------------------------------------


def work(*, tokens: bool = True) -> Image:
    """Loads, GEMMs, ALUs and stores that overlap and wait for each other."""
    stream, token = Stream(TINY), int(tokens)
    stream.load(MemoryType.INP, cols=16)
    stream.load(MemoryType.WGT, cols=16, push_next=token)
    stream.uops([(0, 0, 0)] * 4)
    stream.load(MemoryType.ACC, sram=32, cols=16)
    stream.gemm(iter_out=40, iter_in=16, dst_factor_in=1, pop_prev=token, push_prev=token)
    stream.load(MemoryType.INP, cols=16, pop_next=token, push_next=token)
    stream.alu(iter_in=16, dst_factor_in=1, alu_opcode=AluOp.ADD, use_imm=1, imm=1, push_next=token)
    stream.store(cols=16, pop_prev=token, push_prev=token)
    stream.gemm(iter_in=16, dst_factor_in=1, pop_prev=token, pop_next=token)
    return stream.image()


def check_against_counters(found: Profile) -> None:
    """The figures that the hardware counts by itself."""
    assert found.replay is not None
    report = found.replay.report
    assert found.cycles == report.cycles
    for name, module in found.modules.items():
        assert sum(module.totals().values()) == found.cycles
        assert (
            sum(span.retire is not None for span in module.spans) == report.stats[f"{name}_insns"]
        )
        assert sum(module.wait_token().values()) == report.counters[f"{name}_wait_token"]
        # The hardware calls a module busy from the cycle after the issue.
        active = np.zeros(found.cycles, np.bool_)
        for span in module.spans:
            if span.issue is not None:
                active[span.issue + 1 : span.issue + span.cycles] = True
        assert active.sum() == report.counters[f"{name}_busy"]
        waits = found.recording.lengths()[found.recording.bit("wait_memory", name)].sum()
        assert waits == report.counters[f"{name}_wait_memory"]


@pytest.mark.parametrize(
    "model",
    [MemoryModel(), MemoryModel(latency=200), MemoryModel(stall_seed=3, outstanding=2)],
    ids=["default", "slow", "stalls"],
)
def test_the_rtl_and_its_own_counters_agree(model: MemoryModel) -> None:
    image = work()
    found = profile(image, simulated_verilog(TINY), model=model)
    check_against_counters(found)
    assert found.replay is not None
    assert found.replay.report.fault is None
    modules = found.modules
    # 40 x 16 + 16 operations, one a cycle; two fills and drains of the pipeline.
    operations = found.replay.report.stats["gemm_counter"]
    assert operations == 41 * 16
    assert operations <= modules["compute"].totals()["GEMM"] <= operations + 2 * 40
    assert set(modules["load"].busy()) == {"LOAD INP", "LOAD WGT"}
    assert set(modules["store"].totals()) == {"STORE", "memory", "g2s", "idle"}
    assert any("l2g" in state for state in modules["compute"].wait_token())
    # 16 elements each; a beat is 8 bytes.
    assert found.beats("write") == 16 * TINY.out_elem_bytes // 8
    insn_bytes = 16 * image.insn_count
    loads = sum(
        found.replay.report.stats[f"{name}_load_nbytes"] for name in ("inp", "wgt", "acc", "uop")
    )
    assert found.beats("read") * 8 >= insn_bytes + loads
    # Dependencies show: the ALU's token is there when the store issues.
    spans = {span.insn.index: span for span in found.spans()}
    first_gemm, alu, store = spans[4], spans[6], spans[7]
    assert first_gemm.issue is not None
    assert spans[1].retire is not None
    assert first_gemm.issue > spans[1].retire
    assert alu.retire is not None
    assert store.issue is not None
    assert store.issue > alu.retire


def test_more_latency_is_more_waiting_for_memory() -> None:
    fast, slow = (
        profile(work(), simulated_verilog(TINY), model=MemoryModel(latency=latency))
        for latency in (1, 300)
    )
    assert slow.modules["load"].wait_memory > fast.modules["load"].wait_memory + 299
    # What runs beside a LOAD counts with the pipeline's depth.
    assert slow.modules["compute"].totals()["GEMM"] <= (
        fast.modules["compute"].totals()["GEMM"] + 4 + 24
    )


def test_tokens_from_before_are_not_part_of_the_run() -> None:
    stream = Stream(TINY)
    stream.load(MemoryType.INP, cols=8, pop_next=1)
    image = dataclasses.replace(
        stream.image(), tokens_before={"l2g": 0, "g2l": 1, "g2s": 0, "s2g": 0}
    )
    found = profile(image, simulated_verilog(TINY))
    check_against_counters(found)
    assert [span.insn.index for span in found.spans()] == [0, 1]
    assert "g2l" not in found.modules["load"].totals()


def test_faults_show_how_far_the_run_came() -> None:
    stream = Stream(TINY)
    stream.load(MemoryType.INP, cols=8)
    stream.gemm(pop_prev=1)
    found = profile(stream.image(), simulated_verilog(TINY))
    assert found.replay is not None
    assert found.replay.report.fault is not None
    assert found.replay.report.fault.cause == "deadlock"
    check_against_counters(found)
    assert found.modules["compute"].wait_token()["l2g"] > 10
    assert [span.issue is None for span in found.spans()] == [False, True, True]
    misaligned = dataclasses.replace(
        work(), insn_addr=8, before=(Segment(8, np.zeros(1 << 12, np.uint8)),)
    )
    found = profile(misaligned, simulated_verilog(TINY))
    assert found.cycles == 0
    assert found.replay is not None
    assert found.replay.report.fault is not None
    assert found.replay.report.fault.cause == "misaligned_base"
    cut = profile(work(), simulated_verilog(TINY), max_cycles=100)
    assert cut.replay is not None
    assert cut.replay.report.fault is not None
    assert cut.replay.report.fault.cause == "timeout"
    assert 100 <= cut.cycles < 200


def test_recording_is_off_unless_asked_for() -> None:
    image = work()
    with Memory() as memory:
        for segment in image.before:
            memory.write(segment.addr, segment.data)
        machine = RtlMachine(TINY, simulated_verilog(TINY), memory)
        machine.run(image.insn_addr, image.insn_count, image.base)
        assert machine.recording is None
        assert len(machine._simulation.changes()[0]) == 0
        machine.close()
