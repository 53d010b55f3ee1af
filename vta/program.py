"""`Program`: the compiler's output, which simulators and devices run, and its file format.

A program is plain data: instructions with DRAM addresses relative to named buffers, the buffers,
and the configuration it was made for. Its file is an ``.npz`` of plain arrays with a JSON manifest
and without pickles, so it is safe to load a file from an untrusted source.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from vta.archive import read_npz
from vta.config import Config
from vta.errors import ConfigError, ProgramError
from vta.files import replacing
from vta.isa import INSN_BYTES, Isa, MemoryType, Opcode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["FORMAT", "STAT_KEYS", "DramBuffer", "Program", "RunReport"]

FORMAT = "vta-program"
VERSION = 1

ROLES = ("input", "output", "temp", "const")

STAT_KEYS = (
    "load_insns",
    "compute_insns",
    "store_insns",
    "uop_load_nbytes",
    "inp_load_nbytes",
    "wgt_load_nbytes",
    "acc_load_nbytes",
    "out_store_nbytes",
    "gemm_counter",
    "reset_counter",
    "alu_counter",
)
"""What `RunReport.stats` counts."""

# Invalid places, in elements, which no buffer can have.
_MISALIGNED = -1
_BEYOND = 1 << 60


@dataclass(frozen=True, kw_only=True)
class DramBuffer:
    """An array in DRAM, contiguous and row-major.

    `role` is ``input`` or ``output`` for an argument of the program, ``temp`` for scratch memory,
    and ``const`` for data that comes with the program (`data`, uint8, is the array's bytes).
    """

    name: str
    role: str
    shape: tuple[int, ...]
    dtype: str
    data: NDArray[np.uint8] | None = None

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, kw_only=True)
class Program:
    """A compiled program. It is immutable, and threads may share it.

    Attributes
    ----------
    name : str
    config : Config
        The configuration that it was compiled for.
    insns : (n, 2) uint64
        The instruction stream. `dram_base` of each LOAD and STORE counts elements from its
        buffer's start.
    refs : (n,) int32
        The buffer that each instruction reads or writes, as an index into `buffers`; -1 for none.
    buffers : tuple of DramBuffer
        The arguments in the order of the call, then temporaries and constants (micro-ops).
    """

    name: str
    config: Config
    insns: NDArray[np.uint64]
    refs: NDArray[np.int32]
    buffers: tuple[DramBuffer, ...]

    def __post_init__(self) -> None:
        if self.insns.ndim != 2 or self.insns.shape[1] != 2 or self.insns.dtype != np.uint64:
            raise ProgramError(
                f"insns must be (n, 2) uint64, not {self.insns.shape} {self.insns.dtype}"
            )
        if self.refs.shape != (len(self.insns),):
            raise ProgramError(
                f"refs must be one number for each of {len(self.insns)} "
                f"instructions, not {self.refs.shape}"
            )
        if self.refs.size and not (self.refs.min() >= -1 and self.refs.max() < len(self.buffers)):
            raise ProgramError(f"refs must be -1 to {len(self.buffers) - 1}")
        for buffer in self.buffers:
            if any(size < 0 for size in buffer.shape):
                raise ProgramError(
                    f"buffer {buffer.name}: shape must be sizes of 0 or more, not {buffer.shape}"
                )
            if buffer.role not in ROLES:
                raise ProgramError(
                    f"buffer {buffer.name}: role must be one of {', '.join(ROLES)}, "
                    f"not {buffer.role!r}"
                )
            if buffer.role == "const" and (
                buffer.data is None
                or buffer.data.dtype != np.uint8
                or buffer.data.shape != (buffer.nbytes,)
            ):
                raise ProgramError(f"buffer {buffer.name}: data must be {buffer.nbytes} bytes")

    @property
    def args(self) -> tuple[DramBuffer, ...]:
        """The buffers of the arguments of a call, in order."""
        return tuple(buffer for buffer in self.buffers if buffer.role in ("input", "output"))

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of everything that decides what the program does."""
        digest = hashlib.sha256(json.dumps(self._manifest(), sort_keys=True).encode())
        digest.update(self.insns.astype("<u8").tobytes())
        digest.update(self.refs.astype("<i4").tobytes())
        for buffer in self.buffers:
            if buffer.data is not None:
                digest.update(buffer.data.tobytes())
        return digest.hexdigest()

    def link(self, addresses: Mapping[str, int]) -> NDArray[np.uint64]:
        """The stream for base registers of 0, with each buffer at its byte address.

        Raises
        ------
        ProgramError
            If an address is not a multiple of the element's bytes, or too high for `dram_base`.
        """
        isa, linked = Isa(self.config), self.insns.copy()
        where = np.flatnonzero(self.refs >= 0)
        fields = isa.mem.unpack_array(linked[where])
        refs, memory = self.refs[where], fields["memory_type"]
        foreign = (fields["opcode"] != Opcode.LOAD) & (fields["opcode"] != Opcode.STORE)
        unknown = memory > MemoryType.ACC_8BIT
        # Where each buffer lies, in elements of each memory; BEYOND or MISALIGNED if it cannot.
        starts = np.zeros((len(self.buffers), len(MemoryType)), np.int64)
        for index in np.unique(refs):
            starts[index] = self._starts(self.buffers[index], addresses)
        start = starts[refs, np.minimum(memory, MemoryType.ACC_8BIT)]
        base = start + fields["dram_base"]
        wrong = foreign | unknown | (start < 0) | (base > isa.mem.field("dram_base").max)
        if wrong.any():
            first = int(wrong.argmax())
            self._refuse(isa, int(where[first]), addresses, misaligned=start[first] == _MISALIGNED)
        offset = np.uint64(isa.mem.offset("dram_base"))
        mask = np.uint64(isa.mem.field("dram_base").max) << offset
        linked[where, 0] = (linked[where, 0] & ~mask) | (base.astype(np.uint64) << offset)
        return linked

    def _starts(self, buffer: DramBuffer, addresses: Mapping[str, int]) -> list[int]:
        """The place of a buffer, in elements of each memory type."""
        if buffer.name not in addresses:
            raise ProgramError(f"addresses must have buffer {buffer.name} of {self.name}")
        address = int(addresses[buffer.name])
        if not 0 <= address < _BEYOND:
            return [_BEYOND] * len(MemoryType)
        starts = []
        for memory in MemoryType:
            start, rest = divmod(address, self.config.elem_bytes(memory))
            starts.append(_MISALIGNED if rest else start)
        return starts

    def _refuse(
        self, isa: Isa, index: int, addresses: Mapping[str, int], *, misaligned: bool
    ) -> NoReturn:
        """Raises an error that says why instruction `index` cannot be linked."""
        low, high = (int(word) for word in self.insns[index])
        insn = isa.decode(low | high << 64, index)
        if insn.opcode not in (Opcode.LOAD, Opcode.STORE):
            raise ProgramError(f"instruction {index} ({insn}) cannot refer to a buffer")
        if insn.memory_type > MemoryType.ACC_8BIT:
            raise ProgramError(f"instruction {index} ({insn}) is of a memory that does not exist")
        buffer = self.buffers[self.refs[index]]
        address = addresses[buffer.name]
        if misaligned:
            elem = self.config.elem_bytes(MemoryType(insn.memory_type))
            raise ProgramError(
                f"buffer {buffer.name} must lie at a multiple of {elem} bytes, not {address:#x}"
            )
        raise ProgramError(
            f"buffer {buffer.name} at {address:#x} is out of reach of dram_base's "
            f"{isa.mem.field('dram_base').bits} bits"
        )

    # -- file ------------------------------------------------------------------------------------

    def _manifest(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "config": self.config.to_dict(),
            "buffers": [
                {
                    "name": buffer.name,
                    "role": buffer.role,
                    "shape": list(buffer.shape),
                    "dtype": buffer.dtype,
                }
                for buffer in self.buffers
            ],
        }

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """What a file has beside the manifest."""
        arrays: dict[str, NDArray[Any]] = {
            f"buffer_{index}": buffer.data
            for index, buffer in enumerate(self.buffers)
            if buffer.data is not None
        }
        return arrays | {"insns": self.insns.astype("<u8"), "refs": self.refs.astype("<i4")}

    def to_parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """The program as a JSON object and plain arrays, for a file that has several."""
        return self._manifest(), self._arrays()

    @classmethod
    def from_parts(cls, manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Program:
        """The reverse of `to_parts`.

        Raises
        ------
        ProgramError
            If the parts are damaged.
        """
        try:
            buffers = tuple(
                DramBuffer(
                    name=str(item["name"]),
                    role=item["role"],
                    shape=tuple(int(size) for size in item["shape"]),
                    dtype=np.dtype(item["dtype"]).name,
                    data=arrays.get(f"buffer_{index}"),
                )
                for index, item in enumerate(manifest["buffers"])
            )
            for name in ("insns", "refs"):
                if arrays[name].dtype.kind not in "iu":
                    raise ProgramError(f"{name} must be whole numbers, not {arrays[name].dtype}")
            return cls(
                name=str(manifest["name"]),
                config=Config.from_dict(manifest["config"]),
                insns=arrays["insns"].astype(np.uint64),
                refs=arrays["refs"].astype(np.int32),
                buffers=buffers,
            )
        except ConfigError as error:
            raise ProgramError(str(error)) from None
        except ProgramError:
            raise
        except (KeyError, TypeError, ValueError, OverflowError, SyntaxError) as error:
            # Numpy raises a syntax error for some texts that are not a dtype.
            raise ProgramError(f"damaged program file ({error!r})") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the file atomically; the content does not depend on the name's suffix."""
        manifest = json.dumps(self._manifest()).encode()
        with replacing(path) as partial, open(partial, "wb") as file:
            np.savez_compressed(
                file,
                allow_pickle=False,
                manifest=np.frombuffer(manifest, np.uint8),
                **self._arrays(),
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Program:
        """The program in a file.

        Raises
        ------
        ProgramError
            If the file is missing, truncated, of another kind, or of a later version.
        """
        manifest, arrays = read_npz(path, FORMAT, VERSION, ProgramError)
        try:
            return cls.from_parts(manifest, arrays)
        except ProgramError as error:
            raise ProgramError(f"{path}: {error}") from None

    @property
    def nbytes(self) -> int:
        """Bytes of the instruction stream."""
        return len(self.insns) * INSN_BYTES


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """The report of a run, the same for all machines.

    `stats` has the counters that the ISA defines, `STAT_KEYS`, so both simulators agree on them:
    ``{load,compute,store}_insns``, ``{uop,inp,wgt,acc}_load_nbytes``, ``out_store_nbytes`` (bytes
    actually moved by retired instructions), ``gemm_counter``, ``reset_counter``, ``alu_counter``
    (tiles). `cycles` is None if the machine has no clock. `seconds` is the time that a board took,
    measured on the board; None for a simulator.
    """

    target: str
    instructions: int
    stats: Mapping[str, int]
    cycles: int | None = None
    fault: Any = None
    counters: Mapping[str, int] = dataclasses.field(default_factory=dict)
    seconds: float | None = None
