"""`vta dis`: an instruction stream, readably, and what it counts up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from vta.cli.inputs import load_any
from vta.cli.output import path_argument, print_table
from vta.driver.statistics import count_stream
from vta.image import Image
from vta.isa import TOKEN_QUEUES, Isa, MemoryType, ModuleId, Opcode

if TYPE_CHECKING:
    from vta.config import Config
    from vta.isa import Insn
    from vta.program import Program

__all__ = ["command"]

BUFFERS = (MemoryType.UOP, MemoryType.INP, MemoryType.WGT, MemoryType.ACC, MemoryType.OUT)
ADDRESSED = {**{kind: kind.name.lower() for kind in BUFFERS}, MemoryType.ACC_8BIT: "acc"}
"""The base register from which each kind of memory counts."""


@click.command("dis", short_help="Print an instruction stream with its tokens.")
@click.argument("file", metavar="IMAGE|PROGRAM", type=path_argument)
@click.option("--summary", is_flag=True, help="Counts only.")
def command(file: str, summary: bool) -> None:
    """Print the instructions of a memory image or a saved program: position, module, text, tokens.

    sram, dram, size and stride count elements of the buffer. Of an image the byte in memory is
    shown too; in a program, LOAD and STORE name the buffer that they count from. `l2g g2l g2s s2g`
    are the token queues (g is compute).

    Example: vta dis --summary vadd.npz
    """
    loaded = load_any(file)
    words = loaded.stream() if isinstance(loaded, Image) else loaded.insns
    insns = Isa(loaded.config).decode_stream(words)
    if not summary:
        click.echo(_units(loaded.config))
        _print_stream(
            insns, _addresses(loaded) if isinstance(loaded, Image) else _references(loaded)
        )
        return
    click.echo(f"{file}: {len(insns)} instructions, {loaded.config.bitstream}")
    _print_counts(insns)
    print_table(
        "Totals, if no error is met",
        ("what", "count"),
        list(count_stream(loaded.config, words).items()),
    )


def _units(config: Config) -> str:
    """What the numbers of LOAD and STORE count."""
    sizes = ", ".join(f"{kind.name.lower()} {config.elem_bytes(kind)}" for kind in BUFFERS)
    return f"# sram, dram, size and stride count elements; bytes of an element: {sizes}"


def _references(program: Program) -> Callable[[Insn], str]:
    """The text of an instruction that names the buffer which it counts from."""
    names = [buffer.name for buffer in program.buffers]
    refs = program.refs.tolist()

    def text(insn: Insn) -> str:
        ref = refs[insn.index]
        return str(insn).replace(" dram=", f" dram={names[ref]}+" if ref >= 0 else " dram=", 1)

    return text


def _addresses(image: Image) -> Callable[[Insn], str]:
    """The text of an instruction with the byte of memory where its transfer begins."""

    def text(insn: Insn) -> str:
        if insn.opcode not in (Opcode.LOAD, Opcode.STORE) or insn.memory_type not in ADDRESSED:
            return str(insn)
        kind = MemoryType(insn.memory_type)
        place = image.base[ADDRESSED[kind]] + insn.values["dram_base"] * image.config.elem_bytes(
            kind
        )
        return f"{insn}  (byte {place:#x})"

    return text


def _print_stream(insns: Sequence[Insn], text: Callable[[Insn], str]) -> None:
    digits = len(str(max(len(insns) - 1, 0)))
    for insn in insns:
        module = ModuleId(insn.module).name.lower()
        click.echo(f"{insn.index:{digits}}  {module:7}  {text(insn)}")


def _print_counts(insns: Sequence[Insn]) -> None:
    operations = Counter(insn.operation for insn in insns)
    print_table("Instructions", ("instruction", "count"), sorted(operations.items()))
    tokens = Counter(token for insn in insns for token in insn.tokens)
    queues = [*TOKEN_QUEUES, *sorted({queue for _, queue in tokens} - set(TOKEN_QUEUES))]
    print_table(
        "Tokens",
        ("queue", "pushed", "popped", "left"),
        [
            (
                queue,
                tokens["push", queue],
                tokens["pop", queue],
                tokens["push", queue] - tokens["pop", queue],
            )
            for queue in queues
        ],
    )
