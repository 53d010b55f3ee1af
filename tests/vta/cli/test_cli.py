"""The command `vta`: results on stdout, one line on stderr for bad input, exit statuses."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vta
from tests.disks import on_a_small_disk
from tests.vta.commands import TINY, Run, make_image
from vta.cli import app
from vta.image import Image, Segment
from vta.program import Program

ROOT = Path(vta.__file__).parent.parent


# -- the command itself --------------------------------------------------------------------------


def test_version_help_and_nothing(run: Run) -> None:
    assert run("--version").out == f"vta {vta.__version__}\n"
    shown = run("--help")
    assert shown.status == 0
    for name in app.COMMANDS:
        assert name in shown.out
        text = run(name, "--help")
        assert text.status == 0
        assert "Example: vta " + name in text.out
    nothing = run()
    assert nothing.status == 2
    assert "Usage" in nothing.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["conig"], "No such command 'conig'.* there are vadd, .*verilog, replay"),
        (["config", "--bogus"], "No such option '--bogus'; there are --json, --verbose, --quiet "),
        (["config", "a", "b"], r"extra argument \(b\); the command is: vta config .*\[F\] "),
        (["--bogus"], "No such option"),
        (["replay"], "Missing argument 'IMAGE.npz...'"),
        (
            ["replay", "x.npz", "--latency", "0"],
            "Invalid value for '--latency': 0 is not in the range",
        ),
        (["replay", "x.npz", "--latency", "many"], "Invalid value for '--latency'"),
        (["replay", "x.npz", "--write-response", "-1"], "Invalid value for '--write-response'"),
        (["replay", "x.npz", "--outstanding", "0"], "Invalid value for '--outstanding'"),
        (["replay", "x.npz", "--stalls", "-1"], "Invalid value for '--stalls'"),
        (["replay", "x.npz", "--max-cycles", "0"], "Invalid value for '--max-cycles'"),
        (["replay", "x.npz", "--target", "pynq"], "Invalid value for '--target'.*'sim', 'tsim'"),
        (["replay", "x.npz", "y.npz", "--save", "z.npz"], "--save takes one image, not 2"),
        (["replay", "x.npz", "y.npz", "--waves", "z.fst"], "--waves takes one image, not 2"),
        (["replay", "x.npz", "--waves", "z.fst"], "--waves needs --target tsim"),
        (["replay", "x.npz", "--save", "/nowhere/at/all.npz"], "folder cannot be written"),
        (["replay", "missing.npz"], "missing.npz: cannot be read .*No such file"),
        (["dis", "missing.npz"], "missing.npz: cannot be read .*No such file"),
        (["config", "missing.json"], "missing.json: cannot be read .*No such file"),
        (["verilog", "--config", "missing.json"], "missing.json: cannot be read"),
        (["verilog", "-o", "/nowhere/at/all.v"], "/nowhere/at/all.v: its folder cannot be written"),
        (["export", "missing.o", "-o", "x.npz"], "missing.o: cannot be read"),
        (["export", "missing.o"], "Missing option '-o'"),
        (["vadd", "--config", "missing.json"], "missing.json: cannot be read"),
        (["vadd", "--tiles", "0"], "Invalid value for '--tiles'"),
    ],
)
def test_bad_input_gets_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*args)
    assert result.status == 2
    assert re.search(message, result.complaint)


def test_bad_files(run: Run, tmp_path: Path, images: dict[str, Path], program: Path) -> None:
    junk, short, plain = tmp_path / "junk.npz", tmp_path / "short.npz", tmp_path / "plain.npz"
    junk.write_bytes(b"\0" * 100)
    short.write_bytes(images["good"].read_bytes()[:-40])
    np.savez(plain, x=np.zeros(3))
    for file in (junk, short, plain, ROOT / "README.md", tmp_path):
        for command in (["replay"], ["dis"], ["export", "-o", tmp_path / "o.npz"]):
            result = run(*command, file)
            assert result.status == 2, command
            assert str(file) in result.complaint
    assert "must be a vta-image file, not 'vta-program'" in run("replay", program).complaint
    assert (
        "must be a vta-program file, not 'vta-image'"
        in run("export", images["good"], "-o", tmp_path / "o.npz").complaint
    )
    assert not (tmp_path / "o.npz").exists()


def test_bad_configurations(run: Run, tmp_path: Path) -> None:
    good = TINY.to_dict()
    for values, message in (
        ({**good, "LOG_BLOK": 4}, "unknown key 'LOG_BLOK'; did you mean LOG_BLOCK?"),
        ({key: good[key] for key in good if key != "LOG_BATCH"}, "missing key LOG_BATCH"),
        ({**good, "LOG_BATCH": 7}, "LOG_BATCH must be 0 to 2, not 7"),
        ({**good, "TARGET": ""}, "TARGET must be a name, not ''"),
        (
            {**good, "LOG_WGT_BUFF_SIZE": 22, "LOG_ACC_BUFF_SIZE": 20},
            "GEMM word 1 needs 74 bits of 64",
        ),
    ):
        file = tmp_path / "config.json"
        file.write_text(json.dumps(values))
        for command in (["config"], ["verilog", "--config"], ["vadd", "--config"]):
            result = run(*command, file)
            assert result.status == 2
            assert message in result.complaint
            assert str(file) in result.complaint


def test_unexpected_errors_have_a_status_of_their_own(
    run: Run, tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr("vta.cli.export.to_image", fail)
    args = ("export", program, "-o", tmp_path / "x.npz")
    result = run(*args)
    assert result.status == app.EXIT_BUG
    assert result.complaint == (
        "vta: unexpected ZeroDivisionError: by nought (-v shows the traceback)\n"
    )
    for verbose in (run("-v", *args), run(*args, "-v")):
        assert verbose.status == app.EXIT_BUG
        assert "Traceback" in verbose.err


def test_traceback_of_bad_input_only_with_v(run: Run) -> None:
    assert "Traceback" not in run("config", "missing.json").complaint
    result = run("config", "missing.json", "-v")
    assert result.status == 2
    assert "Traceback" in result.err
    assert result.err.endswith("vta: missing.json: cannot be read (No such file or directory)\n")


def test_long_messages_are_one_line(
    run: Run, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise vta.errors.ToolError("it failed:\nline 1\nline 2")

    monkeypatch.setattr("vta.cli.export.to_image", fail)
    args = ("export", program, "-o", tmp_path / "x.npz")
    assert run(*args).complaint == "vta: it failed: ... (-v shows the rest)\n"
    assert run(*args, "-v").err.endswith("vta: it failed:\nline 1\nline 2\n")


# -- the others ----------------------------------------------------------------------------------


def test_dis_of_an_image(run: Run, images: dict[str, Path]) -> None:
    units, *lines = run("dis", images["good"]).out.splitlines()
    # A tile of TINY is 8 numbers: 8 bytes of int8, 64 weights, 32 bytes of int32.
    assert units == (
        "# sram, dram, size and stride count elements; bytes of an element: "
        "uop 4, inp 8, wgt 64, acc 32, out 8"
    )
    assert len(lines) == 5
    assert lines[0] == "0  compute  LOAD ACC sram=0 dram=0x0 size=1x4 stride=4  (byte 0x10000)"
    assert lines[1].endswith("(byte 0x2000)")
    assert lines[2].endswith("imm=100 push:g2s")
    assert lines[3].endswith("size=1x4 stride=4 pop:g2s  (byte 0x20000)")
    assert lines[4] == "4  compute  FINISH"


def test_dis_of_a_program_names_buffers(run: Run, program: Path) -> None:
    text = run("dis", program).out
    for name in ("dram=A+0x0", "dram=B+0x0", "dram=C+0x0"):
        assert name in text
    assert len(text.splitlines()) == 1 + len(Program.load(program).insns)


def test_dis_summary(run: Run, images: dict[str, Path]) -> None:
    text = run("dis", "--summary", images["good"]).out
    table = _table(text)
    for name, cells in (
        ("LOAD ACC", ["1"]),
        ("ALU ADD", ["1"]),
        ("STORE OUT", ["1"]),
        ("FINISH", ["1"]),
        ("g2s", ["1", "1", "0"]),
        ("l2g", ["0", "0", "0"]),
        ("alu_counter", ["4"]),
        ("acc_load_nbytes", ["128"]),
        ("out_store_nbytes", ["32"]),
    ):
        assert table[name] == cells
    assert "5 instructions" in text


def test_dis_of_nonsense(run: Run, tmp_path: Path) -> None:
    """Illegal instructions are printed, not refused."""
    words = np.random.default_rng(0).integers(0, 2**63, (64, 2)).astype(np.uint64)
    path = tmp_path / "nonsense.npz"
    dataclasses.replace(
        make_image(),
        insn_count=64,
        after=None,
        before=(Segment(0x1000, words.reshape(-1).view(np.uint8)),),
    ).save(path)
    for options in ([], ["--summary"]):
        result = run("dis", path, *options)
        assert result.status == 0
        assert "OPCODE_" in result.out


def test_config(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described = json.loads(run("config", "default", "--json").out)
    assert described["fits"] is True
    assert described["buffers"]["wgt"] == {
        "bytes": 262144,
        "elem_bytes": 256,
        "depth": 1024,
        "log_depth": 10,
    }
    assert {row["word"]: row["bits"] for row in described["encoding"]}["GEMM word 1"] == 64
    text = run("config", "default").out
    assert "1x16_i8w8a32_15_15_18_17" in text
    assert "fits: every instruction word" in text
    parts = _table(text)
    assert parts["_18"] == ["the WGT buffer has 2^18 = 262,144 bytes"]
    assert parts["i8"] == ["inputs of 8 bits"]
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(TINY.to_dict()))
    monkeypatch.setenv("VTA_CONFIG", str(file))
    assert json.loads(run("config", "--json").out)["config"] == TINY.to_dict()
    file.write_text(json.dumps({**TINY.to_dict(), "LOG_BLOCK": 9}))
    result = run("config", "--json")
    assert result.status == 2
    refused = json.loads(result.out)
    assert refused["fits"] is False
    assert "LOG_BLOCK must be 3 to 4, not 9" in refused["error"]


def test_export(run: Run, program: Path, tmp_path: Path) -> None:
    image = tmp_path / "image.npz"
    assert run("export", program, "-o", image).status == 0
    assert Image.load(image).after is None
    values = np.arange(32, dtype=np.int32).reshape(1, 4, 1, 8)
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "b.npy", values * 2)
    result = run(
        "export",
        program,
        "-o",
        image,
        "--expect",
        "--arg",
        f"A={tmp_path / 'a.npy'}",
        "--arg",
        f"B={tmp_path / 'b.npy'}",
    )
    assert result.status == 0
    after = Image.load(image).after
    assert after is not None
    memory = {
        segment.addr + place: byte
        for segment in after
        for place, byte in enumerate(segment.data.tolist())
    }
    out = int(result.out.rsplit("C int8[1, 4, 1, 8] at ", 1)[1], 16)
    before = {segment.addr: segment for segment in Image.load(image).before}[out].data
    stored = [memory.get(out + place, int(before[place])) for place in range(32)]
    np.testing.assert_array_equal(
        np.array(stored, np.uint8).view(np.int8), (values * 3).astype(np.int8).reshape(-1)
    )
    assert run("replay", image).status == 0


def test_export_seeds(run: Run, program: Path, tmp_path: Path) -> None:
    def contents(*options: object) -> list[bytes]:
        run("export", program, "-o", tmp_path / "i.npz", *options)
        return [part.data.tobytes() for part in Image.load(tmp_path / "i.npz").before]

    assert contents() == contents("--seed", 0) != contents("--seed", 1)


def test_export_bad_arguments(run: Run, program: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 2), np.int32))
    (tmp_path / "junk.npy").write_bytes(b"junk")
    np.savez(tmp_path / "several.npz", x=np.zeros(2))
    for value, message in (
        ("A", "must be NAME=F.npy, not 'A'"),
        ("A=", "must be NAME=F.npy"),
        (f"A={tmp_path / 'a.npy'}", "input A must be int32[1, 4, 1, 8], not int32[2, 2]"),
        (f"C={tmp_path / 'a.npy'}", "vadd has no input C; it has A, B"),
        (f"A={tmp_path / 'junk.npy'}", "not a .npy file"),
        (f"A={tmp_path / 'none.npy'}", "cannot be read"),
        (f"A={tmp_path / 'several.npz'}", "must be one array"),
    ):
        result = run("export", program, "-o", tmp_path / "i.npz", "--arg", value)
        assert result.status == 2
        assert message in result.complaint
    assert not (tmp_path / "i.npz").exists()
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "no" / "i.npz", tmp_path / "folder"):
        result = run("export", program, "-o", place)
        assert result.status == 2
        assert "cannot be written" in result.complaint
    assert not list(tmp_path.glob("*.part"))


def test_export_for_c(run: Run, program: Path, tmp_path: Path) -> None:
    flat = tmp_path / "vadd.bin"
    result = run("export", program, "-o", flat, "--format", "bin")
    data = flat.read_bytes()
    assert result.out == f"{flat}: vadd, {len(data)} bytes\n"
    assert data[:8] == b"VTAF\x01\0\0\0"
    for option in (["--expect"], ["--seed", "0"], ["--arg", "A=a.npy"]):
        result = run("export", program, "-o", flat, "--format", "bin", *option)
        assert "--format bin takes no --arg, --seed and --expect" in result.complaint


def test_cache(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vta import cache

    monkeypatch.setenv("VTA_CACHE_PATH", str(tmp_path / "cache"))
    assert run("cache").out == f"{tmp_path / 'cache'}: 0 entries, 0 bytes\n"
    cache.cached("verilog", "abc", lambda folder: (folder / "x").write_bytes(b"12345") and None)
    text = run("cache").out
    assert "abc" in text
    assert "1 entries, 5 bytes" in text
    cache.cached("library", "abc", lambda folder: None, "1x16, FST waves")
    (line,) = (line for line in run("cache").out.splitlines() if line.startswith("library"))
    assert "1x16, FST waves" in line
    assert run("cache", "--clear").out == f"{tmp_path / 'cache'}: removed 5 bytes\n"
    assert cache.entries() == []


def test_verilog(run: Run, tmp_path: Path) -> None:
    text = run("verilog", "-q", "--config", "tiny")
    assert text.status == 0
    assert "module vta(" in text.out.replace("\\vta ", "vta")
    result = run("verilog", "-q", "--config", "tiny", "-o", tmp_path / "x.v")
    assert result.status == 0
    assert (tmp_path / "x.v").read_text() == text.out
    (tmp_path / "folder").mkdir()
    result = run("verilog", "-q", "--config", "tiny", "-o", tmp_path / "folder")
    assert result.status == 2
    assert "folder: cannot be written (Is a directory)" in result.complaint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "x.v"]


def _table(text: str) -> dict[str, list[str]]:
    """The cells of each row, by its first."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    return {row[0]: row[1:] for row in rows if len(row) > 1}


