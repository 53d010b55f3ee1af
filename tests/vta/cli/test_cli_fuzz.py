"""`vta fuzz`: what it prints, its statuses, and the images that it writes."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import NoReturn

import pytest

from tests.vta.commands import Run
from tests.vta.tools.test_fuzz import wrong
from vta.image import Image
from vta.tools.fuzz.campaign import run_batch
from vta.tools.fuzz.minimise import minimise


def test_programs_on_the_rtl(run: Run, tmp_path: Path) -> None:
    result = run(
        "fuzz", "--config", "tiny", "--programs", 12, "--jobs", 1, "--output", tmp_path / "images"
    )
    assert result.status == 0, result.out
    total = re.search(r"([\d,]+) programs on 1 configurations, .*: 0 differences", result.out)
    assert total is not None
    assert int(total[1]) >= 12
    assert re.search(r"instruction +STORE OUT +[1-9]", result.out)
    assert re.search(r"memory +stalls on every channel +[1-9]", result.out)
    # Twelve programs have not reached everything, and it says so.
    assert re.search(r"[\d]+ rows are empty: .*", result.out)
    assert not (tmp_path / "images").exists()


def test_a_difference_becomes_an_image(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = "vta.tools.fuzz.campaign"
    monkeypatch.setattr(f"{campaign}.run_batch", lambda batch: run_batch(batch, wrong))
    monkeypatch.setattr(f"{campaign}.minimise", functools.partial(minimise, trials=10))
    result = run(
        "fuzz", "--config", "tiny", "--programs", 40, "--jobs", 1, "--seed", 3, "--output", tmp_path
    )
    assert result.status == 1
    files = sorted(tmp_path.glob("*.npz"))
    assert files
    assert f"{len(files)} difference" in result.out
    image = Image.load(files[0])
    assert "vta fuzz --seed 3 --config tiny, case" in image.description
    assert f"{image.insn_count} instructions: vta replay --target tsim --latency 20" in result.out
    # The fault is not in the RTL, so the image matches there.
    assert run("replay", "--target", "tsim", files[0]).status == 0


def test_a_compiler_that_fails_leaves_no_image(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> NoReturn:
        raise IndexError("a planted bug")

    monkeypatch.setattr("vta.tools.fuzz.random_cases.build", fail)
    monkeypatch.setattr("vta.tools.fuzz.campaign.minimise", functools.partial(minimise, trials=1))
    result = run(
        "fuzz", "--config", "tiny", "--programs", 12, "--jobs", 1, "--output", tmp_path / "images"
    )
    assert result.status == 1
    assert "exception: no program: IndexError: a planted bug\n  draw_case(0, ...)" in result.out
    assert not (tmp_path / "images").exists()


def test_bad_input(run: Run, tmp_path: Path) -> None:
    assert "nowhere" in run("fuzz", "--config", "nowhere").complaint
    assert "--programs" in run("fuzz", "--programs", 0).complaint
    assert "--minutes" in run("fuzz", "--minutes", 0).complaint
    # At once, and not when there is a difference to write.
    (tmp_path / "file").touch()
    said = run("fuzz", "--config", "tiny", "--programs", 1, "--output", tmp_path / "file").complaint
    assert "--output" in said
    assert "is a file" in said


def test_a_cluster(run: Run, tmp_path: Path) -> None:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address
        result = run("fuzz", "--config", "tiny", "--programs", 6, "--scheduler", address)
    assert result.status == 0, result.err
    assert re.search(r"[\d,]+ programs on 1 configurations, .*: 0 differences", result.out)


def test_a_cluster_that_is_not_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vta.tools.fuzz.campaign.PATIENCE", "1s")
    said = run("fuzz", "--config", "tiny", "--scheduler", "tcp://127.0.0.1:1").complaint
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in said
