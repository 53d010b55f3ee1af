"""A session on a board at the other end of a connection has what a local one has."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import vta
from tests.driver.remote.conftest import Serve, check_board
from tests.vta.commands import Run
from vta import nd, rpc
from vta.config import PRESETS, Config
from vta.driver.board.bitstreams import write_emulated
from vta.driver.board.kinds import KINDS
from vta.driver.module import LoadedModule, Module
from vta.errors import (
    ArgumentError,
    ConfigError,
    DeviceError,
    MachineError,
    ProgramError,
    RemoteError,
)
from vta.program import Program

EXAMPLES = Path(vta.__file__).parent.parent / "examples"
SCRIPTS = Path(__file__).parents[2] / "vta" / "tvm" / "scripts"


@pytest.fixture
def board(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """An emulated Pynq, where scripts look for one."""
    monkeypatch.setenv("VTA_RPC_HOST", "127.0.0.1")
    monkeypatch.setenv("VTA_RPC_PORT", str(serve().port))


def tutorial(shared: Path, folder: Path) -> Path:
    """The tutorial's script, from its page."""
    text = (shared / "vta_get_started.rst.txt").read_text(encoding="utf-8")
    blocks = re.findall(
        r"^\.\. code-block:: default\n\n+((?:    .*\n|\n)+)", text, flags=re.MULTILINE
    )
    script = folder / "vta_get_started.py"
    script.write_text("".join(re.sub(r"^    ", "", block, flags=re.M) for block in blocks))
    return script


def config_file(folder: Path, config: Config) -> Path:
    file = folder / "vta_config.json"
    file.write_text(json.dumps(config.to_dict()))
    return file


def test_the_tutorial_on_an_emulated_board(
    board: None, run: Run, shared: Path, tmp_path: Path
) -> None:
    config = config_file(tmp_path, PRESETS["default"].replace(target="pynq"))
    result = run("tvm", "--config", config, tutorial(shared, tmp_path))
    assert result.status == 0, result.err
    assert result.out.endswith("Successful vector add test!\n")


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"intelfocl"}))
def test_the_tutorial_on_the_rtl(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, run: Run, shared: Path, tmp_path: Path, kind: str
) -> None:
    monkeypatch.setenv("VTA_RPC_HOST", "127.0.0.1")
    monkeypatch.setenv("VTA_RPC_PORT", str(serve(kind, functional=False).port))
    script = tutorial(shared, tmp_path)
    if kind not in ("pynq", "de10nano"):
        # The page names these two where it connects; the others are reached in the same way.
        text = script.read_text().replace('"pynq"', f'"{kind}"')
        script.write_text(text)
    config = config_file(tmp_path, PRESETS["tiny"].replace(target=kind))
    result = run("tvm", "--config", config, script)
    assert result.status == 0, result.err
    assert result.out.endswith("Successful vector add test!\n")


@pytest.mark.parametrize("name", sorted(path.stem for path in SCRIPTS.glob("*.py")))
def test_scripts(board: None, run: Run, tmp_path: Path, name: str) -> None:
    script = tmp_path / f"{name}.py"
    text = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    if "rpc.connect" not in text:
        text = text.replace("rpc.LocalSession()", "rpc.connect()\nvta.program_fpga(remote)")
        text = text.replace("simulator.enabled()", "True")
    script.write_text(text)
    config = config_file(tmp_path, PRESETS["default"].replace(target="pynq"))
    result = run("tvm", "--config", config, script)
    assert (result.status, result.out) == (0, f"{name}: equal\n"), result.err


