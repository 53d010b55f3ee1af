"""Which instructions, operands, errors and events the programs of a campaign have reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from vta.config import Config
from vta.isa import AluOp, Insn, Isa, MemoryType, Opcode
from vta.program import RunReport
from vta.sim.rtl.memory_model import MemoryModel
from vta.sim.rtl.recording import MODULES, Recording
from vta.tools.fuzz.random_cases import Prepared
from vta.tools.fuzz.token_order import COMPUTE, DraftInsn

__all__ = ["Row", "of_launch", "of_model", "of_run", "rows"]

Row = tuple[str, str]
"""A group and what is counted in it."""

LOADED = ("uop", "wgt", "inp", "acc", "acc_8bit")
PADS = ("y_pad_0", "y_pad_1", "x_pad_0", "x_pad_1")
STRIDES = ("stride 0", "stride below x_size", "stride x_size", "stride above x_size")
ERRORS = (
    "illegal_opcode in compute",
    "illegal_token in load",
    "illegal_token in store",
    "illegal_memory_type in compute",
    "illegal_memory_type in store",
    "illegal_alu_opcode in compute",
    "illegal_padding in store",
    "sram_range in load",
    "sram_range in compute",
    "sram_range in store",
    "memory_response in fetch",
    "memory_response in load",
    "memory_response in compute",
    "memory_response in store",
    "no_finish in fetch",
    "misaligned_base in fetch",
    "deadlock in load",
    "deadlock in compute",
    "deadlock in store",
)
"""Every cause in every module that can report it, but `timeout`, which takes a memory that never
answers."""

WAITS = {
    "load waits for compute's token": ("wait_next", "load"),
    "compute waits for load's token": ("wait_prev", "compute"),
    "compute waits for store's token": ("wait_next", "compute"),
    "store waits for compute's token": ("wait_prev", "store"),
    "load waits for memory": ("wait_memory", "load"),
    "compute waits for memory": ("wait_memory", "compute"),
    "store waits for memory": ("wait_memory", "store"),
}
OVERLAPS = {
    "load and compute execute together": ("load_busy", "compute_busy"),
    "compute and store execute together": ("compute_busy", "store_busy"),
}
HAZARDS = (
    "a LOAD over tiles of a loop shortly before",
    "a loop on tiles of a LOAD shortly before",
    "a LOAD over micro-ops of a loop shortly before",
    "a loop with micro-ops of a LOAD shortly before",
    "a loop that reads what a loop shortly before wrote",
)
"""Between two instructions of compute that may be in flight together."""

MEMORY = (
    "latency 1",
    "latency above 20",
    "slow write responses",
    "one burst in flight",
    "stalls on every channel",
    "read data out of order",
)
RESPONSES = tuple(f"error response to {module}" for module in ("fetch", *MODULES))
CLOSE = 4
"""Instructions of compute between which hazards are counted."""

LAUNCHES = (
    "a launch after another",
    "a launch with tokens left from before",
    "a launch after an error",
    "reset in mid-run",
    "a compiled program",
    "a schedule that the compiler refuses",
)


def rows(configs: Iterable[Config]) -> list[Row]:
    """Every row of the table for a campaign on some configurations."""
    return list(_rows(any(config.requantises for config in configs)))


def _rows(new: bool) -> Iterator[Row]:
    for memory in LOADED:
        yield "instruction", f"LOAD {memory.upper()}"
    yield "instruction", "STORE OUT"
    yield "instruction", "GEMM"
    yield "instruction", "GEMM RESET"
    for op in AluOp:
        if new or op <= AluOp.MUL:
            yield "instruction", f"ALU {op.name}, register"
            if op != AluOp.QNT:
                yield "instruction", f"ALU {op.name}, immediate"
    yield "instruction", "ALU SHR, to the left by an immediate"
    yield "instruction", "FINISH"
    for memory in LOADED:
        for pad in (*PADS, "pad_min") if new else PADS:
            yield "padding", f"{pad} of {memory.upper()}"
    for name in ("LOAD", "STORE"):
        for stride in STRIDES:
            yield "shape", f"{name} with {stride}"
        yield "shape", f"{name} of no columns"
        yield "shape", f"{name} of no rows"
    for name in ("GEMM", "ALU"):
        for shape in ("no micro-ops", "iter_out 0", "iter_in 0", "both loops above 1"):
            yield "shape", f"{name} with {shape}"
    for queue in ("l2g", "g2l", "g2s", "s2g"):
        for verb in ("pop", "push"):
            yield "token", f"{verb} {queue}"
    for error in ERRORS:
        yield "error", error
    for hazard in HAZARDS:
        yield "hazard", hazard
    for event in (*WAITS, *OVERLAPS):
        yield "event", event
    for name in (*MEMORY, *RESPONSES):
        yield "memory", name
    for name in LAUNCHES:
        yield "launch", name


def of_launch(isa: Isa, prepared: Prepared) -> Counter[Row]:
    """What a launch's instructions reach."""
    found: Counter[Row] = Counter()
    for word in prepared.launch.meaning:
        found.update(_of_insn(isa.decode(word)))
    if not prepared.compiled:
        found.update(_of_hazards(prepared.builder.drafts))
    if any(prepared.tokens.values()):
        found["launch", "a launch with tokens left from before"] += 1
    return found


