"""`build`, `lower` and their options: the compiler for the current environment."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vta.calls import check_calls
from vta.config import SIMULATED_TARGETS
from vta.driver.backends import require_backend
from vta.driver.module import Module
from vta.environment import Environment, get_env
from vta.errors import CompileError, ConfigError, DeviceError
from vta.isa import Isa, MemoryType, Opcode
from vta.target import Target

if TYPE_CHECKING:
    from vta.compiler.pipeline import LoweredModule
    from vta.compiler.te.schedule import Schedule
    from vta.compiler.te.tensor import Tensor
    from vta.driver.session import Session
    from vta.program import Program

__all__ = [
    "BuildOptions",
    "build",
    "build_config",
    "download_bitstream",
    "get_bitstream_path",
    "lower",
    "program_fpga",
    "reconfig_runtime",
]

logger = logging.getLogger(__name__)

KIND = "ext_dev"
"""The target kind of VTA."""


@dataclass(frozen=True)
class BuildOptions:
    """What `build_config` sets."""

    debug_flag: int = 0
    disabled_pass: tuple[str, ...] = ()


_options: ContextVar[BuildOptions | None] = ContextVar("vta_build_options", default=None)


@contextlib.contextmanager
def build_config(
    *, debug_flag: int = 0, disabled_pass: Collection[str] = ()
) -> Iterator[BuildOptions]:
    """Options for the builds inside a ``with`` block.

    Parameters
    ----------
    debug_flag : int
        The sum of `env.DEBUG_DUMP_INSN` (2) and `env.DEBUG_DUMP_UOP` (4): what `build` logs.
    disabled_pass : names
        Compiler passes to leave out. Every pass of this compiler is needed, so naming one is an
        error. Names of other compilers' passes have no effect.

    Raises
    ------
    CompileError
        If a pass cannot be left out.
    """
    from vta.compiler.pipeline import PASSES

    if needed := sorted(set(disabled_pass) & {"loops", *(name for name, _ in PASSES)}):
        raise CompileError(f"disabled_pass: {', '.join(needed)} cannot be left out")
    options = BuildOptions(debug_flag, tuple(disabled_pass))
    token = _options.set(options)
    try:
        yield options
    finally:
        _options.reset(token)


def lower(
    schedule: Schedule, args: Sequence[Tensor], name: str = "main", *, simple_mode: bool = False
) -> LoweredModule:
    """The VTA instructions of a schedule, in a form to print."""
    from vta.compiler.pipeline import lower_vta

    return lower_vta(schedule, args, get_env().config, name, simple_mode=simple_mode)


def build(
    schedule: Schedule,
    args: Sequence[Tensor],
    target: Target | str | Mapping[str, Any] | Environment | None = None,
    target_host: Target | str | None = None,
    *,
    name: str = "main",
) -> Module:
    """Compiles a schedule for the current environment.

    Parameters
    ----------
    schedule : Schedule
    args : sequence of Tensor
        The arguments of a call, in order.
    target : Target, str, mapping or Environment
        ``ext_dev``, as text or as `env.target`. The default is the target of the innermost
        ``with``, or else `env.target`.
    target_host : Target or str
        No effect; it is accepted for older scripts, which name their host here.
    name : str
        The name of the program.
    """
    from vta.compiler import pipeline

    env = target if isinstance(target, Environment) else get_env()
    if not isinstance(target, Environment):
        chosen = Target(target) if target is not None else Target.current() or env.target
        if chosen.kind != KIND:
            raise ConfigError(f"target must be {KIND!r} or env.target, not {str(chosen)!r}")
    program = pipeline.build(schedule, args, env.config, name)
    _dump(program, (_options.get() or BuildOptions()).debug_flag)
    return Module(program)


def reconfig_runtime(remote: Session) -> None:
    """Adapts a session's runtime to the configuration of the current environment.

    The runtime of a board is on the client's side, so nothing is sent or compiled. A simulator
    cannot change, so this only checks that it runs the environment's programs.

    Raises
    ------
    ConfigError
        If programs for the environment mean something else on the session's machine, or if the
        target has no back end.
    """
    env = get_env()
    require_backend(env.TARGET)
    remote.reconfigure(env.config)


def program_fpga(remote: Session, bitstream: str | os.PathLike[str] | None = None) -> None:
    """Programs the FPGA of a session's board. Does nothing for a simulator.

    Parameters
    ----------
    remote : Session
    bitstream : path, optional
        A .bit or .bin file; the default is the one made for this board and configuration.

    Raises
    ------
    ConfigError
        As for `reconfig_runtime`, and if `bitstream` is given for a simulator.
    DeviceError
        If there is no bitstream that fits.
    """
    reconfig_runtime(remote)
    remote.program_fpga(bitstream)


def get_bitstream_path() -> str:
    """The path of the bitstream for the current environment's board and configuration.

    It is where `vta bitstream` puts it; `download_bitstream` says whether it is there.

    Raises
    ------
    ConfigError
        If TARGET is a simulator.
    """
    from vta.driver.board.bitstreams import bitstream_place

    env = get_env()
    if env.TARGET in SIMULATED_TARGETS:
        raise ConfigError(f"TARGET must be a board to have a bitstream, not {env.TARGET}")
    return str(bitstream_place(env.TARGET, env.config))


def download_bitstream() -> None:
    """Makes sure that `get_bitstream_path` is there. Bitstreams are made here, not downloaded.

    Raises
    ------
    ConfigError
        If TARGET is a simulator.
    DeviceError
        If there is none; the message names the command that makes it.
    """
    if not os.path.isfile(get_bitstream_path()):
        env = get_env()
        raise DeviceError(
            f"there is no bitstream for {env.TARGET} and {env.BITSTREAM} here: make one by "
            f"`vta bitstream {env.TARGET}`"
        )


def _dump(program: Program, flag: int) -> None:
    """Logs what `debug_flag` asks for, as warnings, which show even if logging is not set up."""
    isa = Isa(program.config)
    if flag & Environment.DEBUG_DUMP_INSN:
        for insn in isa.decode_stream(program.insns):
            logger.warning("%s %5d  %s", program.name, insn.index, insn)
    if flag & Environment.DEBUG_DUMP_UOP:
        for insn in isa.decode_stream(program.insns):
            data = program.buffers[program.refs[insn.index]].data
            if insn.opcode != Opcode.LOAD or insn.memory_type != MemoryType.UOP or data is None:
                continue
            columns = isa.uop.unpack_array(
                data.view("<u4")[insn.dram_base : insn.dram_base + insn.x_size]
            )
            for place in range(insn.x_size):
                fields = " ".join(f"{key}={value[place]}" for key, value in columns.items())
                logger.warning("%s uop %5d  %s", program.name, insn.sram_base + place, fields)


check_calls("", globals(), __all__, Module)
