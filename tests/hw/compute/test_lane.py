"""One lane: every operation, and values forwarded from the steps before."""

import random

import pytest

from tests.hw.compute.test_lane_arithmetic import EXTREMES, reference, wrap
from tests.hw.streams import simulate
from vta.hw.compute.lane import Lane
from vta.hw.compute.lane_control import (
    Forward,
    LaneOperation,
    Operand,
    OperandSource,
    Plain,
    Result,
)

DEPTH = 16
TWO = {
    LaneOperation.MIN: "minimum",
    LaneOperation.MAX: "maximum",
    LaneOperation.ADD: "add",
    LaneOperation.SHR: "shift",
}
MUL = (
    LaneOperation.MUL_TAKE,
    LaneOperation.MUL_CROSS_A,
    LaneOperation.MUL_CROSS_B,
    LaneOperation.MUL_LOW,
    LaneOperation.MUL_PUT,
)


OPERANDS = {OperandSource.SUM: Operand.SUM, OperandSource.IMM: Operand.IMM}

# What a lane is told while a step computes.
CONTROL = {
    LaneOperation.LOAD: {"plain": Plain.LOAD},
    LaneOperation.MIN: {"result": Result.OPERAND, "compares": 1},
    LaneOperation.MAX: {"result": Result.OPERAND, "compares": 1, "is_max": 1},
    LaneOperation.ADD: {"result": Result.SUM},
    LaneOperation.SHR: {"result": Result.SHIFTED},
    LaneOperation.MUL_TAKE: {"takes_factor": 1},
    LaneOperation.MUL_LOW: {"multiplies": 1, "adds_up": 1},
    LaneOperation.MUL_CROSS_A: {"multiplies": 1, "takes_operand": 1, "operand": Operand.SWAPPED},
    LaneOperation.MUL_CROSS_B: {
        "multiplies": 1,
        "adds_up": 1,
        "is_first": 1,
        "takes_operand": 1,
        "operand": Operand.SWAPPED,
    },
    LaneOperation.MUL_PUT: {"plain": Plain.PRODUCT},
    LaneOperation.SOURCE: {"takes_operand": 1, "operand": Operand.TILE},
    LaneOperation.MOV: {"result": Result.OPERAND},
}


class Driver:
    """Sends steps down the lane as the accumulator does: read, take, compute, write; one each
    cycle."""

    def __init__(self, *, requantises=False):
        self.dut = Lane(depth=DEPTH, sum_bits=20, requantises=requantises)
        self.results: list[int] = []

    async def run(self, ctx, steps):
        """Steps: dicts that differ from an idle one; one a cycle."""
        dut = self.dut
        idle = {
            "op": LaneOperation.NONE,
            "operand": OperandSource.HOLD,
            "addr": None,
            "writes": False,
            "imm": 0,
            "sum": 0,
            "load": 0,
        }
        taken = compute = write = after = idle
        for step in [idle | step for step in steps] + [idle] * 4:
            ctx.set(dut.read_en, step["addr"] is not None)
            ctx.set(dut.read_addr, step["addr"] or 0)
            ctx.set(dut.sum, taken["sum"])
            ctx.set(dut.load, compute["load"] & 0xFFFF_FFFF)
            ctx.set(dut.write_en, write["writes"])
            ctx.set(dut.write_addr, write["addr"] or 0)

            def clash(writer, reader):
                return writer["writes"] and writer["addr"] == reader["addr"]

            forward = Forward.NOTHING
            for number, writer in enumerate((compute, write, after), start=1):
                if forward == Forward.NOTHING and clash(writer, taken):
                    forward = Forward(number)
            ctx.set(
                dut.control,
                {
                    "forward": forward,
                    "takes_operand": taken["operand"] != OperandSource.HOLD,
                    "operand": OPERANDS.get(taken["operand"], Operand.SUM),
                    "imm": taken["imm"],
                    **CONTROL.get(compute["op"], {}),
                },
            )
            if write["writes"]:
                self.results.append(wrap(ctx.get(dut.result)))
            await ctx.tick()
            taken, compute, write, after = step, taken, compute, write


