"""A shift register beside the requantisers, so that ACC is written in order.

It holds the addresses of the tiles that they work on, and what LOADs bring meanwhile.
"""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from vta.config import Config

__all__ = ["DelayLine", "acc_load_layout", "delay_entry_layout", "delayed_layout"]


def acc_load_layout(config: Config) -> data.StructLayout:
    """A tile that a LOAD writes into ACC, or, with `mark`, the end of a LOAD."""
    return data.StructLayout({"addr": config.log_acc_depth, "zero": 1, "mark": 1, "error": 1})


def delay_entry_layout(config: Config) -> data.StructLayout:
    """A tile that is being requantised (`qnt`), something that a LOAD brings (`load`), or nothing.

    A requantised tile uses the address in `tile` alone; `last` says that it is its instruction's
    last one.
    """
    return data.StructLayout({"qnt": 1, "load": 1, "last": 1, "tile": acc_load_layout(config)})


def delayed_layout(config: Config, length: int) -> data.ArrayLayout:
    """The requantised tiles in a line, in order: first the one that came last."""
    return data.ArrayLayout(data.StructLayout({"qnt": 1, "addr": config.log_acc_depth}), length)


class DelayLine(wiring.Component):
    """A shift register that moves by one stage in every cycle.

    Parameters
    ----------
    config : Config
    length : int
        Cycles that an entry takes.

    Members
    -------
    i : In(delay_entry_layout)
    o : Out(delay_entry_layout)
        What came in `length` cycles before.
    holds_qnt, holds_any : Out(1)
        There are requantised tiles, or entries of any kind, in the line; `o` included.
    delayed : Out(delayed_layout)
        The requantised tiles in it, `o` last.
    """

    def __init__(self, config: Config, length: int) -> None:
        self._config, self._length = config, length
        super().__init__(
            {
                "i": In(delay_entry_layout(config)),
                "o": Out(delay_entry_layout(config)),
                "holds_qnt": Out(1),
                "holds_any": Out(1),
                "delayed": Out(delayed_layout(config, length)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        entries = []
        entry = self.i
        for number in range(self._length):
            later = Signal(delay_entry_layout(self._config), name=f"entry_{number}")
            m.d.sync += later.eq(entry)
            m.d.comb += [
                self.delayed[number].qnt.eq(later.qnt),
                self.delayed[number].addr.eq(later.tile.addr),
            ]
            entries.append(later)
            entry = later
        m.d.comb += self.o.eq(entry)
        # Both are registers, so they are set from what will be in the line in the next cycle.
        following = [self.i, *entries[:-1]]
        m.d.sync += [
            self.holds_qnt.eq(Cat(entry.qnt for entry in following).any()),
            self.holds_any.eq(Cat(entry.qnt | entry.load for entry in following).any()),
        ]
        return m
