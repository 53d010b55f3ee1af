"""Payloads that several blocks pass on: one definition each, so that field order cannot differ."""

from amaranth import *
from amaranth.lib import data

from vta.config import Config
from vta.isa import INSN_BYTES, MEMORY_TYPE_BITS, PAD_BITS, SIZE_BITS, SRAM_BITS

__all__ = [
    "COUNT_BITS",
    "INDEX_BITS",
    "LOG_BURST_BYTES_LIMIT",
    "Events",
    "QueuedInsn",
    "Status",
    "TokenBits",
    "beat_layout",
    "burst_beats",
    "burst_layout",
    "transfer_layout",
]

INDEX_BITS = 32
"""Bits of a position in the stream, as `insn_count` has them."""

COUNT_BITS = SRAM_BITS + 1
"""Bits of a number of elements: up to all of the deepest buffer."""

LOG_BURST_BYTES_LIMIT = 12
"""A burst that is aligned to its own length and has at most 4 KiB never crosses 4 KiB."""


class QueuedInsn(data.Struct):
    """An instruction on its way to a module, with its position in the stream."""

    insn: 8 * INSN_BYTES
    index: INDEX_BITS


class TokenBits(data.Struct):
    """The token bits of an instruction, or a pulse for each token queue of a module."""

    pop_prev: 1
    pop_next: 1
    push_prev: 1
    push_next: 1


class Status(data.Struct):
    """What a module is doing, for the monitor and the status registers.

    `active` is 1 from the moment an instruction's tokens are popped until it retires. The four
    token flags are 1 only while nothing is in flight: then the module is stuck until the neighbour
    moves. `cause` is not 0 once the module has stopped.
    """

    active: 1
    pop_prev: 1
    pop_next: 1
    push_prev: 1
    push_next: 1
    cause: 4
    index: INDEX_BITS


class Events(data.Struct):
    """What happens in a cycle, a bit each for load, compute and store: for profilers.

    Instructions issue and retire in the order of each module's queue, so that counting the pulses
    tells which instruction each of them is about. `wait_*` as in `Status`, for a token or for room
    for one; `wait_memory` while an instruction is under way that memory delays.
    """

    issue: 3
    retire: 3
    wait_prev: 3
    wait_next: 3
    wait_memory: 3


def burst_beats(config: Config) -> int:
    """Beats of the longest burst."""
    return min(config.max_burst, (1 << LOG_BURST_BYTES_LIMIT) // config.bus_bytes)


def burst_layout(config: Config) -> data.StructLayout:
    """A burst to ask memory for: byte address of its first beat, and the number of beats."""
    return data.StructLayout({"addr": config.addr_width, "beats": range(burst_beats(config) + 1)})


def beat_layout(config: Config) -> data.StructLayout:
    """A beat that memory returned, and whether the response was an error."""
    return data.StructLayout({"data": config.bus_width, "error": 1})


def transfer_layout(config: Config) -> data.StructLayout:
    """A checked LOAD or STORE: all that the engines need, worked out once.

    DRAM holds `runs` runs of `run_elems` elements, `run_stride` elements apart from byte address
    `addr` on (rows that follow each other without a gap are one run). `moves` is set if `runs` is
    not 0. In SRAM there are `rows` rows of `cols` elements, the first at `data_addr`, with `gap`
    elements of padding between one row and the next, `lead` before the first row and `tail` after
    the last, the latter at `tail_addr`. `moved` elements come from or go to DRAM; in SRAM the
    transfer ends before `sram_end`.

    With encoding 0.0.3, `pad_min` says that padding is the least number instead of zero.
    """
    return data.StructLayout(
        {
            **({"pad_min": 1} if config.requantises else {}),
            "kind": MEMORY_TYPE_BITS,
            "addr": config.addr_width,
            "moves": 1,
            "runs": SIZE_BITS,
            "run_elems": COUNT_BITS,
            "run_stride": SIZE_BITS,
            "sram_base": SRAM_BITS,
            "data_addr": COUNT_BITS,
            "rows": SIZE_BITS,
            "cols": SIZE_BITS,
            "gap": PAD_BITS + 1,
            "lead": COUNT_BITS,
            "tail": COUNT_BITS,
            "tail_addr": COUNT_BITS,
            "moved": COUNT_BITS,
            "sram_end": COUNT_BITS,
        }
    )
