"""The configuration: what is legal, what follows from it, and what each refusal says."""

import dataclasses
import json
import os
import re

import pytest

from vta.config import PRESETS, TARGETS, Config
from vta.errors import ConfigError
from vta.isa import MemoryType

VALUES = {
    "TARGET": "sim",
    "HW_VER": "0.0.3",
    "LOG_INP_WIDTH": 3,
    "LOG_WGT_WIDTH": 3,
    "LOG_ACC_WIDTH": 5,
    "LOG_BATCH": 0,
    "LOG_BLOCK": 4,
    "LOG_UOP_BUFF_SIZE": 15,
    "LOG_INP_BUFF_SIZE": 15,
    "LOG_WGT_BUFF_SIZE": 18,
    "LOG_ACC_BUFF_SIZE": 17,
}


def write(path, values):
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


def test_sizes_of_the_default():
    """The table of docs/isa.md, "Memories"."""
    config = Config.from_dict(VALUES)
    assert (config.inp_width, config.wgt_width, config.acc_width, config.out_width) == (8, 8, 32, 8)
    assert (config.batch, config.block) == (1, 16)
    kinds = ("UOP", "WGT", "INP", "ACC", "OUT", "ACC_8BIT")
    assert [config.elem_bytes(MemoryType[kind]) for kind in kinds] == [4, 256, 16, 64, 16, 16]
    assert [config.log_elem_bytes(MemoryType[kind]) for kind in kinds] == [2, 8, 4, 6, 4, 4]
    depths = [config.depth(MemoryType[kind]) for kind in kinds]
    assert depths == [8192, 1024, 2048, 2048, 2048, 2048]
    assert [config.log_depth(MemoryType[kind]) for kind in kinds] == [13, 10, 11, 11, 11, 11]
    assert (config.wgt_elem_bytes, config.acc_8bit_elem_bytes) == (256, 16)
    assert (config.uop_depth, config.log_out_depth) == (8192, 11)
    assert (config.log_out_width, config.log_out_buff_size) == (3, 15)
    assert (config.bus_width, config.bus_bytes, config.addr_width) == (64, 8, 32)
    assert config.insn_queue_depth == 512
    assert config.bitstream == "1x16_i8w8a32_15_15_18_17"


def test_depth_is_buffer_over_element(configs):
    for kind in (MemoryType.UOP, MemoryType.INP, MemoryType.WGT, MemoryType.ACC):
        size = 1 << getattr(configs, f"log_{kind.name.lower()}_buff_size")
        assert configs.depth(kind) == size // configs.elem_bytes(kind)
        assert configs.depth(kind) == 1 << configs.log_depth(kind) >= 8
    assert configs.out_depth == configs.acc_depth


# -- loading -------------------------------------------------------------------------------------


def test_the_packages_own_file_is_the_default(monkeypatch):
    monkeypatch.delenv("VTA_CONFIG", raising=False)
    assert Config.load() == Config.from_dict(VALUES) == PRESETS["default"]


@pytest.mark.parametrize(
    "target", ["sim", "tsim", "pynq", "ultra96", "zcu104", "de10nano", "intelfocl", "my_board"]
)
@pytest.mark.parametrize("version", ["0.0.1", "0.0.2", "0.0.3"])
def test_every_target_loads(tmp_path, target, version):
    path = write(tmp_path / "c.json", VALUES | {"TARGET": target, "HW_VER": version})
    config = Config.load(path)
    assert config.target == target
    assert (target in TARGETS) == (target != "my_board")


