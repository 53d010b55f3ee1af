"""Driving a module (load, compute, store) through its port, as the core does."""

from __future__ import annotations

from tests.hw.streams import Clock, put, rest, simulate

__all__ = ["ModuleBench"]

FLAGS = ("pop_prev", "pop_next", "push_prev", "push_next")


class ModuleBench:
    """Sends instructions to a module's port, gives it tokens, and notes what retires.

    Attributes
    ----------
    retired : list of (kind, moved)
    pushed, popped : dict
        Tokens by side.
    """

    def __init__(self, dut, *, tokens=(0, 0)):
        self.dut, self.port = dut, dut.port
        self.tokens = {"pop_prev": tokens[0], "pop_next": tokens[1]}
        self.retired: list[tuple[int, int]] = []
        self.times: list[int] = []
        self.pushed = {"push_prev": 0, "push_next": 0}
        self.clock = Clock()

    def run(self, insns, *, retire=None, settle=40, background=(), look=None):
        """Until `retire` instructions (all of them, if not said) have retired, and on for
        `settle` cycles; returns the module's status then."""
        wanted = len(insns) if retire is None else retire
        status = {}

        async def send(ctx):
            await put(
                ctx,
                self.port.insn,
                [{"insn": insn, "index": index} for index, insn in enumerate(insns)],
            )

        async def wait(ctx):
            while len(self.retired) < wanted:
                await ctx.tick()
            await rest(ctx, settle)
            assert len(self.retired) == wanted
            found = ctx.get(self.port.status)
            status.update(
                {name: getattr(found, name) for name in ("active", *FLAGS, "cause", "index")}
            )
            status["idle"] = ctx.get(self.port.idle)
            if look:
                await look(ctx)

        simulate(self.dut, wait, background=[send, self._watch, self.clock.run, *background])
        return status

    async def _watch(self, ctx):
        port = self.port
        trigger = ctx.tick().sample(port.moves, port.retire, port.retired)
        while True:
            for side, count in self.tokens.items():
                ctx.set(getattr(port.available, side), count > 0)
            _, _, moves, retire, retired = await trigger
            for side in self.tokens:
                self.tokens[side] -= getattr(moves, side)
                assert self.tokens[side] >= 0
            for side in self.pushed:
                self.pushed[side] += getattr(moves, side)
            if retire:
                self.retired.append((retired.kind, retired.moved))
                self.times.append(self.clock.now)
