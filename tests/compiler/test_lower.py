"""What lowering prints: the tutorial's listing, and golden texts of every pass."""

from __future__ import annotations

import re

import numpy as np
import pytest

from vta import te
from vta.compiler.pipeline import PASSES, lower, lower_vta, trace
from vta.compiler.te.schedule import create_schedule
from vta.config import PRESETS
from vta.environment import Environment
from vta.errors import CompileError
from vta.testing.programs import vector_add

CONFIG = PRESETS["default"]
CALL = re.compile(r"(VTA\w+|uop_push|coproc_dep_push|coproc_dep_pop|coproc_sync)\b(.*)")


def calls(text):
    """Each call's name and its arguments but for the command handle, in order."""
    found = []
    for line in text.splitlines():
        match = CALL.search(line)
        if match and "coproc_uop_scope" not in line:
            rest = match[2].split("command_handle())")[-1]
            found.append((match[1], re.findall(r"[\w.]+", rest)))
    return found


def test_the_tutorials_listing(shared, tutorial):
    """The same calls with the same arguments in the same order as in the tutorial's own text."""
    text = (shared / "vta_get_started.rst.txt").read_text(encoding="utf-8")
    listing = text[text.index("coproc_scope") :]
    expected = calls(listing[: listing.index("coproc_sync()") + len("coproc_sync()")])
    assert len(expected) == 9
    schedule, args = tutorial(CONFIG)
    assert calls(str(lower_vta(schedule, args, CONFIG, simple_mode=True))) == expected


def test_the_tutorials_lines(shared, tutorial):
    """Each call is spelled as there, so that it is found by who searches for it."""
    text = (shared / "vta_get_started.rst.txt").read_text(encoding="utf-8")
    theirs = {line.strip() for line in text.splitlines()}
    schedule, args = tutorial(CONFIG)
    printed = str(lower_vta(schedule, args, CONFIG, simple_mode=True)).splitlines()
    ours = [line.strip() for line in printed if line.strip().startswith("T.")]
    assert len(ours) == 9
    assert [line for line in ours if line not in theirs] == []


@pytest.mark.parametrize(("o", "m"), [(1, 64), (2, 100), (1, 2)])
def test_numbers_follow_the_shape(tutorial, o, m):
    schedule, args = tutorial(CONFIG, o, m)
    n = str(o * m)
    found = dict(calls(str(lower_vta(schedule, args, CONFIG, simple_mode=True))))
    assert found["VTAUopLoopBegin"] == [n, "1", "1", "0"]
    assert found["uop_push"] == ["1", "0", "0", n, "0", "2", "0", "0"]
    assert found["VTALoadBuffer2D"] == ["B.data", "0", n, "1", n, "0", "0", "0", "0", n, "3"]
    assert found["VTAStoreBuffer2D"] == ["0", "4", "C.data", "0", n, "1", n]


def test_the_default_schedule(tutorial, golden):
    _, args = tutorial(CONFIG)
    schedule = create_schedule(args[-1].op)
    golden("default_schedule", str(lower(schedule, args, simple_mode=True)))
    golden("default_schedule_all_loops", str(lower(schedule, args)))


def mixed(kit, config, tiles=31):
    """Every kind of operation, three results, more than one part at small configurations."""
    return kit.stages(
        (tiles, config.batch, config.block),
        [
            ("S", "AB", lambda t, x, y: t.max(x - y, -70000) >> 2),
            ("N", "B", lambda t, x: (x.astype("int8") * 3).astype("int32")),
            ("R", "SNA", lambda t, x, y, z: t.min(x * y + 100, z << 1)),
            ("Z", "", lambda t: t.const(5)),
        ],
        {"A": "int8", "B": "int32"},
        ["R", "N", "Z"],
    )


@pytest.mark.parametrize("preset", ["default", "tiny"])
@pytest.mark.parametrize("title", ["loops", *(title for title, _ in PASSES)])
def test_each_pass(kit, golden, preset, title):
    config = PRESETS[preset]
    schedule, args = mixed(kit, config)
    golden(f"mixed_{preset}_{title}", str(trace(schedule, args, config)[title]))


@pytest.mark.parametrize("preset", ["default", "tiny"])
def test_what_the_golden_program_computes(kit, preset):
    """The golden texts show a program that is right."""
    config = PRESETS[preset]
    schedule, args = mixed(kit, config)
    rng = np.random.default_rng(0)
    a = rng.integers(-128, 128, args[0].shape, np.int8)
    b = rng.integers(-100000, 100000, args[1].shape, np.int32)
    n = (b.astype(np.int8) * np.int8(3)).astype(np.int32)
    r = np.minimum((np.maximum(a - b, -70000) >> 2) * n + 100, (a << 1).astype(np.int32))
    kit.check(
        schedule,
        args,
        config,
        [a, b],
        [r.astype(np.int8), n.astype(np.int8), np.full(a.shape, 5, np.int8)],
    )


