"""`bundle`: the agent as one text of Python source, to send to a board that has only Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import vta
from vta.driver.board.register_table import register_map
from vta.driver.remote.client import map_digest

__all__ = ["MODULES", "agent_settings", "bundle", "daemon_file"]

MODULES = (
    "vta.errors",
    "vta.driver.board.ports",
    "vta.driver.board.uio_interrupt",
    "vta.driver.board.system",
    "vta.driver.board.ticket",
    "vta.driver.board.uio",
    "vta.driver.board.u_dma_buf",
    "vta.driver.board.devmem",
    "vta.driver.board.xrt",
    "vta.driver.board.clock",
    "vta.driver.board.kinds",
    "vta.driver.board.fpga_manager",
    "vta.driver.board.board",
    "vta.driver.remote.protocol",
    "vta.driver.remote.channel",
    "vta.driver.remote.agent",
    "vta.driver.remote.server",
    "vta.driver.remote.pipe_agent",
    "vta.driver.remote.daemon",
)
"""What a board needs, each after what it imports. A test imports them in a bare Python 3.10."""

_LOADER = """\
import sys, types
for _name, _source in _SOURCES:
    _parts = _name.split(".")
    for _end in range(1, len(_parts)):
        _package = ".".join(_parts[:_end])
        if _package not in sys.modules:
            sys.modules[_package] = types.ModuleType(_package)
            sys.modules[_package].__path__ = []
            if _end > 1:
                setattr(sys.modules[".".join(_parts[:_end - 1])], _parts[_end - 1],
                        sys.modules[_package])
    _module = types.ModuleType(_name)
    sys.modules[_name] = _module
    setattr(sys.modules[".".join(_parts[:-1])], _parts[-1], _module)
    exec(compile(_source, _name + " (sent)", "exec"), _module.__dict__)
"""


def bundle() -> str:
    """Source that defines `MODULES`, and does nothing else."""
    folder = Path(vta.__file__).parent
    sources = [
        (name, folder.joinpath(*name.split(".")[1:]).with_suffix(".py").read_text("utf-8"))
        for name in MODULES
    ]
    packed = json.dumps(json.dumps(sources))
    return f"import json as _json\n_SOURCES = _json.loads({packed})\n{_LOADER}"


def agent_settings() -> dict[str, Any]:
    """What an agent must know of this package beside its own modules."""
    registers = register_map()
    return {
        "version": vta.__version__,
        "registers": map_digest(),
        "offsets": dict(registers.offsets),
        "identity": registers.identity,
    }


def daemon_file() -> str:
    """The daemon as one file, to be run with Python 3.10 on a board."""
    packed = json.dumps(json.dumps(agent_settings()))
    return (
        "#!/usr/bin/env python3\n"
        f"# Serves a board; written by amaranth-vta {vta.__version__}.\n"
        f"{bundle()}\n"
        "from vta.driver.remote.daemon import main\n"
        f"sys.exit(main(_json.loads({packed}), sys.argv[1:]))\n"
    )
