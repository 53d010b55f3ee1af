"""`vta tvm`: scripts run as `python SCRIPT` runs them, and how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import vta
from tests.vta.commands import Run
from vta.errors import ArgumentError
from vta.tvm import run_script

ROOT = Path(vta.__file__).parent.parent
HOST = {**os.environ, "PYTHONPATH": str(ROOT)}

ABOUT_ITSELF = '''"""About itself."""
import json, sys
import helper
print(json.dumps([sys.argv, sys.path[0], __file__, __name__, __doc__, __package__,
                  __spec__ is None, type(__builtins__).__name__, type(__loader__).__name__,
                  sys.modules["__main__"].__dict__ is globals(), helper.__file__,
                  (lambda x: 1).__annotations__ == {}]))
'''

LIKE_PYTHON = {
    "error": "def f():\n    return [][1]\n\n\nif __name__ == '__main__':\n    f()\n",
    "chained": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError(3) from e\n",
    "handled": "try:\n    int('x')\nexcept ValueError:\n    raise KeyError(3)\n",
    "library": "import json\njson.loads('{')\n",
    "syntax": "x = 1\ny = (\n",
    "encoding": "# coding: nonsense\nx = 1\n",
    "interrupted computation": "raise BaseException('odd')\n",
    "no module": "import nowhere_at_all\n",
    "no attribute": "import math\nmath.nothing\n",
    "own attribute": "class A:\n    pass\n\n\nA().nothing\n",
    "exit": "import sys\nsys.exit(5)\n",
    "exit with text": "import sys\nsys.exit('that is all')\n",
    "exit with nothing": "import sys\nsys.exit()\n",
    "exit with truth": "raise SystemExit(True)\n",
    "exit with a pair": "raise SystemExit(1, 2)\n",
    "hook": "import sys\nsys.excepthook = lambda *a: sys.stderr.write('mine\\n')\n1 / 0\n",
    "future": "def f(x: undefined_name): ...\n",
    "usage": "import argparse\np = argparse.ArgumentParser()\np.add_argument('-n', type=int)\n"
    "p.parse_args(['-n', 'x'])\n",
}


def _python(script: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, script.name, *args],
        capture_output=True,
        text=True,
        cwd=script.parent,
        env=HOST,
        check=False,
    )


@pytest.mark.parametrize("code", LIKE_PYTHON.values(), ids=LIKE_PYTHON)
def test_a_script_ends_as_under_python(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(code)
    monkeypatch.chdir(tmp_path)
    expected = _python(script)
    result = run("tvm", "script.py")
    assert (result.status, result.out) == (expected.returncode, expected.stdout)
    if code == LIKE_PYTHON["encoding"]:
        # Python words this otherwise where it reads a file itself.
        assert result.err.splitlines()[-1].startswith("SyntaxError: ")
        assert expected.stderr.splitlines()[-1].startswith("SyntaxError: ")
    else:
        assert result.err == expected.stderr


def test_a_script_sees_what_python_shows_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "helper.py").write_text("")
    (folder / "script.py").write_text(ABOUT_ITSELF)
    (tmp_path / "link.py").symlink_to(folder / "script.py")
    monkeypatch.chdir(tmp_path)
    before = sys.modules["__main__"], list(sys.argv), list(sys.path), sys.excepthook
    args = ["-v", "--config", "x", "--", "-h", "--target=tsim", ""]
    for name in ("link.py", os.path.join("a folder", "script.py"), str(folder / "script.py")):
        monkeypatch.delitem(sys.modules, "helper", raising=False)
        expected = subprocess.run(
            [sys.executable, name, *args], capture_output=True, text=True, env=HOST, check=True
        )
        result = run("tvm", name, *args)
        assert (result.status, result.err) == (0, "")
        assert json.loads(result.out) == json.loads(expected.stdout)
    del sys.modules["helper"]
    assert (sys.modules["__main__"], sys.argv, sys.path, sys.excepthook) == before


def test_no_path_in_safe_mode(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint(sys.path)\n")
    done = [
        subprocess.run(
            [sys.executable, "-P", *how, str(script)],
            capture_output=True,
            text=True,
            env=HOST,
            check=True,
        ).stdout
        for how in ([], ["-m", "vta", "tvm"])
    ]
    assert done[0] == done[1]
    assert str(tmp_path) not in done[0]


@pytest.mark.parametrize(
    ("code", "line", "message"),
    [
        (
            "import tvm\n\ntvm.relay\n",
            3,
            "tvm.relay is not in VTA's part of TVM: networks are not ",
        ),
        ("from tvm import relay\n", 1, "tvm.relay is not in VTA's part of TVM: networks are not "),
        (
            "from tvm import autotvm\n",
            1,
            "tvm.autotvm is not in VTA's part of TVM: there is nothing",
        ),
        (
            "import tvm.contrib.graph_executor\n",
            1,
            "tvm.contrib.graph_executor is not in VTA's part of TVM: networks are not "
            "compiled here",
        ),
        (
            "from tvm import te\n\n\ndef f():\n    te.placeholder((0,))\n\n\nf()\n",
            5,
            "shape of placeholder must be whole numbers of 1 or more",
        ),
        (
            "import vta\nvta.get_bitstream_path()\n",
            2,
            "TARGET must be a board to have a bitstream, not sim",
        ),
        (
            "from vta import bitstream\n",
            1,
            "vta has no bitstream: vta.program_fpga(remote, bitstream) takes a file's path",
        ),
        (
            "from tvm import te\nte.placeholder((1,), nmae='x')\n",
            2,
            "te.placeholder has no argument 'nmae' (did you mean name?); it takes shape, dtype, ",
        ),
        (
            "import vta\nvalues = vta.get_env().cfg_dict\nvalues['TARGET'] = 'xyz'\n"
            "with vta.Environment(values):\n    vta.testing.run(print)\n",
            5,
            "TARGET xyz is unknown and has no back end (those that have: sim, tsim, ",
        ),
        ("import vta.graph\n", 1, "vta has no graph: networks are not compiled here"),
        ("import vta\nvta.testing.simulator.LIBS\n", 2, "vta.testing.simulator has no LIBS"),
        (
            "from tvm import rpc\nrpc.LocalSession().get_function('x')\n",
            2,
            "there is no function 'x'; there are tvm.contrib.vta.init, ",
        ),
    ],
)
def test_errors_of_ours_are_one_line(
    run: Run, tmp_path: Path, code: str, line: int, message: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(code)
    result = run("tvm", script)
    assert result.status == 2
    assert result.complaint.startswith(f"vta: {script}, line {line}: {message}")


def test_verbose_shows_the_way_to_an_error(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import tvm\ntvm.relay\n")
    result = run("tvm", "-v", script)
    assert result.status == 2
    first, *frames = [line for line in result.err.splitlines() if line.startswith("  File")]
    assert first == f'  File "{script}", line 2, in <module>'
    assert result.err.splitlines()[-1].startswith(f"vta: {script}, line 2: tvm.relay is not")


def test_a_defect_of_ours_keeps_its_traceback(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attribute that our own code lacks is not the script's mistake."""
    import vta.rpc

    monkeypatch.setattr(vta.rpc, "get_env", lambda: object())
    script = tmp_path / "script.py"
    script.write_text("import vta.rpc\nvta.rpc.LocalSession()\n")
    result = run("tvm", script)
    assert result.status == 1
    assert "rpc.py" in result.err
    assert result.err.endswith("AttributeError: 'object' object has no attribute 'config'\n")


