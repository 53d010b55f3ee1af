"""LiteDRAM, generated when a bitstream is made: the controller of a board's SDRAM."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from vta import cache
from vta.errors import ToolError
from vta.tools.synth import tools

__all__ = ["litedram_core"]

_FILE = "litedram_core.v"
_PACKAGES = ("litedram", "litex", "migen")


def litedram_core(clock_hz: int, *, data_width: int = 64, id_width: int = 3) -> str:
    """The Verilog of `litedram_core`: an MT48LC16M16, a port for the machine, one for a host.

    Parameters
    ----------
    clock_hz : int
    data_width, id_width : int
        Of the machine's AXI port.

    Raises
    ------
    ToolError
        If LiteDRAM is not installed, or fails.
    """
    port = {"block_until_ready": False}
    wanted = {
        "cpu": "None",
        "device": "LFE5U-85F-6BG381C",
        "memtype": "SDR",
        "sdram_module": "MT48LC16M16",
        "sdram_module_nb": 2,
        "sdram_rank_nb": 1,
        "sdram_phy": "GENSDRPHY",
        "input_clk_freq": float(clock_hz),
        "sys_clk_freq": float(clock_hz),
        "init_clk_freq": float(clock_hz),
        "cmd_buffer_depth": 16,
        "user_ports": {
            "machine": {"type": "axi", "data_width": data_width, "id_width": id_width, **port},
            "host": {"type": "wishbone", "data_width": 32, **port},
        },
    }
    text = json.dumps(wanted)
    versions = [tools.version(package, "boards") for package in _PACKAGES]

    def make(folder: Path) -> None:
        (folder / _FILE).write_text(_generate(text), encoding="utf-8")

    entry = cache.cached("litedram", cache.digest(text, *versions), make, f"{clock_hz / 1e6:g} MHz")
    return (entry / _FILE).read_text(encoding="utf-8")


def _generate(wanted: str) -> str:
    with tempfile.TemporaryDirectory(prefix="vta-litedram-") as folder:
        Path(folder, "core.yml").write_text(wanted, encoding="utf-8")
        arguments = ["core.yml", "--no-compile", "--output-dir", "out"]
        code = "import sys; from litedram.gen import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        path = Path(folder, "out", "gateware", _FILE)
        if done.returncode != 0 or not path.is_file():
            last = (done.stderr.strip() or "no message").splitlines()[-1]
            raise ToolError(f"LiteDRAM could not be generated: {last}")
        text = path.read_text(encoding="utf-8")
    # It says that the data pins are inputs; when and where it was made changes nothing.
    text = re.sub(r"\binput ( *wire +\[15:0\] sdram_dq)\b", r"inout \1", text)
    return "".join(
        line
        for line in text.splitlines(True)
        if not re.match(r"//.*(Date|Auto-Generated|sha1)", line)
    )
