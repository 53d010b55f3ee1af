"""Errors for names that the layer lacks, with hints for alternatives."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from vta.errors import VtaError

__all__ = ["HINTS", "MissingAttribute", "MissingModule", "explain", "hint_for"]

_TENSOR = "write it with te.compute, or use an operator of vta.top"
_OPERATORS = "use the operators of vta.top, which choose their own schedules"
_NETWORKS = "networks are not compiled here; program single operators with te, or use vta.top"
_TUNING = "there is nothing to tune: vta.top searches schedules itself"
_SESSION = "use rpc.LocalSession() with TARGET sim or tsim"
_NO_TRACKER = "there is no tracker; use rpc.connect(host, port), which waits for a free board"
_PASSES = "the passes are fixed; vta.build_config has the options that there are"
_STATS = "use vta.testing.simulator: stats(), clear_stats(), debug_mode(flag)"

HINTS = {
    "tvm.__version__": "this is not TVM; vta.__version__ is the version of what runs",
    "tvm.auto_scheduler": _TUNING,
    "tvm.autotvm": _TUNING,
    "tvm.contrib.debugger": _NETWORKS,
    "tvm.contrib.download": "use urllib.request of Python",
    "tvm.contrib.graph_executor": _NETWORKS,
    "tvm.contrib.graph_runtime": _NETWORKS,
    "tvm.contrib.pickle_memoize": "compute the reference each time, or keep it with numpy.save",
    "tvm.cuda": "there are two kinds of memory: tvm.cpu(0) and remote.ext_dev(0)",
    "tvm.device": "use remote.ext_dev(0) or remote.cpu(0)",
    "tvm.context": "use remote.ext_dev(0) or remote.cpu(0)",
    "tvm.driver": "use tvm.lower, vta.lower and vta.build",
    "tvm.ext_dev": "its memory belongs to a session: remote.ext_dev(0)",
    "tvm.hybrid": _TENSOR,
    "tvm.instrument": _PASSES,
    "tvm.ir": "tvm.lower and vta.lower return a program that can be printed",
    "tvm.ir_builder": _TENSOR,
    "tvm.make": _TENSOR,
    "tvm.meta_schedule": _TUNING,
    "tvm.micro": "boards are programmed with vta.program_fpga",
    "tvm.nd.gpu": "there are two kinds of memory: tvm.cpu(0) and remote.ext_dev(0)",
    "tvm.register_func": "programs call no functions of the host",
    "tvm.relax": _NETWORKS,
    "tvm.relay": _NETWORKS,
    "tvm.rpc.Server": "run `vta serve` on a board; for simulators " + _SESSION,
    "tvm.rpc.connect_tracker": _NO_TRACKER,
    "tvm.rpc.server": "the simulators run in this process: " + _SESSION,
    "tvm.runtime.load_module": "upload the file and use remote.load_module(name)",
    "tvm.runtime.vm": _NETWORKS,
    "tvm.script": "write te expressions and a schedule",
    "tvm.te.decl_tensor_intrin": "env.gemm is the only tensor intrinsic",
    "tvm.te.extern": _TENSOR,
    "tvm.te.hybrid": _TENSOR,
    "tvm.te.scan": _TENSOR,
    "tvm.te.size_var": "shapes are whole numbers",
    "tvm.te.var": "shapes are whole numbers",
    "tvm.testing.main": "use pytest.main",
    "tvm.testing.parameter": "use pytest.mark.parametrize",
    "tvm.testing.requires_llvm": "leave it out: programs need no code on the host",
    "tvm.tir.transform": _PASSES,
    "tvm.topi": _TENSOR,
    "tvm.topi.generic": _OPERATORS,
    "tvm.topi.nn": _OPERATORS + "; of topi.nn there are dilate, pad and relu",
    "tvm.topi.testing": "compute it with numpy; of topi.testing there is conv2d_nchw_python",
    "tvm.transform": _PASSES,
    "tvm.var": "shapes are whole numbers",
    "vta.bitstream": "vta.program_fpga(remote, bitstream) takes a file's path",
    "vta.graph": _NETWORKS,
    "vta.pkg_config": "vta.Environment has every size; `vta config` shows them",
    "vta.transform": _PASSES,
    "Stage.parallel": "bind(axis, te.thread_axis('cthread')) makes virtual threads",
    "Stage.vectorize": "a tile is a vector already; mark the loop with pragma(axis, env.alu)",
}
"""What to use in place of a name; for a module, of whatever else is in it, too."""


class MissingAttribute(VtaError, AttributeError):
    """A name that the layer does not have."""


class MissingModule(VtaError, ImportError):
    """A module that the layer does not have.

    Not a `ModuleNotFoundError`: ``from tvm import relay`` would swallow that and say less.
    """


def hint_for(full_name: str) -> str:
    """The entry in `HINTS` for a name, or for the innermost module around it with one."""
    while full_name:
        if hint := _hint(full_name):
            return hint
        full_name = full_name.rpartition(".")[0]
    return ""


def explain(owner: str, name: str, there: Collection[str]) -> str:
    """The message for a missing `owner.name`; `there` are the names that the owner has."""
    full_name = f"{owner}.{name}"
    hint = _hint(full_name)
    # Suggest only very similar names: most missing names are TVM's, with no counterpart here.
    if not hint and (near := difflib.get_close_matches(name, there, 1, 0.8)):
        hint = f"did you mean {owner}.{near[0]}?"
    hint = hint or hint_for(owner) or f"{owner} has {', '.join(sorted(there)) or 'nothing'}"
    return f"{full_name} is not in VTA's part of TVM: {hint}"


def _hint(full_name: str) -> str:
    return HINTS.get(full_name) or HINTS.get(f"tvm.{full_name}", "")
