"""Programs on a device: results, statistics, refusals, faults."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.sim.rtl.probe import register_probe
from vta import nd
from vta.config import PRESETS, Config
from vta.driver import verilog_cache
from vta.driver.module import LoadedModule, Module
from vta.driver.ndarray import Context
from vta.driver.simulated import SimDevice, SimulatorTotals, TsimDevice
from vta.driver.statistics import count_stream
from vta.errors import ArgumentError, DeviceError, DeviceTimeout, MachineError, ProgramError
from vta.isa import Isa, Opcode
from vta.program import Program
from vta.sim.functional.functional_machine import FunctionalMachine

MakeProgram = Callable[..., Program]


def _arguments(program: Program, ctx: Context, seed: int = 0):
    rng = np.random.default_rng(seed)
    a, b = (
        rng.integers(-(2**31), 2**31, buffer.shape).astype(np.int32) for buffer in program.args[:2]
    )
    arrays = [
        nd.array(a, ctx),
        nd.array(b, ctx),
        nd.array(rng.integers(-128, 128, program.args[2].shape).astype(np.int8), ctx),
    ]
    return arrays, (a + b + np.int32(7)).astype(np.int8)


def _open(kind: type, config: Config, **options):
    device = kind(config, profile=SimulatorTotals(), **options)
    return device, Context("ext_dev", 0, device)


def test_result_and_statistics(config: Config, make_program: MakeProgram) -> None:
    device, ctx = _open(SimDevice, config)
    with device:
        program = make_program(config)
        call = LoadedModule(program, device)
        for seed in range(3):
            arrays, expected = _arguments(program, ctx, seed)
            call(*arrays)
            np.testing.assert_array_equal(arrays[2].numpy(), expected)
        tile = config.batch * config.block
        stats = device.statistics()
        assert stats["acc_load_nbytes"] == 3 * 2 * 5 * tile * 4
        assert stats["out_store_nbytes"] == 3 * 5 * tile
        assert stats["uop_load_nbytes"] == 3 * 8
        assert stats["alu_counter"] == 3 * 10
        assert stats["compute_insns"] == 3 * 6
        assert stats["gemm_counter"] == stats["load_insns"] == 0
        assert "cycle_count" not in stats
        device.clear_statistics()
        assert not any(device.statistics().values())


def test_rtl_device(make_program: MakeProgram) -> None:
    device, ctx = _open(TsimDevice, PRESETS["tiny"])
    with device:
        program = make_program(PRESETS["tiny"])
        arrays, expected = _arguments(program, ctx)
        report = LoadedModule(program, device).run(*arrays)
        np.testing.assert_array_equal(arrays[2].numpy(), expected)
        assert report.target == "tsim"
        assert report.cycles is not None
        assert device.statistics()["cycle_count"] == report.cycles > 0
        assert device.statistics()["alu_counter"] == 10


@pytest.mark.parametrize("kind", [SimDevice, TsimDevice])
def test_a_fault_is_raised_and_the_device_stays_usable(
    kind: type, make_program: MakeProgram
) -> None:
    config = PRESETS["tiny"]
    device, ctx = _open(kind, config)
    with device:
        bad, good = make_program(config, faulty=True), make_program(config)
        arrays, expected = _arguments(good, ctx)
        with pytest.raises(MachineError, match="sram_range in compute at instruction 4") as caught:
            LoadedModule(bad, device)(*arrays)
        assert caught.value.fault.insn_index == 4
        LoadedModule(good, device)(*arrays)
        np.testing.assert_array_equal(arrays[2].numpy(), expected)


def test_nothing_stays_allocated(make_program: MakeProgram) -> None:
    config = PRESETS["tiny"]
    device, ctx = _open(SimDevice, config)
    with device:
        for faulty in (False, True):
            program = make_program(config, faulty=faulty)
            arrays, _ = _arguments(program, ctx)
            before = device.allocate(1)
            device.free(before)
            try:
                LoadedModule(program, device)(*arrays)
            except MachineError:
                assert faulty
            assert device.allocate(1) == before
            device.free(before)


def test_refuses_a_program_for_another_configuration(make_program: MakeProgram) -> None:
    device, _ = _open(SimDevice, PRESETS["default"])
    program = make_program(PRESETS["default"].replace(log_acc_buff_size=16))
    with (
        device,
        pytest.raises(ProgramError, match="add_seven .* LOG_ACC_BUFF_SIZE 17 here, 16 there"),
    ):
        LoadedModule(program, device)


@pytest.mark.parametrize(
    "changes",
    [
        {"target": "tsim"},
        {"hw_ver": "0.0.1"},
        {"hw_ver": "0.0.2"},
        {"log_bus_width": 8},
        {"addr_width": 40},
        {"max_burst": 16},
        {"log_insn_queue": 12},
    ],
)
@pytest.mark.parametrize("changed", ["program", "device"])
def test_runs_a_program_for_a_machine_that_differs_where_no_stream_notices(
    changes: dict[str, object], changed: str, make_program: MakeProgram
) -> None:
    config = PRESETS["tiny"]
    other = config.replace(**changes)
    device, ctx = _open(SimDevice, other if changed == "device" else config)
    with device:
        program = make_program(other if changed == "program" else config)
        arrays, expected = _arguments(program, ctx)
        LoadedModule(program, device)(*arrays)
        np.testing.assert_array_equal(arrays[2].numpy(), expected)


@pytest.mark.parametrize(
    ("field", "here", "there"),
    [
        ("LOG_BATCH", 0, 1),
        ("LOG_BLOCK", 4, 5),
        ("LOG_UOP_BUFF_SIZE", 15, 14),
        ("LOG_INP_BUFF_SIZE", 15, 14),
        ("LOG_WGT_BUFF_SIZE", 18, 17),
        ("LOG_ACC_BUFF_SIZE", 17, 16),
    ],
)
def test_the_refusal_names_the_field(
    field: str, here: int, there: int, make_program: MakeProgram
) -> None:
    config = PRESETS["default"].replace(log_bus_width=7)
    device, _ = _open(SimDevice, config)
    other = PRESETS["default"].replace(**{field.lower(): there})
    message = rf"another configuration: {field} {here} here, {there} there \("
    with device, pytest.raises(ProgramError, match=message):
        device.check(make_program(other))


def test_a_program_that_needs_encoding_0_0_3_is_refused_with_its_instruction(
    make_program: MakeProgram,
) -> None:
    old, new = (PRESETS["tiny"].replace(hw_ver=version) for version in ("0.0.2", "0.0.3"))
    program = make_program(new)
    insns = program.insns.copy()
    # By hand from the encoding: an ALU with alu_opcode 6, whose bits follow four ACC factors.
    insns[-2] = (4, 6 << 4 * old.log_acc_depth)
    program = dataclasses.replace(program, insns=insns)
    device, _ = _open(SimDevice, old)
    message = (
        rf"needs a device with HW_VER 0.0.3, not 0.0.2: instruction {len(insns) - 2} is ALU MOV"
    )
    with device, pytest.raises(ProgramError, match=message):
        device.check(program)
    device, _ = _open(SimDevice, new)
    with device:
        device.check(program)


@pytest.mark.parametrize("addr", [2**32 - 32, 2**32, 2**33, -64])
def test_addresses_are_within_the_devices_own_address_width(
    addr: int, make_program: MakeProgram
) -> None:
    """The program's machine has more address bits than the device."""
    device, _ = _open(SimDevice, PRESETS["tiny"])
    program = make_program(PRESETS["tiny"].replace(addr_width=40))
    places = {"A": 0x1000, "B": 0x2000, "C": 0x3000}
    with device:
        for name in places:
            with pytest.raises(DeviceError, match=f"buffer {name} .* below 0x100000000, not at"):
                device.run(program, places | {name: addr})
        device.run(program, places | {"C": 2**32 - 40})


