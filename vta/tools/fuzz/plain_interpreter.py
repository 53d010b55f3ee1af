"""A third reading of docs/isa.md: instructions one after the other, nothing else.

No queues, no tokens, no checks, no speed: a legal program without races means what its instructions
do in an order that its tokens allow. Only the decoding is shared with what it is compared with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from vta.config import Config
from vta.isa import AluOp, Insn, Isa, MemoryType, Opcode

PAGE = 4096

ADDRESSED = {
    MemoryType.UOP: "uop",
    MemoryType.WGT: "wgt",
    MemoryType.INP: "inp",
    MemoryType.ACC: "acc",
    MemoryType.OUT: "out",
    MemoryType.ACC_8BIT: "acc",
}


class PlainInterpreter:
    """Buffers, memory and statistics of a machine of `config`, from power-on.

    Attributes
    ----------
    uop : (uop_depth,) uint32
    inp : (inp_depth, batch, block) int8
    wgt : (wgt_depth, block, block) int8
    acc : (acc_depth, batch, block) int32
    pages : dict of int to (4096,) uint8
        Memory, as far as it was touched.
    stats : dict of str to int
        As `vta.program.RunReport.stats`, of the run.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.isa = Isa(config)
        self.uop: NDArray[np.uint32] = np.zeros(config.uop_depth, np.uint32)
        self.inp: NDArray[np.int8] = np.zeros(
            (config.inp_depth, config.batch, config.block), np.int8
        )
        self.wgt: NDArray[np.int8] = np.zeros(
            (config.wgt_depth, config.block, config.block), np.int8
        )
        self.acc: NDArray[np.int32] = np.zeros(
            (config.acc_depth, config.batch, config.block), np.int32
        )
        self.pages: dict[int, NDArray[np.uint8]] = {}
        self.stats: dict[str, int] = {}

    # -- memory ----------------------------------------------------------------------------------

    def page(self, number: int) -> NDArray[np.uint8]:
        return self.pages.setdefault(number, np.zeros(PAGE, np.uint8))

    def read(self, addr: int, nbytes: int) -> NDArray[np.uint8]:
        return np.concatenate(
            [self.page(number)[low:high] for number, low, high in _pieces(addr, nbytes)]
        )

    def write(self, addr: int, data: NDArray[np.uint8]) -> None:
        done = 0
        for number, low, high in _pieces(addr, len(data)):
            self.page(number)[low:high] = data[done : done + high - low]
            done += high - low

    # -- instructions ----------------------------------------------------------------------------

    def run(self, words: Sequence[int], base: dict[str, int]) -> None:
        """Executes 128-bit instructions in the order given."""
        self.stats = dict.fromkeys(
            (
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
            ),
            0,
        )
        for word in words:
            insn = self.isa.decode(word)
            self.stats[f"{insn.module.name.lower()}_insns"] += 1
            if insn.opcode == Opcode.LOAD and insn.x_size:
                self.load(insn, base)
            elif insn.opcode == Opcode.STORE and insn.x_size and insn.y_size:
                self.store(insn, base)
            elif insn.opcode == Opcode.GEMM:
                self.gemm(insn)
            elif insn.opcode == Opcode.ALU:
                self.alu(insn)

    def load(self, insn: Insn, base: dict[str, int]) -> None:
        memory = MemoryType(insn.memory_type)
        name = ADDRESSED[memory]
        buffer = getattr(self, name)
        nbytes = self.config.elem_bytes(memory)
        in_dram = {MemoryType.UOP: "<u4", MemoryType.ACC: "<i4"}.get(memory, "i1")
        place = insn.sram_base
        width = insn.x_pad_0 + insn.x_size + insn.x_pad_1
        for row in range(-insn.y_pad_0, insn.y_size + insn.y_pad_1):
            buffer[place : place + width] = self.padding(memory) if self.pad_min(insn) else 0
            if 0 <= row < insn.y_size:
                first = insn.dram_base + row * insn.x_stride
                line = self.read(base[name] + first * nbytes, insn.x_size * nbytes)
                buffer[place + insn.x_pad_0 : place + insn.x_pad_0 + insn.x_size] = line.view(
                    in_dram
                ).reshape(insn.x_size, *buffer.shape[1:])
            place += width
        self.stats[f"{name}_load_nbytes"] += insn.y_size * insn.x_size * nbytes

    @staticmethod
    def pad_min(insn: Insn) -> int:
        return insn.values.get("pad_min", 0)

    @staticmethod
    def padding(memory: MemoryType) -> int:
        """What `pad_min` puts into padding."""
        return {MemoryType.UOP: 0, MemoryType.ACC: -(2**31)}.get(memory, -128)

    def store(self, insn: Insn, base: dict[str, int]) -> None:
        nbytes = self.config.out_elem_bytes
        low = (self.acc & 0xFF).astype(np.uint8)
        for row in range(insn.y_size):
            first = insn.sram_base + row * insn.x_size
            addr = base["out"] + (insn.dram_base + row * insn.x_stride) * nbytes
            self.write(addr, low[first : first + insn.x_size].reshape(-1))
        self.stats["out_store_nbytes"] += insn.y_size * insn.x_size * nbytes

    def iterations(self, insn: Insn) -> Iterator[tuple[dict[str, int], int, int]]:
        """(uop fields, i_out, i_in) of each iteration."""
        for i_out in range(insn.iter_out):
            for i_in in range(insn.iter_in):
                for place in range(insn.uop_bgn, insn.uop_end):
                    yield self.isa.uop.unpack(int(self.uop[place])), i_out, i_in

    def gemm(self, insn: Insn) -> None:
        for uop, i_out, i_in in self.iterations(insn):
            dst = uop["dst_idx"] + i_out * insn.dst_factor_out + i_in * insn.dst_factor_in
            if insn.reset:
                self.acc[dst] = 0
                self.stats["reset_counter"] += 1
                continue
            src = uop["src_idx"] + i_out * insn.src_factor_out + i_in * insn.src_factor_in
            wgt = uop["wgt_idx"] + i_out * insn.wgt_factor_out + i_in * insn.wgt_factor_in
            product = self.inp[src].astype(np.int64) @ self.wgt[wgt].astype(np.int64).T
            self.acc[dst] = _wrap(self.acc[dst] + product)
            self.stats["gemm_counter"] += 1

    def alu(self, insn: Insn) -> None:
        for uop, i_out, i_in in self.iterations(insn):
            dst = uop["dst_idx"] + i_out * insn.dst_factor_out + i_in * insn.dst_factor_in
            left = self.acc[dst].astype(np.int64)
            if insn.use_imm:
                right = np.full_like(left, insn.imm)
            else:
                src = uop["src_idx"] + i_out * insn.src_factor_out + i_in * insn.src_factor_in
                right = self.acc[src].astype(np.int64)
            if insn.alu_opcode == AluOp.QNT:
                numbers = zip(left.reshape(-1).tolist(), right.reshape(-1).tolist(), strict=True)
                result = [requantise(acc, scale, insn.imm) for acc, scale in numbers]
                self.acc[dst] = np.array(result, np.int32).reshape(left.shape)
            else:
                self.acc[dst] = _wrap(_operate(insn.alu_opcode, left, right))
            self.stats["alu_counter"] += 1


