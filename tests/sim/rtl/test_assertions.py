"""Assertions of a design while it is simulated: one that fails is an error that names it."""

from __future__ import annotations

import threading

import pytest

from tests.sim.rtl.probe import PROBE
from vta.errors import DeviceError
from vta.sim.memory import Memory
from vta.sim.rtl.library import Simulation
from vta.sim.rtl.memory_model import MemoryModel
from vta.sim.rtl.verilator import has_assertions

# As hw/verilog.py writes them; `now` counts cycles from the end of the reset, which takes 8.
PLANTED = """
  wire \\$15 = now != 50, \\$18 = now < 60;
  always @(posedge clk) begin
    if (1'h1) begin
      assert (\\$15 ) else $error("the planted fault");
    end
    if (1'h1) begin
      assert (\\$18 ) else $error("a later fault");
    end
  end
endmodule
"""
FAULTY = PROBE.replace("endmodule\n", PLANTED)
SAID = r"^assertion failed, a bug of the hardware: vta: the planted fault \(cycle 58\)$"


@pytest.fixture
def sim():
    with Memory(20) as memory:
        simulation = Simulation(FAULTY, memory, model=MemoryModel())
        yield simulation
        simulation.close()


def test_a_step_stops_at_it(sim, capfd):
    assert sim.step(40) == 40
    with pytest.raises(DeviceError, match=SAID):
        sim.step(1000)
    # What was wrong stays, and nothing goes on.
    for use in (lambda: sim.step(1), lambda: sim.read(0x9C), lambda: sim.write(0x50, 0)):
        with pytest.raises(DeviceError, match=SAID):
            use()
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


def test_a_register_access_stops_at_it(sim):
    def poll():
        for _ in range(100):
            sim.read(0x9C)

    with pytest.raises(DeviceError, match=SAID):
        poll()


def test_simulations_in_threads_do_not_mix():
    """The runtime keeps errors of a thread; each simulation must see its own."""
    found = {}

    def run(number, cycles):
        with Memory(20) as memory:
            simulation = Simulation(FAULTY, memory, model=MemoryModel())
            try:
                found[number] = simulation.step(cycles)
            except DeviceError as error:
                found[number] = str(error)
            simulation.close()

    with Memory(20) as memory:
        outer = Simulation(FAULTY, memory, model=MemoryModel())
        threads = [threading.Thread(target=run, args=(n, 30 if n % 2 else 90)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outer.step(30) == 30
        outer.close()
    assert [found[n] for n in (1, 3, 5, 7)] == [30] * 4
    assert all("the planted fault" in found[n] for n in (0, 2, 4, 6))


def test_designs_without_assertions_are_built_without():
    assert has_assertions(FAULTY)
    assert not has_assertions(PROBE)
    assert not has_assertions("// assert nothing\nwire asserted; // assert (x)\n")
