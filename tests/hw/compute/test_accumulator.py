"""All lanes together, against a strictly sequential numpy model; and the narrow copy OUT."""

import numpy as np
import pytest

from tests.hw.streams import simulate, tiles
from vta.config import PRESETS
from vta.hw.compute.accumulator import Accumulator
from vta.hw.compute.lane_control import LaneOperation, OperandSource

SUM_BITS = 20


@pytest.mark.parametrize("stalls", ["none", "short"])
@pytest.mark.parametrize("name", ["tiny", pytest.param("small", marks=pytest.mark.full)])
def test_random_steps(name, stalls):
    """Few tiles, so that steps meet at every distance; STORE reads what has left the pipeline."""
    config = PRESETS[name]
    rng = np.random.default_rng(len(name + stalls))
    dut = Accumulator(config, sum_bits=SUM_BITS)
    shape = (config.batch, config.block)

    async def bench(ctx):
        acc = np.zeros((config.acc_depth, *shape), np.int32)
        # After each cycle's step: a read sees what steps LATENCY cycles before it left.
        history = [acc.copy()] * (Accumulator.LATENCY + 1)
        source = np.zeros(shape, np.int32)
        now, wanted = None, None
        sums_of_step = np.zeros(shape, np.int64)
        loads, before = 0, None
        for _ in range(500):
            addr = int(rng.integers(4))
            step = {"operation": LaneOperation.NONE, "operand": OperandSource.HOLD}
            sums = rng.integers(-(2**19), 2**19, shape)
            next_load = None
            kind = rng.integers(7) if stalls == "none" or rng.random() < 0.5 else 7
            # A source tile reaches the operand register when the step behind it would load its own:
            # a step that reads a source uses it first.
            if before == 2 and kind in (4, 5, 6):
                kind = 3
            before = kind
            imm = int(rng.integers(-(2**15), 2**15))
            if kind == 0:
                step = {"operation": LaneOperation.ZERO, "addr": addr, "writes": 1}
                acc[addr] = 0
            elif kind == 1:
                next_load = rng.integers(-(2**31), 2**31, shape).astype(np.int32)
                step = {"operation": LaneOperation.LOAD, "addr": addr, "writes": 1}
                acc[addr] = next_load
            elif kind == 2:
                step = {"operation": LaneOperation.SOURCE, "addr": addr, "reads": 1}
                source = acc[addr].copy()
            elif kind == 3:
                step = {"operation": LaneOperation.MAX, "addr": addr, "reads": 1, "writes": 1}
                acc[addr] = np.maximum(acc[addr], source)
            elif kind == 4:
                step = {"operation": LaneOperation.MIN, "operand": OperandSource.IMM, "imm": imm}
                step |= {"addr": addr, "reads": 1, "writes": 1}
                source = np.full(shape, imm, np.int32)
                acc[addr] = np.minimum(acc[addr], source)
            elif kind in (5, 6):
                step = {"operation": LaneOperation.ADD, "operand": OperandSource.SUM}
                step |= {"addr": addr, "reads": 1, "writes": 1}
                source = sums.astype(np.int32)
                acc[addr] = acc[addr] + source
            if config.requantises and "writes" in step:
                step["write_addr"] = addr
            ctx.set(dut.step, step)
            for row in range(shape[0]):
                for column in range(shape[1]):
                    ctx.set(dut.sums[row][column], int(sums_of_step[row, column]))
            # A sum and a LOAD step's tile are needed a cycle after their step.
            sums_of_step = sums
            assert ctx.get(dut.load_take) == (now is not None)
            loads += now is not None
            ctx.set(dut.load, tiles(now if now is not None else sums.astype(np.int32)))
            if wanted is not None:
                assert ctx.get(dut.out_data) == wanted
            read, where = rng.random() < 0.7, int(rng.integers(4))
            ctx.set(dut.out_en, int(read))
            ctx.set(dut.out_addr, where)
            if read:
                wanted = tiles(history[-Accumulator.LATENCY][where].astype(np.int8))
            await ctx.tick()
            history = [*history[1:], acc.copy()]
            now = next_load
        assert loads > 5

    simulate(dut, bench)
