"""The top behind two pins, for place and route without a board."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from vta.config import Config
from vta.hw.top import Top

__all__ = ["FewPins"]


class FewPins(wiring.Component):
    """`Top` with all of its ports on shift registers.

    A package has fewer pins than two AXI ports have wires. Inputs come from a long shift register,
    outputs are captured and shifted out, so that every port starts or ends at a flip-flop, as it
    would inside a larger design, and nothing can be optimised away.

    Members
    -------
    i : In(1)
        Shifted into the inputs.
    capture : In(1)
        Takes the outputs; else they are shifted towards `o`.
    o : Out(1)
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__({"i": In(1), "capture": In(1), "o": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.top = top = Top(self._config)
        inputs: list[Value] = []
        outputs: list[Value] = []
        for _, member, port in top.signature.flatten(top):
            (inputs if member.flow == In else outputs).append(Value.cast(port))

        source = Signal(sum(len(port) for port in inputs), reset_less=True)
        m.d.sync += source.eq(Cat(self.i, source))
        m.d.comb += Cat(inputs).eq(source)

        sink = Signal(sum(len(port) for port in outputs), reset_less=True)
        m.d.sync += sink.eq(Mux(self.capture, Cat(outputs), sink << 1))
        m.d.comb += self.o.eq(sink[-1])
        return m
