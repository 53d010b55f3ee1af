"""The top under cocotb, on Verilator: memory and host as AXI models, random backpressure.

Waves are traced into the folder that the environment variable VTA_WAVES names.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.images import image
from tests.rtl.runner import Design
from vta.config import PRESETS, Config
from vta.driver.verilog_cache import simulated_verilog

BENCHES = "tests.rtl.benches"
PORTS = tuple(("vta", name) for name in ("clk", "rst", "irq", "m_axi__*", "s_axi__*"))


def machine(config: Config) -> Design:
    return Design(config, simulated_verilog(config), PORTS)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def call(name: str, config: Config, **environment: str) -> None:
        machine(config).check(BENCHES, name, tmp_path, monkeypatch, **environment)

    return call


ALL = (
    "vector_add",
    "matrix_product",
    "register_map",
    "interrupts",
    "errors",
    "watchdog",
    "reset_in_the_middle",
    "reset_pin_in_the_middle",
    "left_over_tokens",
)


@pytest.mark.parametrize("name", ALL)
def test_tiny(name, bench):
    bench(name, PRESETS["tiny"])


@pytest.mark.full
@pytest.mark.parametrize("preset", sorted(set(PRESETS) - {"tiny"}))
@pytest.mark.parametrize("name", ALL)
def test_others(name, preset, bench):
    bench(name, PRESETS[preset])


@pytest.mark.full
@pytest.mark.parametrize("name", ["vector_add", "matrix_product", "errors"])
def test_axi3(name, bench):
    bench(name, PRESETS["tiny"].replace(max_burst=16))


@pytest.mark.full
@pytest.mark.parametrize("name", ["own_vector_add", "own_gemm"])
def test_images(name, tmp_path, bench):
    image(name).save(tmp_path / "image.npz")
    bench("image", PRESETS["default"], VTA_BENCH_IMAGE=str(tmp_path / "image.npz"))


def test_a_bench_that_fails_is_noticed(tmp_path, monkeypatch):
    with pytest.raises(SystemExit):
        machine(PRESETS["tiny"]).run(BENCHES, "a_failure", tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("signal", "message"),
    [("rlast", "RLAST must be set on the last beat of a burst"), ("bid", "BID must be 0")],
)
def test_a_wrong_answer_of_memory_is_named(signal, message, bench):
    with pytest.raises(pytest.fail.Exception, match=message):
        bench("wrong_answers", PRESETS["tiny"], VTA_BENCH_FAULT=signal)


ASSERTING = """
module vta(input clk);
  reg [3:0] count = 0;
  always @(posedge clk) begin
    count <= count + 1;
    assert (count != 5) else $error("the planted fault");
  end
endmodule
"""


@pytest.mark.full
def test_an_assertion_that_fails_is_named(tmp_path, monkeypatch):
    design = Design(PRESETS["tiny"], ASSERTING, (("vta", "clk"),))
    with pytest.raises(pytest.fail.Exception, match="the planted fault"):
        design.check(BENCHES, "an_assertion", tmp_path, monkeypatch)
