"""Clear errors for calls with wrong arguments: the message lists the arguments that exist.

Each public module calls `check_calls` once, at its end. TVM's argument names work too, and TVM's
arguments that have no effect here are dropped (`TVM_NAMES`).
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from vta.errors import VtaError

__all__ = ["CallError", "check_calls"]


class CallError(VtaError, TypeError):
    """Arguments that a function does not take."""


_STAGE: dict[str, str | None] = {"parent": "axis", "var": "axis", "ivar": "axis"}
_TIMING = (
    "limit_zero_time_iterations",
    "min_repeat_ms",
    "cooldown_interval_ms",
    "repeats_to_cooldown",
    "cache_flush_bytes",
    "f_preproc",
)

TVM_NAMES: dict[str, dict[str, str | None]] = {
    "build": {"sch": "schedule", "inputs": "schedule", "binds": None},
    "build_config": dict.fromkeys(("opt_level", "required_pass", "config", "instruments", "trace")),
    "lower": {"sch": "schedule", "inp": "schedule", "inputs": "schedule", "binds": None},
    "nd.array": {"arr": "source", "device": "ctx", "mem_scope": None},
    "nd.empty": {"device": "ctx", "mem_scope": None},
    "rpc.connect": {
        "host": "url",
        **dict.fromkeys(("key", "session_timeout", "session_constructor_args", "enable_logging")),
    },
    "te.compute": dict.fromkeys(("tag", "attrs", "varargs_names")),
    "te.if_then_else": {"cond": "condition", "t": "then", "f": "other", "span": None},
    "te.lower": {"sch": "schedule", "inp": "schedule", "inputs": "schedule", "binds": None},
    "te.max": {"expr": "a"},
    "te.min": {"expr": "a"},
    "te.reduce_axis": {"dom": "bounds", "thread_tag": None, "span": None},
    "te.sum": {"expr": "value"},
    "te.thread_axis": {"tag": "thread_tag", "span": None},
    "topi.nn.pad": {"attrs": None},
    "tvm.array": {"arr": "source", "mem_scope": None},
    "tvm.empty": {"mem_scope": None},
    "tvm.assert_allclose": {"verbose": None},
    "LoadedModule.time_evaluator": {"func_name": "name", "dev": "ctx", **dict.fromkeys(_TIMING)},
    "Module.export_library": dict.fromkeys(
        ("fcompile", "addons", "workspace_dir", "options", "cc")
    ),
    "Module.save": {"file_name": "path", "fmt": None},
    "Session.cpu": {"dev_id": "device_id"},
    "Session.ext_dev": {"dev_id": "device_id"},
    "Session.load_module": {"path": "name"},
    "Session.upload": {"data": "path"},
    "Stage.bind": {**_STAGE, "thread_ivar": "thread"},
    "Stage.compute_at": {"parent": "consumer", "scope": "axis"},
    "Stage.pragma": {**_STAGE, "pragma_type": "key", "pragma_value": "value"},
    "Stage.split": {**_STAGE, "disable_predication": None},
    "Stage.tensorize": {**_STAGE, "tensor_intrin": "intrin", "ragged": None},
    "Stage.tile": {"x_parent": "x", "y_parent": "y"},
    "Stage.unroll": _STAGE,
}
"""TVM's and our name of each argument, by function; None for an argument without effect here."""


def check_calls(
    place: str, names: dict[str, Any], listed: Iterable[str], *classes: type[Any]
) -> None:
    """Makes a module's functions and classes raise `CallError` on wrong arguments.

    Parameters
    ----------
    place : str
        The text before a function's name in messages, such as ``te.``.
    names : dict
        The module's namespace, in which functions are replaced.
    listed : names
        The names of the functions and classes to check.
    classes : types
        More classes whose methods users call. Classes are changed in place.
    """
    found = [(name, names[name]) for name in listed if name in names]
    for name, item in found:
        if inspect.isfunction(item):
            names[name] = _checked(item, f"{place}{name}")
    for kind in dict.fromkeys([*(item for _, item in found if isinstance(item, type)), *classes]):
        for name, item in list(vars(kind).items()):
            public = not name.startswith("_") or name == "__init__"
            if public and inspect.isfunction(item) and not hasattr(item, "_vta_checked"):
                shown = kind.__name__ + ("" if name == "__init__" else f".{name}")
                setattr(kind, name, _checked(item, shown))


def _checked(function: Callable[..., Any], shown: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError:
            signature = inspect.signature(function)
            if _misfit(signature, args, kwargs) is None:
                raise
        given = _translated(shown, kwargs)
        reason = _misfit(signature, args, given)
        if reason is not None:
            own = [
                f"{'*' if item.kind is item.VAR_POSITIONAL else ''}{name}"
                for name, item in signature.parameters.items()
                if name != "self"
            ]
            takes = f"it takes {', '.join(own)}" if own else "it takes nothing"
            raise CallError(f"{shown} {reason}; {takes}")
        return function(*args, **given)

    call._vta_checked = True  # type: ignore[attr-defined]
    return call


def _translated(shown: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments by our names, without those that have no effect."""
    renamed = TVM_NAMES.get(shown, {})
    given = {renamed.get(name, name): value for name, value in kwargs.items()}
    return {name: value for name, value in given.items() if name is not None}


def _misfit(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> str | None:
    """Why arguments do not fit a signature; None if they fit."""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        said = str(error)
    else:
        return None
    parameters = signature.parameters
    for name in kwargs:
        if name not in parameters:
            near = difflib.get_close_matches(name, parameters, 1)
            return f"has no argument {name!r}" + (f" (did you mean {near[0]}?)" if near else "")
    if said.startswith("too many"):
        most = sum(
            item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)
            for item in parameters.values()
        )
        method = "self" in parameters
        return f"takes at most {most - method} arguments without a name, not {len(args) - method}"
    name = said.split("'")[1] if "'" in said else ""
    return f"is given {name} twice" if said.startswith("multiple") else f"needs {name}"
