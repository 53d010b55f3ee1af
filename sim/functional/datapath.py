"""The on-chip buffers, and what each instruction does to them.

`Datapath` knows nothing of queues and tokens: it executes one checked instruction at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vta.isa import Cause, Isa, MemoryType, Opcode
from vta.program import STAT_KEYS
from vta.sim.functional import alu, gemm
from vta.sim.functional.insn_checks import StoppedError
from vta.sim.functional.iterations import Loops

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from vta.config import Config
    from vta.isa import Insn
    from vta.sim.functional.insn_checks import Checker
    from vta.sim.memory import Memory

__all__ = ["Datapath"]

LOADED: dict[int, str] = {
    MemoryType.UOP: "uop_load_nbytes",
    MemoryType.WGT: "wgt_load_nbytes",
    MemoryType.INP: "inp_load_nbytes",
    MemoryType.ACC: "acc_load_nbytes",
    MemoryType.ACC_8BIT: "acc_load_nbytes",
}

KEPT = 1 << 23
"""How many numbers of plans are kept: 64 MB."""

GEMM_TERMS = (("dst", "acc"), ("src", "inp"), ("wgt", "wgt"))
RESET_TERMS = GEMM_TERMS[:1]
ALU_TERMS = (("dst", "acc"), ("src", "acc"))
IMMEDIATE_TERMS = ALU_TERMS[:1]


class _Plans:
    """What was found out about instructions that programs repeat, up to `KEPT` numbers of it.

    Only instructions that keep to their buffers have an entry.
    """

    def __init__(self) -> None:
        self._plans: dict[tuple[object, ...], Any] = {}
        self._size = 0

    def get(self, key: tuple[object, ...]) -> Any:
        return self._plans.get(key)

    def keep(self, key: tuple[object, ...], plan: Any, size: int) -> None:
        if self._size + size > KEPT:
            self._plans.clear()
            self._size = 0
        self._plans[key] = plan
        self._size += size


class Datapath:
    """Buffers and execution.

    Attributes
    ----------
    uop : (uop_depth,) uint32
    inp : (inp_depth, batch, block) float32
    wgt : (wgt_depth, block, block) float32
        Whole numbers, kept in the type that `vta.sim.functional.gemm` multiplies.
    acc : (acc_depth, batch * block) int32
        OUT is not kept: it is ACC's low bits by definition.
    stats : dict of str to int
        Counts of the run so far, by `STAT_KEYS`. `execute` counts tiles; `retire` counts
        bytes; the machine counts instructions.
    spend : function of int
        Called with a number of tiles or elements before they are computed or moved; it raises an
        error to stop the run there.
    """

    def __init__(self, config: Config, memory: Memory, spend: Callable[[int], None]) -> None:
        batch, block = config.batch, config.block
        self.uop = np.zeros(config.uop_depth, np.uint32)
        self.inp = np.zeros((config.inp_depth, batch, block), np.float32)
        self.wgt = np.zeros((config.wgt_depth, block, block), np.float32)
        self.acc = np.zeros((config.acc_depth, batch * block), np.int32)
        self.stats: dict[str, int] = dict.fromkeys(STAT_KEYS, 0)
        self._memory = memory
        self._spend = spend
        self._loops = Loops(Isa(config), self.uop)
        self._plans = _Plans()
        # For each memory type: what LOAD writes, one row per element, and the dtype in DRAM.
        acc, inp = self.acc, self.inp.reshape(len(self.inp), -1)
        self._loadable: dict[int, tuple[NDArray[np.generic], str]] = {
            MemoryType.UOP: (self.uop.reshape(-1, 1), "<u4"),
            MemoryType.WGT: (self.wgt.reshape(len(self.wgt), -1), "i1"),
            MemoryType.INP: (inp, "i1"),
            MemoryType.ACC: (acc, "<i4"),
            MemoryType.ACC_8BIT: (acc, "i1"),
        }
        self._least = dict.fromkeys(MemoryType, -128) | {
            MemoryType.UOP: 0,
            MemoryType.ACC: -(1 << 31),
        }
        """What `pad_min` fills padding with."""

    def execute(self, insn: Insn, checker: Checker) -> None:
        """Executes the instruction, apart from its tokens.

        Raises
        ------
        StoppedError
            An index is out of range, memory answers with an error, or `spend` stops the run;
            everything before that is done.
        """
        values = insn.values
        if insn.opcode == Opcode.LOAD:
            if values["x_size"]:
                self._load(values, checker)
        elif insn.opcode == Opcode.STORE:
            if values["x_size"] and values["y_size"]:
                self._store(values, checker)
        elif insn.opcode == Opcode.GEMM:
            self._gemm(values)
        elif insn.opcode == Opcode.ALU:
            self._alu(values)

    def retire(self, insn: Insn, checker: Checker) -> None:
        """Counts the bytes that the instruction moved."""
        values = insn.values
        if insn.opcode == Opcode.LOAD and values["x_size"]:
            memory = values["memory_type"]
            self.stats[LOADED[memory]] += (
                values["y_size"] * values["x_size"] * checker.elem_bytes[memory]
            )
        elif insn.opcode == Opcode.STORE:
            self.stats["out_store_nbytes"] += (
                values["y_size"] * values["x_size"] * checker.elem_bytes[MemoryType.OUT]
            )

    # -- transfers -------------------------------------------------------------------------------

    def _dram(
        self, values: Mapping[str, int], checker: Checker, dtype: str, lanes: int
    ) -> tuple[NDArray[np.generic], int, int]:
        """The transfer's (y_size, x_size, lanes) view of memory, its address and its row pitch."""
        memory = values["memory_type"]
        elem = checker.elem_bytes[memory]
        addr = checker.base[memory] + values["dram_base"] * elem
        pitch = values["x_stride"] * elem
        end = addr + (values["y_size"] - 1) * pitch + values["x_size"] * elem
        if end > self._memory.end:
            raise StoppedError(
                Cause.MEMORY_RESPONSE,
                f"bytes up to {end - 1:#x}, where memory ends at {self._memory.end - 1:#x}",
            )
        view: NDArray[np.generic] = np.ndarray(
            (values["y_size"], values["x_size"], lanes),
            dtype,
            self._memory.array,
            addr,
            (pitch, elem, np.dtype(dtype).itemsize),
        )
        return view, addr, pitch

    def _load(self, values: Mapping[str, int], checker: Checker) -> None:
        buffer, dtype = self._loadable[values["memory_type"]]
        rows, columns = values["y_size"], values["x_size"]
        top, left = values["y_pad_0"], values["x_pad_0"]
        height = top + rows + values["y_pad_1"]
        width = left + columns + values["x_pad_1"]
        self._spend(height * width)
        first = values["sram_base"]
        tile = buffer[first : first + height * width].reshape(height, width, buffer.shape[1])
        if height * width != rows * columns:
            least = self._least[MemoryType(values["memory_type"])]
            tile[...] = least if values.get("pad_min") else 0
        if rows:
            source, _, _ = self._dram(values, checker, dtype, buffer.shape[1])
            tile[top : top + rows, left : left + columns] = source

    def _store(self, values: Mapping[str, int], checker: Checker) -> None:
        rows, columns = values["y_size"], values["x_size"]
        self._spend(rows * columns)
        first = values["sram_base"]
        # Narrowing keeps the low bits, whichever instruction wrote them.
        out = self.acc[first : first + rows * columns].astype(np.int8)
        target, addr, pitch = self._dram(values, checker, "i1", out.shape[1])
        nbytes = columns * out.shape[1]
        lines = out.reshape(rows, columns, -1)
        if pitch >= nbytes or rows == 1:
            target[...] = lines
        else:
            # Where rows overlap, the later row wins.
            for row in range(rows):
                target[row] = lines[row]
        if pitch <= nbytes:
            self._memory.mark(addr, (rows - 1) * pitch + nbytes)
        else:
            for row in range(rows):
                self._memory.mark(addr + row * pitch, nbytes)

    # -- arithmetic ------------------------------------------------------------------------------

    def _gemm(self, values: Mapping[str, int]) -> None:
        reset = values["reset"]
        terms, counter = (RESET_TERMS, "reset_counter") if reset else (GEMM_TERMS, "gemm_counter")
        count = self._loops.count(values)
        if count == 1:
            dst, *sources = self._loops.single(values, terms)
            self._spend(1)
            if reset:
                self.acc[dst] = 0
            else:
                gemm.accumulate_one(self.acc, self.inp, self.wgt, dst, *sources)
            self.stats[counter] += 1
        elif count and reset:
            for block in self._loops.blocks(values, terms):
                self._spend(len(block[0]))
                self.acc[block[0]] = 0
                self.stats[counter] += len(block[0])
        elif count:
            key = ("gemm", *self._loops.key(values))
            if (known := self._plans.get(key)) is not None:
                self._spend(count)
                gemm.accumulate(self.acc, self.inp, self.wgt, known)
                self.stats[counter] += count
                return
            for block in self._loops.blocks(values, terms):
                self._spend(len(block[0]))
                planned = gemm.plan(block)
                gemm.accumulate(self.acc, self.inp, self.wgt, planned)
                self.stats[counter] += len(block[0])
                if len(block[0]) == count:
                    self._plans.keep(key, planned, planned.size)

    def _alu(self, values: Mapping[str, int]) -> None:
        terms = IMMEDIATE_TERMS if values["use_imm"] else ALU_TERMS
        op, imm = values["alu_opcode"], np.array([values["imm"]], np.int32)
        count = self._loops.count(values)
        if count == 1:
            dst, *source = self._loops.single(values, terms)
            self._spend(1)
            operand = self.acc[source[0]] if source else imm
            self.acc[dst] = alu.operate(op, self.acc[dst], operand, values["imm"])
            self.stats["alu_counter"] += 1
        elif count:
            key = (len(terms), *self._loops.key(values))
            if (known := self._plans.get(key)) is not None:
                self._spend(count)
                dst, sources = known
                right = imm if sources is None else self.acc[sources]
                self.acc[dst] = alu.operate(op, self.acc[dst], right, values["imm"])
                self.stats["alu_counter"] += count
                return
            for block in self._loops.blocks(values, terms):
                self._spend(len(block[0]))
                sources = block[1] if len(block) > 1 else None
                alu.execute(self.acc, op, block[0], sources, imm)
                self.stats["alu_counter"] += len(block[0])
                if len(block[0]) == count and alu.independent(len(self.acc), block[0], sources):
                    self._plans.keep(key, (block[0], sources), 2 * count)