def test_notes_say_what_each_instruction_is_about(tutorial):
    schedule, args = tutorial(CONFIG)
    text = str(lower_vta(schedule, args, CONFIG))
    notes = [line.strip() for line in text.splitlines() if "#" in line]
    assert notes == [
        "# A_buf = A[0:64]",
        "# B_buf = B[0:64]",
        "# C_buf = add(A_buf, B_buf)",
        "# C_buf to C[0:64]",
    ]
    assert "#" not in str(lower_vta(schedule, args, CONFIG, simple_mode=True))


@pytest.mark.parametrize("names", ["nonsense", "place,tokenz", "all,x", ","])
def test_dumping_after_a_pass_that_does_not_exist(names, monkeypatch):
    monkeypatch.setenv("VTA_DUMP", names)
    with pytest.raises(CompileError, match="VTA_DUMP must be all or some of loops, simplify"):
        trace(*vector_add(Environment("tiny"), m=4), PRESETS["tiny"])


def test_dumps(tutorial, monkeypatch, capsys):
    schedule, args = tutorial(CONFIG)
    lower_vta(schedule, args, CONFIG)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("VTA_DUMP", "all")
    lower_vta(schedule, args, CONFIG)
    shown = capsys.readouterr()
    titles = re.findall("^# after (.*)$", shown.err, re.MULTILINE)
    assert titles == ["loops", *(title for title, _ in PASSES)]
    assert shown.out == ""
    monkeypatch.setenv("VTA_DUMP", "place,tokens")
    lower_vta(schedule, args, CONFIG)
    assert re.findall("^# after (.*)$", capsys.readouterr().err, re.MULTILINE) == [
        "place",
        "tokens",
    ]


def test_two_stages_of_one_name_are_told_apart():
    a = te.placeholder((16,), name="T")
    b = te.compute((16,), lambda i: a(i) + 1, "T")
    c = te.compute((16,), lambda i: b(i) * 2, "T")
    text = str(lower(te.create_schedule(c.op), [a, c], simple_mode=True))
    assert "T_1[i] = T[i] + 1" in text
    assert "T_2[i] = T_1[i] * 2" in text


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (lambda x, y: x - (y - 1), "x[i] - (y[i] - 1)"),
        (lambda x, y: x - y - 1, "x[i] - y[i] - 1"),
        (lambda x, y: (x + y) * 2, "(x[i] + y[i]) * 2"),
        (lambda x, y: x + y * 2, "x[i] + y[i] * 2"),
        (lambda x, y: x << (y >> 1), "x[i] << (y[i] >> 1)"),
        (lambda x, y: (x << 2) + y, "(x[i] << 2) + y[i]"),
        (lambda x, y: te.max(x, te.min(-y, 3)), "max(x[i], min(y[i] * -1, 3))"),
        (lambda x, y: x.astype("int8") + 1, "int8(x[i]) + 1"),
        (lambda x, y: 2 * (te.const(3) + 4) + x, "14 + x[i]"),
    ],
)
def test_expressions_as_text(rule, text):
    x, y = (te.placeholder((4,), name=name) for name in "xy")
    c = te.compute((4,), lambda i: rule(x(i), y(i)), "c")
    args = [t for t in (x, y) if t in c.op.input_tensors]
    assert f"c[i] = {text}" in str(lower(te.create_schedule(c.op), [*args, c]))


@pytest.mark.parametrize("share", [True, False])
def test_a_text_that_would_be_too_long(share):
    a = te.placeholder((4,), name="A")

    def rule(i):
        x = a(i)
        for _ in range(150):
            x = x + (x if share else a(i))
        return x

    c = te.compute((4,), rule, "C")
    assert "C[i] = <150 operations>" in str(lower(te.create_schedule(c.op), [a, c]))


def test_lower_checks_bounds():
    a = te.placeholder((4,), name="A")
    c = te.compute((5,), lambda i: a(i), "C")
    with pytest.raises(
        CompileError,
        match=r"C reads A \[4\] out of its bounds: index 0 runs from "
        "0 to 4, but must be 0 to 3",
    ):
        lower(te.create_schedule(c.op), [a, c])
