"""Token insertion: one pass over what each instruction reads and writes.

The three modules run in parallel, and only tokens order them. The pass walks the instructions in
stream order. For each module it tracks which instructions of the other modules are known to be
finished (a vector clock). An instruction may conflict with earlier instructions of another module
that its module does not know to be finished. Then the latest of those pushes a token, and this
instruction pops it. No token is inserted if an earlier one already implies the order.

The tokens match because the positions that a module learns only grow: the k-th pop from a queue
waits for the k-th push. Every push has its pop, so all queues are empty at the end. Every pop comes
after its push in the stream, so the program cannot deadlock.
"""

from __future__ import annotations

import dataclasses
import math

from vta.compiler.ir.accesses import accesses
from vta.compiler.ir.insn_ir import InsnProgram, Nop, Op, Tokens, Transfer
from vta.compiler.passes.tokens.access_history import History
from vta.config import Config
from vta.isa import ModuleId, Opcode

__all__ = ["insert_tokens"]

MODULES: tuple[ModuleId, ...] = (ModuleId.LOAD, ModuleId.COMPUTE, ModuleId.STORE)
NONE = Tokens()


def insert_tokens(program: InsnProgram, config: Config) -> InsnProgram:
    """Inserts tokens so that all conflicting accesses of different modules are ordered."""
    orderer = _Orderer(program, config)
    for op in program.ops:
        orderer.add(op)
    return dataclasses.replace(program, ops=orderer.with_tokens())


class _Orderer:
    def __init__(self, program: InsnProgram, config: Config) -> None:
        stored = {
            op.buffer
            for op in program.ops
            if isinstance(op, Transfer) and op.opcode == Opcode.STORE
        }
        tile = config.batch * config.block
        sizes = {"acc": config.acc_depth, "inp": config.inp_depth, "wgt": config.wgt_depth}
        for buffer in (*program.args, *program.temps):
            if buffer.name in stored:
                sizes[f"dram:{buffer.name}"] = -(-math.prod(buffer.shape) // tile)
        self.config = config
        self.history = History(sizes)
        self.ops: list[Op] = []
        # For each instruction, the flags that are set, named as in `Tokens`.
        self.tokens: list[set[str]] = []
        self.places: dict[ModuleId, list[int]] = {module: [] for module in MODULES}
        self.finished: dict[ModuleId, list[dict[ModuleId, int]]] = {
            module: [] for module in MODULES
        }
        self.clocks: dict[ModuleId, dict[ModuleId, int]] = {
            module: dict.fromkeys(MODULES, 0) for module in MODULES
        }

    def add(self, op: Op) -> None:
        """Adds the next instruction, after those that must precede it."""
        module, touched = op.module, accesses(op, self.config)
        waits = {
            other: position
            for other, position in self.history.conflicts(module, touched).items()
            if position > self.clocks[module][other]
        }
        for other in list(waits):
            if abs(other - module) != 1:
                # Load and store share no queue: compute passes the token on.
                self._append(Nop(), {other: waits.pop(other)})
                waits[ModuleId.COMPUTE] = len(self.places[ModuleId.COMPUTE])
        self._append(op, waits)
        self.history.record(module, len(self.places[module]), touched)

    def _append(self, op: Op, waits: dict[ModuleId, int]) -> None:
        """Appends an instruction that waits for these positions of other modules."""
        module = op.module
        clock, own = self.clocks[module], set[str]()
        for other, position in waits.items():
            if position <= clock[other]:
                continue
            giver = self.places[other][position - 1]
            side, back = ("next", "prev") if module > other else ("prev", "next")
            self.tokens[giver].add(f"push_{side}")
            own.add(f"pop_{back}")
            for third, known in self.finished[other][position - 1].items():
                clock[third] = max(clock[third], known)
        self.places[module].append(len(self.ops))
        self.ops.append(op)
        self.tokens.append(own)
        clock[module] = len(self.places[module])
        self.finished[module].append(dict(clock))

    def with_tokens(self) -> tuple[Op, ...]:
        """The instructions so far, with their tokens; existing tokens are replaced."""
        return tuple(
            op
            if not own and op.tokens == NONE
            else dataclasses.replace(op, tokens=Tokens(**dict.fromkeys(own, True)))
            for op, own in zip(self.ops, self.tokens, strict=True)
        )