@pytest.mark.parametrize(
    "name",
    [
        "matrix_multiply",
        pytest.param("blocked_matrix_multiply", marks=pytest.mark.full),
        pytest.param("convolution", marks=pytest.mark.full),
    ],
)
def test_walkthroughs(
    board: None, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The scripts in `examples`; their timelines and cycles are the RTL's."""
    monkeypatch.setenv("PICTURES", str(tmp_path))
    config = config_file(tmp_path, PRESETS["default"].replace(target="pynq"))
    result = run("tvm", "--config", config, EXAMPLES / f"{name}.py")
    assert result.status == 0, result.err
    assert result.out.endswith(" test!\n")


def test_arrays_modules_and_times(
    serve: Serve, tiny: Config, program: Program, tmp_path: Path
) -> None:
    Module(program).save(tmp_path / "x.o")
    rng = np.random.default_rng(3)
    shape = program.args[0].shape
    a, b = (rng.integers(-100, 100, shape, np.int32) for _ in range(2))
    with rpc.connect("127.0.0.1", serve().port, config=tiny) as remote, vta.Environment(tiny):
        vta.reconfig_runtime(remote)
        vta.program_fpga(remote)
        ctx = remote.ext_dev(0)
        remote.upload(tmp_path / "x.o")
        f = remote.load_module("x.o")
        arrays = [nd.array(a, ctx), nd.array(b, ctx), nd.empty(shape, "int8", ctx)]
        report = f.run(*arrays)
        np.testing.assert_array_equal(arrays[2].numpy(), (a + b + 7).astype(np.int8))
        assert report.target == "pynq"
        assert report.stats["alu_counter"] == 10
        assert report.seconds is not None
        assert remote.machine.statistics()["alu_counter"] == 10
        times = f.time_evaluator(f.entry_name, ctx, number=2, repeat=3)(*arrays)
        assert len(times.results) == 3
        assert 0 < times.min < 60
        assert remote.cpu(0).device is None
        assert remote.device("ext_dev", 0) == ctx


def test_functions_by_their_names_in_tvm(serve: Serve, tiny: Config, program: Program) -> None:
    a = np.zeros(program.args[0].shape, np.int32)
    with rpc.connect("127.0.0.1", serve().port, config=tiny) as remote:
        remote.get_function("tvm.contrib.vta.init")(None)
        remote.machine.call(program, [a, a])
        status = remote.get_function("vta.simulator.profiler_status")
        assert json.loads(status())["alu_counter"] == 10
        remote.get_function("vta.simulator.profiler_clear")()
        assert json.loads(status())["alu_counter"] == 0
        with pytest.raises(ArgumentError, match="no function 'x'; there are tvm.contrib.vta.init"):
            remote.get_function("x")


def test_times_are_the_boards(
    serve: Serve, tiny: Config, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rpc.connect("127.0.0.1", serve().port, config=tiny) as remote:
        remote.program_fpga()
        ctx = remote.ext_dev(0)
        shape = program.args[0].shape
        f = LoadedModule(program, remote.machine)
        arrays = [nd.array(np.zeros(shape, np.int32), ctx) for _ in range(2)]
        arrays.append(nd.empty(shape, "int8", ctx))
        seconds = iter([100.0, 1.0, 2.0, 3.0, 4.0])
        launch = remote._board.launch

        def timed(*args):
            return dataclasses.replace(launch(*args), seconds=next(seconds))

        monkeypatch.setattr(remote._board, "launch", timed)
        times = f.time_evaluator(program.name, ctx, number=2, repeat=2)(*arrays)
        assert times.results == (1.5, 3.5)


def test_a_call_is_one_request(
    serve: Serve, tiny: Config, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Constants and stream lie on the board already, and a launch begins with a reset."""
    with rpc.connect("127.0.0.1", serve().port, config=tiny) as remote:
        remote.program_fpga()
        ctx = remote.ext_dev(0)
        shape = program.args[0].shape
        f = LoadedModule(program, remote.machine)
        a = nd.array(np.full(shape, 20, np.int32), ctx)
        outs = [nd.empty(shape, "int8", ctx) for _ in range(2)]
        sent = []
        send = remote._board._channel.send

        def noted(head, body=b""):
            sent.append((head["verb"], len(body)))
            send(head, body)

        monkeypatch.setattr(remote._board._channel, "send", noted)
        constants = sum(buffer.data is not None for buffer in program.buffers)
        f(a, a, outs[0])
        assert [verb for verb, _ in sent] == ["write"] * constants + ["launch"]
        assert sent[-1] == ("launch", program.nbytes)
        del sent[:]
        f(a, a, outs[0])
        assert sent == [("launch", 0)]
        f(a, a, outs[1])  # its stream names another place
        assert sent[1:] == [("launch", program.nbytes)]
        for out in outs:
            np.testing.assert_array_equal(out.numpy(), np.full(shape, 47, np.int8))


def test_a_script_may_connect_again(
    serve: Serve, tiny: Config, caplog: pytest.LogCaptureFixture
) -> None:
    """As a cell of a notebook does that is run twice; it would wait for itself for ever."""
    server = serve()
    first = rpc.connect("127.0.0.1", server.port, config=tiny)
    with rpc.connect("127.0.0.1", server.port, config=tiny, queue_seconds=5) as second:
        assert f"127.0.0.1:{server.port} serves one session at a time" in caplog.text
        assert second.machine.allocate(4)
    with pytest.raises(DeviceError, match="the session is closed"):
        first.ext_dev(0)


def test_programming_may_take_long(
    serve: Serve, tiny: Config, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An emulated board builds its simulator then. The client says so once, and goes on waiting."""
    server = serve()
    program = server._board.program

    def slow(*arguments) -> None:
        time.sleep(1.0)
        program(*arguments)

    monkeypatch.setattr(server._board, "program", slow)
    monkeypatch.setattr("vta.driver.remote.agent.BEAT_SECONDS", 0.05)
    with rpc.connect("127.0.0.1", server.port, config=tiny) as remote:
        # The whole call takes longer than a client waits for any one answer.
        call = remote._board._call
        monkeypatch.setattr(
            remote._board, "_call", lambda *words, **more: call(*words, **{"seconds": 0.5, **more})
        )
        remote.program_fpga()
        assert remote.machine.identify()["id"] == 0x2D415456
    said = [entry.getMessage() for entry in caplog.records if "programmed" in entry.getMessage()]
    assert said == [
        f"127.0.0.1:{server.port} is being programmed; it builds its simulator, which takes a "
        "minute or two, once"
    ]


def test_a_session_that_is_forgotten_frees_the_board(serve: Serve, tiny: Config) -> None:
    server = serve()

    def script() -> None:
        remote = rpc.connect("127.0.0.1", server.port, config=tiny)
        remote.program_fpga()

    script()
    thread = threading.Thread(target=check_board, args=(server.port, tiny))
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


def test_a_fault_has_its_instruction(serve: Serve, tiny: Config, make_program) -> None:
    faulty = make_program(tiny, faulty=True)
    a = np.zeros(faulty.args[0].shape, np.int32)
    with rpc.connect("127.0.0.1", serve().port, config=tiny) as remote:
        remote.program_fpga()
        with pytest.raises(MachineError, match="sram_range in compute at instruction 4") as caught:
            remote.machine.call(faulty, [a, a])
        assert caught.value.fault.insn.startswith("ALU")
        good = make_program(tiny)
        (out,), _ = remote.machine.call(good, [a, a])
        assert (out == 7).all()


def test_what_the_board_lacks_is_said(
    serve: Serve, tiny: Config, program: Program, tmp_path: Path
) -> None:
    server = serve()
    a = np.zeros(program.args[0].shape, np.int32)
    with rpc.connect("127.0.0.1", server.port, config=tiny) as remote:
        with pytest.raises(
            DeviceError, match=r"FPGA is not programmed.*vta.program_fpga\(remote\)"
        ):
            remote.machine.call(program, [a, a])
        with pytest.raises(DeviceError, match="x.bit: cannot be read"):
            remote.program_fpga(tmp_path / "x.bit")
        (tmp_path / "x.bit").write_bytes(b"junk" * 100)
        with pytest.raises(DeviceError, match="must have the word AA995566"):
            remote.program_fpga(tmp_path / "x.bit")
        with pytest.raises(DeviceError, match="out of device memory.*docs/boards.md"):
            remote.machine.allocate(1 << 24)
        other = PRESETS["default"].replace(target="pynq")
        remote.reconfigure(tiny)
        with pytest.raises(ConfigError, match="LOG_BLOCK 4 here, 3 there"):
            remote.reconfigure(other)
    with pytest.raises(DeviceError, match="the session is closed"):
        remote.ext_dev(0)


def test_another_configurations_machine_is_refused(
    serve: Serve, tiny: Config, program: Program
) -> None:
    server = serve()
    small = PRESETS["small"].replace(target="pynq")
    with rpc.connect("127.0.0.1", server.port, config=small) as remote:
        remote.program_fpga()
    a = np.zeros(program.args[0].shape, np.int32)
    with rpc.connect("127.0.0.1", server.port, config=tiny) as remote:
        with pytest.raises(
            DeviceError, match="LOG_BATCH is 1 in hardware and 0 here.*bitstream for 1x8_i8w8a32"
        ):
            remote.machine.call(program, [a, a])
        remote.program_fpga()
        assert (remote.machine.call(program, [a, a])[0][0] == 7).all()


def test_another_kind_of_board_is_refused(serve: Serve, tiny: Config) -> None:
    server = serve("ultra96")
    with pytest.raises(ConfigError, match=r"127.0.0.1:\d+ is a ultra96, and TARGET is pynq"):
        rpc.connect("127.0.0.1", server.port, config=tiny)
    with pytest.raises(ConfigError, match=r"is a ultra96, and TARGET is sim"):
        rpc.connect("127.0.0.1", server.port, config=tiny.replace(target="sim"))


def test_programs_of_another_configuration_are_refused(
    serve: Serve, tiny: Config, make_program, tmp_path: Path
) -> None:
    Module(make_program(PRESETS["small"])).save(tmp_path / "x.o")
    with rpc.connect("127.0.0.1", serve().port, config=tiny) as remote:
        remote.upload(tmp_path / "x.o")
        with pytest.raises(ProgramError, match="LOG_BATCH 0 here, 1 there"):
            remote.load_module("x.o")


def test_connect_says_what_it_needs(tiny: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VTA_RPC_HOST", raising=False)
    with pytest.raises(ConfigError, match="pass one, or set VTA_RPC_HOST"):
        rpc.connect(config=tiny)
    with pytest.raises(ConfigError, match="the port must be 1 to 65535, not 70000"):
        rpc.connect("127.0.0.1", 70000, config=tiny)
    with pytest.raises(RemoteError, match="127.0.0.1:9 cannot be reached .*`vta serve`"):
        rpc.connect("127.0.0.1", 9, config=tiny)


def test_intelfocl_is_a_card_in_this_computer(
    monkeypatch: pytest.MonkeyPatch, run: Run, shared: Path, tmp_path: Path
) -> None:
    config = PRESETS["default"].replace(target="intelfocl")
    monkeypatch.chdir(tmp_path)
    write_emulated("intelfocl", "vta.bitstream", config)
    monkeypatch.setenv("VTA_EMULATE", "functional")
    result = run("tvm", "--config", config_file(tmp_path, config), tutorial(shared, tmp_path))
    assert result.status == 0, result.err
    assert result.out.endswith("Successful vector add test!\n")
