"""Random programs that are legal and free of races, or have one error in a known place.

A `Recipe` is what hypothesis draws: kinds of steps and seeds, so that it shrinks by leaving steps
out. `Builder` makes a `Launch` of it: memory, base registers and an instruction stream. It follows
the UOP buffer, because a micro-op decides which indices are legal, and what every instruction
touches; `tests.ordering` then inserts the tokens.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from tests.faults import BASE_OF, IN_STREAM, LOADED, make_wrong, transfer
from tests.ordering import BITS, COMPUTE, LOAD, QUEUES, STORE, Access, Item, Sequence
from vta.isa import Isa, MemoryType, Opcode

ARENA_BYTES = 1 << 17
"""Memory for INP, WGT, ACC and OUT, which overlap in it at random."""

UOP_BYTES = 1 << 15

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
class Plan:
    """One launch: a seed, steps as (kind, seed), and perhaps a fault as (kind, seed)."""

    seed: int
    steps: tuple[tuple[str, int], ...]
    fault: tuple[str, int] | None = None


@dataclass(frozen=True)
class Recipe:
    """Launches on one machine; buffers and left-over tokens survive from one to the next."""

    plans: tuple[Plan, ...]


def recipes(*, faulty):
    """A strategy of recipes; if `faulty`, of those whose first launch ends with an error."""
    seeds = st.integers(0, 2**20)
    step_lists = st.lists(st.tuples(st.sampled_from(KINDS), seeds), min_size=1, max_size=24).map(
        tuple
    )
    plan = st.builds(Plan, seeds, step_lists)
    if not faulty:
        return st.builds(Recipe, st.lists(plan, min_size=1, max_size=3).map(tuple))
    wrong = st.builds(Plan, seeds, step_lists, st.tuples(st.sampled_from(FAULTS), seeds))
    return st.builds(lambda first, second: Recipe((first, second)), wrong, plan)


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

    writes: list
    insn_addr: int
    insn_count: int
    base: dict
    meaning: list


class Builder:
    """Makes the launches of one machine, one after the other.

    Attributes
    ----------
    depth, nbytes : dict of str to int
        Elements of each buffer, bytes of an element in memory.
    uops : (uop_depth,) uint32
        What the UOP buffer holds after the instructions so far.
    base : dict of str to int
        Base registers of the launch.
    recent : list of int
        Where micro-ops were loaded of late.
    tokens : dict of str to int
        Left over by the launches so far.
    """

    def __init__(self, config):
        self.config = config
        self.isa = Isa(config)
        self.uops = np.zeros(config.uop_depth, np.uint32)
        self.tokens = dict.fromkeys(QUEUES.values(), 0)
        self.depth = {kind.name.lower(): config.depth(kind) for kind in MemoryType}
        self.nbytes = {kind.name.lower(): config.elem_bytes(kind) for kind in MemoryType}
        self._arena = None

    def build(self, plan):
        """The `Launch` of a plan. After one with a fault, call `recovery`."""
        rng = random.Random(plan.seed)
        self._rng = rng
        self._writes = []
        self._place_memory(rng)
        self._sequence = Sequence(rng, self._noop, self.tokens)
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

    def _step(self, kind, rng):
        if kind in LOADED and kind != "uop":
            self._load(rng, kind)
        else:
            getattr(self, f"_{kind}")(rng)

    def recovery(self):
        """A launch that clears ACC and UOP, which an error leaves undefined, after a reset."""
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
            for memory, name in ((MemoryType.UOP, "uop"), (MemoryType.ACC, "acc"))
        ]
        words.append(self.isa.common.pack(opcode=Opcode.FINISH))
        return Launch(
            [(0, Isa.words(words).reshape(-1).view(np.uint8))],
            0,
            len(words),
            dict.fromkeys(self.base, 0),
            words,
        )

    # -- memory ----------------------------------------------------------------------------------

    def _place_memory(self, rng):
        size = 1 << self.config.addr_width
        if self._arena is None:
            # In the middle of a half, across the sign bit, at the very end.
            self._arena = rng.choice(
                (0x10_0000, 0x8000_0000 - ARENA_BYTES // 2, size - ARENA_BYTES)
            )
            self._write(self._arena, _arena_bytes(rng.randrange(2**32)))
        self._uop_region = self._arena - UOP_BYTES * rng.randrange(1, 9)
        self._uop_used = 0
        self.base = {}
        for name in ("uop", "inp", "wgt", "acc", "out"):
            # dram_base has 32 bits, which need not reach all of memory from base 0.
            nbytes = self.nbytes[name]
            reach = self.nbytes["acc_8bit" if name == "acc" else name] * (2**32 - 1)
            lowest = max(0, self._arena + ARENA_BYTES - reach)
            first = self._uop_region if name == "uop" else self._arena
            base = rng.choice((lowest, first, rng.randrange(lowest, first + 1)))
            self.base[name] = -(-base // nbytes) * nbytes

    def _write(self, addr, data):
        self._writes.append((addr, np.ascontiguousarray(data).reshape(-1).view(np.uint8)))

    def _dram(self, rng, name, rows, columns):
        """Where in the arena a transfer lies: (dram_base, x_stride, byte ranges)."""
        nbytes, base = self.nbytes[name], self.base[BASE_OF[name]]
        first = max(0, -((base - self._arena) // nbytes))
        room = (self._arena + ARENA_BYTES - base) // nbytes - first
        widest = 65_535 if rows < 2 else (room - columns) // (rows - 1)
        stride = rng.choice(
            (
                0,
                columns,
                columns,
                columns + 1,
                max(0, columns - 1),
                rng.randrange(4 * columns + 1),
                rng.randrange(65_536),
            )
        )
        stride = min(stride, widest, 65_535)
        span = columns + (0 if rows < 2 else (rows - 1) * stride)
        start = rng.choice(
            (
                0,
                1,
                room - span,
                rng.randrange(room - span + 1),
                rng.randrange(min(64, room - span + 1)),
            )
        )
        dram_base = first + min(start, room - span)
        lines = [base + (dram_base + row * stride) * nbytes for row in range(rows)]
        return dram_base, stride, [(addr, addr + columns * nbytes) for addr in lines]

    # -- LOAD and STORE --------------------------------------------------------------------------

    def _shape(self, rng, depth, *, pads, least=0, flat=False):
        """(y_size, x_size, pads) that fit a buffer; if `flat`, of one row."""
        rows = rng.choice((1, 1, 1, 2, 3, rng.randrange(least, 9)))
        columns = rng.choice((1, 1, 2, 3, rng.randrange(1, 13), rng.randrange(1, 40)))
        if rng.random() < 0.03:
            rows, columns = rng.choice(
                ((rng.randrange(1, 40), columns), (rows, rng.randrange(1, 300)))
            )
        rows = 1 if flat else rows
        amounts = [rng.choice((0, 0, 0, 1, 2, rng.randrange(16))) if pads else 0 for _ in range(4)]
        if rng.random() < 0.4:
            amounts = [0] * 4
        while (amounts[0] + rows + amounts[1]) * (amounts[2] + columns + amounts[3]) > depth:
            amounts = [amount // 2 for amount in amounts]
            rows, columns = (rows + 1) // 2, (columns + 1) // 2
        return rows, columns, amounts

    def _sram(self, rng, name, count):
        """Where in a buffer; in ACC preferably where others work."""
        last = self.depth[name] - count
        if name in ("acc", "acc_8bit", "out") and rng.random() < 0.7:
            near = rng.choice(self._focus) - rng.randrange(count) if count else 0
            return min(max(near, 0), last)
        return rng.choice((0, last, rng.randrange(last + 1), rng.randrange(min(12, last + 1))))

    def _load(self, rng, name, *, tile=None):
        rows, columns, pads = self._shape(rng, self.depth[name], pads=True)
        if tile is not None:
            rows, columns, pads = 1, 1, [0] * 4
        count = (pads[0] + rows + pads[1]) * (pads[2] + columns + pads[3])
        sram = self._sram(rng, name, count) if tile is None else tile
        dram, stride, ranges = self._dram(rng, name, rows, columns)
        if rows == 0:
            # Nothing is read, from wherever.
            dram, stride = rng.randrange(2**32), rng.randrange(65_536)
        buffer = BASE_OF[name]
        self._add(
            rng,
            Item(
                LOADED[name],
                "mem",
                {
                    "opcode": Opcode.LOAD,
                    "memory_type": MemoryType[name.upper()],
                    **transfer(sram, dram, rows, columns, stride, pads),
                },
                reads=Access(dram=ranges),
                writes=Access({buffer: ((1 << count) - 1) << sram}),
            ),
        )

    def _store(self, rng, *, tile=None):
        rows, columns, pads = self._shape(rng, self.depth["out"], pads=False, least=1)
        if tile is not None:
            rows, columns = 1, 1
        sram = self._sram(rng, "out", rows * columns) if tile is None else tile
        dram, stride, ranges = self._dram(rng, "out", rows, columns)
        self._add(
            rng,
            Item(
                STORE,
                "mem",
                {
                    "opcode": Opcode.STORE,
                    "memory_type": MemoryType.OUT,
                    **transfer(sram, dram, rows, columns, stride, pads),
                },
                reads=Access({"acc": ((1 << rows * columns) - 1) << sram}),
                writes=Access(dram=ranges),
            ),
        )

    def _uop(self, rng, *, tile=None):
        """Fresh micro-ops, preferably over such as were just used; returns their range."""
        rows, columns, pads = self._shape(
            rng,
            self.depth["uop"],
            pads=tile is None and rng.random() < 0.2,
            flat=tile is not None or rng.random() < 0.5,
        )
        pitch = pads[2] + columns + pads[3]
        count = (pads[0] + rows + pads[1]) * pitch
        sram = max(0, rng.choice(self.recent) + rng.randrange(-3, 4))
        if rng.random() < 0.3:
            sram = rng.randrange(self.depth["uop"])
        sram = min(sram, self.depth["uop"] - count)
        stride = rng.choice((0, columns, columns, columns + rng.randrange(5)))
        span = columns + max(0, rows - 1) * stride
        if self._uop_used + 4 * span > UOP_BYTES:
            return 0, 1
        words = np.array([self._micro_op(rng, tile) for _ in range(span)], np.uint32)
        addr = self._uop_region + self._uop_used
        self._write(addr, words)
        self._uop_used += 4 * (span + rng.choice((0, 0, 1, 3)))
        self.uops[sram : sram + count] = 0
        for row in range(rows):
            first = sram + (pads[0] + row) * pitch + pads[2]
            self.uops[first : first + columns] = words[row * stride : row * stride + columns]
        self.recent = [*self.recent[-3:], sram]
        self._add(
            rng,
            Item(
                COMPUTE,
                "mem",
                {
                    "opcode": Opcode.LOAD,
                    "memory_type": MemoryType.UOP,
                    **transfer(sram, (addr - self.base["uop"]) // 4, rows, columns, stride, pads),
                },
            ),
        )
        return sram, count

    def _micro_op(self, rng, tile):
        """Indices that lie together often, and fit both GEMM and ALU nearly always."""
        acc, both = self.depth["acc"], min(self.depth["acc"], self.depth["inp"])
        dst = tile
        if dst is None:
            dst = rng.choice(
                (rng.choice(self._focus), rng.randrange(min(acc, 6)), rng.randrange(acc))
            )
        src = rng.choice(
            (
                dst % both,
                rng.choice(self._focus) % both,
                rng.randrange(min(both, 6)),
                rng.randrange(both),
            )
        )
        if rng.random() < 0.02:
            src = rng.randrange(max(self.depth["acc"], self.depth["inp"]))
        word = self.isa.uop.pack(
            dst_idx=dst, src_idx=src, wgt_idx=rng.choice((0, rng.randrange(self.depth["wgt"])))
        )
        return word | _unnamed(self.isa.uop) & rng.getrandbits(32)

    # -- GEMM and ALU ----------------------------------------------------------------------------

    def _gemm(self, rng, **more):
        self._loop(rng, rng.choice(("gemm", "gemm", "gemm", "reset")), **more)

    def _alu(self, rng, **more):
        self._loop(rng, rng.choice(("alu", "imm")), **more)

    def _loop(self, rng, kind, *, single=False, at=None):
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
        values = {
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
            buffers = {"dst": "acc", "src": "acc"}
        used = ("dst",) if kind in ("reset", "imm") else tuple(buffers)
        fields = {
            name: column[first : max(first, end)]
            for name, column in self.isa.uop.unpack_array(self.uops).items()
        }
        touched = {}
        for name, buffer in buffers.items():
            touched[name] = self._indices(
                rng, name, buffer, fields[f"{name}_idx"], loops, values, used=name in used
            )
            if touched[name] is None:
                # Such micro-ops do not fit; a reset always does.
                self._loop(rng, "reset", single=single, at=at)
                return
        format_name = "gemm" if values["opcode"] == Opcode.GEMM else "alu"
        reads = {}
        for name in used:
            reads[buffers[name]] = reads.get(buffers[name], 0) | touched[name]
        self._add(
            rng,
            Item(
                COMPUTE,
                format_name,
                values,
                reads=Access(reads),
                writes=Access({"acc": touched["dst"]}),
            ),
        )

    def _indices(self, rng, name, buffer, fields, loops, values, *, used):
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

    def _noop(self, module):
        return self.make_noop(self._rng, module)

    def make_noop(self, rng, module):
        """A transfer of nothing; its other fields may be anything."""
        values = {field.name: rng.randrange(field.max + 1) for field in self.isa.mem.fields}
        for name in BITS.values():
            values[name] = 0
        if module == STORE:
            values |= {"opcode": Opcode.STORE, rng.choice(("x_size", "y_size")): 0}
        else:
            values |= {
                "opcode": Opcode.LOAD,
                "x_size": 0,
                "memory_type": rng.choice(
                    (MemoryType.INP, MemoryType.WGT) if module == LOAD else (0, 3, 4, 5, 6, 7)
                ),
            }
        return Item(module, "mem", values)

    def _burst(self, rng):
        """Loops of one iteration, back to back, with no time to hide anything."""
        self._uop(rng)
        kind = rng.choice(("gemm", "alu", "both"))
        for _ in range(rng.choice((3, 8, 24))):
            if kind == "gemm" or (kind == "both" and rng.random() < 0.5):
                self._gemm(rng, single=True)
            else:
                self._alu(rng, single=True)

    def _relay(self, rng):
        """Several loads of micro-ops in flight, and loops that use the older of them."""
        ranges = [self._uop(rng) for _ in range(rng.randrange(2, 5))]
        for _ in range(rng.randrange(1, 4)):
            first, count = rng.choice(ranges)
            if count:
                kind = rng.choice(("gemm", "reset", "alu", "imm"))
                self._loop(rng, kind, single=rng.random() < 0.5, at=first + rng.randrange(count))

    def _idle(self, rng):
        """Transfers of nothing, with tokens perhaps."""
        for _ in range(rng.choice((1, 2, 9))):
            self._add(rng, self.make_noop(rng, rng.choice((LOAD, COMPUTE, STORE))))

    def _chain(self, rng):
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

    def _add(self, rng, item):
        self._sequence.add(item, greedy=rng.random() < 0.1)
        for (producer, _), queue in QUEUES.items():
            if producer == item.module and rng.random() < 0.04:
                self._sequence.push(item, queue)

    def _fault(self, fault, rng):
        if fault in IN_STREAM:
            item, queue = make_wrong(self, fault, rng)
            self._sequence.add(item)
            if queue is not None:
                # The token that it takes is one that somebody else was to have.
                item.pops.add(queue)

    # -- the stream ------------------------------------------------------------------------------

    def _finish(self, plan, rng):
        fault = plan.fault[0] if plan.fault else None
        if rng.random() < 0.4:
            self._sequence.drain()
        finish = Item(COMPUTE, "common", {"opcode": Opcode.FINISH})
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
            # Nobody executes what follows FINISH.
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

    def _pack(self, item, rng):
        fmt = getattr(self.isa, item.kind)
        word = fmt.pack(**{**item.values, **item.token_bits()})
        return word | _unnamed(fmt) & rng.getrandbits(128)


def _unnamed(fmt):
    """The bits of a word that no field names."""
    named = 0
    for field in fmt.fields:
        named |= ((1 << field.bits) - 1) << fmt.offset(field.name)
    return ((1 << fmt.bits) - 1) & ~named


def _arena_bytes(seed):
    """Bytes in stretches of different taste: anything, extremes, small 32-bit numbers."""
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (ARENA_BYTES // 64, 64), np.uint8)
    taste = rng.integers(0, 3, len(data))
    extremes = np.array([0, 1, 0x7F, 0x80, 0xFF], np.uint8)
    data[taste == 1] = rng.choice(extremes, (int((taste == 1).sum()), 64))
    small = rng.integers(-40, 41, (int((taste == 2).sum()), 16)).astype("<i4")
    data[taste == 2] = small.view(np.uint8)
    return data.reshape(-1)
