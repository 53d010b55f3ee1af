"""`vta dis`: an instruction stream, readably, and what it counts up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from vta.cli.inputs import load_any
from vta.cli.output import path_argument, print_table
from vta.driver.statistics import count_stream
from vta.image import Image
from vta.isa import TOKEN_QUEUES, Isa, ModuleId

if TYPE_CHECKING:
    from vta.isa import Insn
    from vta.program import Program

__all__ = ["command"]


@click.command("dis", short_help="Print an instruction stream with its tokens.")
@click.argument("file", metavar="IMAGE|PROGRAM", type=path_argument)
@click.option("--summary", is_flag=True, help="Counts only.")
def command(file: str, summary: bool) -> None:
    """Print the instructions of a memory image or a saved program: position, module, text, tokens.

    Sizes and bases count elements; `l2g g2l g2s s2g` are the token queues (g is compute). In a
    program, LOAD and STORE name the buffer that they count from.

    Example: vta dis --summary vadd.npz
    """
    loaded = load_any(file)
    words = loaded.stream() if isinstance(loaded, Image) else loaded.insns
    insns = Isa(loaded.config).decode_stream(words)
    if not summary:
        refs = [] if isinstance(loaded, Image) else _references(loaded)
        _print_stream(insns, refs)
        return
    click.echo(f"{file}: {len(insns)} instructions, {loaded.config.bitstream}")
    _print_counts(insns)
    print_table(
        "Totals, if no error is met",
        ("what", "count"),
        list(count_stream(loaded.config, words).items()),
    )


def _references(program: Program) -> list[str]:
    names = [buffer.name for buffer in program.buffers]
    return [names[ref] if ref >= 0 else "" for ref in program.refs.tolist()]


def _print_stream(insns: Sequence[Insn], refs: Sequence[str]) -> None:
    digits = len(str(max(len(insns) - 1, 0)))
    for insn in insns:
        text = str(insn)
        if refs and refs[insn.index]:
            text = text.replace(" dram=", f" dram={refs[insn.index]}+", 1)
        click.echo(f"{insn.index:{digits}}  {ModuleId(insn.module).name.lower():7}  {text}")


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