def test_arguments_are_checked(make_program: MakeProgram) -> None:
    config = PRESETS["tiny"]
    device, ctx = _open(SimDevice, config)
    other, elsewhere = _open(SimDevice, config)
    with device, other:
        program = make_program(config)
        call = LoadedModule(program, device)
        (a, b, c), _ = _arguments(program, ctx)
        shape = program.args[0].shape
        cases = [
            ((a, b), r"add_seven\(A: int32\[5, 1, 8\], .* takes 3 arguments, not 2"),
            ((a, b, c, c), "takes 3 arguments, not 4"),
            (
                (a, nd.empty((5, 1, 9), "int32", ctx), c),
                r"argument 1 \(B\) .* must be int32\[5, 1, 8\], not int32\[5, 1, 9\]",
            ),
            (
                (a, b, nd.empty(shape, "int32", ctx)),
                r"argument 2 \(C\) .* must be int8\[5, 1, 8\], not int32\[5, 1, 8\]",
            ),
            ((nd.empty(shape, "int32"), b, c), r"argument 0 \(A\) .* not on cpu\(0\)"),
            ((nd.empty(shape, "int32", elsewhere), b, c), "not on .* of another session"),
            ((np.zeros(shape, np.int32), b, c), r"made with vta.nd.array\(.*, not a ndarray"),
        ]
        for args, message in cases:
            with pytest.raises(ArgumentError, match=message) as caught:
                call(*args)
            assert isinstance(caught.value, ValueError)
        call(a, a, c)  # an input may be given twice