def test_the_environment_names_a_file_and_a_path_wins(tmp_path, monkeypatch):
    batch = write(tmp_path / "a.json", VALUES | {"LOG_BATCH": 1, "LOG_ACC_BUFF_SIZE": 18})
    block = write(tmp_path / "b.json", VALUES | {"TARGET": "tsim"})
    monkeypatch.setenv("VTA_CONFIG", str(batch))
    assert Config.load().log_batch == 1
    assert Config.load(block).target == "tsim"
    monkeypatch.setenv("VTA_CONFIG", "tiny")
    assert Config.load() == PRESETS["tiny"]
    with pytest.raises(ConfigError, match="defualt: cannot be read .*did you mean the preset 'def"):
        Config.load("defualt")
    monkeypatch.setenv("VTA_CONFIG", str(tmp_path / "none.json"))
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read \(No such file"):
        Config.load()


def test_presets_load_by_name(configs):
    name = next(name for name, config in PRESETS.items() if config == configs)
    assert Config.load(name) is configs


def test_dict_round_trip(configs):
    assert Config.from_dict(configs.to_dict()) == configs
    assert PRESETS["default"].to_dict() == VALUES
    assert PRESETS["small"].to_dict()["LOG_BUS_WIDTH"] == 8


def test_optional_keys(tmp_path):
    config = Config.load(
        write(
            tmp_path / "c.json",
            VALUES | {"LOG_BUS_WIDTH": 8, "ADDR_WIDTH": 40, "MAX_BURST": 16, "LOG_INSN_QUEUE": 10},
        )
    )
    assert (config.bus_width, config.addr_width, config.max_burst, config.insn_queue_depth) == (
        256,
        40,
        16,
        1024,
    )


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", VALUES)
def test_a_missing_key(key):
    with pytest.raises(ConfigError, match=f"configuration: missing key {key}$"):
        Config.from_dict({name: value for name, value in VALUES.items() if name != key})


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("LOG_BLOK", "unknown key 'LOG_BLOK'; did you mean LOG_BLOCK\\?"),
        ("log_block", "unknown key 'log_block'; allowed: TARGET, HW_VER"),
        ("colour", "unknown key 'colour'; allowed: TARGET, HW_VER"),
        ("", "unknown key ''"),
    ],
)
def test_a_misspelt_key(key, message):
    with pytest.raises(ConfigError, match=message):
        Config.from_dict(VALUES | {key: 1})


def test_a_key_given_twice(tmp_path):
    text = json.dumps(VALUES)[:-1] + ', "LOG_BLOCK": 5}'
    with pytest.raises(ConfigError, match=r"c\.json: key 'LOG_BLOCK' is given twice"):
        Config.load(write(tmp_path / "c.json", text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "must be a JSON object, not list"),
        ("3", "must be a JSON object, not int"),
        ("null", "must be a JSON object, not NoneType"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path, text, message):
    with pytest.raises(ConfigError, match=rf"c\.json: {message}"):
        Config.load(write(tmp_path / "c.json", text))


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "c.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"c\.json: not JSON"):
        Config.load(tmp_path / "c.json")


def test_a_folder(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        Config.load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("TARGET", "", "TARGET must be a name, not ''"),
        ("TARGET", "a\nb", "TARGET must be a name, not "),
        ("TARGET", ["sim"], r"TARGET must be a name, not \['sim'\]"),
        ("HW_VER", "0.1.0", "HW_VER must be one of 0.0.1, 0.0.2, 0.0.3, not '0.1.0'"),
        ("LOG_INP_WIDTH", 4, r"LOG_INP_WIDTH must be 3, not 4 \(other widths are not supported\)"),
        ("LOG_WGT_WIDTH", 2, r"LOG_WGT_WIDTH must be 3, not 2 \(other widths are not supported\)"),
        ("LOG_ACC_WIDTH", 4, r"LOG_ACC_WIDTH must be 5, not 4 \(other widths are not supported\)"),
        ("LOG_BATCH", 3, "LOG_BATCH must be 0 to 2, not 3"),
        ("LOG_BATCH", -1, "LOG_BATCH must be 0 to 2, not -1"),
        # With 8 columns, ACC's index is too wide for the ALU.
        ("LOG_BLOCK", 2, "LOG_BLOCK must be 4 to 6, not 2"),
        ("LOG_BLOCK", 7, "LOG_BLOCK must be 4 to 6, not 7"),
        ("LOG_BLOCK", 4.0, "LOG_BLOCK must be a whole number, not 4.0"),
        ("LOG_BLOCK", "4", "LOG_BLOCK must be a whole number, not '4'"),
        ("LOG_BLOCK", True, "LOG_BLOCK must be a whole number, not True"),
        ("LOG_BLOCK", None, "LOG_BLOCK must be a whole number, not None"),
        ("LOG_UOP_BUFF_SIZE", 4, "LOG_UOP_BUFF_SIZE must be 5 to 15, not 4"),
        ("LOG_INP_BUFF_SIZE", 99, "LOG_INP_BUFF_SIZE must be 7 to 15, not 99"),
        (
            "LOG_INP_BUFF_SIZE",
            6,
            "LOG_INP_BUFF_SIZE must be 7 to 15, not 6: a depth of at least 8 elements of 16 bytes",
        ),
        ("LOG_WGT_BUFF_SIZE", 9, "LOG_WGT_BUFF_SIZE must be 11 to 18, not 9: .* 8 .* of 256 bytes"),
        ("LOG_ACC_BUFF_SIZE", 8, "LOG_ACC_BUFF_SIZE must be 9 to 17, not 8: .* 8 .* of 64 bytes"),
        (
            "LOG_INP_BUFF_SIZE",
            21,
            "LOG_INP_BUFF_SIZE must be 7 to 15, not 21: sram_base has 16 bits and LOG_INP_DEPTH "
            "would be 17",
        ),
        (
            "LOG_UOP_BUFF_SIZE",
            16,
            "LOG_UOP_BUFF_SIZE must be 5 to 15, not 16: GEMM word 0 needs 65 bits of 64 "
            "with LOG_UOP_DEPTH 14, LOG_INP_DEPTH 11",
        ),
        (
            "LOG_WGT_BUFF_SIZE",
            19,
            "LOG_ACC_BUFF_SIZE, LOG_INP_BUFF_SIZE and LOG_WGT_BUFF_SIZE must be "
            "smaller: GEMM word 1 needs 66 bits of 64 with",
        ),
        ("LOG_BUS_WIDTH", 5, "LOG_BUS_WIDTH must be 6 to 8, not 5"),
        ("ADDR_WIDTH", 31, "ADDR_WIDTH must be 32 to 40, not 31"),
        ("ADDR_WIDTH", 41, "ADDR_WIDTH must be 32 to 40, not 41"),
        ("MAX_BURST", 24, "MAX_BURST must be 16 or 32 or 64 or 128 or 256, not 24"),
        ("LOG_INSN_QUEUE", 8, "LOG_INSN_QUEUE must be 9 to 12, not 8"),
        ("LOG_INSN_QUEUE", 13, "LOG_INSN_QUEUE must be 9 to 12, not 13"),
    ],
)
def test_an_illegal_value(tmp_path, key, value, message):
    path = write(tmp_path / "c.json", VALUES | {key: value})
    with pytest.raises(ConfigError, match=rf"c\.json: {message}"):
        Config.load(path)


