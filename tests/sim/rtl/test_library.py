"""Waveforms of a simulation, and the library's own checks of their files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.disks import on_a_small_disk
from vta.errors import ToolError
from vta.sim.memory import Memory
from vta.sim.rtl.library import Simulation
from vta.sim.rtl.memory_model import MemoryModel

PROBE = (Path(__file__).parent / "bus_probe.v").read_text(encoding="utf-8")


@pytest.fixture
def memory():
    with Memory(20) as memory:
        yield memory


def _traced(memory: Memory, waves: Path) -> Simulation:
    return Simulation(PROBE, memory, model=MemoryModel(), waves=waves)


def _unpack_lz4(block: bytes, size: int) -> bytes:
    """Decodes an LZ4 block, by the format's description."""
    out, at = bytearray(), 0

    def length(start: int, nibble: int) -> tuple[int, int]:
        total = nibble
        if nibble == 15:
            while True:
                total += block[start]
                start += 1
                if block[start - 1] != 255:
                    break
        return total, start

    while at < len(block):
        token = block[at]
        literals, at = length(at + 1, token >> 4)
        out += block[at : at + literals]
        at += literals
        if at >= len(block):
            break
        offset = int.from_bytes(block[at : at + 2], "little")
        match, at = length(at + 2, token & 15)
        for _ in range(match + 4):
            out.append(out[-offset])
    assert len(out) == size
    return bytes(out)


def test_waves_fst(memory, tmp_path):
    sim = _traced(memory, tmp_path / "probe.fst")
    sim.step(20_000)
    sim.close()
    raw = (tmp_path / "probe.fst").read_bytes()
    blocks, at = {}, 0
    while at < len(raw):
        size = int.from_bytes(raw[at + 1 : at + 9], "big")
        blocks[raw[at]] = raw[at + 9 : at + 1 + size]
        at += 1 + size
    # Header (times in ns), geometry, LZ4 hierarchy: FST's block types 0, 3, 6.
    start, end = (int.from_bytes(blocks[0][place : place + 8], "big") for place in (0, 8))
    assert end - start == pytest.approx(200_000, abs=200)
    names = _unpack_lz4(blocks[6][8:], int.from_bytes(blocks[6][:8], "big"))
    for name in (b"m_axi__araddr", b"s_axi__wdata", b"now"):
        assert name in names


def test_waves_fst_as_a_viewer_reads_them(memory, tmp_path):
    pywellen = pytest.importorskip("pywellen", reason="reads FST files; not installed")
    sim = _traced(memory, tmp_path / "probe.fst")
    sim.step(3000)
    sim.close()
    waveform = pywellen.Waveform(str(tmp_path / "probe.fst"))
    variables = {variable.full_name: variable for variable in waveform.all_vars()}
    now = variables["TOP.vta.now"].signal
    # Edges of the clock lie 10 ns apart, from 10 ns on, and the counter starts after the reset.
    values = [now.value_at(10 * cycle + 2) for cycle in (1000, 2000, 2999)]
    assert values[1] - values[0] == 1000
    assert values[2] - values[1] == 999


def test_waves_vcd(memory, tmp_path):
    sim = _traced(memory, tmp_path / "probe.vcd")
    sim.step(50)
    sim.close()
    text = (tmp_path / "probe.vcd").read_text(encoding="ascii")
    assert "m_axi__araddr" in text
    assert text.rstrip().splitlines()[-1] != "$end"


def test_waves_refused(memory, tmp_path):
    with pytest.raises(ToolError, match=r"must end in \.fst or \.vcd, not 'probe.png'"):
        _traced(memory, tmp_path / "probe.png")
    with pytest.raises(ToolError, match="cannot be written"):
        _traced(memory, tmp_path / "missing" / "probe.fst")


@pytest.mark.parametrize(("suffix", "room"), [("vcd", 1 << 20), ("fst", 4 << 20)])
def test_waves_on_a_disk_that_gets_full(tmp_path, suffix, room):
    """Verilator would abort or hang. VCD is written as it goes on, FST in large blocks."""
    file = tmp_path / f"probe.{suffix}"
    said = on_a_small_disk(
        tmp_path,
        "3m",
        f"""
        from pathlib import Path
        from vta.errors import ToolError
        from vta.sim.memory import Memory
        from vta.sim.rtl import library
        from vta.sim.rtl.memory_model import MemoryModel

        library.ROOM = {room}
        with Memory(20) as memory:
            file = Path({str(file)!r})
            sim = library.Simulation({PROBE!r}, memory, model=MemoryModel(), waves=file)
            try:
                while sim.cycle < 1_000_000:
                    sim.step(100_000)
            except ToolError as error:
                print(error)
            sim.close()
            print(0 < file.stat().st_size < 3 << 20)
        """,
    )
    message, complete = said.splitlines()
    assert re.fullmatch(
        rf"{file}: the disk has [\d,]+ bytes left, and waves need {room:,}; "
        "free some space, or write them elsewhere",
        message,
    )
    assert complete == "True"
