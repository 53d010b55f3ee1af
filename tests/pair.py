"""Both simulators side by side, as `tests.bench.Bench` is for one."""

from __future__ import annotations

import numpy as np

from tests.bench import BASE, INSN_ADDR, Bench
from vta.config import PRESETS
from vta.driver.verilog_cache import simulated_verilog
from vta.isa import AluOp, Isa, MemoryType
from vta.sim.memory import Memory
from vta.sim.rtl.memory_model import MemoryModel
from vta.sim.rtl.rtl_machine import RtlMachine


class Pair(Bench):
    """Runs everything on a functional machine and on the RTL, which must report the same."""

    def __init__(self, config=PRESETS["tiny"], *, model=None, rtl_memory_end=None):
        super().__init__(config)
        self.rtl_memory = Memory(config.addr_width)
        self.rtl_memory.end = rtl_memory_end or self.rtl_memory.size
        self.rtl = RtlMachine(
            config, simulated_verilog(config), self.rtl_memory, model=model or MemoryModel()
        )

    def close(self):
        self.rtl.close()
        self.rtl_memory.close()
        self.memory.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def put(self, name, array, elem=0):
        super().put(name, array, elem)
        addr = BASE[name] + elem * self.config.elem_bytes(MemoryType[name.upper()])
        self.rtl_memory.write(addr, np.asarray(array))

    def uops(self, *uops, sram=0, dram=0, **tokens):
        """Micro-ops of (dst, src, wgt) in memory; the instruction that loads them."""
        self.put(
            "uop",
            np.array(
                [
                    self.isa.uop.pack(dst_idx=dst, src_idx=src, wgt_idx=wgt)
                    for dst, src, wgt in uops
                ],
                np.uint32,
            ),
            elem=dram,
        )
        return self.load(MemoryType.UOP, sram=sram, dram=dram, x=len(uops), **tokens)

    def out(self, count, elem=0):
        """`count` elements of OUT's memory, where both must have stored the same."""
        nbytes = self.config.out_elem_bytes
        found = self.rtl_memory.read(BASE["out"] + elem * nbytes, count * nbytes)
        functional = super().out(count, elem)
        np.testing.assert_array_equal(found.view(np.int8).reshape(functional.shape), functional)
        return functional

    def run(self, *insns, base=BASE, addr=INSN_ADDR, count=None, **options):
        """The RTL's report of a run of exactly these instructions."""
        count = len(insns) if count is None else count
        if insns:
            for memory in (self.memory, self.rtl_memory):
                memory.write(addr, Isa.words(list(insns)))
        expected = self.machine.run(addr, count, base, **options)
        report = self.rtl.run(addr, count, base, **options)
        assert _summary(report.fault) == _summary(expected.fault)
        assert dict(report.stats) == dict(expected.stats)
        assert report.instructions == expected.instructions
        return report

    def reset(self):
        self.machine.reset()
        self.rtl.reset()

    def check(self):
        """A small program must run well: values that a LOAD brings, and five more."""
        values = np.arange(3 * self.lanes, dtype=np.int32).reshape(3, -1) * 3 - 50
        self.put("acc", values, elem=40)
        self.put("out", np.full((3, self.lanes), 0x55, np.int8), elem=90)
        first = self.config.acc_depth - 3
        self.ok(
            self.uops((first, 0, 0), dram=30),
            self.load(MemoryType.ACC, sram=first, dram=40, x=3),
            self.alu(AluOp.ADD, iters=(1, 3), dst=(0, 1), imm=5, push_next=1),
            self.store(sram=first, dram=90, x=3, pop_prev=1),
        )
        np.testing.assert_array_equal(self.out(3, elem=90), (values + 5).astype(np.int8))


def _summary(fault):
    if fault is None:
        return None
    waiting = [
        (entry["module"], entry["insn_index"], entry["insn"], entry["token"])
        for entry in fault.waiting
    ]
    return fault.cause, fault.module, fault.insn_index, fault.insn, waiting
