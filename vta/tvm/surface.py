"""The names of the layer: TVM's modules, and the target of each of their names."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["ROOTS", "SURFACE", "Surface"]

ROOTS = ("tvm", "topi")
"""The packages that the layer replaces; `topi` was a separate package in TVM 0.6."""

_FUNCTIONS = "vta.tvm.adapters"


@dataclass(frozen=True)
class Surface:
    """The names of one TVM module.

    Parameters
    ----------
    names : dict
        The target of each name, as ``module:attribute``.
    source : str
        A module, or ``module:attribute``, whose public names this module has too.
    """

    names: dict[str, str] = field(default_factory=dict)
    source: str = ""


def _from(source: str, *names: str) -> dict[str, str]:
    return {name: f"{source}:{name}" for name in names}


_TE = (
    "placeholder",
    "compute",
    "create_schedule",
    "reduce_axis",
    "thread_axis",
    "tag_scope",
    "floordiv",
    "floormod",
    "indexdiv",
    "indexmod",
    "truncdiv",
    "truncmod",
    "sum",
    "max",
    "min",
    "all",
    "if_then_else",
    "const",
    "min_value",
    "max_value",
)
_DATA = {**_from(_FUNCTIONS, "array", "empty"), **_from("vta.nd", "NDArray", "cpu")}
_UTILS = Surface(_from("vta.testing.utils", "tempdir", "TempDirectory"))
_TOPI_TESTING = Surface(_from("vta.tvm.references", "conv2d_nchw_python"))
_TOPI_UTILS = Surface(_from(_FUNCTIONS, "get_const_tuple"))
_RUNTIME = Surface({**_DATA, **_from(_FUNCTIONS, "enabled")})

SURFACE: dict[str, Surface] = {
    "tvm": Surface(
        {
            "lower": "vta.te:lower",
            "build": "vta:build",
            "cpu": "vta.nd:cpu",
            "TVMError": "vta.errors:VtaError",
            "get_global_func": f"{_FUNCTIONS}:get_global_func",
            # The names of TVM 0.6.
            **_from("vta.te", *_TE),
        }
    ),
    "tvm.te": Surface(source="vta.te"),
    "tvm.tir": Surface(
        _from(
            "vta.te",
            "all",
            "const",
            "floordiv",
            "floormod",
            "if_then_else",
            "indexdiv",
            "indexmod",
            "max",
            "max_value",
            "min",
            "min_value",
            "sum",
            "truncdiv",
            "truncmod",
        )
    ),
    "tvm.nd": Surface(_DATA),
    "tvm.rpc": Surface(source="vta.rpc"),
    "tvm.runtime": _RUNTIME,
    "tvm.module": _RUNTIME,
    "tvm.target": Surface({"create": "vta.target:Target"}, "vta.target"),
    "tvm.error": Surface({"TVMError": "vta.errors:VtaError"}),
    "tvm.testing": Surface(_from("vta.tvm.references", "assert_allclose")),
    "tvm.contrib": Surface(),
    "tvm.contrib.utils": _UTILS,
    "tvm.contrib.util": _UTILS,
    "tvm.topi": Surface(source="vta.topi"),
    "tvm.topi.nn": Surface(source="vta.topi:nn"),
    "tvm.topi.testing": _TOPI_TESTING,
    "tvm.topi.utils": _TOPI_UTILS,
    "topi": Surface(source="vta.topi"),
    "topi.nn": Surface(source="vta.topi:nn"),
    "topi.testing": _TOPI_TESTING,
    "topi.util": _TOPI_UTILS,
}
"""Every module of the layer."""
