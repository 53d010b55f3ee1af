"""Archives from strangers: sizes are known before anything is unpacked."""

import io
import os
import tracemalloc
import zipfile

import numpy as np
import pytest

from vta.config import PRESETS
from vta.errors import ProgramError, VtaError
from vta.image import Image
from vta.program import DramBuffer, Program


@pytest.fixture
def saved(tmp_path):
    """A program without instructions."""
    program = Program(
        name="main",
        config=PRESETS["default"],
        insns=np.zeros((0, 2), np.uint64),
        refs=np.zeros(0, np.int32),
        buffers=(),
    )
    program.save(tmp_path / "program.o")
    return tmp_path / "program.o"


def zeros_archive(path, nbytes):
    """An archive of compressed zeros: `nbytes` of them take a thousandth."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("buffer_0.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "|u1", "fortran_order": False, "shape": (nbytes,)}
            )
            for _ in range(nbytes >> 20):
                file.write(bytes(1 << 20))


@pytest.mark.parametrize("load", [Program.load, Image.load])
def test_archives_that_unpack_to_more_than_the_limit(tmp_path, monkeypatch, load):
    path = tmp_path / "bomb.npz"
    zeros_archive(path, 16 << 20)
    monkeypatch.setenv("VTA_MAX_UNPACKED_BYTES", str(8 << 20))
    peak = tracemalloc_peak(lambda: pytest.raises(VtaError, load, path))
    assert peak < 4 << 20
    with pytest.raises(VtaError, match=r"bomb\.npz: .* 16777344 .* 8388608; .*MAX_UNPACKED"):
        load(path)
    monkeypatch.setenv("VTA_MAX_UNPACKED_BYTES", str(17 << 20))
    with pytest.raises(VtaError, match="no manifest"):
        load(path)
    monkeypatch.setenv("VTA_MAX_UNPACKED_BYTES", "1G")
    with pytest.raises(VtaError, match="VTA_MAX_UNPACKED_BYTES must be a number .* not '1G'"):
        load(path)


def tracemalloc_peak(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.full
def test_two_gibibytes_of_zeros_are_refused_by_default(tmp_path):
    zeros_archive(tmp_path / "bomb.npz", 2 << 30)
    assert (tmp_path / "bomb.npz").stat().st_size < 3 << 20
    with pytest.raises(ProgramError, match="more than the limit of 1073741824"):
        Program.load(tmp_path / "bomb.npz")


@pytest.mark.parametrize("load", [Program.load, Image.load])
def test_a_device_or_a_pipe_is_not_read(tmp_path, load):
    """They may have no end, and a pipe that nobody writes to blocks."""
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe"):
        with pytest.raises(VtaError, match=r"(zero|pipe): cannot be read \(not a regular file\)"):
            load(path)


def test_a_header_that_claims_more_than_is_there(saved):
    """An array of 2^62 bytes, of which 8 are in the file."""
    raw = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        raw, {"descr": "|u1", "fortran_order": False, "shape": (1 << 62,)}
    )
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr("more.npy", raw.getvalue() + bytes(8))
    with pytest.raises(
        ProgramError, match="more has 8 bytes, but its header says 4611686018427387904"
    ):
        Program.load(saved)


def test_sizes_beyond_64_bits_are_counted_right():
    assert (
        DramBuffer(name="A", role="temp", shape=(1 << 40, 1 << 40), dtype="int8").nbytes == 1 << 80
    )
