"""`Environment`: the configuration under the names that VTA scripts use."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar

from vta.calls import check_calls
from vta.config import Config
from vta.errors import ReadOnlyError
from vta.isa import AluOp, MemoryType
from vta.target import Target

if TYPE_CHECKING:
    from types import TracebackType

    from vta.compiler.te.gemm_intrinsic import GemmIntrin

__all__ = ["DevConstants", "Environment", "get_env"]


class DevConstants:
    """The numbers of the hardware interface in `env.dev`."""

    MEM_ID_UOP = int(MemoryType.UOP)
    MEM_ID_WGT = int(MemoryType.WGT)
    MEM_ID_INP = int(MemoryType.INP)
    MEM_ID_ACC = int(MemoryType.ACC)
    MEM_ID_OUT = int(MemoryType.OUT)
    MEM_ID_ACC_8BIT = int(MemoryType.ACC_8BIT)
    ALU_OPCODE_MIN = int(AluOp.MIN)
    ALU_OPCODE_MAX = int(AluOp.MAX)
    ALU_OPCODE_ADD = int(AluOp.ADD)
    ALU_OPCODE_SHR = int(AluOp.SHR)
    ALU_OPCODE_MUL = int(AluOp.MUL)
    # Pipeline stages, by the numbers in the dependency pushes and pops of printed programs.
    QID_LOAD_INP = 1
    QID_LOAD_WGT = 1
    QID_LOAD_OUT = 2
    QID_COMPUTE = 2
    QID_STORE_OUT = 3


def _sizes(config: Config) -> dict[str, int | str]:
    """The values of a configuration, by the names of `Environment`'s attributes."""
    sizes: dict[str, int | str] = {
        "TARGET": config.target,
        "HW_VER": config.hw_ver,
        "LOG_BATCH": config.log_batch,
        "BATCH": config.batch,
        "LOG_BLOCK": config.log_block,
        "LOG_BLOCK_IN": config.log_block,
        "LOG_BLOCK_OUT": config.log_block,
        "BLOCK_IN": config.block,
        "BLOCK_OUT": config.block,
    }
    for name in ("inp", "wgt", "acc", "out"):
        log_width = getattr(config, f"log_{name}_width")
        sizes |= {
            f"LOG_{name.upper()}_WIDTH": log_width,
            f"{name.upper()}_WIDTH": 1 << log_width,
            f"{name}_dtype": f"int{1 << log_width}",
        }
    for kind in (MemoryType.UOP, MemoryType.INP, MemoryType.WGT, MemoryType.ACC, MemoryType.OUT):
        log_size = getattr(config, f"log_{kind.name.lower()}_buff_size")
        sizes |= {
            f"LOG_{kind.name}_BUFF_SIZE": log_size,
            f"{kind.name}_BUFF_SIZE": 1 << log_size,
            f"{kind.name}_ELEM_BYTES": config.elem_bytes(kind),
            f"{kind.name}_ELEM_BITS": 8 * config.elem_bytes(kind),
        }
    return sizes


class _EnvironmentType(type):
    """Makes `Environment.current` a property of the class."""

    @property
    def current(cls) -> Environment:
        """The environment of the innermost ``with``, else the default."""
        return get_env()


