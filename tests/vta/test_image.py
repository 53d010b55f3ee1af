"""Memory images: saved and loaded unchanged, refused when they contradict themselves."""

import json

import numpy as np
import pytest

from vta.config import PRESETS
from vta.errors import ImageError
from vta.image import BASES, Image, Segment
from vta.isa import TOKEN_QUEUES, Isa

CONFIG = PRESETS["default"]


def part(addr, *values):
    return Segment(addr, np.array(values, np.uint8))


def make_image(**changes):
    values = {
        "config": CONFIG,
        "insn_addr": 0x100,
        "insn_count": 2,
        "before": (part(0x100, *range(32)), part(0x1000, 7, 8)),
        "after": (part(0x1000, 9),),
        "base": dict.fromkeys(BASES, 0) | {"acc": 64},
        "tokens_before": dict.fromkeys(TOKEN_QUEUES, 0) | {"s2g": 3},
        "description": "two instructions, «three» tokens",
    }
    return Image(**(values | changes))


def plain(segments):
    return None if segments is None else [(item.addr, bytes(item.data)) for item in segments]


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "image.npz"
    make_image().save(path)
    return path


def rewrite(path, **changes):
    """The file with some arrays replaced (None: left out)."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays.update(changes)
    with open(path, "wb") as file:
        np.savez(file, **{name: array for name, array in arrays.items() if array is not None})


def manifest(path, **changes):
    """The file with some of the manifest's values changed (None: left out)."""
    with np.load(path) as archive:
        values = json.loads(bytes(archive["manifest"])) | changes
    text = json.dumps({key: value for key, value in values.items() if value is not None})
    rewrite(path, manifest=np.frombuffer(text.encode(), np.uint8))


@pytest.mark.parametrize("after", [None, (), (part(0x1000, 9),)])
def test_save_and_load(tmp_path, after):
    image = make_image(after=after)
    image.save(tmp_path / "x.npz")
    loaded = Image.load(tmp_path / "x.npz")
    for name in ("config", "insn_addr", "insn_count", "base", "tokens_before", "description"):
        assert getattr(loaded, name) == getattr(image, name)
    assert plain(loaded.before) == plain(image.before)
    assert plain(loaded.after) == plain(after)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def test_save_where_it_cannot(tmp_path):
    with pytest.raises(ImageError, match="cannot be written"):
        make_image().save(tmp_path / "none" / "x.npz")


def test_reference_images_load(shared):
    images = [Image.load(path) for path in sorted((shared / "vectors").glob("*.npz"))]
    assert len(images) == 25
    config = CONFIG.replace(hw_ver="0.0.2")
    assert all(image.config == config and image.after for image in images)
    assert sum(image.tokens_before["s2g"] for image in images) == 1


def test_stream_is_gathered_from_the_segments():
    words = Isa.words([1, 2, 3])
    raw = words.view(np.uint8).reshape(-1)
    image = make_image(
        insn_addr=0x100,
        insn_count=3,
        before=(
            Segment(0x110, raw[16:40]),
            Segment(0xF0, np.concatenate([np.ones(16, np.uint8), raw[:16]])),
        ),
    )
    assert image.stream().tolist() == [[1, 0], [2, 0], [3, 0]]


def test_stream_longer_than_the_image():
    with pytest.raises(ImageError, match="insn_count 3 is more than the image's 34 bytes hold"):
        make_image(insn_count=3).stream()


# -- contradictions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"before": (part(0, 1, 2), part(1, 3))},
            "before_0 and before_1 overlap: the first ends at 0x2, the second starts at 0x1",
        ),
        ({"before": (part(5, 1, 2), part(0, *range(6)))}, "before_1 and before_0 overlap"),
        ({"after": (part(8, 1), part(0, 1), part(8, 1))}, "after_0 and after_2 overlap"),
        (
            {"before": (part(2**32 - 1, 1, 2),)},
            "before_0 must lie below 0x100000000, not at 0xffffffff to 0x100000001",
        ),
        ({"after": (part(2**32, 1),)}, "after_0 must lie below 0x100000000"),
        ({"after": (part(-1, 1),)}, "after_0 must lie below"),
        ({"insn_addr": 2**32}, "insn_addr must be 0 to 0xffffffff, not 4294967296"),
        ({"insn_addr": -16}, "insn_addr must be 0 to"),
        ({"insn_addr": 1.5}, "insn_addr must be 0 to"),
        ({"insn_count": 2**32}, "insn_count must be 0 to"),
        ({"insn_count": True}, "insn_count must"),
        ({"insn_count": "2"}, "insn_count must be 0 to 0xffffffff, not '2'"),
        ({"base": {"ink": 0}}, "base must have only the keys uop, inp, wgt, acc, out, not "),
        ({"base": 7}, "base must have only the keys"),
        ({"base": dict.fromkeys((*BASES, "more"), 0)}, "base must have only the keys"),
        ({"base": dict.fromkeys(BASES, 2**32)}, "base.uop must be 0 to 0xffffffff"),
        ({"description": 5}, "description must be text, not 5"),
        ({"tokens_before": {"x2y": 1}}, "tokens_before must have only the keys l2g, g2l, g2s, s2g"),
        ({"tokens_before": dict.fromkeys(TOKEN_QUEUES, 65_536)}, "tokens_before.l2g must be 0 to"),
        ({"tokens_before": dict.fromkeys(TOKEN_QUEUES, -1)}, "tokens_before.l2g must be 0 to"),
    ],
)
def test_contradictions(changes, message):
    with pytest.raises(ImageError, match=message):
        make_image(**changes)