def test_an_error_of_the_machine(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from vta.errors import Fault, MachineError\n"
        "raise MachineError(Fault(cause='sram_range', module='load', "
        "insn_index=3))\n"
    )
    result = run("tvm", script)
    assert result.status == 3
    assert result.complaint == (
        f"vta: {script}, line 2: the machine reported sram_range in load at instruction 3\n"
    )


def test_a_script_may_catch_our_errors(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import tvm\n"
        "try:\n    from tvm import relay\nexcept ImportError as error:\n    print('no relay')\n"
        "print(hasattr(tvm, 'autotvm'), getattr(tvm.te, 'hybrid', 5))\n"
        "try:\n    tvm.te.placeholder((0,))\nexcept tvm.TVMError:\n    print('refused')\n"
    )
    result = run("tvm", script)
    assert (result.status, result.out, result.err) == (0, "no relay\nFalse 5\nrefused\n", "")


def test_an_interrupted_script(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("raise KeyboardInterrupt\n")
    result = run("tvm", script)
    assert (result.status, result.err.strip()) == (130, "vta: interrupted")


def test_a_closed_pipe_ends_it_quietly(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("while True:\n    print('and so on')\n")
    with subprocess.Popen(
        [sys.executable, "-m", "vta", "tvm", str(script)],
        env=HOST,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == b"and so on\n"
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait() == 141


def test_another_pipe_that_breaks_is_shown(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os\nr, w = os.pipe()\nos.close(r)\nos.write(w, b'x')\n")
    result = run("tvm", script)
    assert result.status == 1
    assert result.err.endswith("BrokenPipeError: [Errno 32] Broken pipe\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Missing argument 'SCRIPT'"),
        (["nowhere.py"], "nowhere.py: cannot be read (No such file or directory)"),
        (["."], ". is a folder, not a script"),
        (["--bogus", "x.py"], "No such option"),
        (["--target", "arty", "x.py"], "Invalid value for '--target'"),
        (["--config", "nowhere.json", "x.py"], "nowhere.json: cannot be read"),
    ],
)
def test_bad_command_lines(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("tvm", *args)
    assert result.status == 2
    assert message in result.complaint


def test_configuration_and_target(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "script.py"
    script.write_text("import vta\nenv = vta.get_env()\nprint(env.TARGET, env.BLOCK_OUT)\n")
    assert run("tvm", script).out == "sim 16\n"
    assert run("tvm", "--config", "tiny", "--target", "tsim", script).out == "tsim 8\n"
    file = tmp_path / "board.json"
    file.write_text(json.dumps({**vta.get_env().cfg_dict, "TARGET": "pynq"}))
    monkeypatch.setenv("VTA_CONFIG", str(file))
    assert run("tvm", script).out == "pynq 16\n"
    assert run("tvm", "--target", "sim", script).out == "sim 16\n"


def test_the_layer_is_active_in_the_script_only(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import tvm, sys\nassert 'tvm' in sys.modules\nsys.exit(4)\n")
    for _ in range(2):
        assert run("tvm", script).status == 4
        assert not [name for name in sys.modules if name.partition(".")[0] == "tvm"]
    with pytest.raises(ModuleNotFoundError):
        import tvm  # noqa: F401


def test_run_script_from_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint(sys.argv[1:])\nsys.exit(7)\n")
    assert run_script(str(script), ["a", "b"]) == 7
    assert capsys.readouterr().out == "['a', 'b']\n"
    with pytest.raises(ArgumentError, match="is a folder, not a script"):
        run_script(str(tmp_path))
