"""The register map: the fixed words of docs/isa.md, and a map without overlaps."""

from vta.config import PRESETS
from vta.readout import identity_problem
from vta.registers import BY_NAME, ID, REGISTERS, config_words, version_word


def test_the_first_ten_words_are_the_reference_designs():
    assert [(register.offset, register.name) for register in REGISTERS[:10]] == [
        (0x00, "control"),
        (0x04, "cycle_count"),
        (0x08, "insn_count"),
        (0x0C, "insn_ptr"),
        (0x10, "uop_ptr"),
        (0x14, "inp_ptr"),
        (0x18, "wgt_ptr"),
        (0x1C, "acc_ptr"),
        (0x20, "out_ptr"),
        (0x24, "tile_count"),
    ]
    assert {bits.name: bits.low for bits in BY_NAME["control"].fields} == {
        "launch": 0,
        "done": 1,
        "reset": 2,
    }


def test_ours_follow_from_0x40_in_order_without_overlap():
    offsets = [register.offset for register in REGISTERS]
    assert offsets == sorted(set(offsets))
    assert all(offset % 4 == 0 for offset in offsets)
    assert offsets[10] == 0x40
    # The AXI4-Lite slave has 12 address bits.
    assert offsets[-1] < 1 << 12


def test_names_and_accesses():
    assert len(BY_NAME) == len(REGISTERS)
    assert {register.access for register in REGISTERS} == {"rw", "ro", "w1"}
    assert all(register.doc for register in REGISTERS)


def test_fields_do_not_overlap():
    for register in REGISTERS:
        used = 0
        for bits in register.fields:
            mask = ((1 << bits.bits) - 1) << bits.low
            assert not used & mask, f"{register.name}.{bits.name}"
            used |= mask
        assert used < 1 << 32


def test_identity():
    assert ID.to_bytes(4, "little") == b"VTA-"
    assert BY_NAME["watchdog"].reset == 1 << 20


def test_config_words_of_the_default():
    # widths 3, 3, 5, batch 0, block 4, bus 6, four bits each; sizes 15, 15, 18, 17 and address
    # width 32, queue 9, eight bits each, longest burst 64.
    assert config_words(PRESETS["default"]) == (0x64_0533, 0x1112_0F0F, 0x40_0920)


def test_config_words_tell_configurations_apart():
    tiny = PRESETS["tiny"]
    variants = [
        tiny,
        *(
            tiny.replace(**change)
            for change in (
                {"log_batch": 1},
                {"log_block": 4},
                {"log_uop_buff_size": 9},
                {"log_inp_buff_size": 10},
                {"log_wgt_buff_size": 12},
                {"log_acc_buff_size": 12},
                {"log_bus_width": 7},
                {"addr_width": 40},
                {"log_insn_queue": 12},
                {"max_burst": 256},
            )
        ),
    ]
    assert len({config_words(config) for config in variants}) == len(variants)


def test_the_version_says_which_encoding_the_hardware_has():
    old, new = (PRESETS["tiny"].replace(hw_ver=version) for version in ("0.0.2", "0.0.3"))
    assert (version_word(old), version_word(new)) == (0x200, 0x300)

    def problem(config, hardware, **options):
        words = {f"config_{index}": word for index, word in enumerate(config_words(hardware))}
        words |= {"id": ID, "version": version_word(hardware)}
        return identity_problem(config, words.__getitem__, **options)

    for programs_only in (False, True):
        assert problem(new, new, programs_only=programs_only) == ""
        assert problem(new, old, programs_only=programs_only) == (
            "the hardware has encoding 0.0.2, and the configuration has HW_VER 0.0.3"
        )
    # Programs of the old encoding run on the new hardware, though it is another design.
    assert problem(old, new, programs_only=True) == ""
    assert problem(old, new) == (
        "the hardware has encoding 0.0.3, and the configuration has HW_VER 0.0.2"
    )
