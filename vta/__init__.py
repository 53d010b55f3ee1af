"""amaranth-vta: the Versatile Tensor Accelerator, from its hardware to the programs on it.

Each name is imported when it is first used. So `import vta` is fast, and a board needs only numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vta import nd, net, rpc, target, te, top, topi
    from vta.building import (
        build,
        build_config,
        download_bitstream,
        get_bitstream_path,
        lower,
        program_fpga,
        reconfig_runtime,
    )
    from vta.environment import Environment, get_env

    __version__: str

__all__ = [
    "Environment",
    "__version__",
    "build",
    "build_config",
    "download_bitstream",
    "get_bitstream_path",
    "get_env",
    "lower",
    "nd",
    "net",
    "program_fpga",
    "reconfig_runtime",
    "rpc",
    "target",
    "te",
    "top",
    "topi",
]

_MODULES = (
    "compiler",
    "driver",
    "errors",
    "hw",
    "nd",
    "net",
    "rpc",
    "sim",
    "target",
    "te",
    "testing",
    "top",
    "topi",
)
_NAMES = {
    "Environment": "vta.environment",
    "get_env": "vta.environment",
    "build": "vta.building",
    "build_config": "vta.building",
    "download_bitstream": "vta.building",
    "get_bitstream_path": "vta.building",
    "lower": "vta.building",
    "program_fpga": "vta.building",
    "reconfig_runtime": "vta.building",
}


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"vta.{name}")
    elif name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            value = version("amaranth-vta")
        except PackageNotFoundError:
            # The package runs from a checkout and is not installed.
            value = "0+unknown"
    else:
        raise AttributeError(f"module 'vta' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES, *_MODULES, "__version__"})
