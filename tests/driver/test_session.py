"""Sessions: the tutorial's steps after compiling, and what can go wrong in them."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vta
from vta import nd, rpc
from vta.config import PRESETS, TARGETS
from vta.driver.module import Module
from vta.driver.session import Session
from vta.errors import ArgumentError, ConfigError, DeviceError, ProgramError
from vta.program import Program
from vta.testing import simulator, utils

MakeProgram = Callable[..., Program]


@pytest.mark.parametrize("target", ["sim", "tsim"])
def test_save_upload_load_call(target: str, make_program: MakeProgram) -> None:
    config = PRESETS["tiny"].replace(target=target)
    program = make_program(config)
    rng = np.random.default_rng(3)
    a, b = (rng.integers(-99, 99, program.args[0].shape).astype(np.int32) for _ in range(2))
    with vta.Environment(config), rpc.LocalSession() as remote, utils.tempdir() as temp:
        Module(program).save(temp.relpath("x.o"))
        remote.upload(temp.relpath("x.o"))
        remote.upload(temp.relpath("x.o"), "other.o")
        ctx = remote.ext_dev(0)
        out = nd.empty(a.shape, "int8", ctx)
        simulator.clear_stats()
        for name in ("x.o", "other.o"):
            remote.load_module(name)(nd.array(a, ctx), nd.array(b, ctx), out)
        np.testing.assert_array_equal(out.numpy(), (a + b + 7).astype(np.int8))
        stats = simulator.stats()
        assert stats["alu_counter"] == 2 * 10
        assert stats["gemm_counter"] == 0
        assert stats["acc_load_nbytes"] == 2 * 2 * a.nbytes
        assert stats["out_store_nbytes"] == 2 * out.nbytes
        assert ("cycle_count" in stats) == (target == "tsim")
        simulator.clear_stats()
        assert not any(simulator.stats().values())
        assert repr(remote.load_module("x.o")).startswith("LoadedModule(add_seven(A: int32[5")


def test_names_that_are_not_there(tmp_path: Path) -> None:
    with Session(PRESETS["tiny"]) as remote:
        with pytest.raises(DeviceError, match="x.o was not uploaded .* there is nothing"):
            remote.load_module("x.o")
        with pytest.raises(DeviceError, match="missing.o: cannot be uploaded"):
            remote.upload(tmp_path / "missing.o")
        (tmp_path / "y.o").write_bytes(b"not a program")
        remote.upload(tmp_path / "y.o")
        with pytest.raises(DeviceError, match="x.o was not uploaded .* there is y.o"):
            remote.load_module("x.o")
        with pytest.raises(ProgramError, match="y.o: not a vta-program file"):
            remote.load_module("y.o")
        for name in ("../y.o", "", "..", "a/b"):
            with pytest.raises(DeviceError, match="a file name without folders"):
                remote.load_module(name)
            with pytest.raises(DeviceError, match="a file name without folders"):
                remote.upload(tmp_path / "y.o", name)
        with pytest.raises(DeviceError, match="ext_dev has only device 0, not 1"):
            remote.ext_dev(1)
        with pytest.raises(ValueError, match="cpu has only device 0, not 2"):
            remote.cpu(2)


@pytest.mark.parametrize("target", [name for name in TARGETS if name not in ("sim", "tsim")])
def test_boards_that_are_not_here_say_so(target: str) -> None:
    with Session(PRESETS["default"].replace(target=target)) as remote:
        how = "is at a serial port" if target == "ulx3s" else "is not this computer .*VTA_EMULATE"
        with pytest.raises(ConfigError, match=f"TARGET {target} {how}"):
            remote.ext_dev(0)


def test_memories_and_functions_by_name(tmp_path: Path, make_program: MakeProgram) -> None:
    program = make_program(PRESETS["tiny"])
    Module(program).export_library(tmp_path / "x.tar")
    with Session(PRESETS["tiny"]) as remote:
        assert remote.device("ext_dev", 0) == remote.context("ext_dev") == remote.ext_dev(0)
        assert str(remote.device("cpu", 0)) == "cpu(0)"
        with pytest.raises(DeviceError, match="device_type must be ext_dev or cpu, not 'cuda'"):
            remote.device("cuda", 0)
        remote.upload(tmp_path / "x.tar")
        f = remote.load_module("x.tar")
        assert f[program.name] is f
        with pytest.raises(KeyError, match="no function 'nothing', only") as caught:
            f["nothing"]
        assert isinstance(caught.value, ArgumentError)
        assert str(caught.value).startswith("there is no function")


def test_targets_that_nobody_knows_say_so() -> None:
    with pytest.raises(ConfigError, match=r"TARGET tsmi is unknown .*did you mean tsim\?"):
        Session(PRESETS["default"].replace(target="tsmi"))
    with pytest.raises(
        ConfigError, match=r"TARGET xyz is unknown and has no back end \(those that have: sim, tsim"
    ):
        Session(PRESETS["default"].replace(target="xyz"))


def test_a_program_for_another_configuration(tmp_path: Path, make_program: MakeProgram) -> None:
    make_program(PRESETS["default"]).save(tmp_path / "x.o")
    with Session(PRESETS["tiny"]) as remote:
        remote.upload(tmp_path / "x.o")
        with pytest.raises(ProgramError, match="LOG_BLOCK 3 here, 4 there"):
            remote.load_module("x.o")


def test_closing() -> None:
    remote = Session(PRESETS["tiny"])
    remote.close()
    remote.close()
    for use in (
        lambda: remote.upload("x"),
        lambda: remote.load_module("x"),
        lambda: remote.ext_dev(0),
        lambda: remote.cpu(0),
    ):
        with pytest.raises(DeviceError, match="the session is closed"):
            use()


def test_there_is_no_tracker() -> None:
    with pytest.raises(
        AttributeError, match=r"there is no tracker; use rpc\.connect\(host, port\)"
    ):
        _ = rpc.connect_tracker
    with pytest.raises(AttributeError, match="module 'vta.rpc' has no attribute 'conect'$"):
        _ = rpc.conect


def test_closing_closes_the_device_and_removes_what_was_uploaded(
    tmp_path: Path, make_program: MakeProgram
) -> None:
    make_program(PRESETS["tiny"]).save(tmp_path / "x.o")
    with Session(PRESETS["tiny"]) as remote:
        remote.upload(tmp_path / "x.o")
        module, ctx = remote.load_module("x.o"), remote.ext_dev(0)
        arrays = [nd.empty(item.shape, item.dtype, ctx) for item in module.program.args]
        module(*arrays)
        folder = remote._folder
        assert [path.name for path in folder.iterdir()] == ["x.o"]
    assert not folder.exists()
    for use in (
        lambda: module(*arrays),
        arrays[0].numpy,
        lambda: arrays[0].copyfrom(arrays[0]),
        lambda: nd.empty((1,), "int8", ctx),
        lambda: ctx.device.run_stream(np.zeros((1, 2), np.uint64)),
    ):
        with pytest.raises(DeviceError, match="the sim device is closed"):
            use()


def test_a_session_that_nobody_closes_leaves_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        remote, temp = Session(PRESETS["tiny"]), utils.tempdir()
        folders = [remote._folder, Path(temp.path)]
        assert all(folder.is_dir() for folder in folders)
        del remote, temp
        gc.collect()
    assert not any(folder.exists() for folder in folders)


def test_debug_mode(make_program: MakeProgram, caplog: pytest.LogCaptureFixture) -> None:
    config = PRESETS["tiny"]
    program = make_program(config)
    with vta.Environment(config), rpc.LocalSession() as remote, utils.tempdir() as temp:
        assert simulator.enabled()
        program.save(temp.relpath("x.o"))
        remote.upload(temp.relpath("x.o"))
        ctx = remote.ext_dev(0)
        arrays = [nd.array(np.full(buffer.shape, 9, buffer.dtype), ctx) for buffer in program.args]
        call = remote.load_module("x.o")
        try:
            simulator.debug_mode(1)
            simulator.clear_stats()
            call(*arrays)
            skipped = simulator.stats()
            assert (arrays[2].numpy() == 9).all()
            simulator.debug_mode(2)
            simulator.clear_stats()
            call(*arrays)
        finally:
            simulator.debug_mode(0)
        assert (arrays[2].numpy() == 9 + 9 + 7).all()
        assert simulator.stats() == skipped
        assert len(caplog.messages) == len(program.insns)
        assert "ALU ADD" in caplog.messages[3]
        with pytest.raises(ValueError, match="flag must be 0 to 3, not 4"):
            simulator.debug_mode(4)


def test_enabled_follows_the_target() -> None:
    with vta.Environment(PRESETS["default"].replace(target="pynq")):
        assert not simulator.enabled()


def test_tempdir() -> None:
    with utils.tempdir() as temp:
        Path(temp.relpath("a.o")).write_text("x")
        assert temp.listdir() == ["a.o"]
        folder = Path(temp.path)
    assert not folder.exists()
