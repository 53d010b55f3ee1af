"""A bench of the compute module beside a plain model, and random programs for it."""

import numpy as np

from tests.hw.compute.test_execute import alu
from tests.hw.compute.test_lane_arithmetic import wrap
from tests.hw.memory import ReadMemory
from tests.hw.modules import ModuleBench
from tests.hw.streams import tiles
from vta.config import PRESETS
from vta.hw.compute.compute_module import ComputeModule
from vta.isa import Cause, Isa, MemoryType, Opcode

UOP_BASE, ACC_BASE, SIZE = 0x0000, 0x4000, 1 << 16


class Bench:
    """A compute module with its memories, and a sequential model of what it does."""

    def __init__(self, config=PRESETS["tiny"], *, seed=0, stalls="none", latency=5, tokens=(0, 0)):
        self.config, self.isa = config, Isa(config)
        self.dut = ComputeModule(config)
        self.module = ModuleBench(self.dut, tokens=tokens)
        self.memory = ReadMemory(config, self.dut, SIZE, stalls=stalls, latency=latency)
        rng = np.random.default_rng(seed)
        self.memory.write(0, rng.integers(0, 256, SIZE).astype(np.uint8).tobytes())
        # Micro-ops whose indices leave room for a loop's factors; the larger ones are checked
        # in the tests of the index generator.
        self.uop_table = [
            (int(rng.integers(8)), int(rng.integers(8)), int(rng.integers(8))) for _ in range(256)
        ]
        words = [self.isa.uop.pack(dst_idx=d, src_idx=s, wgt_idx=w) for d, s, w in self.uop_table]
        self.memory.write(UOP_BASE, np.array(words, "<u4").tobytes())
        shape = (config.batch, config.block)
        self.inp = rng.integers(-128, 128, (config.inp_depth, *shape)).astype(np.int8)
        self.wgt = rng.integers(-128, 128, (config.wgt_depth, config.block, config.block)).astype(
            np.int8
        )
        self.acc = np.zeros((config.acc_depth, *shape), np.int64)
        self.uops = [(0, 0, 0)] * config.uop_depth
        self.insns: list[int] = []
        self.moved: list[int] = []

    # -- instructions, encoded and modelled --------------------------------------------------------

    def load(self, kind, *, sram=0, dram=0, y=1, x=1, stride=None, pads=(0, 0, 0, 0), **more):
        stride = x if stride is None else stride
        self.insns.append(
            self.isa.mem.pack(
                memory_type=kind,
                sram_base=sram,
                dram_base=dram,
                y_size=y,
                x_size=x,
                x_stride=stride,
                y_pad_0=pads[0],
                y_pad_1=pads[1],
                x_pad_0=pads[2],
                x_pad_1=pads[3],
                **more,
            )
        )
        self.moved.append(x * y)
        at = sram
        for row in range(-pads[0], y + pads[1]) if x else ():
            for column in range(-pads[2], x + pads[3]):
                inside = 0 <= row < y and 0 <= column < x
                self._put(kind, at, dram + row * stride + column if inside else None)
                at += 1

    def _put(self, kind, at, elem):
        if kind == MemoryType.UOP:
            self.uops[at] = (0, 0, 0) if elem is None else self.uop_table[elem]
            return
        size = self.config.acc_elem_bytes // (4 if kind == MemoryType.ACC_8BIT else 1)
        if elem is None:
            self.acc[at] = 0
            return
        raw = bytes(self.memory.data[ACC_BASE + elem * size : ACC_BASE + (elem + 1) * size])
        values = np.frombuffer(raw, np.int8 if kind == MemoryType.ACC_8BIT else "<i4")
        self.acc[at] = values.reshape(self.acc[at].shape)

    def loop(
        self,
        *,
        op=None,
        imm=None,
        reset=0,
        uops=(0, 1),
        iters=(1, 1),
        dst=(0, 0),
        src=(0, 0),
        wgt=(0, 0),
        **more,
    ):
        fields = {
            "uop_bgn": uops[0],
            "uop_end": uops[1],
            "iter_out": iters[0],
            "iter_in": iters[1],
            "dst_factor_out": dst[0],
            "dst_factor_in": dst[1],
            "src_factor_out": src[0],
            "src_factor_in": src[1],
            **more,
        }
        if op is None:
            word = self.isa.gemm.pack(
                opcode=Opcode.GEMM,
                reset=reset,
                wgt_factor_out=wgt[0],
                wgt_factor_in=wgt[1],
                **fields,
            )
        else:
            word = self.isa.alu.pack(
                opcode=Opcode.ALU, alu_opcode=op, use_imm=imm is not None, imm=imm or 0, **fields
            )
        self.insns.append(word)
        self.moved.append(0)
        for out in range(iters[0]):
            for inner in range(iters[1]):
                for u in range(*uops):
                    to, of, by = self.uops[u]
                    to += out * dst[0] + inner * dst[1]
                    of += out * src[0] + inner * src[1]
                    by += out * wgt[0] + inner * wgt[1]
                    if op is not None:
                        operand = self.acc[of].copy() if imm is None else np.int64(imm)
                        self.acc[to] = alu(op, self.acc[to], operand)
                    elif reset:
                        self.acc[to] = 0
                    else:
                        self.acc[to] = wrap(
                            self.acc[to]
                            + self.inp[of].astype(np.int64) @ self.wgt[by].astype(np.int64).T
                        )

    # -- the run -----------------------------------------------------------------------------------

    def run(self, insns=None, *, retire=None, check=True, settle=40):
        async def bases(ctx):
            ctx.set(self.dut.uop_base, UOP_BASE)
            ctx.set(self.dut.acc_base, ACC_BASE)

        async def memories(ctx):
            dut = self.dut
            trigger = ctx.tick().sample(dut.inp_en, dut.inp_addr, dut.wgt_en, dut.wgt_addr)
            while True:
                _, _, inp_en, inp_addr, wgt_en, wgt_addr = await trigger
                if inp_en:
                    ctx.set(dut.inp_data, tiles(self.inp[inp_addr]))
                if wgt_en:
                    ctx.set(dut.wgt_data, tiles(self.wgt[wgt_addr]))

        async def out(ctx):
            ctx.set(self.dut.out_en, 1)
            for addr in range(self.config.acc_depth):
                ctx.set(self.dut.out_addr, addr)
                await ctx.tick()
                assert ctx.get(self.dut.out_data) == tiles(self.acc[addr].astype(np.int8)), addr

        status = self.module.run(
            self.insns if insns is None else insns,
            retire=retire,
            settle=settle,
            look=out if check else None,
            background=[bases, memories, *self.memory.benches],
        )
        if check:
            assert [moved for _, moved in self.module.retired] == self.moved
            assert status["idle"]
            assert status["cause"] == Cause.NONE
        return status