def _of_hazards(drafts: list[DraftInsn]) -> Iterator[Row]:
    """Which hazards there are between instructions of compute that stand close together."""
    compute = [draft for draft in drafts if draft.module == COMPUTE]
    for number, later in enumerate(compute):
        for earlier in compute[max(0, number - CLOSE) : number]:
            loads = (earlier.kind == "mem", later.kind == "mem")
            tiles, uops = later.conflicts(earlier), _share_uops(earlier, later)
            found = {
                (False, True): (tiles, False, uops, False, False),
                (True, False): (False, tiles, False, uops, False),
                (False, False): (False, False, False, False, earlier.writes.meets(later.reads)),
            }.get(loads, ())
            yield from (("hazard", name) for name, hit in zip(HAZARDS, found, strict=False) if hit)


def _share_uops(one: DraftInsn, two: DraftInsn) -> bool:
    first, second = _uops(one), _uops(two)
    return max(first.start, second.start) < min(first.stop, second.stop)


def _uops(draft: DraftInsn) -> range:
    """The micro-ops that a loop reads or a LOAD writes."""
    values = draft.values
    if draft.kind == "common":
        return range(0)
    if draft.kind != "mem":
        return range(values["uop_bgn"], values["uop_end"])
    if not values["x_size"] or values["memory_type"] != MemoryType.UOP:
        return range(0)
    rows = values["y_pad_0"] + values["y_size"] + values["y_pad_1"]
    columns = values["x_pad_0"] + values["x_size"] + values["x_pad_1"]
    return range(values["sram_base"], values["sram_base"] + rows * columns)


def _of_insn(insn: Insn) -> Iterator[Row]:
    if insn.opcode == Opcode.ALU:
        yield "instruction", f"{insn.operation}, {'immediate' if insn.use_imm else 'register'}"
        if insn.alu_opcode == AluOp.SHR and insn.use_imm and insn.imm < 0:
            yield "instruction", "ALU SHR, to the left by an immediate"
    elif insn.opcode not in (Opcode.LOAD, Opcode.STORE):
        yield "instruction", insn.operation
    if insn.opcode in (Opcode.GEMM, Opcode.ALU):
        yield from _of_loop(insn)
    elif insn.opcode in (Opcode.LOAD, Opcode.STORE):
        yield from _of_transfer(insn)
    for verb, queue in insn.tokens:
        yield "token", f"{verb} {queue}"


def _of_loop(insn: Insn) -> Iterator[Row]:
    name = Opcode(insn.opcode).name
    if insn.uop_bgn >= insn.uop_end:
        yield "shape", f"{name} with no micro-ops"
    for count in ("iter_out", "iter_in"):
        if not insn.values[count]:
            yield "shape", f"{name} with {count} 0"
    if insn.iter_out > 1 and insn.iter_in > 1:
        yield "shape", f"{name} with both loops above 1"


def _of_transfer(insn: Insn) -> Iterator[Row]:
    name = Opcode(insn.opcode).name
    if not insn.x_size:
        # It does nothing, so its memory may be any, even one that does not exist.
        yield "shape", f"{name} of no columns"
        return
    if not insn.y_size:
        yield "shape", f"{name} of no rows"
        if insn.opcode == Opcode.STORE:
            return
    yield "instruction", insn.operation
    if insn.y_size > 1:
        order = (insn.x_stride > insn.x_size) - (insn.x_stride < insn.x_size)
        yield "shape", f"{name} with {STRIDES[order + 2] if insn.x_stride else STRIDES[0]}"
    if insn.opcode == Opcode.LOAD:
        memory = MemoryType(insn.memory_type).name
        padded = [pad for pad in PADS if insn.values[pad]]
        for pad in padded:
            yield "padding", f"{pad} of {memory}"
        if padded and insn.values.get("pad_min"):
            yield "padding", f"pad_min of {memory}"


def of_run(report: RunReport, recording: Recording | None) -> Counter[Row]:
    """What a run on the RTL reached."""
    found: Counter[Row] = Counter()
    if report.fault is not None:
        found["error", f"{report.fault.cause} in {report.fault.module}"] += 1
    if recording is not None:
        for name, (event, module) in WAITS.items():
            found["event", name] += bool(recording.bit(event, module).any())
    for name, counters in OVERLAPS.items():
        # Both were busy at once if their cycles together are more than the run had.
        together = sum(report.counters.get(counter, 0) for counter in counters)
        found["event", name] += report.cycles is not None and together > report.cycles
    return found


def of_model(model: MemoryModel) -> Counter[Row]:
    """Which disturbances of memory a case has."""
    reached = (
        model.latency == 1,
        model.latency > 20,
        model.write_response > 1,
        model.outstanding == 1,
        model.stall_seed is not None,
        model.order_seed is not None,
    )
    return Counter({("memory", name): int(hit) for name, hit in zip(MEMORY, reached, strict=True)})
