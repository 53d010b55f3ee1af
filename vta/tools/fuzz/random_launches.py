"""Random launches that are legal and free of races, or have one error in a known place.

A `LaunchPlan` has kinds of steps and a seed for each, so that it stays legal when steps are left
out. `LaunchBuilder` makes a `Launch` of it: memory, base registers and an instruction stream. It
follows the UOP buffer, because a micro-op decides which indices are legal, and what every
instruction touches; `token_order` then inserts the tokens.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vta.image import BASES
from vta.insn_format import Format
from vta.isa import AluOp, Isa, MemoryType, Opcode, pack_qnt
from vta.tools.fuzz.random_transfers import ARENA_BYTES, TransferBuilder, unnamed
from vta.tools.fuzz.token_order import (
    COMPUTE,
    LOAD,
    QUEUES,
    STORE,
    DraftInsn,
    InsnSequence,
    Touched,
)
from vta.tools.fuzz.wrong_insns import IN_STREAM, LOADED, make_wrong

KINDS = (
    "gemm",
    "gemm",
    "gemm",
    "alu",
    "alu",
    "alu",
    "inp",
    "wgt",
    "acc",
    "acc_8bit",
    "uop",
    "store",
    "store",
    "idle",
    "burst",
    "chain",
    "relay",
)
"""Steps: instructions by name or by the memory that they load, and the methods with several."""

FAULTS = (*IN_STREAM, "no_finish", "misaligned_base", "fetch")

IMMEDIATES = (0, 1, -1, 2, 3, 7, 15, 31, 32, 33, 127, 128, -5, -31, -32, -33, -128, 32767, -32768)


@dataclass(frozen=True)
class LaunchPlan:
    """One launch.

    Attributes
    ----------
    seed : int
        Of what belongs to no step: where memory is, and the order of the stream.
    steps : tuple of (kind, seed)
    fault : (kind, seed) or None
        The one error.
    dropped : frozenset of int
        Instructions to leave out, by number, without the no-ops that carry tokens.
    reset_after : int or None
        Cycles after which the RTL is reset in the middle of the run.
    """

    seed: int
    steps: tuple[tuple[str, int], ...]
    fault: tuple[str, int] | None = None
    dropped: frozenset[int] = frozenset()
    reset_after: int | None = None


@dataclass(frozen=True)
class Launch:
    """What to do with a machine.

    Attributes
    ----------
    writes : list of (int, uint8 array)
        To memory, before the launch.
    insn_addr, insn_count, base
    meaning : list of int
        The instructions in an order that their tokens allow, FINISH included.
    """

    writes: list[tuple[int, NDArray[np.uint8]]]
    insn_addr: int
    insn_count: int
    base: dict[str, int]
    meaning: list[int]


class LaunchBuilder(TransferBuilder):
    """Makes the launches of one machine, one after the other."""

    def build(self, plan: LaunchPlan) -> Launch:
        """The `Launch` of a plan. After one with a fault, call `recovery`."""
        rng = random.Random(plan.seed)
        self._rng = rng
        self._writes = []
        self._dropped, self.added = plan.dropped, 0
        self._place_memory(rng)
        self._sequence = InsnSequence(rng, self._noop, self.tokens)
        self.recent = [0]
        self._focus = [
            0,
            self.depth["acc"] - 1,
            rng.randrange(self.depth["acc"]),
            rng.randrange(self.depth["acc"]),
        ]
        fault, fault_seed = plan.fault or (None, 0)
        when = random.Random(fault_seed).randrange(len(plan.steps) + 1)
        for number, (kind, seed) in enumerate(plan.steps):
            if number == when:
                self._fault(fault, random.Random(fault_seed))
            if len(self._sequence.items) < 300:
                self._step(kind, random.Random(seed))
        if when == len(plan.steps):
            self._fault(fault, random.Random(fault_seed))
        return self._finish(plan, rng)

    @property
    def drafts(self) -> list[DraftInsn]:
        """The instructions of the launch in the order in which they are meant."""
        return self._sequence.items

    def _step(self, kind: str, rng: random.Random) -> None:
        if kind in LOADED and kind != "uop":
            self._load(rng, kind)
        else:
            getattr(self, f"_{kind}")(rng)

    def recovery(self, *, everything: bool = False) -> Launch:
        """A launch after a reset that clears ACC and UOP, which an error leaves undefined.

        With `everything` it clears INP and WGT too, which a reset in mid-run leaves undefined.
        """
        self.tokens = dict.fromkeys(QUEUES.values(), 0)
        self.uops[:] = 0
        words = [
            self.isa.mem.pack(
                opcode=Opcode.LOAD,
                memory_type=memory,
                y_pad_0=1,
                y_pad_1=1,
                x_size=self.depth[name] // 2,
            )
            for memory, name in (
                (MemoryType.UOP, "uop"),
                (MemoryType.ACC, "acc"),
                *(((MemoryType.INP, "inp"), (MemoryType.WGT, "wgt")) if everything else ()),
            )
        ]
        words.append(self.isa.common.pack(opcode=Opcode.FINISH))
        return Launch(
            [(0, Isa.words(words).reshape(-1).view(np.uint8))],
            0,
            len(words),
            dict.fromkeys(BASES, 0),
            words,
        )

    # -- GEMM and ALU ----------------------------------------------------------------------------

    def _gemm(self, rng: random.Random, *, single: bool = False, at: int | None = None) -> None:
        self._loop(rng, rng.choice(("gemm", "gemm", "gemm", "reset")), single=single, at=at)

    def _alu(self, rng: random.Random, *, single: bool = False, at: int | None = None) -> None:
        self._loop(rng, rng.choice(("alu", "imm")), single=single, at=at)

    def _loop(
        self, rng: random.Random, kind: str, *, single: bool = False, at: int | None = None
    ) -> None:
        """A GEMM, a reset, or an ALU operation with a register or an immediate."""
        if at is not None:
            first, count = at, 1
        elif not single and rng.random() < 0.5:
            first, count = self._uop(rng)
        else:
            first, count = rng.choice(self.recent), rng.randrange(1, 8)
            if rng.random() < 0.2:
                first = rng.randrange(self.depth["uop"])
        count = max(1, min(count, rng.choice((1, 2, 4, 16)), self.depth["uop"] - first))
        loops = rng.choice(((1, 1), (1, 1), (1, 2), (2, 1), (3, 2), (1, 16), (5, 7)))
        if single:
            count, loops = 1, (1, 1)
        end = first + count
        if not single and rng.random() < 0.06:
            # Nothing at all: an empty range, or a count of zero.
            end, loops = rng.choice(
                (
                    (first, loops),
                    (rng.randrange(first + 1), loops),
                    (rng.randrange(2 * self.depth["uop"]), (0, loops[1])),
                    (end, (loops[0], 0)),
                )
            )
        values: dict[str, int] = {
            "opcode": Opcode.GEMM if kind in ("gemm", "reset") else Opcode.ALU,
            "uop_bgn": first,
            "uop_end": end,
            "iter_out": loops[0],
            "iter_in": loops[1],
            "reset": rng.randrange(2),
        }
        if values["opcode"] == Opcode.GEMM:
            values["reset"] = int(kind == "reset")
            buffers = {"dst": "acc", "src": "inp", "wgt": "wgt"}
        else:
            values |= {
                "alu_opcode": rng.randrange(5),
                "use_imm": int(kind == "imm"),
                "imm": rng.choice((*IMMEDIATES, rng.randrange(-40, 40))),
            }
            if self.config.requantises:
                self._choose_new(rng, values)
            buffers = {"dst": "acc", "src": "acc"}
        used = ("dst",) if kind in ("reset", "imm") else tuple(buffers)
        fields = {
            name: column[first : max(first, end)]
            for name, column in self.isa.uop.unpack_array(self.uops).items()
        }
        touched = {}
        for name, buffer in buffers.items():
            elements = self._indices(
                rng, name, buffer, fields[f"{name}_idx"], loops, values, used=name in used
            )
            if elements is None:
                # Such micro-ops do not fit; a reset always does.
                self._loop(rng, "reset", single=single, at=at)
                return
            touched[name] = elements
        format_name = "gemm" if values["opcode"] == Opcode.GEMM else "alu"
        reads: dict[str, int] = {}
        for name in used:
            reads[buffers[name]] = reads.get(buffers[name], 0) | touched[name]
        self._add(
            rng,
            DraftInsn(
                COMPUTE,
                format_name,
                values,
                reads=Touched(reads),
                writes=Touched({"acc": touched["dst"]}),
            ),
        )

    def _choose_new(self, rng: random.Random, values: dict[str, int]) -> None:
        """Makes an ALU operation one of encoding 0.0.3, every other time."""
        if rng.random() < 0.5:
            values["alu_opcode"] = AluOp.MOV
            if not values["use_imm"] and rng.random() < 0.7:
                zero_point = rng.choice((0, rng.randrange(-128, 128)))
                lower = rng.choice((-128, rng.randrange(-128, 128)))
                values |= {"alu_opcode": AluOp.QNT, "imm": pack_qnt(zero_point, lower)}

    def _indices(
        self,
        rng: random.Random,
        name: str,
        buffer: str,
        fields: NDArray[Any],
        loops: tuple[int, int],
        values: dict[str, int],
        *,
        used: bool,
    ) -> int | None:
        """Chooses one index's factors; the elements as bits, or None if they do not fit."""
        mask = self.depth[buffer] - 1
        factors = [rng.choice((0, 1, rng.randrange(4), rng.randrange(mask + 1))) for _ in range(2)]
        elements = 0
        if used and len(fields) and all(loops):
            room = mask - int(fields.max())
            if room < 0:
                return None
            # The inner loop first; a factor that is never used may be anything.
            for place, count in ((1, loops[1]), (0, loops[0])):
                if count > 1:
                    factors[place] = min(factors[place], room // (count - 1))
                    room -= factors[place] * (count - 1)
            for outer in range(loops[0]):
                for inner in range(loops[1]):
                    for field in set(fields.tolist()):
                        elements |= 1 << field + outer * factors[0] + inner * factors[1]
        values[f"{name}_factor_out"], values[f"{name}_factor_in"] = factors
        return elements

    # -- steps of several instructions -----------------------------------------------------------

    def _burst(self, rng: random.Random) -> None:
        """Loops of one iteration, back to back, with no time to hide anything."""
        self._uop(rng)
        kind = rng.choice(("gemm", "alu", "both"))
        for _ in range(rng.choice((3, 8, 24))):
            if kind == "gemm" or (kind == "both" and rng.random() < 0.5):
                self._gemm(rng, single=True)
            else:
                self._alu(rng, single=True)

    def _relay(self, rng: random.Random) -> None:
        """Several loads of micro-ops in flight, and loops that use the older of them."""
        ranges = [self._uop(rng) for _ in range(rng.randrange(2, 5))]
        for _ in range(rng.randrange(1, 4)):
            first, count = rng.choice(ranges)
            if count:
                kind = rng.choice(("gemm", "reset", "alu", "imm"))
                self._loop(rng, kind, single=rng.random() < 0.5, at=first + rng.randrange(count))

    def _idle(self, rng: random.Random) -> None:
        """Transfers of nothing, with tokens perhaps."""
        for _ in range(rng.choice((1, 2, 9))):
            self._add(rng, self.make_noop(rng, rng.choice((LOAD, COMPUTE, STORE))))

    def _chain(self, rng: random.Random) -> None:
        """Everything that can be done to one tile, one after the other."""
        tile = rng.choice(self._focus)
        first, count = self._uop(rng, tile=tile)
        for _ in range(rng.randrange(2, 9)):
            step = rng.choice(("acc", "acc_8bit", "store", "gemm", "alu", "alu"))
            if step == "store":
                self._store(rng, tile=tile)
            elif step in ("acc", "acc_8bit"):
                self._load(rng, step, tile=rng.choice((tile, rng.choice(self._focus))))
            else:
                getattr(self, f"_{step}")(rng, single=True, at=first + rng.randrange(count))

    def _fault(self, fault: str | None, rng: random.Random) -> None:
        if fault in IN_STREAM:
            item, queue = make_wrong(self, fault, rng)
            self._sequence.add(item)
            if queue is not None:
                # It takes a token that another instruction should get.
                item.pops.add(queue)

    # -- the stream ------------------------------------------------------------------------------

    def _finish(self, plan: LaunchPlan, rng: random.Random) -> Launch:
        fault = plan.fault[0] if plan.fault else None
        if rng.random() < 0.4:
            self._sequence.drain()
        finish = DraftInsn(COMPUTE, "common", {"opcode": Opcode.FINISH})
        self._sequence.add(finish, greedy=rng.random() < 0.3)
        for queue in ("g2l", "g2s"):
            if rng.random() < 0.1:
                self._sequence.push(finish, queue)
        self.tokens = self._sequence.left_over()
        stream = self._sequence.items[:-1]
        if rng.random() < 0.5:
            stream = [item for item in self._sequence.merged(rng) if item is not finish]
        if fault not in ("no_finish", "fetch"):
            stream.append(finish)
        packed = {item: self._pack(item, rng) for item in self._sequence.items}
        words = [packed[item] for item in stream]
        count = len(words)
        after = []
        if fault is None:
            # What follows FINISH is not executed.
            after = [rng.getrandbits(128) for _ in range(rng.choice((0, 0, 1, 50)))]
            count += len(after)
        addr = 0x200_0000 + 16 * rng.randrange(1024)
        if fault == "fetch":
            addr = (1 << self.config.addr_width) - 16 * count
            count += rng.randrange(1, 100)
            if self._arena + ARENA_BYTES > addr:
                addr, count = 0x200_0000, len(words)
        elif fault == "misaligned_base":
            name = rng.choice(tuple(self.base))
            self.base[name] += rng.randrange(1, self.nbytes[name])
        self._write(addr, Isa.words(words + after) if words else np.zeros(0, np.uint64))
        if fault == "misaligned_base" and rng.random() < 0.2:
            addr += rng.randrange(1, 16)
        return Launch(
            self._writes, addr, count, self.base, [packed[item] for item in self._sequence.items]
        )

    def _pack(self, item: DraftInsn, rng: random.Random) -> int:
        fmt: Format = getattr(self.isa, item.kind)
        word = fmt.pack(**{**item.values, **item.token_bits()})
        return word | unnamed(fmt) & rng.getrandbits(128)
