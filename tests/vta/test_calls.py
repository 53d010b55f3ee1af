"""Wrong arguments of public functions: one line that lists what there is."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import vta
from vta import nd, te, top, topi
from vta.calls import TVM_NAMES, CallError
from vta.compiler.te.schedule import Schedule
from vta.compiler.te.stage import Stage
from vta.driver.module import LoadedModule, Module
from vta.driver.session import Session
from vta.errors import VtaError
from vta.testing import simulator
from vta.testing.programs import vector_add

CLASSES = (Stage, Schedule, te.Tensor, nd.NDArray, Module, LoadedModule, Session)
MODULES = {
    "vta.building": "",
    "vta.nd": "nd.",
    "vta.rpc": "rpc.",
    "vta.target": "target.",
    "vta.te": "te.",
    "vta.testing.simulator": "testing.simulator.",
    "vta.testing.utils": "testing.",
    "vta.top": "top.",
    "vta.topi": "topi.",
    "vta.tvm.adapters": "tvm.",
    "vta.tvm.references": "tvm.",
}
"""What messages put before the names of each module's functions."""
A = te.placeholder((2, 4), name="A")


def _public() -> Iterator[tuple[str, Any]]:
    """Every public function, class and method, by the name that messages give it."""
    kinds = [*CLASSES, vta.Environment]
    for module, place in MODULES.items():
        names = importlib.import_module(module)
        for name in names.__all__:
            item = getattr(names, name)
            if inspect.isfunction(item):
                yield f"{place}{name}", item
            elif isinstance(item, type):
                kinds.append(item)
    for name, item in vars(topi.nn).items():
        yield f"topi.nn.{name}", item
    for kind in dict.fromkeys(kinds):
        if "__init__" in vars(kind):
            yield kind.__name__, kind.__init__
        for name, item in vars(kind).items():
            if inspect.isfunction(item) and not name.startswith("_"):
                yield f"{kind.__name__}.{name}", item


PUBLIC = dict(_public())


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_lists_its_arguments(name: str) -> None:
    function = PUBLIC[name]
    own = [each for each in inspect.signature(function).parameters if each != "self"]
    itself = [None] if "self" in inspect.signature(function).parameters else []
    with pytest.raises(CallError) as caught:
        function(*itself, nonsense=1)
    assert isinstance(caught.value, (VtaError, TypeError))
    assert str(caught.value).startswith(f"{name.removesuffix('.__init__')} has no argument 'nons")
    listed = str(caught.value).rpartition("it takes ")[2]
    assert [each.lstrip("*") for each in listed.split(", ")] == (own or ["nothing"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: te.compute((1,), lambda i: A(0, i), nmae="B"),
            r"te\.compute has no argument 'nmae' \(did you mean name\?\); it takes shape, "
            "fcompute, name",
        ),
        (lambda: te.compute((1,)), "te.compute needs fcompute; it takes shape, fcompute, name"),
        (
            lambda: te.placeholder((1,), "int8", "A", 4),
            "te.placeholder takes at most 3 arguments without a name, not 4; it takes shape, dty",
        ),
        (lambda: te.placeholder((1,), shape=(2,)), "te.placeholder is given shape twice; "),
        (lambda: simulator.clear_stats(1), "takes at most 0 .*, not 1; it takes nothing"),
        (
            lambda: te.create_schedule(te.compute((1,), lambda i: A(0, i)).op)[A].split(1, 2, 3, 4),
            "Stage.split takes at most 3 arguments without a name, not 4; it takes axis, factor, n",
        ),
        (lambda: top.dense([[1]], [[1]], rounded=True), "did you mean rounding"),
        (lambda: top.Conv2d((1, 1, 1, 1), (1, 1, 1, 1), strides=2), "Conv2d .*did you mean stride"),
        (lambda: vta.build_config(debug=2), r"build_config .*did you mean debug_flag\?"),
        (lambda: vta.Environment(cfg={}), "Environment has no argument 'cfg'"),
    ],
)
def test_messages(call: Any, message: str) -> None:
    with pytest.raises(CallError, match=message) as caught:
        call()
    assert isinstance(caught.value, TypeError)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_errors_of_the_users_own_functions_are_theirs() -> None:
    with pytest.raises(TypeError, match="has no len") as caught:
        te.compute((1,), lambda i: A(0, len(3)))  # type: ignore[arg-type]
    assert not isinstance(caught.value, VtaError)