def _operate(op: int, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    if op == AluOp.MIN:
        return np.minimum(left, right)
    if op == AluOp.MAX:
        return np.maximum(left, right)
    if op == AluOp.ADD:
        return left + right
    if op == AluOp.MUL:
        return left * right
    if op == AluOp.MOV:
        return right
    shifted_right = left >> np.clip(right, 0, 31)
    shifted_left = np.where(right <= -32, 0, left << np.clip(-right, 0, 31))
    return np.where(right >= 0, shifted_right, shifted_left)


def requantise(acc: int, scale: int, imm: int) -> int:
    """QNT of one number, in whole numbers and fractions: no floating point.

    `acc` and `scale` are int32; the bits of `scale` are those of a binary32 number.
    """
    low, lower = imm & 0xFF, imm >> 8
    zero_point = low - 256 if low >= 128 else low
    bits = scale % 2**32
    exponent, mantissa = bits >> 23 & 0xFF, bits & 0x7F_FFFF
    if exponent == 0 or acc == 0:
        rounded = 0
    else:
        magnitude = Fraction(2**23 + mantissa) * Fraction(2) ** (exponent - 150)
        product = _to_24_bits(_to_24_bits(Fraction(abs(acc))) * magnitude)
        rounded = round(product)  # ties to even
        if (acc < 0) != (bits >= 2**31):
            rounded = -rounded
    return max(lower, min(127, rounded + zero_point))


def _to_24_bits(value: Fraction) -> Fraction:
    """A positive number with 24 significant bits, to nearest, ties to even."""
    exponent = math.floor(math.log2(value)) - 23
    # log2 may be off by one at powers of two.
    while value / Fraction(2) ** exponent >= 2**24:
        exponent += 1
    while value / Fraction(2) ** exponent < 2**23:
        exponent -= 1
    return round(value / Fraction(2) ** exponent) * Fraction(2) ** exponent


def _wrap(values: NDArray[np.int64]) -> NDArray[np.int32]:
    """int64 to the int32 that has the same low bits."""
    return ((values + 2**31) % 2**32 - 2**31).astype(np.int32)


def _pieces(addr: int, nbytes: int) -> Iterator[tuple[int, int, int]]:
    """(page, first byte, end) of a range."""
    while nbytes:
        number, low = divmod(addr, PAGE)
        part = min(nbytes, PAGE - low)
        yield number, low, low + part
        addr, nbytes = addr + part, nbytes - part
