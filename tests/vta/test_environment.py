"""The names that VTA scripts use: the environment, building, lowering."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vta
from vta import rpc
from vta.config import PRESETS, Config
from vta.errors import CompileError, ConfigError, VtaError
from vta.testing.programs import vector_add


def test_default_environment() -> None:
    env = vta.get_env()
    assert env is vta.Environment.current
    assert (env.BATCH, env.BLOCK_IN, env.BLOCK_OUT) == (1, 16, 16)
    assert (env.INP_WIDTH, env.WGT_WIDTH, env.ACC_WIDTH, env.OUT_WIDTH) == (8, 8, 32, 8)
    assert (env.inp_dtype, env.wgt_dtype, env.acc_dtype, env.out_dtype) == (
        "int8",
        "int8",
        "int32",
        "int8",
    )
    assert (env.inp_scope, env.wgt_scope, env.acc_scope) == (
        "local.inp_buffer",
        "local.wgt_buffer",
        "local.acc_buffer",
    )
    assert env.BITSTREAM == "1x16_i8w8a32_15_15_18_17"
    assert env.MODEL == f"sim_{env.BITSTREAM}"
    assert (
        env.UOP_BUFF_SIZE,
        env.INP_BUFF_SIZE,
        env.WGT_BUFF_SIZE,
        env.ACC_BUFF_SIZE,
        env.OUT_BUFF_SIZE,
    ) == (32768, 32768, 262144, 131072, 32768)
    assert (
        env.UOP_ELEM_BYTES,
        env.INP_ELEM_BYTES,
        env.WGT_ELEM_BYTES,
        env.ACC_ELEM_BYTES,
        env.OUT_ELEM_BYTES,
    ) == (4, 16, 256, 64, 16)
    assert (env.INP_ELEM_BITS, env.ACC_ELEM_BITS) == (128, 512)
    assert (env.LOG_BLOCK, env.LOG_BLOCK_IN, env.LOG_OUT_BUFF_SIZE) == (4, 4, 15)
    assert env.cfg_dict["LOG_WGT_BUFF_SIZE"] == 18
    assert (env.dev.MEM_ID_ACC, env.dev.MEM_ID_OUT, env.dev.ALU_OPCODE_SHR) == (3, 4, 3)
    assert (env.dev.QID_LOAD_INP, env.dev.QID_COMPUTE, env.dev.QID_STORE_OUT) == (1, 2, 3)
    assert str(env.target) == "ext_dev"
    assert repr(env) == f"Environment({env.MODEL})"


def test_every_size_follows_from_the_configuration(configs: Config) -> None:
    env = vta.Environment(configs)
    assert (env.TARGET, env.HW_VER) == (configs.target, configs.hw_ver)
    assert (env.LOG_BATCH, env.BATCH) == (configs.log_batch, 1 << configs.log_batch)
    for side in ("IN", "OUT"):
        assert getattr(env, f"LOG_BLOCK_{side}") == env.LOG_BLOCK == configs.log_block
        assert getattr(env, f"BLOCK_{side}") == 1 << configs.log_block
    assert (env.LOG_INP_WIDTH, env.LOG_WGT_WIDTH, env.LOG_ACC_WIDTH, env.LOG_OUT_WIDTH) == (
        3,
        3,
        5,
        3,
    )
    for name in ("UOP", "INP", "WGT", "ACC", "OUT"):
        size = 1 << getattr(configs, f"log_{name.lower()}_buff_size")
        nbytes = getattr(configs, f"{name.lower()}_elem_bytes")
        assert getattr(env, f"{name}_BUFF_SIZE") == size
        assert 1 << getattr(env, f"LOG_{name}_BUFF_SIZE") == size
        assert getattr(env, f"{name}_ELEM_BYTES") == nbytes
        assert getattr(env, f"{name}_ELEM_BITS") == 8 * nbytes


def test_a_name_that_an_environment_does_not_have() -> None:
    env = vta.get_env()
    with pytest.raises(AttributeError, match="has no 'BLOK_IN'; did you mean BLOCK_IN\\?"):
        _ = env.BLOK_IN
    assert not hasattr(env, "BLOCK")


def test_environments_nest_and_stay_in_their_thread() -> None:
    outer, inner = vta.Environment("tiny"), vta.Environment(PRESETS["wide"].to_dict())
    seen = []
    with outer:
        assert vta.get_env() is outer
        with inner, outer:
            assert vta.get_env() is outer
        with contextlib.suppress(ZeroDivisionError), inner:
            assert vta.Environment.current is inner
            raise ZeroDivisionError
        thread = threading.Thread(target=lambda: seen.append(vta.get_env().BLOCK_OUT))
        thread.start()
        thread.join()
        assert vta.get_env() is outer
    assert seen == [16]
    assert vta.get_env().BLOCK_OUT == 16


def test_environment_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "c.json"
    file.write_text(json.dumps(PRESETS["batch4"].to_dict()))
    assert vta.Environment(file).BATCH == 4
    monkeypatch.setenv("VTA_CONFIG", str(file))
    assert vta.get_env().BATCH == 4
    with pytest.raises(ConfigError, match="unknown key 'LOG_BLOK'"):
        vta.Environment({"LOG_BLOK": 3})
    with pytest.raises(ConfigError, match="must be a path or a preset's name, not 5"):
        vta.Environment(5)


@pytest.mark.parametrize("name", ["TARGET", "BATCH", "TARGETT", "config", "inp_scope", "MODEL"])
def test_an_environment_cannot_be_changed(name: str) -> None:
    env = vta.Environment("tiny")
    before = getattr(env, name, None)
    with pytest.raises(AttributeError, match=rf"env\.{name} .* vta\.Environment\(") as caught:
        setattr(env, name, "tsim")
    assert isinstance(caught.value, VtaError)
    assert getattr(env, name, None) == before


def test_two_threads_may_enter_one_environment() -> None:
    """Each leaves it in its own thread, in an order that is not the reverse of entering."""
    env, steps = vta.Environment("tiny"), threading.Barrier(2, timeout=10)
    seen: list[vta.Environment] = []

    def use(leaves_first: bool) -> None:
        with env:
            steps.wait()
            seen.append(vta.get_env())
            if not leaves_first:
                steps.wait()
        if leaves_first:
            steps.wait()
        seen.append(vta.get_env())

    threads = [threading.Thread(target=use, args=(first,)) for first in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found.BLOCK_OUT for found in seen) == [8, 8, 16, 16]


def test_an_environment_of_a_target_that_nobody_knows() -> None:
    """It is one, until a device is asked for."""
    values = vta.Environment("tiny").cfg_dict
    values["TARGET"] = "xyz"
    with vta.Environment(values) as env:
        assert (env.TARGET, vta.get_env()) == ("xyz", env)
        schedule, args = vector_add(env, m=4)
        assert vta.build(schedule, args).entry_name == "main"
        with pytest.raises(ConfigError, match="TARGET xyz is unknown"):
            vta.rpc.LocalSession()


def test_mock_names_what_leaves_work_out() -> None:
    env = vta.Environment("tiny")
    assert (env.mock.dma_copy, env.mock.alu) == ("skip_dma_copy", "skip_alu")
    assert (env.dma_copy, env.alu) == ("dma_copy", "alu")
    assert str(env.mock.gemm) == "env.mock.gemm"
    assert env.mock.config is env.config
    assert (env.mock.mock.alu, env.mock.BLOCK_OUT) == ("skip_alu", env.BLOCK_OUT)


def test_lazy_names() -> None:
    for name in vta.__all__:
        assert name in dir(vta)
        assert getattr(vta, name) is not None
    with pytest.raises(AttributeError, match="module 'vta' has no attribute 'bild'"):
        _ = vta.bild


@pytest.mark.parametrize(
    "target", [None, "ext_dev", "ext_dev -device=vta", vta.target.Target("ext_dev", host="llvm")]
)
def test_build_targets(target: object) -> None:
    env = vta.get_env()
    schedule, args = vector_add(env)
    module = vta.build(schedule, args, target, name="v")
    assert module.entry_name == "v"
    assert vta.build(schedule, args, env.target, name="v").program.digest == module.program.digest
    with vta.Environment("tiny"):
        assert vta.build(schedule, args, env, name="v").program.config == env.config


@pytest.mark.parametrize("target", ["llvm", "cuda", vta.target.Target("llvm"), 3])
def test_build_for_what_is_not_vta(target: object) -> None:
    with pytest.raises(ConfigError, match="target must be ('ext_dev'|a name)"):
        vta.build(*vector_add(vta.get_env()), target)


def test_build_names_its_entry_with_text() -> None:
    with pytest.raises(CompileError, match="name must be text, not 5"):
        vta.build(*vector_add(vta.get_env()), name=5)


def test_lower_follows_the_environment() -> None:
    with vta.Environment("tiny") as env:
        text = str(vta.lower(*vector_add(env, m=4), simple_mode=True))
    assert "VTALoadBuffer2D" in text
    assert "int32[1, 4, 1, 8]" in text
    assert text.rstrip().endswith("coproc_sync()")


def test_build_config_dumps(caplog: pytest.LogCaptureFixture) -> None:
    env = vta.get_env()
    schedule, args = vector_add(env)
    with vta.build_config(
        debug_flag=env.DEBUG_DUMP_INSN | env.DEBUG_DUMP_UOP,
        disabled_pass={"tir.CommonSubexprElimTIR"},
    ):
        module = vta.build(schedule, args, name="v")
    insns = [message for message in caplog.messages if not message.startswith("v uop")]
    assert len(insns) == len(module.program.insns)
    assert any("ALU ADD" in message for message in insns)
    assert "v uop     0  dst_idx=0 src_idx=64 wgt_idx=0" in caplog.messages
    caplog.clear()
    vta.build(schedule, args)
    assert caplog.messages == []
    with pytest.raises(CompileError, match="disabled_pass: tokens cannot be left out"):
        with vta.build_config(disabled_pass=["tokens"]):
            pass


NO_BOARD = r"TARGET pynq is not this computer \(.*\); connect to the board with vta.rpc.connect"


def test_board_calls_on_simulators() -> None:
    with rpc.LocalSession() as remote:
        vta.reconfig_runtime(remote)
        vta.program_fpga(remote, bitstream=None)
        with pytest.raises(ConfigError, match="TARGET sim has no FPGA to program with x.bit"):
            vta.program_fpga(remote, bitstream="x.bit")
        with vta.Environment("tiny"), pytest.raises(ConfigError, match="LOG_BLOCK 3 here, 4 there"):
            vta.reconfig_runtime(remote)
        with vta.Environment(PRESETS["default"].replace(target="pynq")):
            with rpc.LocalSession() as local, pytest.raises(ConfigError, match=NO_BOARD):
                vta.program_fpga(local)


@pytest.mark.parametrize(
    "change",
    [
        {"log_bus_width": 7},
        {"addr_width": 40},
        {"max_burst": 16},
        {"log_insn_queue": 12},
        {"hw_ver": "0.0.2"},
        {"target": "tsim"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_runtime_fits_what_no_stream_can_notice(change: dict[str, Any]) -> None:
    """Where the device would take the environment's programs, so does `reconfig_runtime`."""
    default = PRESETS["default"]
    changed = default.replace(**change)
    assert changed != default
    with rpc.LocalSession(default) as remote, vta.Environment(changed):
        vta.reconfig_runtime(remote)
        vta.program_fpga(remote)


def test_session_of_the_environment() -> None:
    with vta.Environment("tiny") as env, rpc.LocalSession() as remote:
        assert remote.config == env.config
        array = vta.nd.array(np.arange(6, dtype=np.int8), remote.ext_dev(0))
        np.testing.assert_array_equal(array.numpy(), np.arange(6))