class Environment(metaclass=_EnvironmentType):
    """A read-only view of one `Config`; ``with`` makes it the current environment.

    Threads may share one. ``with`` changes the current environment of its own thread (or task)
    only; a new thread starts with the default environment.

    Parameters
    ----------
    config : Config, mapping, path, or None
        A configuration, its JSON object, or its path; None means what `Config.load` finds.

    Attributes
    ----------
    config : Config
    BATCH, BLOCK_IN, BLOCK_OUT : int
        The shape of a tile.
    {INP,WGT,ACC,OUT}_WIDTH : int
        Bits of a number; with `LOG_` before the name, the logarithm. Likewise `{UOP,…}_BUFF_SIZE`
        (bytes of a buffer) and `{UOP,…}_ELEM_BITS`, `_ELEM_BYTES` (of a tile).
    {inp,wgt,acc,out}_dtype : str
    {inp,wgt,acc}_scope : str
        On-chip buffers, for `set_scope`.
    dma_copy, alu : str
        Keys for `pragma`.
    """

    DEBUG_DUMP_INSN: ClassVar[int] = 2
    DEBUG_DUMP_UOP: ClassVar[int] = 4
    MAX_XFER: ClassVar[int] = 1 << 22
    """The largest transfer, in bytes, that scripts should request at once."""

    inp_scope: ClassVar[str] = "local.inp_buffer"
    wgt_scope: ClassVar[str] = "local.wgt_buffer"
    acc_scope: ClassVar[str] = "local.acc_buffer"
    dma_copy: ClassVar[str] = "dma_copy"
    alu: ClassVar[str] = "alu"
    dev: ClassVar[type[DevConstants]] = DevConstants

    def __init__(
        self, config: Config | Mapping[str, Any] | str | os.PathLike[str] | None = None
    ) -> None:
        if isinstance(config, Config):
            self.config = config
        elif isinstance(config, Mapping):
            self.config = Config.from_dict(dict(config))
        else:
            self.config = Config.load(config)
        vars(self).update(_sizes(self.config))
        self._complete = True

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(self, "_complete"):
            raise ReadOnlyError(
                f"env.{name} cannot be set, because an environment is a view of one configuration; "
                "make another with vta.Environment({...}), or change the configuration file"
            )
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        """Raises for an unknown name; the sizes are plain attributes and do not come here."""
        near = difflib.get_close_matches(name, vars(self), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise AttributeError(f"an environment has no {name!r}{hint}")

    @property
    def BITSTREAM(self) -> str:
        """A bitstream's name, such as 1x16_i8w8a32_15_15_18_17."""
        return self.config.bitstream

    @property
    def MODEL(self) -> str:
        return f"{self.TARGET}_{self.BITSTREAM}"

    @property
    def gemm(self) -> GemmIntrin:
        """The tensor intrinsic for `tensorize`: one tile's matrix product."""
        from vta.compiler.te.gemm_intrinsic import gemm

        return gemm

    @property
    def mock(self) -> MockEnvironment:
        """An environment whose `dma_copy`, `alu` and `gemm` leave that work out of a program.

        The rest of the program can then be timed alone; its results are meaningless.
        """
        return MockEnvironment(self.config)

    @property
    def cfg_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return self.config.to_dict()

    @property
    def target_host(self) -> Target:
        return Target("cpu")

    @property
    def target(self) -> Target:
        """The target that `vta.build` compiles for."""
        return Target("ext_dev", host=self.target_host)

    def __enter__(self) -> Environment:
        _entered.set((*_entered.get(), self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _entered.set(_entered.get()[:-1])

    def __repr__(self) -> str:
        return f"Environment({self.MODEL})"


class MockEnvironment(Environment):
    """`env.mock`: stages that are scheduled with its `dma_copy`, `alu` or `gemm` do nothing."""

    dma_copy: ClassVar[str] = "skip_dma_copy"
    alu: ClassVar[str] = "skip_alu"

    @property
    def gemm(self) -> GemmIntrin:
        from vta.compiler.te.gemm_intrinsic import GemmIntrin

        return GemmIntrin(mock=True)


_entered: ContextVar[tuple[Environment, ...]] = ContextVar("vta_environments", default=())
_default: dict[str, Environment] = {}


def get_env() -> Environment:
    """The current environment: the innermost ``with Environment(...)``, else the default.

    The default is read from the configuration file once, and again if ``$VTA_CONFIG`` changes.
    """
    if entered := _entered.get():
        return entered[-1]
    key = os.environ.get("VTA_CONFIG", "")
    if key not in _default:
        # If two threads come here first at the same time, both get the same object.
        _default.setdefault(key, Environment())
    return _default[key]


check_calls("", globals(), __all__)
