"""Runs a script as `python SCRIPT` would, with the layer in place."""

from __future__ import annotations

import builtins
import linecache
import os
import re
import select
import sys
import traceback
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType, TracebackType

from vta.errors import ArgumentError, VtaError
from vta.tvm.layer import layer
from vta.tvm.missing import MissingAttribute, MissingModule, hint_for
from vta.tvm.notebook import code_cells

__all__ = ["ScriptError", "run_script"]


class ScriptError(VtaError):
    """A script ended on an error of ours: `cause`, at `place` in the script."""

    def __init__(self, place: str, cause: VtaError) -> None:
        super().__init__(f"{place}: {cause}")
        self.cause = cause


def run_script(path: str, args: Sequence[str] = ()) -> int:
    """Runs a script with TVM's names in place; returns its exit status.

    Parameters
    ----------
    path : str
        A file of Python source, or a notebook, whose code cells are run.
    args : sequence of str
        ``sys.argv`` after the script's name.

    Raises
    ------
    ArgumentError
        The file cannot be read, or is a notebook that Python alone cannot run.
    ScriptError
        The script did not catch a `VtaError`, or uses a name that `vta` does not have.

    Any other uncaught exception is shown as Python shows it, and the status is 1.
    """
    if Path(path).is_dir():
        raise ArgumentError(f"{path} is a folder, not a script")
    try:
        source = Path(path).read_bytes()
    except OSError as error:
        raise ArgumentError(f"{path}: cannot be read ({error.strerror})") from None
    file = os.path.abspath(path)
    parts: dict[str, bytes | str] = {file: source}
    if (cells := code_cells(path, source)) is not None:
        parts = {f"{file}, cell {number}": code for number, code in cells.items()}
        for name, code in parts.items():
            # Tracebacks look here for source lines that are not in a file.
            linecache.cache[name] = (len(code), None, str(code).splitlines(keepends=True), name)
    with layer(), _as_main(path, file, args) as main:
        try:
            for name, code in parts.items():
                exec(_compile(code, name), vars(main))
        except SystemExit as error:
            return _status(error.code)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if isinstance(error, BrokenPipeError) and _nobody_reads():
                # All commands end the same way on this error.
                raise
            trace = _script_frames(error, parts)
            if (ours := _ours(error, parts)) is not None:
                name, line = _last_line(trace, parts)
                place = f"{path}{name.removeprefix(file)}, line {line}"
                raise ScriptError(place, ours.with_traceback(trace)) from error
            if cells is not None and sys.excepthook is sys.__excepthook__:
                traceback.print_exception(error.with_traceback(trace))
            else:
                sys.excepthook(type(error), error.with_traceback(trace), trace)
            return 1
    return 0


def _compile(source: bytes | str, file: str) -> CodeType:
    try:
        return compile(source, file, "exec", dont_inherit=True)
    except ValueError as error:
        # Python 3.11 raises this for a null byte; later versions raise SyntaxError.
        raise SyntaxError(str(error)) from None


@contextmanager
def _as_main(path: str, file: str, args: Sequence[str]) -> Iterator[ModuleType]:
    """A new `__main__`, with `sys.argv` and `sys.path` as Python sets them for it."""
    main = ModuleType("__main__")
    vars(main).update(
        __file__=file,
        __builtins__=builtins,
        __cached__=None,
        __loader__=SourceFileLoader("__main__", file),
    )
    before = sys.modules["__main__"], sys.argv, list(sys.path), sys.excepthook
    sys.modules["__main__"] = main
    sys.argv = [path, *args]
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.realpath(path))
    try:
        yield main
    finally:
        sys.modules["__main__"], sys.argv, sys.path[:], sys.excepthook = before


def _nobody_reads() -> bool:
    """Whether stdout is a pipe whose other end is closed. (Another write may not fail.)"""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
    except (AttributeError, OSError, ValueError):
        # stdout was replaced by an object without a descriptor.
        return False
    return any(events & select.POLLERR for _, events in poll.poll(0))


def _status(code: object) -> int:
    """The exit status that `sys.exit(code)` gives."""
    if code is None or isinstance(code, int):
        return int(code or 0)
    sys.stderr.write(f"{code}\n")
    return 1


def _script_frames(error: BaseException, files: Collection[str]) -> TracebackType | None:
    """The traceback from the script's own frame on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename not in files:
        trace = trace.tb_next
    return trace


def _last_line(trace: TracebackType | None, files: Collection[str]) -> tuple[str, int]:
    """The script's innermost line in a traceback: the file and the line number."""
    last = [frame for frame in traceback.extract_tb(trace) if frame.filename in files][-1]
    return last.filename, last.lineno or 0


def _ours(error: BaseException, files: Collection[str]) -> VtaError | None:
    """The error if it is ours, or a new one if the script uses a name that `vta` does not have."""
    if isinstance(error, VtaError):
        return error
    frames = traceback.extract_tb(error.__traceback__)
    while frames and frames[-1].name == "__getattr__":
        frames.pop()
    if not frames or frames[-1].filename not in files:
        # The name is used by our own code or a third party's, not by the script.
        return None
    if isinstance(error, AttributeError) and error.name is not None:
        if isinstance(error.obj, ModuleType):
            where = owner = error.obj.__name__
        else:
            where, owner = type(error.obj).__module__, type(error.obj).__name__
        return _missing(MissingAttribute, where, owner, error.name)
    if isinstance(error, ImportError) and error.name is not None:
        asked = re.match("cannot import name '(.*?)'", str(error))
        owner, name = (error.name, asked[1]) if asked else error.name.rpartition(".")[::2]
        return _missing(MissingModule, owner, owner, name)
    return None


def _missing(kind: type[VtaError], where: str, owner: str, name: str) -> VtaError | None:
    if where.partition(".")[0] != "vta":
        return None
    hint = hint_for(f"{owner}.{name}")
    return kind(f"{owner} has no {name}" + (f": {hint}" if hint else ""))