def test_neighbours_do_not_overlap_and_the_last_byte_is_inside():
    make_image(before=(part(0, 1, 2), part(2, 3), part(2**32 - 1, 4)), after=(part(0, 9),))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": None}, "manifest has no config"),
        ({"insn_addr": None}, "manifest has no insn_addr"),
        ({"insn_count": None}, "manifest has no insn_count"),
        ({"config": {"LOG_BLOCK": 4}}, "missing key TARGET"),
        ({"config": 3}, "must be a JSON object"),
        ({"config": CONFIG.to_dict() | {"LOG_BATCH": 9}}, "LOG_BATCH must be 0 to 2, not 9"),
        ({"base": []}, "base must have only the keys"),
        ({"insn_addr": "0"}, "insn_addr must be 0 to"),
        ({"version": 2}, "must be version 1 of vta-image, not 2"),
        ({"format": "vta-program"}, "must be a vta-image file, not 'vta-program'"),
        ({"format": None}, "must be a vta-image file, not None"),
    ],
)
def test_a_manifest_that_is_wrong(saved, changes, message):
    manifest(saved, **changes)
    with pytest.raises(ImageError, match=rf"image\.npz: (configuration: )?{message}"):
        Image.load(saved)


def test_what_the_manifest_may_leave_out(saved):
    manifest(saved, base=None, tokens_before=None, description=None)
    image = Image.load(saved)
    assert set(image.base.values()) == set(image.tokens_before.values()) == {0}
    assert image.description == ""


def test_keys_that_are_left_out_are_0(saved):
    """As docs/images.md says."""
    manifest(saved, base={"acc": 64}, tokens_before={"s2g": 3})
    for image in (Image.load(saved), make_image(base={"acc": 64}, tokens_before={"s2g": 3})):
        assert image.base == {"uop": 0, "inp": 0, "wgt": 0, "acc": 64, "out": 0}
        assert image.tokens_before == {"l2g": 0, "g2l": 0, "g2s": 0, "s2g": 3}
    manifest(saved, base={}, tokens_before={})
    assert not any(Image.load(saved).base.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"manifest": None}, r"not a vta-image file \(no manifest\)"),
        ({"before_addr": None}, "before_addr is missing"),
        ({"before_1": None}, "before_1 is missing: before_addr has 2 segments"),
        ({"before_0": np.zeros(3, np.int32)}, r"before_0 must be uint8\[n\], not int32\[3\]"),
        (
            {"before_0": np.zeros((3, 3), np.uint8)},
            r"before_0 must be uint8\[n\], not uint8\[3, 3\]",
        ),
        ({"before_addr": np.zeros((1, 2), np.uint64)}, r"before_addr must be uint64\[k\]"),
        ({"before_addr": np.zeros(2)}, r"before_addr must be uint64\[k\], not float64\[2\]"),
        (
            {"before_addr": np.array(5, np.uint64)},
            r"before_addr must be uint64\[k\], not uint64\[\]",
        ),
        ({"before_addr": np.array([2**64 - 1, 0], np.uint64)}, "before_0 must lie below"),
        ({"after_0": None}, "after_0 is missing"),
    ],
)
def test_arrays_that_are_wrong(saved, changes, message):
    rewrite(saved, **changes)
    with pytest.raises(ImageError, match=rf"image\.npz: {message}"):
        Image.load(saved)


def test_a_missing_file(tmp_path):
    with pytest.raises(ImageError, match=r"none\.npz: cannot be read"):
        Image.load(tmp_path / "none.npz")


def test_truncated_at_any_length(saved):
    whole = saved.read_bytes()
    for length in range(0, len(whole), 7):
        saved.write_bytes(whole[:length])
        with pytest.raises(ImageError, match=r"image\.npz: "):
            Image.load(saved)


def test_any_damaged_byte_is_refused_or_harmless(saved):
    """Never another exception than ours, whatever happened to the file."""
    whole = saved.read_bytes()
    rng = np.random.default_rng(13)
    refused = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        saved.write_bytes(damaged)
        try:
            Image.load(saved)
        except ImageError:
            refused += 1
    assert refused > len(whole) // 2


def test_any_damaged_manifest_is_refused_or_harmless(saved):
    """As above, with the archive's checksums right."""
    with np.load(saved) as archive:
        text = bytes(archive["manifest"])
    refused = 0
    rng = np.random.default_rng(14)
    for place in range(0, len(text), 2):
        damaged = bytearray(text)
        damaged[place] = int(rng.integers(32, 127))
        rewrite(saved, manifest=np.frombuffer(bytes(damaged), np.uint8))
        try:
            Image.load(saved)
        except ImageError:
            refused += 1
    assert 0 < refused < len(text) // 2
