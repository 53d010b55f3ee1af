"""The campaign: a planted fault is found and made small, and nothing is found where nothing is."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import itertools
import pickle
from collections import Counter
from collections.abc import Mapping
from typing import NoReturn

import pytest

from vta.compiler.check.proof import VerifyError
from vta.config import Config
from vta.errors import DeviceError, EncodingError
from vta.image import Image
from vta.isa import AluOp, Isa, MemoryType, Opcode
from vta.sim.functional.datapath import Datapath
from vta.sim.functional.functional_machine import FunctionalMachine
from vta.sim.machine import Machine
from vta.sim.memory import Memory
from vta.sim.replay import replay
from vta.sim.rtl.memory_model import MemoryModel
from vta.tools.fuzz import coverage
from vta.tools.fuzz.campaign import Batch, Tally, Until, campaign, run_batch
from vta.tools.fuzz.configurations import CAMPAIGN, CONFIGURATIONS
from vta.tools.fuzz.minimise import minimise
from vta.tools.fuzz.random_cases import draw_case, launches, memory_end
from vta.tools.fuzz.token_order import COMPUTE, DraftInsn, Touched
from vta.tools.fuzz.trial import Difference, run_case

TINY = CONFIGURATIONS["tiny"]


def right(config: Config, memory: Memory, model: MemoryModel) -> Machine:
    """The functional simulator in place of the RTL: fast, and needs no build."""
    return FunctionalMachine(config, memory, seed=99)


class _WrongDatapath(Datapath):
    """MAX with an immediate above 30 computes MIN."""

    def _alu(self, values: Mapping[str, int]) -> None:
        if values["alu_opcode"] == AluOp.MAX and values["use_imm"] and values["imm"] > 30:
            values = {**values, "alu_opcode": AluOp.MIN}
        super()._alu(values)


def wrong(config: Config, memory: Memory, model: MemoryModel) -> Machine:
    machine = FunctionalMachine(config, memory, seed=99)
    machine.datapath = _WrongDatapath(config, memory, machine._spend)
    return machine


def is_culprit(word: int) -> bool:
    insn = Isa(TINY).decode(word)
    return (
        insn.opcode == Opcode.ALU
        and insn.alu_opcode == AluOp.MAX
        and bool(insn.use_imm)
        and insn.imm > 30
    )


def words(image: Image) -> list[int]:
    return [int(low) | int(high) << 64 for low, high in image.stream().tolist()]


def first_difference(*, compiled: bool) -> Difference:
    for number in itertools.count():
        case = draw_case(3, "tiny", TINY, number)
        if (case.schedule is not None) == compiled:
            found = run_case(case, wrong).difference
            if found is not None:
                return found
    raise AssertionError


def check_image(image: Image) -> None:
    """The image shows the fault on the wrong machine, and matches on the right one."""
    model = MemoryModel()
    assert replay(image, lambda config, memory: wrong(config, memory, model)).match is False
    assert replay(image, FunctionalMachine).match is True


def test_a_planted_fault_is_found_and_made_small() -> None:
    found = first_difference(compiled=False)
    small = minimise(found, wrong)
    assert small.kind == found.kind == "memory"
    assert sum(map(len, (plan.steps for plan in small.case.plans))) <= 3
    # The culprit, the STORE that shows it, FINISH, what they need and the tokens between them.
    assert small.insns <= 8
    assert small.image is not None
    assert any(map(is_culprit, words(small.image)))
    assert small.case.model == MemoryModel()
    # It comes from another process.
    assert pickle.loads(pickle.dumps(small)).case == small.case
    check_image(small.image)


def test_a_planted_fault_in_a_compiled_program_is_made_small() -> None:
    found = first_difference(compiled=True)
    small = minimise(found, wrong, trials=60)
    assert small.case.choices is not None
    assert small.insns < found.insns
    assert small.image is not None
    assert any(map(is_culprit, words(small.image)))
    check_image(small.image)


def test_a_machine_that_fails_is_a_difference() -> None:
    class Failing(FunctionalMachine):
        def run(self, *arguments: object, **options: object) -> object:  # type: ignore[override]
            raise DeviceError("a planted failure")

    case = draw_case(0, "tiny", TINY, 0)
    found = run_case(case, lambda config, memory, model: Failing(config, memory)).difference
    assert found is not None
    assert found.kind == "exception"
    assert "a planted failure" in found.text


@pytest.mark.parametrize("error", [VerifyError("a planted bug"), IndexError("a planted bug")])
def test_a_compiler_that_fails_is_a_difference(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only an error of the schedule is a refusal; a proof that fails is a bug of the compiler."""

    def fail(*arguments: object) -> NoReturn:
        raise error

    monkeypatch.setattr("vta.tools.fuzz.random_cases.build", fail)
    compiled = (draw_case(0, "tiny", TINY, number) for number in itertools.count())
    trial = run_case(next(case for case in compiled if case.schedule is not None), right)
    assert trial.launches == 0
    assert trial.difference is not None
    small = minimise(trial.difference, right, trials=20)
    assert (small.kind, small.image, small.insns) == ("exception", None, 0)
    assert small.text == f"exception: no program: {type(error).__name__}: a planted bug"


