"""What load, compute and store have in common: their ports, and the wiring of their front ends."""

from __future__ import annotations

from typing import Any

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from vta.config import Config
from vta.hw.issue.range_check import RangeCheck
from vta.hw.issue.sequencer import ModuleSignature, Sequencer
from vta.isa import TOKEN_LINKS, Cause, Isa, MemoryType, ModuleId

__all__ = ["Executor"]


class Executor(wiring.Component):
    """A module that executes its queue in order: a base class.

    Parameters
    ----------
    config : Config
    module : ModuleId
    kinds : tuple of MemoryType
        Memory types that its LOADs or STOREs move.
    units : int
        Units that finish instructions, as in `Sequencer`.
    members : dict
        The members that this module has beyond those below.

    Members
    -------
    port : Out(ModuleSignature)
    NAME_base : In(addr_width)
        The base register of each memory in `kinds`. Constant during a run.
    waiting : Out(1)
        An instruction is under way that memory delays.
    """

    def __init__(
        self,
        config: Config,
        *,
        module: ModuleId,
        kinds: tuple[MemoryType, ...],
        units: int,
        members: dict[str, Any],
    ) -> None:
        self._config, self._module, self._kinds, self._units = config, module, kinds, units
        # ACC_8BIT has no base register of its own.
        self._bases = {
            kind: f"{kind.name.lower()}_base" for kind in kinds if kind != MemoryType.ACC_8BIT
        }
        super().__init__(
            {
                "port": Out(ModuleSignature()),
                **{name: In(config.addr_width) for name in self._bases.values()},
                "waiting": Out(1),
                **members,
            }
        )

    def _front_end(self, m: Module) -> tuple[Sequencer, RangeCheck]:
        """Adds the sequencer and the range check, both connected to the instruction at the head.

        The module itself drives the sequencer's `unit`, `hindered`, `done` and `failed`, and calls
        `_decide`.
        """
        m.submodules.sequencer = sequencer = Sequencer(
            units=self._units, check_latency=RangeCheck.LATENCY
        )
        m.submodules.check = check = RangeCheck(self._config, self._kinds)
        connect(m, flipped(self.port), sequencer.port)
        insn = Isa(self._config).mem.layout(sequencer.head.insn)
        # The last one is the default, so ACC_8BIT gets ACC's.
        *others, (_, base) = self._bases.items()
        m.d.comb += [check.insn.eq(insn), check.base.eq(getattr(self, base))]
        for kind, name in others:
            with m.If(insn.memory_type == kind):
                m.d.comb += check.base.eq(getattr(self, name))
        for side in ("prev", "next"):
            if (self._module, side) in TOKEN_LINKS:
                for flag in (f"pop_{side}", f"push_{side}"):
                    m.d.comb += sequencer.tokens[flag].eq(insn[flag])
        return sequencer, check

    def _decide(
        self,
        m: Module,
        sequencer: Sequencer,
        check: RangeCheck,
        *,
        static: Value,
        wrong: Value,
        transfers: Value,
        kind: Value | MemoryType,
    ) -> None:
        """The cause at the head, and what it moves if it retires.

        `static` is the cause that the instruction alone decides, or 0, `wrong` whether it is one;
        `transfers` says that it moves something, so that its range counts; `kind` is the memory
        type to report.
        """
        insn = Isa(self._config).mem.layout(sequencer.head.insn)
        foreign = [
            insn[flag]
            for side in ("prev", "next")
            if (self._module, side) not in TOKEN_LINKS
            for flag in (f"pop_{side}", f"push_{side}")
        ]
        # Registered, to shorten the path to issue; the range check takes longer anyway.
        illegal_token = Signal()
        if foreign:
            m.d.sync += illegal_token.eq(Cat(foreign).any())
        with m.If(illegal_token):
            m.d.comb += sequencer.cause.eq(Cause.ILLEGAL_TOKEN)
        with m.Elif(static != Cause.NONE):
            m.d.comb += sequencer.cause.eq(static)
        with m.Elif(transfers):
            m.d.comb += sequencer.cause.eq(check.cause)
        m.d.comb += [
            sequencer.faulty.eq(illegal_token | wrong | (transfers & check.failed)),
            sequencer.moved.kind.eq(kind),
            sequencer.moved.moved.eq(Mux(transfers, check.transfer.moved, 0)),
        ]