def test_names_of_tvm_lead_to_arguments_that_are_there() -> None:
    for name, renamed in TVM_NAMES.items():
        own = inspect.signature(PUBLIC[name]).parameters
        assert not set(renamed) & set(own), name
        assert {each for each in renamed.values() if each is not None} <= set(own), name


def test_names_of_tvm() -> None:
    """Each in a call as TVM's users write it; the programs are the same as without."""
    env = vta.Environment("tiny")

    def program(tvm: bool) -> str:
        if not tvm:
            return str(vta.lower(*vector_add(env, m=4), name="main"))
        shape = (1, 4, env.BATCH, env.BLOCK_OUT)
        a, b = (te.placeholder(shape, name=name, dtype="int32") for name in "AB")
        loads = [
            te.compute(shape, lambda *i, x=x: x(*i), f"{x.name}_buf", tag="injective", attrs={})
            for x in (a, b)
        ]
        c_buf = te.compute(shape, lambda *i: loads[0](*i) + loads[1](*i), "C_buf", tag="add")
        c = te.compute(shape, lambda *i: c_buf(*i).astype("int8"), "C", attrs=None)
        s = te.create_schedule(ops=c.op)
        for tensor in (*loads, c_buf):
            s[tensor].set_scope(env.acc_scope)
        for tensor in (*loads, c):
            s[tensor].pragma(s[tensor].op.axis[0], env.dma_copy, 1)
        s[c_buf].pragma(var=s[c_buf].op.axis[0], pragma_type=env.alu, pragma_value="x")
        with vta.build_config(opt_level=3):
            vta.build(sch=s, args=[a, b, c], binds={}, name="f")
        return str(vta.lower(s, [a, b, c], "main", binds=None))

    with env:
        assert program(True) == program(False)


def test_names_of_tvm_for_loops() -> None:
    b = te.compute((2, 4), lambda *i: A(*i), "B")
    s = te.create_schedule(b.op)
    outer, inner = s[b].split(parent=b.op.axis[1], factor=2, disable_predication=True)
    s[b].bind(outer, te.thread_axis("cthread", name="vt"))
    s[b].bind(ivar=b.op.axis[0], thread_ivar=te.thread_axis(tag="cthread"))
    s[b].unroll(var=inner)
    assert [str(step) for step in s.steps] == [
        "i1.outer, i1.inner = s[B].split(i1, factor=2)",
        "s[B].bind(i1.outer, te.thread_axis('cthread'))",
        "s[B].bind(i0, te.thread_axis('cthread'))",
        "s[B].unroll(i1.inner)",
    ]
    axis = te.reduce_axis(dom=(0, 3), name="k")
    assert str(te.sum(expr=A(0, axis), axis=axis).op) == "+"


def test_time_evaluator_takes_tvms_options() -> None:
    with vta.Environment("tiny") as env, vta.rpc.LocalSession() as remote:
        schedule, args = vector_add(env, m=4)
        f = LoadedModule(vta.build(schedule, args).program, remote.ext_dev(dev_id=0).device)
        arrays = [nd.array(np.ones(t.shape, t.dtype), device=remote.ext_dev(0)) for t in args]
        time_f = f.time_evaluator(
            func_name="main", dev=remote.ext_dev(0), number=2, repeat=3, min_repeat_ms=100
        )
        assert len(time_f(*arrays).results) == 3
        assert (arrays[2].numpy() == 2).all()