def load(addr, value):
    return {"op": LaneOperation.LOAD, "addr": addr, "writes": True, "load": value}


def check(steps, expected, **options):
    driver = Driver(**options)

    async def bench(ctx):
        await driver.run(ctx, steps)

    simulate(driver.dut, bench)
    assert driver.results == expected


@pytest.mark.parametrize("distance", [0, 1, 2, 3, 4, 5])
def test_forwarding(distance):
    """A value is read as the step before left it, at any distance."""
    steps, expected, value = [load(3, 1000)], [1000], 1000
    for _ in range(6):
        steps += [{}] * distance
        steps.append(
            {
                "op": LaneOperation.ADD,
                "addr": 3,
                "writes": True,
                "operand": OperandSource.IMM,
                "imm": 7,
            }
        )
        value += 7
        expected.append(value)
    check(steps, expected)


@pytest.mark.parametrize("operation", TWO, ids=lambda operation: operation.name)
def test_operations(operation):
    """Against a source tile, and against an immediate."""
    steps, expected = [], []
    pairs = [(x, y) for x in EXTREMES[::2] for y in EXTREMES]
    for x, y in pairs:
        steps += [
            load(1, x),
            load(2, y),
            {"op": LaneOperation.SOURCE, "addr": 2},
            {"op": operation, "addr": 1, "writes": True},
        ]
        expected += [x, y, reference(TWO[operation], x, y)]
        imm = (y + 2**15) % 2**16 - 2**15
        steps += [
            load(1, x),
            {"op": operation, "addr": 1, "writes": True, "operand": OperandSource.IMM, "imm": imm},
        ]
        expected += [x, reference(TWO[operation], x, imm)]
    check(steps, expected)


def test_mov():
    """The operand itself, a source tile's number or an immediate."""
    steps, expected = [], []
    for y in EXTREMES:
        steps += [
            load(1, 5),
            load(2, y),
            {"op": LaneOperation.SOURCE, "addr": 2},
            {"op": LaneOperation.MOV, "addr": 1, "writes": True},
            {
                "op": LaneOperation.MOV,
                "addr": 1,
                "writes": True,
                "operand": OperandSource.IMM,
                "imm": y % 2**15 - 2**14,
            },
        ]
        expected += [5, y, y, y % 2**15 - 2**14]
    check(steps, expected, requantises=True)


def test_multiplication():
    """Five steps, the low 32 bits of the full product."""
    rng = random.Random("mul")
    pairs = [(x, y) for x in EXTREMES for y in EXTREMES[::3]]
    pairs += [(rng.randrange(-(2**31), 2**31), rng.randrange(-(2**31), 2**31)) for _ in range(100)]
    steps, expected = [], []
    for x, y in pairs:
        steps += [load(1, x), load(2, y), {"op": LaneOperation.SOURCE, "addr": 2}]
        steps += [{"op": step, "addr": 1, "writes": step == LaneOperation.MUL_PUT} for step in MUL]
        expected += [x, y, wrap(x * y)]
    check(steps, expected)


def test_sums_and_zeros():
    """GEMM's steps: the sum comes one cycle before it is added."""
    rng = random.Random("sums")
    steps, expected, memory = [], [], [0] * DEPTH
    for _ in range(200):
        addr, total = rng.randrange(4), rng.choice((-(2**19), 2**19 - 1, rng.randrange(-999, 999)))
        if rng.random() < 0.1:
            steps.append({"op": LaneOperation.ZERO, "addr": addr, "writes": True})
            memory[addr] = 0
        else:
            steps.append(
                {
                    "op": LaneOperation.ADD,
                    "addr": addr,
                    "writes": True,
                    "operand": OperandSource.SUM,
                    "sum": total,
                }
            )
            memory[addr] = wrap(memory[addr] + total)
        expected.append(memory[addr])
    check(steps, expected)
