"""TVM's names: they resolve, what is missing says so, and all is gone afterwards."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

import vta
from vta.calls import TVM_NAMES
from vta.errors import ScheduleError, VtaError
from vta.tvm import MissingAttribute, MissingModule, layer
from vta.tvm.surface import SURFACE

NAMES = [
    "tvm.lower",
    "tvm.build",
    "tvm.cpu",
    "tvm.TVMError",
    "tvm.get_global_func",
    "tvm.te.placeholder",
    "tvm.te.compute",
    "tvm.te.create_schedule",
    "tvm.te.reduce_axis",
    "tvm.te.sum",
    "tvm.te.max",
    "tvm.te.min",
    "tvm.te.thread_axis",
    "tvm.te.if_then_else",
    "tvm.te.all",
    "tvm.te.const",
    "tvm.te.min_value",
    "tvm.te.tag_scope",
    "tvm.te.max_value",
    "tvm.tir.const",
    "tvm.tir.if_then_else",
    "tvm.tir.all",
    "tvm.tir.max",
    "tvm.tir.floordiv",
    "tvm.tir.indexmod",
    "tvm.nd.array",
    "tvm.nd.empty",
    "tvm.nd.NDArray",
    "tvm.nd.cpu",
    "tvm.rpc.LocalSession",
    "tvm.target.Target",
    "tvm.target.create",
    "tvm.target.vta",
    "tvm.target.arm_cpu",
    "tvm.runtime.enabled",
    "tvm.error.TVMError",
    "tvm.testing.assert_allclose",
    "tvm.contrib.utils.tempdir",
    "tvm.topi.add",
    "tvm.topi.cast",
    "tvm.topi.clip",
    "tvm.topi.multiply",
    "tvm.topi.right_shift",
    "tvm.topi.nn.dilate",
    "tvm.topi.nn.pad",
    "tvm.topi.nn.relu",
    "tvm.topi.testing.conv2d_nchw_python",
    "tvm.topi.utils.get_const_tuple",
    # TVM 0.6
    "tvm.placeholder",
    "tvm.compute",
    "tvm.create_schedule",
    "tvm.reduce_axis",
    "tvm.sum",
    "tvm.max",
    "tvm.min",
    "tvm.thread_axis",
    "tvm.tag_scope",
    "tvm.indexdiv",
    "tvm.const",
    "tvm.module.enabled",
    "tvm.contrib.util.tempdir",
    "topi.nn.pad",
    "topi.testing.conv2d_nchw_python",
    "topi.util.get_const_tuple",
    # our own
    "vta.get_env",
    "vta.Environment.current",
    "vta.lower",
    "vta.build",
    "vta.build_config",
    "vta.reconfig_runtime",
    "vta.program_fpga",
    "vta.testing.run",
    "vta.testing.simulator.stats",
    "vta.testing.simulator.clear_stats",
    "vta.testing.simulator.enabled",
    "vta.testing.simulator.debug_mode",
]

MISSING = [
    ("tvm.te.compte", r"did you mean tvm\.te\.compute\?"),
    ("tvm.te.extern", "write it with te.compute, or use an operator of vta.top"),
    ("tvm.te.var", "shapes are whole numbers"),
    ("tvm.rpc.connect_tracker", r"there is no tracker; use rpc.connect\(host, port\)"),
    ("tvm.relay", "networks are not compiled here; program single operators with te, or use "),
    ("tvm.autotvm", "there is nothing to tune: vta.top searches schedules itself"),
    ("tvm.ext_dev", r"its memory belongs to a session: remote.ext_dev\(0\)"),
    ("tvm.transform", "the passes are fixed; vta.build_config has the options that there are"),
    ("tvm.topi.nn.conv2d", "use the operators of vta.top, which choose their own schedules"),
    ("tvm.topi.reshape", "write it with te.compute, or use an operator of vta.top"),
    ("tvm.topi.tile", "write it with te.compute, or use an operator of vta.top"),
    ("tvm.topi.matmul", "write it with te.compute, or use an operator of vta.top"),
    ("tvm.topi.utils.get_const_int", "write it with te.compute, or use an operator of vta.top"),
    ("topi.generic", "use the operators of vta.top, which choose their own schedules"),
    ("tvm.contrib.xx", r"tvm\.contrib has util, utils"),
    ("tvm.nd.zeros", "tvm.nd has NDArray, array, cpu, empty"),
    ("tvm.__version__", "this is not TVM; vta.__version__ is the version of what runs"),
]


def _modules() -> dict[str, object]:
    return {
        name: module
        for name, module in sys.modules.items()
        if name.partition(".")[0] in ("tvm", "topi")
    }


@pytest.mark.parametrize("name", NAMES)
def test_names_of_the_scripts_resolve(name: str) -> None:
    root, *parts = name.split(".")
    with layer():
        found = importlib.import_module(root)
        for part in parts:
            found = getattr(found, part)
        assert found is not None
        # The other form: the module by its own import, the name from it.
        module, _, last = name.rpartition(".")
        if module not in ("vta.Environment", "vta.testing.simulator"):
            names: dict[str, object] = {}
            exec(f"import {module}\nfrom {module} import {last}", names)
            assert names[last] is found


@pytest.mark.parametrize(("name", "hint"), MISSING)
def test_missing_names_say_what_to_use(name: str, hint: str) -> None:
    owner, _, last = name.rpartition(".")
    with layer():
        with pytest.raises(MissingAttribute, match=hint) as caught:
            getattr(importlib.import_module(owner), last)
        message = str(caught.value)
        assert message.startswith(f"{name} is not in VTA's part of TVM: ")
        assert "\n" not in message
        assert not hasattr(importlib.import_module(owner), last)
        if last != "__version__":
            # What Python asks is the same, whichever way the script imports it.
            for line in (f"import {name}", f"from {owner} import {last}"):
                with pytest.raises(MissingModule, match=hint) as failed:
                    exec(line, {})
                assert isinstance(failed.value, ImportError)
                assert failed.value.name == name


def test_modules_are_the_same_whichever_way() -> None:
    with layer():
        import tvm
        import tvm.te as first
        from tvm import te as second

        assert first is second is tvm.te
        assert tvm.te.compute is vta.te.compute
        assert "compute" in dir(tvm.te)
        assert "te" in dir(tvm)
        assert repr(tvm.te) == "<module 'tvm.te' (vta.tvm)>"
        names: dict[str, object] = {}
        exec("from tvm.te import *", names)
        assert names["compute"] is vta.te.compute
        with pytest.raises(AttributeError, match="no attribute '__wrapped__'"):
            _ = tvm.__wrapped__


def test_everything_is_as_before_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a TVM is installed, and where one is loaded already."""
    for name in ("tvm", "tvm/te", "topi"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("real = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    with layer():
        import tvm
        import tvm.te

        assert not hasattr(tvm, "real")
        assert not hasattr(tvm.te, "real")
    assert _modules() == {}
    try:
        import topi
        import tvm.te

        assert tvm.te.real
        assert topi.real
        before = _modules(), list(sys.meta_path)
        with layer():
            import tvm

            assert not hasattr(tvm, "real")
            assert tvm.te.compute is vta.te.compute
            with pytest.raises(MissingModule):
                import tvm.relay
        assert (_modules(), sys.meta_path) == before
        with pytest.raises(ZeroDivisionError), layer():
            raise ZeroDivisionError
        assert (_modules(), sys.meta_path) == before
    finally:
        for name in _modules():
            del sys.modules[name]


def test_other_imports_are_left_alone() -> None:
    with layer():
        with pytest.raises(ModuleNotFoundError, match="No module named 'tvmx'"):
            importlib.import_module("tvmx")
        assert importlib.import_module("json").loads("1") == 1


def test_arrays_by_every_spelling() -> None:
    values = np.arange(6, dtype=np.int8).reshape(2, 3)
    with layer(), vta.rpc.LocalSession() as remote:
        import tvm

        dev = remote.ext_dev(0)
        for array in (
            tvm.nd.array(values, dev),
            tvm.nd.array(values, device=dev),
            tvm.nd.array(values, ctx=dev),
            tvm.runtime.array(values, dev),
        ):
            assert array.ctx == dev
            np.testing.assert_array_equal(array.numpy(), values)
            np.testing.assert_array_equal(array.asnumpy(), values)
        for array in (
            tvm.nd.empty((2, 3), "int8", dev),
            tvm.nd.empty((2, 3), device=dev, dtype=np.dtype("int8")),
            tvm.nd.empty((2, 3), "int8", ctx=dev),
        ):
            assert (array.ctx, array.shape, array.dtype) == (dev, (2, 3), "int8")
        assert str(tvm.nd.array(values).ctx) == str(tvm.cpu(0)) == "cpu(0)"


def test_small_functions() -> None:
    with layer():
        import tvm
        from tvm import topi

        assert tvm.runtime.enabled("rpc")
        assert not tvm.runtime.enabled("cuda")
        assert topi.utils.get_const_tuple([np.int64(2), 3]) == (2, 3)
        assert issubclass(ScheduleError, tvm.TVMError)
        target = tvm.target.Target("ext_dev", host="llvm")
        assert (target.kind, target.host) == ("ext_dev", "llvm")
        assert str(tvm.target.create("ext_dev")) == "ext_dev"
        with tvm.contrib.utils.tempdir() as folder:
            Path(folder.relpath("x")).write_text("")
            assert folder.listdir() == ["x"]


def test_global_functions_are_the_counters() -> None:
    from tests.vta.commands import TINY
    from vta.testing.programs import vector_add

    with layer(), vta.Environment(TINY) as env, vta.rpc.LocalSession() as remote:
        import json

        import tvm

        tvm.get_global_func("vta.simulator.profiler_clear")()
        schedule, args = vector_add(env, m=4)
        with tvm.contrib.utils.tempdir() as folder:
            tvm.build(schedule, args, "ext_dev").save(folder.relpath("f.o"))
            remote.upload(folder.relpath("f.o"))
        shape, dev = args[0].shape, remote.ext_dev(0)
        a = tvm.nd.array(np.ones(shape, np.int32), dev)
        out = tvm.nd.empty(shape, "int8", dev)
        remote.load_module("f.o")(a, a, out)
        status = json.loads(tvm.get_global_func("vta.simulator.profiler_status")())
        assert status["out_store_nbytes"] == 4 * TINY.block
        assert status["alu_counter"] == 4
        for key in (
            "inp_load_nbytes",
            "wgt_load_nbytes",
            "acc_load_nbytes",
            "uop_load_nbytes",
            "gemm_counter",
        ):
            assert key in status
        assert tvm.get_global_func("device_api.cuda", allow_missing=True) is None
        with pytest.raises(VtaError, match="no global function 'x'; there are vta.sim"):
            tvm.get_global_func("x")


def test_the_page_names_every_module() -> None:
    text = (Path(vta.__file__).parent.parent / "docs" / "tvm.md").read_text(encoding="utf-8")
    for module, surface in SURFACE.items():
        (row,) = [
            line
            for line in text.splitlines()
            if line.startswith("| `") and f"`{module}`" in line.split(" | ")[0]
        ]
        for name in surface.names:
            assert f"`{name}`" in row or "as in `te`" in row or "as `tvm.nd`" in row


def test_the_page_names_what_changes_nothing() -> None:
    """Every argument that is left out, and every operator of `topi`."""
    text = (Path(vta.__file__).parent.parent / "docs" / "tvm.md").read_text(encoding="utf-8")
    ignored = {old for names in TVM_NAMES.values() for old, new in names.items() if new is None}
    for name in ignored - {"fmt", "verbose"} | set(vta.topi.__all__) - {"nn"}:
        assert f"`{name}`" in text, name
