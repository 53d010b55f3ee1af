"""The checks that an instruction passes before it waits for its tokens (docs/isa.md, "Errors").

The causes are checked in the order of the ISA. The indices of GEMM and ALU are checked in each
iteration, not here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vta.image import BASES
from vta.isa import INSN_BYTES, TOKEN_LINKS, AluOp, Cause, Isa, MemoryType, ModuleId, Opcode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vta.config import Config
    from vta.isa import Insn

__all__ = ["Checker", "StoppedError", "misaligned"]

PADS = ("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1")

FOREIGN = {
    module: tuple(
        (f"{verb}_{side}", side)
        for verb in ("pop", "push")
        for side in ("prev", "next")
        if (module, side) not in TOKEN_LINKS
    )
    for module in ModuleId
}
"""Of each module, the token flags for a neighbour that it does not have, in the order of bits."""

BASE_OF = {
    MemoryType.UOP: "uop",
    MemoryType.WGT: "wgt",
    MemoryType.INP: "inp",
    MemoryType.ACC: "acc",
    MemoryType.OUT: "out",
    MemoryType.ACC_8BIT: "acc",
}
"""The base register that each memory's DRAM addresses start from."""

LOADABLE = frozenset(MemoryType) - {MemoryType.OUT}


class StoppedError(Exception):
    """An instruction failed; `FunctionalMachine` turns this into a fault."""

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail


def misaligned(config: Config, insn_addr: int, base: Mapping[str, int]) -> str:
    """Describes the first pointer that launch refuses; empty if all are legal."""
    if insn_addr % INSN_BYTES:
        return (
            f"the instruction pointer must be a multiple of {INSN_BYTES} bytes, not {insn_addr:#x}"
        )
    for name in BASES:
        elem = config.elem_bytes(MemoryType[name.upper()])
        if base[name] % elem:
            return f"the {name} base must be a multiple of {elem} bytes, not {base[name]:#x}"
    return ""


class Checker:
    """The checks of one configuration, with the base registers of one launch."""

    def __init__(self, config: Config, base: Mapping[str, int]) -> None:
        self._isa = Isa(config)
        self._limit = 1 << config.addr_width
        self.depth = {memory: config.depth(memory) for memory in MemoryType}
        self.elem_bytes: dict[int, int] = {
            memory: config.elem_bytes(memory) for memory in MemoryType
        }
        self.base: dict[int, int] = {memory: base[BASE_OF[memory]] for memory in MemoryType}

    def check(self, insn: Insn, module: ModuleId) -> None:
        """Raises `StoppedError` for the first cause that `insn`, at the head of `module`, has."""
        opcode, values = insn.opcode, insn.values
        if opcode > Opcode.ALU:
            raise StoppedError(Cause.ILLEGAL_OPCODE, f"opcode {opcode} does not exist")
        for flag, side in FOREIGN[module]:
            if values[flag]:
                raise StoppedError(
                    Cause.ILLEGAL_TOKEN, f"{module.name.lower()} has no {side} module"
                )
        if opcode == Opcode.LOAD:
            self._check_load(values)
        elif opcode == Opcode.STORE:
            self._check_store(values)
        elif opcode == Opcode.ALU and not self._isa.is_alu_op(
            values["alu_opcode"], values["use_imm"]
        ):
            raise StoppedError(Cause.ILLEGAL_ALU_OPCODE, self._why(values["alu_opcode"]))

    def _why(self, alu_opcode: int) -> str:
        """Why an ALU operation is illegal."""
        if alu_opcode in self._isa.alu_ops:
            return f"{AluOp(alu_opcode).name} takes no immediate operand"
        if alu_opcode <= max(AluOp):
            return f"{AluOp(alu_opcode).name} needs HW_VER 0.0.3"
        return f"ALU opcode {alu_opcode} does not exist"

    def _check_load(self, values: Mapping[str, int]) -> None:
        if values["x_size"] == 0:
            return
        memory = values["memory_type"]
        if memory not in LOADABLE:
            raise StoppedError(Cause.ILLEGAL_MEMORY_TYPE, f"memory type {memory} cannot be loaded")
        count = (values["y_pad_0"] + values["y_size"] + values["y_pad_1"]) * (
            values["x_pad_0"] + values["x_size"] + values["x_pad_1"]
        )
        self._check_sram(memory, values["sram_base"], count)
        if values["y_size"]:
            self._check_dram(memory, values)

    def _check_store(self, values: Mapping[str, int]) -> None:
        if values["x_size"] == 0 or values["y_size"] == 0:
            return
        memory = values["memory_type"]
        if memory != MemoryType.OUT:
            raise StoppedError(
                Cause.ILLEGAL_MEMORY_TYPE, f"memory type {memory} cannot be stored, only OUT"
            )
        pads = [name for name in PADS if values[name]]
        if pads:
            raise StoppedError(
                Cause.ILLEGAL_PADDING, f"a STORE has no padding, but {pads[0]} is {values[pads[0]]}"
            )
        self._check_sram(memory, values["sram_base"], values["y_size"] * values["x_size"])
        self._check_dram(memory, values)

    def _check_sram(self, memory: int, first: int, count: int) -> None:
        depth = self.depth[MemoryType(memory)]
        if count and first + count > depth:
            raise StoppedError(
                Cause.SRAM_RANGE,
                f"elements {first} to {first + count - 1} of "
                f"{MemoryType(memory).name}, which has {depth}",
            )

    def _check_dram(self, memory: int, values: Mapping[str, int]) -> None:
        kind = MemoryType(memory)
        last = values["dram_base"] + (values["y_size"] - 1) * values["x_stride"] + values["x_size"]
        end = self.base[kind] + last * self.elem_bytes[kind]
        if end > self._limit:
            raise StoppedError(
                Cause.MEMORY_RESPONSE,
                f"bytes up to {end - 1:#x}, where memory ends at {self._limit - 1:#x}",
            )
