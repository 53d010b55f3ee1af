"""A bus master in Verilog that tests drive beat by beat, against the C++ memory model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vta.config import Config
from vta.registers import BY_NAME, config_words
from vta.sim.memory import Memory
from vta.sim.rtl.library import Simulation
from vta.sim.rtl.memory_model import MemoryModel

HERE = Path(__file__).parent
PROBE = (HERE / "bus_probe.v").read_text(encoding="utf-8")
WIDE_PROBE = PROBE.replace("DATA = 64", "DATA = 256").replace("ADDR = 32", "ADDR = 40")
OKAY, DECERR = 0, 3
SOON = 20
"""Cycles in which the probe has certainly started after a write to its go register."""


@dataclass(frozen=True)
class Beat:
    """One beat that the probe has read."""

    cycle: int
    last: bool
    resp: int
    id: int
    low: int
    top: int


class Probe:
    """The host's side of `bus_probe.v`."""

    def __init__(
        self, memory: Memory, *, verilog: str = PROBE, max_burst: int = 256, **model: int | None
    ) -> None:
        self.sim = Simulation(verilog, memory, model=MemoryModel(**model), max_burst=max_burst)
        self.bus_bytes = 32 if verilog == WIDE_PROBE else 8

    def _burst(
        self, register: int, addr: int, beats: int, id: int, size: int | None, burst: int
    ) -> None:
        size = (self.bus_bytes.bit_length() - 1) if size is None else size
        self.sim.write(0x10, addr & 0xFFFF_FFFF)
        self.sim.write(0x1C, addr >> 32)
        self.sim.write(register, size << 13 | burst << 11 | id << 8 | beats - 1)

    def read(
        self, addr: int, beats: int, id: int = 0, size: int | None = None, burst: int = 1
    ) -> None:
        self._burst(0x14, addr, beats, id, size, burst)

    def write(
        self,
        addr: int,
        data: bytes,
        id: int = 0,
        *,
        strobes: int | None = None,
        beats: int | None = None,
        last: int | None = None,
    ) -> None:
        """A write burst; `beats` and `last` say what AWLEN and WLAST claim if not the truth."""
        count = len(data) // self.bus_bytes
        self._burst(0x18, addr, beats or count, id, None, 1)
        for index in range(count):
            beat = data[index * self.bus_bytes : (index + 1) * self.bus_bytes]
            for word in range(self.bus_bytes // 4):
                self.sim.write(
                    0x20 + 4 * word, int.from_bytes(beat[4 * word : 4 * word + 4], "little")
                )
            self.sim.write(0x40, (1 << self.bus_bytes) - 1 if strobes is None else strobes)
            self.sim.write(0x44, int(index == (count - 1 if last is None else last)))

    def ready(self, r: int = 0xFFFF, b: int = 0xFFFF) -> None:
        self.sim.write(0x04, b << 16 | r)

    def go(self, cycles: int, *, reads: bool = True, w_delay: int = 0, aw_delay: int = 0) -> None:
        self.sim.write(0x0C, aw_delay << 16 | w_delay)
        self.sim.write(0x00, 7 if reads else 6)
        self.sim.step(cycles)

    def _record(self, index: int, register: int) -> int:
        self.sim.write(0x50, index)
        return self.sim.read(register)

    def ar_cycles(self) -> list[int]:
        return [self._record(index, 0x60) for index in range(self.sim.read(0x94) & 0x7FF)]

    def beats(self) -> list[Beat]:
        found = []
        for index in range(self.sim.read(0x94) >> 11):
            info = self._record(index, 0x68)
            found.append(
                Beat(
                    self.sim.read(0x64),
                    bool(info >> 5),
                    info >> 3 & 3,
                    info & 7,
                    self.sim.read(0x6C),
                    self.sim.read(0x70),
                )
            )
        return found

    def aw_cycles(self) -> list[int]:
        return [self._record(index, 0x74) for index in range(self.sim.read(0x90) & 0x7FF)]

    def w_cycles(self) -> list[int]:
        return [self._record(index, 0x78) for index in range(self.sim.read(0x90) >> 11 & 0x7FF)]

    def responses(self) -> list[tuple[int, int, int]]:
        """Cycle, response and id of each."""
        found = []
        for index in range(self.sim.read(0x90) >> 22):
            info = self._record(index, 0x80)
            found.append((self.sim.read(0x7C), info >> 3, info & 7))
        return found

    def broken(self) -> int:
        return self.sim.read(0x98)


def register_probe(config: Config) -> str:
    """A device of which only the registers work, and which says that it is of `config`."""
    identity = {
        "id": 0x2D415456,
        "version": int(config.hw_ver[-1]) << 8,
        **{f"config_{index}": word for index, word in enumerate(config_words(config))},
    }
    words = "".join(
        f"words[{BY_NAME[name].offset // 4}] = {value};\n" for name, value in identity.items()
    )
    return (HERE / "register_probe.v").read_text(encoding="utf-8").replace("    IDENTITY", words)