def test_vadd_on_both_targets(run: Run) -> None:
    result = run("vadd", "--config", "tiny", "-q")
    assert result.status == 0
    assert result.err == ""
    table = _table(result.out)
    assert table["target"] == ["sim", "tsim"]
    sim, tsim = table["digest of the program"]
    assert sim == tsim
    assert re.fullmatch("[0-9a-f]{16}", sim)
    assert table["result against NumPy"] == ["all 512 equal"] * 2
    assert table["cycles"][0] == "-"
    assert int(table["cycles"][1].replace(",", "")) > 100
    assert table["bytes stored"] == ["512", "512"]
    for row in ("bytes loaded", "instructions"):
        assert table[row][0] == table[row][1]
    assert max(map(len, result.out.splitlines())) < 80


def test_vadd_reports_a_difference(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from vta.driver.ndarray import NDArray

    honest = NDArray.numpy

    def broken(self: NDArray) -> np.ndarray:
        values = honest(self)
        values.flat[3] ^= 1
        return values

    monkeypatch.setattr(NDArray, "numpy", broken)
    result = run("vadd", "--config", "tiny", "--target", "sim")
    assert result.status == 1
    assert _table(result.out)["result against NumPy"] == ["1 of 512 differ"]


def test_tables_are_never_cut(
    run: Run, images: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert "…" not in run("replay", *images.values()).out


# -- as a process --------------------------------------------------------------------------------


def _process(*args: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", "from vta.cli import main; main()", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **options,
    )


def test_process_statuses(images: dict[str, Path], tmp_path: Path) -> None:
    assert _process("--version").stdout == f"vta {vta.__version__}\n"
    assert _process("replay", images["good"]).returncode == 0
    assert _process("replay", images["wrong"]).returncode == 1
    assert _process("replay", images["fault"]).returncode == 3
    missing = tmp_path / "none.npz"
    done = _process("replay", missing)
    assert done.returncode == 2
    assert done.stderr == f"vta: {missing}: cannot be read (No such file or directory)\n"
    assert done.stdout == ""


def test_a_reader_that_has_enough_is_no_error(images: dict[str, Path]) -> None:
    command = [sys.executable, "-c", "from vta.cli import main; main()", "config", "tiny"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == app.EXIT_PIPE


PRINTS_MUCH = """
import sys, vta.cli
from vta.driver import verilog_cache

verilog_cache.cached_verilog = lambda config, **_: 10_000 * "endmodule"
sys.argv = ["vta", "verilog"]
vta.cli.main()
"""


@pytest.mark.parametrize("options", [[], ["-u"]], ids=["buffered", "unbuffered"])
def test_output_that_a_full_disk_does_not_take(tmp_path: Path, options: list[str]) -> None:
    said = on_a_small_disk(
        tmp_path,
        "16k",
        f"""
        import subprocess, sys

        command = [sys.executable, *{options!r}, "-c", {PRINTS_MUCH!r}]
        with open({str(tmp_path / "vta.v")!r}, "w") as file:
            done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True)
        print(done.returncode, done.stderr)
        """,
    )
    assert said.strip() == "2 vta: No space left on device"
