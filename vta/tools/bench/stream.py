"""Instruction streams written by hand, as memory images: what benchmarks are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vta.config import Config
from vta.image import Image, Segment
from vta.isa import INSN_BYTES, Isa, MemoryType, Opcode

__all__ = ["Stream"]

INSN_ADDR = 0x0100_0000
UOP_ADDR = 0x0200_0000
DATA_ADDR = 0x0400_0000
ARRAY_ADDR = 0x1000_0000
PAGE = 4096


class Stream:
    """Collects instructions, micro-ops and arrays of one configuration.

    LOADs and STOREs count DRAM elements from the data area, which is far from the stream and
    holds 64 KiB of random bytes and then zeros, unless `dram` gives another place, such as that
    of an array. Micro-ops are placed in the order of their LOADs.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._isa = Isa(config)
        self._insns: list[int] = []
        self._uops: list[int] = []
        self._arrays: list[Segment] = []
        self._expected: list[Segment] = []
        self._free = ARRAY_ADDR

    # -- arrays ----------------------------------------------------------------------------------

    def place(self, kind: MemoryType, data: NDArray[Any]) -> int:
        """Puts `data` into DRAM; returns its position in elements of `kind`."""
        return self._place(kind, data, self._arrays)

    def expect(self, kind: MemoryType, data: NDArray[Any]) -> int:
        """Finds room where the run must leave `data`; returns its position in elements."""
        first = self._place(kind, data, self._expected)
        # Doing nothing must not look right.
        after = self._expected[-1]
        self._arrays.append(Segment(after.addr, ~after.data))
        return first

    def _place(self, kind: MemoryType, data: NDArray[Any], segments: list[Segment]) -> int:
        raw = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        segments.append(Segment(self._free, raw))
        first = self._free // self.config.elem_bytes(kind)
        self._free += -(-len(raw) // PAGE) * PAGE
        return first

    # -- instructions ----------------------------------------------------------------------------

    def load(
        self,
        kind: MemoryType,
        *,
        sram: int = 0,
        rows: int = 1,
        cols: int = 1,
        stride: int | None = None,
        dram: int | None = None,
        x_pad: tuple[int, int] = (0, 0),
        **tokens: int,
    ) -> None:
        """LOAD `rows` of `cols` elements."""
        self._transfer(
            Opcode.LOAD,
            kind,
            sram,
            rows,
            cols,
            stride,
            dram,
            x_pad_0=x_pad[0],
            x_pad_1=x_pad[1],
            **tokens,
        )

    def store(
        self,
        *,
        sram: int = 0,
        rows: int = 1,
        cols: int = 1,
        stride: int | None = None,
        dram: int | None = None,
        **tokens: int,
    ) -> None:
        """STORE `rows` of `cols` elements."""
        self._transfer(Opcode.STORE, MemoryType.OUT, sram, rows, cols, stride, dram, **tokens)

    def uops(self, uops: Sequence[tuple[int, int, int]], *, sram: int = 0, **tokens: int) -> None:
        """LOAD micro-ops (dst, src, wgt) to `sram`."""
        base = UOP_ADDR // self.config.uop_elem_bytes + len(self._uops)
        self._uops += [
            self._isa.uop.pack(dst_idx=dst, src_idx=src, wgt_idx=wgt) for dst, src, wgt in uops
        ]
        self._insns.append(
            self._isa.mem.pack(
                opcode=Opcode.LOAD,
                memory_type=MemoryType.UOP,
                sram_base=sram,
                dram_base=base,
                y_size=1,
                x_size=len(uops),
                x_stride=len(uops),
                **tokens,
            )
        )

    def gemm(self, **fields: int) -> None:
        """GEMM; counts that are not given are 1."""
        self._insns.append(
            self._isa.gemm.pack(
                opcode=Opcode.GEMM, **{"uop_end": 1, "iter_out": 1, "iter_in": 1, **fields}
            )
        )

    def alu(self, **fields: int) -> None:
        """ALU; counts that are not given are 1."""
        self._insns.append(
            self._isa.alu.pack(
                opcode=Opcode.ALU, **{"uop_end": 1, "iter_out": 1, "iter_in": 1, **fields}
            )
        )

    def image(self, description: str = "") -> Image:
        """The stream with a FINISH at its end; an expectation if any array is expected."""
        insns = [*self._insns, self._isa.common.pack(opcode=Opcode.FINISH)]
        code = b"".join(insn.to_bytes(INSN_BYTES, "little") for insn in insns)
        uops = np.array(self._uops or [0], "<u4")
        data = np.random.default_rng(0).integers(0, 256, 1 << 16, np.uint8)
        return Image(
            config=self.config,
            insn_addr=INSN_ADDR,
            insn_count=len(insns),
            before=(
                Segment(INSN_ADDR, np.frombuffer(code, np.uint8)),
                Segment(UOP_ADDR, uops.view(np.uint8)),
                Segment(DATA_ADDR, data),
                *self._arrays,
            ),
            after=tuple(self._expected) or None,
            description=description,
        )

    def _transfer(
        self,
        opcode: Opcode,
        kind: MemoryType,
        sram: int,
        rows: int,
        cols: int,
        stride: int | None,
        dram: int | None,
        **fields: int,
    ) -> None:
        self._insns.append(
            self._isa.mem.pack(
                opcode=opcode,
                memory_type=kind,
                sram_base=sram,
                dram_base=DATA_ADDR // self.config.elem_bytes(kind) if dram is None else dram,
                y_size=rows,
                x_size=cols,
                x_stride=cols if stride is None else stride,
                **fields,
            )
        )