def _refusal(values):
    try:
        Config.from_dict(values)
    except ConfigError as error:
        return str(error)
    return None


def test_a_range_in_a_message_is_the_range_that_is_accepted(configs):
    """Whatever the other keys are: both ends of it are, and the numbers beyond them are not."""
    found = 0
    for key in sorted({*configs.hardware()}):
        for value in (-1, 0, *range(2, 12), *range(13, 23, 2), 29, 31, 41, 300):
            values = configs.to_dict() | {key: value}
            message = _refusal(values) or ""
            if spelled := re.search(r"(\w+) must be (\d+) to (\d+), not", message):
                named, low, high = spelled[1], int(spelled[2]), int(spelled[3])
                assert low <= high
                assert not low <= values[named] <= high
                for end in (low, high):
                    # A wider tile may make several buffers too small; then the next one is named.
                    left = _refusal(values | {named: end})
                    assert left is None or (named != key and f"{named} must" not in left)
                assert _refusal(values | {named: low - 1}) is not None
                assert _refusal(values | {named: high + 1}) is not None
                found += 1
            elif spelled := re.search(r"(\w+) must be (\d+(?: or \d+)*), not", message):
                for number in spelled[2].split(" or "):
                    assert _refusal(values | {spelled[1]: int(number)}) is None
                found += 1
            else:
                assert not re.search(r"must be at (least|most)|must be \d", message)
    assert found > 100


def test_a_range_for_a_key_when_another_is_wrong_too():
    message = _refusal(VALUES | {"LOG_WGT_BUFF_SIZE": 40, "LOG_INP_BUFF_SIZE": 40})
    assert "LOG_INP_BUFF_SIZE must be 7 to 20, not 40" in message


# -- keys of older files -------------------------------------------------------------------------


def _without(key):
    return {name: value for name, value in VALUES.items() if name != key}


