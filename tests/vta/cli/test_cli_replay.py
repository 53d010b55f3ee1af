"""`vta replay`: statuses, JSON, what it saves."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tests.images import image
from tests.vta.commands import OUT, Run, make_image
from vta.image import Image


def test_replay_statuses(run: Run, images: dict[str, Path]) -> None:
    good, wrong, opened, fault = (images[name] for name in ("good", "wrong", "open", "fault"))
    for files, status in (
        ([good], 0),
        ([opened], 0),
        ([wrong], 1),
        ([fault], 3),
        ([good, wrong], 1),
        ([fault, wrong, good], 3),
        ([good, opened, good], 0),
    ):
        result = run("replay", *files)
        assert result.status == status, files
        assert result.err == ""
        for file in files:
            assert file.name in result.out
    text = run("replay", wrong).out
    assert f"byte {OUT + 5:#x} must be" in text
    assert "sram_range in compute at instruction 2 (ALU ADD" in run("replay", fault).out


def test_replay_json(run: Run, images: dict[str, Path]) -> None:
    result = run("replay", "--json", *images.values())
    assert result.status == 3
    assert result.err == ""
    records = {
        Path(record["image"]).stem: record for record in map(json.loads, result.out.splitlines())
    }
    assert list(records) == list(images)
    for record in records.values():
        assert record["target"] == "sim"
        assert record["cycles"] is None
    good = records["good"]
    assert (good["match"], good["error"], good["instructions"]) == (True, None, 5)
    assert good["stats"]["acc_load_nbytes"] == 4 * 32
    assert good["stats"]["alu_counter"] == 4
    assert (records["wrong"]["match"], records["open"]["match"]) == (False, None)
    error = records["fault"]["error"]
    assert {key: error[key] for key in ("cause", "module", "insn_index")} == {
        "cause": "sram_range",
        "module": "compute",
        "insn_index": 2,
    }
    assert error["insn"].startswith("ALU ADD uop=0:1 iter=1x4")


def test_replay_goes_on_after_a_bad_file(run: Run, images: dict[str, Path], tmp_path: Path) -> None:
    junk = tmp_path / "junk.npz"
    junk.write_bytes(b"junk")
    result = run("replay", "--json", images["good"], junk, images["wrong"])
    assert result.status == 2
    assert [json.loads(line)["match"] for line in result.out.splitlines()] == [True, False]
    assert result.err.count("\n") == 1
    assert "junk.npz" in result.err
    assert run("replay", junk, images["fault"]).status == 3


def test_replay_no_instructions_and_too_many_cycles(
    run: Run, tmp_path: Path, images: dict[str, Path]
) -> None:
    empty = tmp_path / "empty.npz"
    dataclasses.replace(make_image(), insn_count=0).save(empty)
    result = run("replay", "--json", empty)
    assert result.status == 3
    assert json.loads(result.out)["error"]["cause"] == "no_finish"
    result = run("replay", "--json", "--max-cycles", 3, images["good"])
    assert result.status == 3
    assert json.loads(result.out)["error"]["cause"] == "timeout"


def test_replay_save(run: Run, images: dict[str, Path], tmp_path: Path) -> None:
    after = tmp_path / "after.npz"
    assert run("replay", images["open"], "--save", after).status == 0
    saved = Image.load(after)
    assert saved.after is not None
    changed = np.concatenate([segment.data for segment in saved.after])
    expected = make_image().after
    assert expected is not None
    np.testing.assert_array_equal(changed, expected[0].data)
    assert saved.after[0].addr == OUT
    assert run("replay", after).status == 0


def test_replay_on_the_rtl(run: Run, images: dict[str, Path]) -> None:
    result = run(
        "replay",
        "-q",
        "--target",
        "tsim",
        "--json",
        "--latency",
        3,
        "--stalls",
        1,
        "--reorder",
        1,
        "--outstanding",
        1,
        "--write-response",
        5,
        *images.values(),
    )
    assert result.status == 3
    assert result.err == ""
    good, wrong, opened, fault = map(json.loads, result.out.splitlines())
    assert (good["match"], wrong["match"], opened["match"]) == (True, False, None)
    assert good["cycles"] > 20
    assert good["target"] == "tsim"
    assert good["instructions"] == 5
    assert good["stats"]["alu_counter"] == 4
    assert fault["error"]["cause"] == "sram_range"
    assert fault["error"]["insn_index"] == 2
    slow = run("replay", "-q", "--target", "tsim", "--json", "--latency", 500, images["good"])
    fast = run("replay", "-q", "--target", "tsim", "--json", "--latency", 1, images["good"])
    assert json.loads(slow.out)["cycles"] > json.loads(fast.out)["cycles"] + 499
    stopped = run("replay", "-q", "--target", "tsim", "--json", "--max-cycles", 5, images["good"])
    assert stopped.status == 3
    assert json.loads(stopped.out)["error"]["cause"] == "timeout"


@pytest.mark.parametrize(
    "option",
    [
        ("--latency", 20),
        ("--write-response", 1),
        ("--outstanding", 1),
        ("--stalls", 0),
        ("--reorder", 0),
    ],
)
def test_replay_on_sim_knows_no_latency(
    run: Run, images: dict[str, Path], option: tuple[str, int]
) -> None:
    """Also with the value that would be the default: it was asked for."""
    result = run("replay", *option, images["good"])
    assert result.status == 2
    assert f"{option[0]} needs --target tsim" in result.err


@pytest.mark.full
def test_replay_waves(run: Run, images: dict[str, Path], tmp_path: Path) -> None:
    """Builds a simulator that can trace, which takes a minute."""
    waves = tmp_path / "x.vcd"
    result = run("replay", "-q", "--target", "tsim", "--waves", waves, images["good"])
    assert result.status == 0
    assert waves.read_text(encoding="utf-8").rstrip().splitlines()[0].startswith("$")


def test_replay_of_a_stream_with_tokens_before(run: Run, tmp_path: Path) -> None:
    files = []
    for name in ("own_second_call", "own_vector_add"):
        files.append(tmp_path / f"{name}.npz")
        image(name).save(files[-1])
    result = run("replay", "--json", *files)
    assert result.status == 0
    assert [json.loads(line)["match"] for line in result.out.splitlines()] == [True, True]
