"""Microbenchmarks: what one kind of work costs, as the slope between two sizes.

Start-up (launch, fetch, the first latency) is in both sizes and cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vta.config import Config
from vta.image import Image
from vta.isa import INSN_BYTES, AluOp, MemoryType
from vta.tools.bench.stream import Stream

__all__ = ["Micro", "microbenchmarks"]


@dataclass(frozen=True, kw_only=True)
class Micro:
    """One measurement.

    `small` and `large` are the two runs; `work` is how much more the large one does, in `unit`.
    `per_cycle` says whether the figure is work per cycle (bytes) or cycles per work (tiles).
    `ideal` is the figure of a machine without overheads.
    """

    name: str
    unit: str
    work: int
    ideal: float
    small: Image
    large: Image
    per_cycle: bool = False

    @property
    def figure_unit(self) -> str:
        """What `figure` and `ideal` count."""
        return f"{self.unit}s per cycle" if self.per_cycle else f"cycles per {self.unit}"

    @property
    def bound(self) -> float:
        """Cycles of the additional work at the ideal rate."""
        return self.work / self.ideal if self.per_cycle else self.work * self.ideal

    def figure(self, small_cycles: int, large_cycles: int) -> float:
        """The rate that the two runs' cycles give."""
        extra = large_cycles - small_cycles
        return self.work / extra if self.per_cycle else extra / self.work


def microbenchmarks(config: Config) -> Iterator[Micro]:
    """All of them, for one configuration."""
    yield from _gemms(config)
    yield from _alus(config)
    yield from _transfers(config)


def _slope(
    name: str,
    unit: str,
    ideal: float,
    build: Callable[[int], Image],
    small: int,
    large: int,
    each: int,
    *,
    per_cycle: bool = False,
) -> Micro:
    return Micro(
        name=name,
        unit=unit,
        ideal=ideal,
        work=(large - small) * each,
        small=build(small),
        large=build(large),
        per_cycle=per_cycle,
    )


def _gemms(config: Config) -> Iterator[Micro]:
    inner = min(config.acc_depth, config.inp_depth) // 2
    weights = config.wgt_depth // 2

    def loops(dst: int, *, wgt: int = 1) -> Callable[[int], Image]:
        def build(outer: int) -> Image:
            stream = Stream(config)
            stream.uops([(0, 0, 0)])
            stream.gemm(
                iter_out=outer,
                iter_in=inner,
                dst_factor_in=dst,
                src_factor_in=1,
                wgt_factor_in=wgt if inner <= weights else 0,
            )
            return stream.image()

        return build

    def singles(count: int) -> Image:
        stream = Stream(config)
        stream.uops([(0, 0, 0)])
        for _ in range(count):
            stream.gemm()
        return stream.image()

    def pattern(count: int) -> Image:
        stream = Stream(config)
        uops = [
            ((7 * number) % inner, (5 * number) % inner, (3 * number) % weights)
            for number in range(config.uop_depth // 2)
        ]
        stream.uops(uops)
        for _ in range(count):
            stream.gemm(uop_end=len(uops))
        return stream.image()

    yield _slope("GEMM, consecutive destinations", "operation", 1, loops(1), 4, 20, inner)
    yield _slope("GEMM, same destination", "operation", 1, loops(0), 4, 20, inner)
    yield _slope("GEMM, any indices", "operation", 1, pattern, 2, 8, config.uop_depth // 2)
    # Each instruction must be fetched.
    yield _slope(
        "GEMM, an instruction each",
        "operation",
        max(1, INSN_BYTES / config.bus_bytes),
        singles,
        1024,
        4096,
        1,
    )


def _alus(config: Config) -> Iterator[Micro]:
    half = config.acc_depth // 2

    def loops(uop: tuple[int, int, int], **fields: int) -> Callable[[int], Image]:
        def build(outer: int) -> Image:
            stream = Stream(config)
            stream.uops([uop])
            stream.alu(iter_out=outer, iter_in=half - 1, **fields)
            return stream.image()

        return build

    def alu(name: str, ideal: float, uop: tuple[int, int, int], **fields: int) -> Micro:
        return _slope(f"ALU {name}", "tile", ideal, loops(uop, **fields), 4, 20, half - 1)

    imm = {"use_imm": 1, "imm": 3, "alu_opcode": AluOp.ADD}
    add = {"alu_opcode": AluOp.ADD}
    yield alu("immediate, consecutive destinations", 1, (0, 0, 0), dst_factor_in=1, **imm)
    yield alu("immediate, same destination", 1, (0, 0, 0), **imm)
    yield alu("register", 2, (0, half, 0), dst_factor_in=1, src_factor_in=1, **add)
    yield alu(
        "register, source is the destination before",
        2,
        (1, 0, 0),
        dst_factor_in=1,
        src_factor_in=1,
        **add,
    )
    yield alu("register, one source", 1, (0, half, 0), dst_factor_in=1, **add)
    yield alu(
        "MUL immediate", 5, (0, 0, 0), dst_factor_in=1, use_imm=1, imm=3, alu_opcode=AluOp.MUL
    )


def _transfers(config: Config) -> Iterator[Micro]:
    bus = config.bus_bytes
    for kind in (MemoryType.INP, MemoryType.WGT, MemoryType.ACC):
        depth = config.depth(kind)
        elem = config.elem_bytes(kind)

        def contiguous(count: int, kind: MemoryType = kind, depth: int = depth) -> Image:
            stream = Stream(config)
            for _ in range(count):
                stream.load(kind, cols=depth)
            return stream.image()

        yield _slope(
            f"LOAD {kind.name}, contiguous",
            "byte",
            min(bus, elem),
            contiguous,
            2,
            6,
            depth * elem,
            per_cycle=True,
        )

    cols = min(56, config.inp_depth // 2 - 2)
    rows = config.inp_depth // (cols + 2)

    def padded(count: int) -> Image:
        stream = Stream(config)
        for _ in range(count):
            stream.load(MemoryType.INP, rows=rows, cols=cols, stride=2 * cols, x_pad=(1, 1))
        return stream.image()

    def stores(rows: int, cols: int, stride: int) -> Callable[[int], Image]:
        def build(count: int) -> Image:
            stream = Stream(config)
            for _ in range(count):
                stream.store(rows=rows, cols=cols, stride=stride)
            return stream.image()

        return build

    inp, out = config.inp_elem_bytes, config.out_elem_bytes
    yield _slope(
        f"LOAD INP, rows of {cols} padded 1 + 1",
        "byte",
        min(bus, inp),
        padded,
        2,
        6,
        rows * cols * inp,
        per_cycle=True,
    )
    yield _slope(
        "STORE, contiguous",
        "byte",
        min(bus, out),
        stores(1, config.out_depth, 1),
        2,
        6,
        config.out_depth * out,
        per_cycle=True,
    )
    cols = min(64, config.out_depth // 2)
    yield _slope(
        f"STORE, rows of {cols}",
        "byte",
        min(bus, out),
        stores(config.out_depth // cols, cols, 2 * cols),
        2,
        6,
        config.out_depth * out,
        per_cycle=True,
    )