def random_program(bench, rng, count):
    """LOADs and loops that touch the same few micro-ops and tiles, with nothing between them."""
    for _ in range(count):
        kind = rng.choice(("uop", "acc", "acc8", "gemm", "gemm", "alu", "alu", "nothing"))
        pads = tuple(rng.choice((0, 0, 1)) for _ in range(4))
        begin = rng.randrange(8)
        shape = {
            "uops": (begin, begin + rng.randint(1, 3)),
            "iters": (rng.randint(1, 2), rng.randint(1, 3)),
            "dst": (rng.randrange(4), rng.randrange(3)),
            "src": (rng.randrange(4), rng.randrange(3)),
        }
        if kind == "uop":
            bench.load(
                MemoryType.UOP,
                sram=rng.randrange(8),
                dram=rng.randrange(200),
                y=rng.randint(0, 2),
                x=rng.randint(1, 3),
                stride=rng.randrange(9),
                pads=pads,
            )
        elif kind in ("acc", "acc8"):
            bench.load(
                MemoryType.ACC if kind == "acc" else MemoryType.ACC_8BIT,
                sram=rng.randrange(12),
                dram=rng.randrange(100),
                y=rng.randint(0, 2),
                x=rng.randint(1, 4),
                stride=rng.randrange(9),
                pads=pads,
            )
        elif kind == "gemm":
            bench.loop(reset=rng.random() < 0.3, wgt=(rng.randrange(3), rng.randrange(3)), **shape)
        elif kind == "alu":
            bench.loop(op=rng.randrange(5), imm=rng.choice((None, rng.randrange(-99, 99))), **shape)
        else:
            bench.insns.append(
                bench.isa.mem.pack(
                    memory_type=rng.randrange(8), sram_base=60000, y_size=3, x_size=0
                )
            )
            bench.moved.append(0)