def test_output_must_be_an_array_of_its_own(make_program: MakeProgram) -> None:
    config = PRESETS["tiny"]
    device, ctx = _open(SimDevice, config)
    with device:
        program = make_program(config)
        bytes_only = [
            dataclasses.replace(buffer, shape=(40,), dtype="int8") for buffer in program.args
        ]
        program = dataclasses.replace(
            program, name="p", buffers=(*bytes_only, *program.buffers[3:])
        )
        array = nd.empty((40,), "int8", ctx)
        with pytest.raises(ArgumentError, match="output C of p .* not the same as A"):
            LoadedModule(program, device)(array, nd.empty((40,), "int8", ctx), array)


@pytest.mark.parametrize("kind", [SimDevice, TsimDevice])
def test_timeout(kind: type) -> None:
    """A loop of 2^28 steps: longer than the time it gets on either simulator."""
    config = PRESETS["tiny"]
    device, _ = _open(kind, config)
    isa = Isa(config)
    loop = isa.gemm.pack(
        opcode=Opcode.GEMM, uop_bgn=0, uop_end=16, iter_out=(1 << 14) - 1, iter_in=(1 << 14) - 1
    )
    stop = isa.common.pack(opcode=Opcode.FINISH)
    with device:
        device.run_stream(Isa.words([stop]))  # what is built at the first run takes its time
        with pytest.raises(DeviceTimeout, match="had not finished after 0.2 s"):
            device.run_stream(Isa.words([loop] * 8 + [stop]), timeout=0.2)
        assert device.run_stream(Isa.words([stop])).instructions == 1


def test_raw_streams(make_program: MakeProgram) -> None:
    config = PRESETS["tiny"]
    device, _ = _open(SimDevice, config)
    with device:
        with pytest.raises(MachineError, match="no_finish in fetch at instruction 0"):
            device.run_stream(np.zeros((0, 2), np.uint64))
        with pytest.raises(MachineError, match="misaligned_base"):
            device.run_stream(Isa.words([3]), base={"acc": 1})
        with pytest.raises(DeviceError, match="only the keys .* not ink"):
            device.run_stream(Isa.words([3]), base={"ink": 0})
        with pytest.raises(
            ArgumentError, match=r"insns must have the shape \(2, 2\), not \(1, 2\)"
        ):
            device.launch(4096, 2, insns=Isa.words([3]))
        assert device.run_stream(Isa.words([3])).instructions == 1


def test_closing_twice_and_using_it_after() -> None:
    device, _ = _open(SimDevice, PRESETS["tiny"])
    addr = device.allocate(16)
    device.close()
    device.close()
    device.free(addr)
    with pytest.raises(DeviceError, match="the sim device is closed"):
        device.read(0, 1)
    with pytest.raises(DeviceError, match="closed"):
        device.run_stream(Isa.words([3]))


def test_every_use_after_closing_says_so(make_program: MakeProgram) -> None:
    config = PRESETS["tiny"]
    device, _ = _open(SimDevice, config)
    program = make_program(config)
    inputs = [np.zeros(buffer.shape, buffer.dtype) for buffer in program.args[:2]]
    device.call(program, inputs)
    device.close()
    for use in (
        lambda: device.allocate(16),
        lambda: device.read(4096, 1),
        lambda: device.write(4096, np.zeros(1, np.uint8)),
        lambda: device.call(program, inputs),
        lambda: device.run(program, dict.fromkeys("ABC", 4096)),
        lambda: device.run_stream(Isa.words([3])),
        device.reset,
    ):
        with pytest.raises(DeviceError, match="the sim device is closed"):
            use()
    assert device.statistics()["alu_counter"] == 10


class ClosingMachine(FunctionalMachine):
    """Notes that it is closed, and whether its memory was still there."""

    closed: list[int]

    def close(self) -> None:
        self.closed.append(self.memory.size)