def test_a_launch_that_cannot_be_drawn_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where memory ends within a launch, and while the case is made small."""

    def fail(*arguments: object) -> NoReturn:
        raise EncodingError("a planted bug")

    monkeypatch.setattr("vta.tools.fuzz.random_cases.LaunchBuilder.build", fail)
    cases = (draw_case(0, "tiny", TINY, number) for number in itertools.count())
    case = next(case for case in cases if case.plans and case.short is not None)
    found = run_case(case, right).difference
    assert found is not None
    small = minimise(found, right, trials=20)
    assert small.image is None
    assert small.text == "exception: no program: EncodingError: a planted bug"
    assert memory_end(small.case) is None


@pytest.mark.parametrize(
    ("name", "number"),
    [
        # A LOAD of no micro-ops at the end of the buffer comes before a loop.
        ("least", 128),
        # A row of the widest tiles is longer than what memory holds for it.
        ("block5-128", 1217),
        ("block5-256-old", 627),
    ],
)
def test_every_launch_can_be_drawn(name: str, number: int) -> None:
    case = draw_case(1, name, CONFIGURATIONS[name], number)
    assert len(list(launches(case))) == len(case.plans)


def test_a_reset_that_fails_is_a_difference() -> None:
    """Also the one after an error, which is part of the launch with the error."""

    class Failing(FunctionalMachine):
        def reset(self) -> None:
            raise DeviceError("a planted failure")

    def make(config: Config, memory: Memory, model: MemoryModel) -> Machine:
        return Failing(config, memory)

    cases = (draw_case(0, "tiny", TINY, number) for number in itertools.count())
    case = next(case for case in cases if case.plans and case.plans[0].fault is not None)
    plan = dataclasses.replace(case.plans[0], reset_after=None)
    found = run_case(dataclasses.replace(case, plans=(plan,)), make).difference
    assert found is not None
    assert found.text == "exception: a reset: DeviceError: a planted failure"
    assert found.insns > 0


def test_launches_after_the_difference_are_left_out_at_once() -> None:
    found = first_difference(compiled=False)
    plans = (*found.case.plans, *found.case.plans)
    longer = dataclasses.replace(found, case=dataclasses.replace(found.case, plans=plans))
    runs = []

    def count(config: Config, memory: Memory, model: MemoryModel) -> Machine:
        runs.append(model)
        return wrong(config, memory, model)

    quiet = dataclasses.replace(longer.case, model=MemoryModel(), short=None)
    small = minimise(dataclasses.replace(longer, case=quiet), count, trials=1)
    assert small.case.plans == plans[: found.launch + 1]
    # A memory that is quiet already is not tried again.
    assert len(runs) == 1


def test_nothing_is_found_where_nothing_is_and_every_row_is_known() -> None:
    covered: Counter[coverage.Row] = Counter()
    for name in ("tiny", "tiny-old"):
        tally = run_batch(Batch(5, name, CONFIGURATIONS[name], 0, 25), right)
        assert tally.differences == []
        assert tally.cases == 25
        assert tally.errors > 0
        assert tally.resets > 0
        covered += tally.covered
    known = coverage.rows([TINY])
    assert len(known) == len(set(known))
    assert set(covered) <= set(known)
    assert not any(
        "QNT" in name or "MOV" in name or "pad_min" in name
        for _, name in coverage.rows([CONFIGURATIONS["tiny-old"]])
    )


def test_hazards_are_counted_between_neighbours_in_compute() -> None:
    drafts = [
        DraftInsn(COMPUTE, "gemm", {"uop_bgn": 0, "uop_end": 4}, writes=Touched({"acc": 0b1100})),
        DraftInsn(COMPUTE, "mem", load_uop(3), writes=Touched()),
        DraftInsn(COMPUTE, "alu", {"uop_bgn": 9, "uop_end": 9}, reads=Touched({"acc": 0b0100})),
    ]
    loop_over_loop = ("hazard", "a loop that reads what a loop shortly before wrote")
    load_over_loop = ("hazard", "a LOAD over micro-ops of a loop shortly before")
    assert list(coverage._of_hazards(drafts)) == [load_over_loop, loop_over_loop]
    drafts[1] = dataclasses.replace(drafts[1], values=load_uop(4))
    assert list(coverage._of_hazards(drafts)) == [loop_over_loop]


def load_uop(sram: int) -> dict[str, int]:
    """Two micro-ops from one on."""
    pads = dict.fromkeys(("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1"), 0)
    return {"memory_type": MemoryType.UOP, "sram_base": sram, "y_size": 1, "x_size": 2, **pads}


def test_a_case_follows_from_its_seed_and_number() -> None:
    assert draw_case(1, "tiny", TINY, 7) == draw_case(1, "tiny", TINY, 7)
    assert draw_case(1, "tiny", TINY, 7) != draw_case(2, "tiny", TINY, 7)
    assert draw_case(1, "tiny", TINY, 7) != draw_case(1, "tiny", TINY, 8)


def test_instructions_that_are_left_out_leave_a_legal_program() -> None:
    case = next(
        case
        for case in (draw_case(2, "tiny", TINY, number) for number in itertools.count())
        if len(case.plans) == 1 and len(case.plans[0].steps) > 5 and case.plans[0].fault is None
    )
    whole = len(next(launches(case)).launch.meaning)
    for dropped in ({0}, {1, 2, 3}, set(range(0, 200, 2)), set(range(200))):
        plan = dataclasses.replace(case.plans[0], dropped=frozenset(dropped), reset_after=None)
        fewer = dataclasses.replace(case, plans=(plan,))
        assert len(next(launches(fewer)).launch.meaning) < whole
        assert run_case(fewer, right).difference is None
    # FINISH alone, and no-ops for tokens that nothing needs.
    assert len(next(launches(fewer)).launch.meaning) <= 3


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_campaign_ends_after_its_programs(jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vta.tools.fuzz.campaign.run_batch", lambda batch: run_batch(batch, right))
    shares: list[float] = []
    configs = {"tiny": TINY, "tiny-old": CONFIGURATIONS["tiny-old"]}

    def report(tally: Tally, share: float) -> None:
        shares.append(share)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        tally = campaign(
            configs,
            seed=0,
            until=Until(programs=10),
            pool=None if jobs == 1 else pool,
            jobs=jobs,
            report=report,
        )
    assert tally.launches >= 10
    assert tally.differences == []
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_campaign_ends_after_its_time() -> None:
    until = Until(programs=100, seconds=50)
    assert until.share(Tally(launches=10), 5) == 0.1
    assert until.share(Tally(launches=10), 40) == 0.8
    assert until.share(Tally(launches=200), 5) == 1.0
    assert Until(seconds=50).share(Tally(launches=10), 60) == 1.0


def test_a_campaign_ends_after_many_differences() -> None:
    found = first_difference(compiled=False)
    few, many = Tally(differences=[found] * 19), Tally(differences=[found] * 20)
    assert Until(seconds=50).share(few, 10) == 0.2
    assert Until(seconds=50).share(many, 10) == 1.0


def test_the_campaign_takes_many_configurations_and_both_encodings() -> None:
    configs = [CONFIGURATIONS[name] for name in CAMPAIGN]
    assert len(configs) >= 8
    assert {config.hw_ver for config in configs} == {"0.0.2", "0.0.3"}


def test_memory_ends_within_the_program() -> None:
    """Each module and fetch meets error responses, and all machines report the same."""
    covered: Counter[coverage.Row] = Counter()
    for number in range(150):
        case = draw_case(4, "tiny", TINY, number)
        if case.plans:
            trial = run_case(dataclasses.replace(case, short=number), right)
            assert trial.difference is None
            covered += trial.covered
        if all(covered["memory", name] for name in coverage.RESPONSES):
            return
    pytest.fail("some module met no error response")


def test_memory_is_disturbed_in_every_way() -> None:
    cases = [draw_case(0, "tiny", TINY, number) for number in range(200)]
    reached: Counter[coverage.Row] = Counter()
    for case in cases:
        reached += coverage.of_model(case.model)
    assert all(reached["memory", name] for name in coverage.MEMORY)
