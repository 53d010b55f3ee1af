"""The DE10-Nano shell, linted against stubs of the processor system's bridges."""

from __future__ import annotations

from functools import cache

from tests.rtl.primitives import connections, wrong_connections
from vta.config import PRESETS
from vta.hw.boards.de10nano import De10Nano
from vta.hw.verilog import verilog_of

TINY = PRESETS["tiny"].replace(max_burst=16)

LIGHT, MEMORY = "cyclonev_hps_interface_hps2fpga_light_weight", "cyclonev_hps_interface_fpga2hps"
INTERRUPTS = "cyclonev_hps_interface_interrupts"


def axi3(master: bool, addr: int, data: int, name: int) -> dict[str, tuple[str, int]]:
    """The signals of AXI3 (IHI 0022), as the bridge sees them: direction and bits."""
    out, back = ("output", "input") if master else ("input", "output")
    request = {"addr": addr, "id": name, "len": 4, "size": 3, "burst": 2, "lock": 2, "cache": 4}
    ports = {
        f"{channel}{field}": (out, width)
        for channel in ("aw", "ar")
        for field, width in (request | {"prot": 3, "valid": 1}).items()
    }
    ports |= {f"{channel}ready": (back, 1) for channel in ("aw", "ar", "w")}
    ports |= {"wid": (out, name), "wdata": (out, data), "wstrb": (out, data // 8)}
    ports |= {"wlast": (out, 1), "wvalid": (out, 1), "bready": (out, 1), "rready": (out, 1)}
    ports |= {"bid": (back, name), "bresp": (back, 2), "bvalid": (back, 1)}
    ports |= {"rid": (back, name), "rdata": (back, data), "rresp": (back, 2), "rlast": (back, 1)}
    return ports | {"rvalid": (back, 1), "clk": ("input", 1)}


STUBS = {
    LIGHT: axi3(True, 21, 32, 12),
    MEMORY: axi3(False, 32, 64, 8) | {"port_size_config": ("input", 2)},
    INTERRUPTS: {"irq": ("input", 64)},
}


def stubs() -> str:
    return "".join(
        f"module {module}(\n"
        + ",\n".join(f"{way} [{width - 1}:0] {name}" for name, (way, width) in ports.items())
        + "\n);\nendmodule\n"
        for module, ports in STUBS.items()
    )


@cache
def shell() -> str:
    return verilog_of(De10Nano(TINY), TINY, ports=[])


def test_every_port_of_the_bridges_is_connected():
    for module, ports in STUBS.items():
        assert set(connections(shell(), module)) == set(ports)


def test_the_bridges_have_the_widths(tmp_path):
    assert wrong_connections(shell() + stubs(), tmp_path) == []
    narrow = stubs().replace("input [63:0] irq", "input [31:0] irq")
    [problem] = wrong_connections(shell() + narrow, tmp_path)
    assert "irq" in problem