@pytest.mark.parametrize(
    "values",
    [
        _without("LOG_BLOCK") | {"LOG_BLOCK_IN": 4, "LOG_BLOCK_OUT": 4},
        VALUES | {"LOG_BLOCK_IN": 4, "LOG_BLOCK_OUT": 4},
        VALUES | {"LOG_BLOCK_OUT": 4},
        VALUES | {"LOG_OUT_WIDTH": 3},
        _without("LOG_BLOCK") | {"LOG_BLOCK_IN": 4, "LOG_BLOCK_OUT": 4, "LOG_OUT_WIDTH": 3},
    ],
)
def test_keys_that_say_the_same_again(values):
    config = Config.from_dict(values)
    assert config == PRESETS["default"]
    assert config.to_dict() == VALUES


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            _without("LOG_BLOCK") | {"LOG_BLOCK_IN": 4, "LOG_BLOCK_OUT": 5},
            "LOG_BLOCK_IN and LOG_BLOCK_OUT must be equal, not 4 and 5",
        ),
        (VALUES | {"LOG_BLOCK_IN": 3}, "LOG_BLOCK and LOG_BLOCK_IN must be equal, not 4 and 3"),
        (
            VALUES | {"LOG_BLOCK_OUT": "4"},
            "LOG_BLOCK and LOG_BLOCK_OUT must be equal, not 4 and '4'",
        ),
        (_without("LOG_BLOCK") | {"LOG_BLOCK_IN": 4}, "missing key LOG_BLOCK$"),
        (
            _without("LOG_BLOCK") | {"LOG_BLOCK_IN": 9, "LOG_BLOCK_OUT": 9},
            "LOG_BLOCK must be 4 to 6, not 9",
        ),
        (
            VALUES | {"LOG_OUT_WIDTH": 5},
            "LOG_OUT_WIDTH and LOG_INP_WIDTH must be equal, not 5 and 3",
        ),
        (_without("LOG_INP_WIDTH") | {"LOG_OUT_WIDTH": 3}, "missing key LOG_INP_WIDTH$"),
    ],
)
def test_keys_that_contradict_the_others(values, message):
    with pytest.raises(ConfigError, match=f"^configuration: {message}"):
        Config.from_dict(values)


# -- files that are no configurations ------------------------------------------------------------


def test_files_without_an_end(tmp_path, monkeypatch):
    """A device, a pipe, and a large file: none of them is read until memory ends."""
    monkeypatch.setenv("VTA_CONFIG", "/dev/zero")
    with pytest.raises(ConfigError, match=r"/dev/zero: cannot be read \(not a regular file"):
        Config.load()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match=r"pipe: cannot be read \(not a regular file"):
        Config.load(tmp_path / "pipe")
    with open(tmp_path / "large.json", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigError, match=r"large\.json: must have at most 1048576 bytes"):
        Config.load(tmp_path / "large.json")
    padded = json.dumps(VALUES) + " " * (1048576 - len(json.dumps(VALUES)))
    assert Config.load(write(tmp_path / "full.json", padded)) == PRESETS["default"]


def test_alu_word_1_may_not_fit_either():
    # A 12: 4 * 12 + 20 = 68 bits, while GEMM's word 1 has 2 * (12 + 11 + 8) = 62.
    with pytest.raises(
        ConfigError, match="LOG_ACC_BUFF_SIZE must be 9 to 17, .*: ALU word 1 needs 68 bits of 64"
    ):
        Config.from_dict(VALUES | {"LOG_ACC_BUFF_SIZE": 18, "LOG_WGT_BUFF_SIZE": 16})


def test_micro_op_may_not_fit_either():
    # A 11, I 10, W 11: 11 + 11 + 11 = 33 bits, while GEMM's word 1 has 64.
    with pytest.raises(
        ConfigError,
        match="must be smaller: a micro-op needs 33 bits of 32 with "
        "LOG_UOP_DEPTH 13, LOG_INP_DEPTH 10, LOG_WGT_DEPTH 11, "
        "LOG_ACC_DEPTH 11",
    ):
        Config.from_dict(VALUES | {"LOG_INP_BUFF_SIZE": 14, "LOG_WGT_BUFF_SIZE": 19})


def test_block_64_where_it_fits():
    config = Config.from_dict(VALUES | {"LOG_BLOCK": 6, "LOG_WGT_BUFF_SIZE": 19})
    assert (config.block, config.wgt_elem_bytes, config.wgt_depth) == (64, 4096, 128)


def test_replace_checks_again():
    with pytest.raises(ConfigError, match="LOG_BATCH must be 0 to 2, not 7"):
        PRESETS["default"].replace(log_batch=7)
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["default"].log_batch = 1


def test_the_difference_names_what_a_stream_notices():
    default = PRESETS["default"]
    unseen = default.replace(target="tsim", hw_ver="0.0.1", log_bus_width=7, max_burst=16)
    assert default.encoding_difference(unseen) == ""
    older = default.replace(hw_ver="0.0.2")
    assert older.encoding_difference(default) == default.encoding_difference(older) == ""
    assert default.encoding_difference(default.replace(log_batch=1, log_acc_buff_size=16)) == (
        "LOG_BATCH 0 here, 1 there, LOG_ACC_BUFF_SIZE 17 here, 16 there"
    )
