"""A machine with a few instructions' worth of comfort, for tests of the simulators."""

from __future__ import annotations

import numpy as np

from vta.config import PRESETS
from vta.isa import AluOp, Isa, MemoryType, Opcode, pack_qnt
from vta.sim.functional.functional_machine import FunctionalMachine
from vta.sim.memory import Memory

INSN_ADDR = 0x0100_0000
BASE = {"uop": 0x10_0000, "inp": 0x20_0000, "wgt": 0x40_0000, "acc": 0x80_0000, "out": 0xC0_0000}


class Bench:
    """A functional machine, its memory, and short names for its instructions."""

    def __init__(self, config=PRESETS["default"], *, seed=0):
        self.config = config
        self.isa = Isa(config)
        self.memory = Memory(config.addr_width)
        self.machine = FunctionalMachine(config, self.memory, seed=seed)
        self.lanes = config.batch * config.block

    # -- instructions ----------------------------------------------------------------------------

    def load(self, memory, *, sram=0, dram=0, y=1, x=1, stride=None, pads=(0, 0, 0, 0), **more):
        return self._transfer(Opcode.LOAD, memory, sram, dram, y, x, stride, pads, more)

    def store(
        self,
        memory=MemoryType.OUT,
        *,
        sram=0,
        dram=0,
        y=1,
        x=1,
        stride=None,
        pads=(0, 0, 0, 0),
        **more,
    ):
        return self._transfer(Opcode.STORE, memory, sram, dram, y, x, stride, pads, more)

    def _transfer(self, opcode, memory, sram, dram, y, x, stride, pads, more):
        return self.isa.mem.pack(
            opcode=opcode,
            memory_type=memory,
            sram_base=sram,
            dram_base=dram,
            y_size=y,
            x_size=x,
            x_stride=x if stride is None else stride,
            y_pad_0=pads[0],
            y_pad_1=pads[1],
            x_pad_0=pads[2],
            x_pad_1=pads[3],
            **more,
        )

    def gemm(self, *, uops=(0, 1), iters=(1, 1), dst=(0, 0), src=(0, 0), wgt=(0, 0), **more):
        return self.isa.gemm.pack(
            opcode=Opcode.GEMM,
            uop_bgn=uops[0],
            uop_end=uops[1],
            iter_out=iters[0],
            iter_in=iters[1],
            dst_factor_out=dst[0],
            dst_factor_in=dst[1],
            src_factor_out=src[0],
            src_factor_in=src[1],
            wgt_factor_out=wgt[0],
            wgt_factor_in=wgt[1],
            **more,
        )

    def alu(self, op, *, uops=(0, 1), iters=(1, 1), dst=(0, 0), src=(0, 0), imm=None, **more):
        return self.isa.alu.pack(
            opcode=Opcode.ALU,
            alu_opcode=op,
            uop_bgn=uops[0],
            uop_end=uops[1],
            iter_out=iters[0],
            iter_in=iters[1],
            dst_factor_out=dst[0],
            dst_factor_in=dst[1],
            src_factor_out=src[0],
            src_factor_in=src[1],
            use_imm=imm is not None,
            imm=imm or 0,
            **more,
        )

    def qnt(self, *, zero_point=0, lower=-128, **loops):
        word = self.alu(AluOp.QNT, **loops)
        return word | self.isa.alu.pack(imm=pack_qnt(zero_point, lower))

    def finish(self, **more):
        return self.isa.common.pack(opcode=Opcode.FINISH, **more)

    def nop(self, module="compute", **tokens):
        """A transfer of nothing."""
        if module == "store":
            return self.store(y=0, x=0, **tokens)
        memory = MemoryType.INP if module == "load" else MemoryType.UOP
        return self.load(memory, y=0, x=0, **tokens)

    # -- memory and buffers ----------------------------------------------------------------------

    def put(self, name, array, elem=0):
        """`array` in memory at element `elem` of a base register's memory."""
        self.memory.write(
            BASE[name] + elem * self.config.elem_bytes(MemoryType[name.upper()]), np.asarray(array)
        )

    def put_uops(self, *uops):
        """Micro-ops of (dst, src, wgt) at the start of UOP's memory, and in the buffer."""
        words = np.array(
            [self.isa.uop.pack(dst_idx=dst, src_idx=src, wgt_idx=wgt) for dst, src, wgt in uops],
            np.uint32,
        )
        self.put("uop", words)
        self.machine.datapath.uop[: len(words)] = words

    def out(self, count, elem=0):
        """`count` elements of OUT's memory, (count, lanes) int8."""
        raw = self.memory.read(
            BASE["out"] + elem * self.config.out_elem_bytes, count * self.config.out_elem_bytes
        )
        return raw.view(np.int8).reshape(count, self.lanes)

    @property
    def acc(self):
        """The ACC buffer, (depth, lanes) int32."""
        return self.machine.datapath.acc

    @property
    def inp(self):
        return self.machine.datapath.inp

    @property
    def wgt(self):
        return self.machine.datapath.wgt

    # -- running ---------------------------------------------------------------------------------

    def run(self, *insns, base=BASE, addr=INSN_ADDR, count=None, **options):
        """The report of a run of exactly these instructions."""
        if insns:
            self.memory.write(addr, Isa.words(list(insns)))
        return self.machine.run(addr, len(insns) if count is None else count, base, **options)

    def ok(self, *insns, **options):
        """The report of a run of these instructions and FINISH, which must end well."""
        report = self.run(*insns, self.finish(), **options)
        assert report.fault is None, str(report.fault)
        return report

    def fault(self, *insns, **options):
        """The fault with which these instructions and FINISH must end."""
        report = self.run(*insns, self.finish(), **options)
        assert report.fault is not None
        return report.fault


def wrap(value):
    """A whole number of any size as 32 bits two's complement."""
    return (value + 2**31) % 2**32 - 2**31


def alu_reference(op, left, right):
    """The ALU of docs/isa.md on plain numbers."""
    if op == 0:
        return min(left, right)
    if op == 1:
        return max(left, right)
    if op == 2:
        return wrap(left + right)
    if op == 4:
        return wrap(left * right)
    if right >= 0:
        return left >> min(right, 31)
    return wrap(left << -right) if -right < 32 else 0