class ClosingDevice(SimDevice):
    def __init__(self, config: Config, **options) -> None:
        super().__init__(config, **options)
        self.closed: list[int] = []

    def _make_machine(self) -> ClosingMachine:
        machine = ClosingMachine(self.config, self.memory)
        machine.closed = self.closed
        return machine


def test_closing_closes_the_machine_once_and_before_its_memory() -> None:
    device, _ = _open(ClosingDevice, PRESETS["tiny"])
    with device:
        device.run_stream(Isa.words([3]))
        memory = device.memory
    device.close()
    assert device.closed == [1 << 32]
    assert memory.size == 0
    # Without a run there is no machine.
    device, _ = _open(ClosingDevice, PRESETS["tiny"])
    device.close()
    assert device.closed == []


@pytest.mark.full
def test_waves_are_complete_when_the_device_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a design that runs a cycle for each instruction; the last change is in the file."""
    config = PRESETS["default"]
    monkeypatch.setattr(verilog_cache, "simulated_verilog", lambda config: register_probe(config))
    waves = tmp_path / "x.vcd"
    device, _ = _open(TsimDevice, config, waves=waves)
    device.run_stream(Isa.words([3] * 500))
    cycle = device._machine._simulation.cycle
    device.close()
    text = waves.read_text(encoding="ascii")
    assert text.endswith("\n")
    last = int(text[text.rindex("\n#") + 2 :].split()[0])
    # Ten units of time are a cycle; the clock changes to the end.
    assert 10 * (cycle - 1) <= last <= 10 * (cycle + 1)


def test_call_checks_its_inputs(make_program: MakeProgram) -> None:
    config = PRESETS["tiny"]
    device, _ = _open(SimDevice, config)
    program = make_program(config)
    with device:
        a = np.full(program.args[0].shape, 100, np.int32)
        (out,), report = device.call(program, [a, a])
        np.testing.assert_array_equal(out, np.full(a.shape, 207 - 256, np.int8))
        assert report.instructions == 7
        with pytest.raises(ArgumentError, match="add_seven has 2 inputs, not 1"):
            device.call(program, [a])
        for wrong in (a.astype(np.int8), a[:4]):
            with pytest.raises(
                ArgumentError, match=r"input B of add_seven must be int32\[5, 1, 8\]"
            ):
                device.call(program, [a, wrong])


def test_time_evaluator(make_program: MakeProgram) -> None:
    device, ctx = _open(SimDevice, PRESETS["tiny"])
    with device:
        program = make_program(PRESETS["tiny"])
        call = LoadedModule(program, device)
        arrays, expected = _arguments(program, ctx)
        result = call.time_evaluator(call.entry_name, ctx, number=2, repeat=3)(*arrays)
        assert len(result.results) == 3
        assert 0 < result.min <= result.median <= result.max
        assert result.min <= result.mean <= result.max
        assert device.statistics()["alu_counter"] == 10 * (1 + 2 * 3)
        np.testing.assert_array_equal(arrays[2].numpy(), expected)
        with pytest.raises(ArgumentError, match="name must be 'add_seven', not 'main'"):
            call.time_evaluator("main", ctx)
        with pytest.raises(ArgumentError, match="ctx must be the device"):
            call.time_evaluator(call.entry_name, nd.cpu())
        with pytest.raises(ArgumentError, match="ctx must be the device"):
            call.time_evaluator(call.entry_name, 5)
        for wrong in (0, "2"):
            with pytest.raises(ArgumentError, match=f"number must be .* not {wrong!r}"):
                call.time_evaluator(call.entry_name, ctx, number=wrong)


def test_counting_a_stream_gives_what_running_it_counts(
    config: Config, make_program: MakeProgram
) -> None:
    device, ctx = _open(SimDevice, config)
    with device:
        program = make_program(config)
        arrays, _ = _arguments(program, ctx)
        report = LoadedModule(program, device).run(*arrays)
        assert count_stream(config, program.insns) == dict(report.stats)


def test_module_saves_what_it_holds(tmp_path, make_program: MakeProgram) -> None:
    program = make_program(PRESETS["tiny"])
    module = Module(program)
    assert module.entry_name == "add_seven"
    module.save(tmp_path / "x.o")
    assert Program.load(tmp_path / "x.o").digest == program.digest
    with pytest.raises(DeviceError, match="cannot be written"):
        module.save(tmp_path / "missing" / "x.o")
