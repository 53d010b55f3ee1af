"""`Target` in the forms that scripts have."""

from __future__ import annotations

import threading

import pytest

import vta
from vta import target
from vta.errors import ConfigError
from vta.target import Target
from vta.testing.programs import vector_add


@pytest.mark.parametrize(
    ("made", "kind", "host", "shown"),
    [
        (Target("ext_dev"), "ext_dev", None, "ext_dev"),
        (Target("ext_dev -model=x", host="llvm"), "ext_dev", "llvm", "ext_dev -model=x"),
        (Target(Target("ext_dev", host="a")), "ext_dev", "a", "ext_dev"),
        (Target(Target("ext_dev -b=1", host="a"), host="llvm"), "ext_dev", "llvm", "ext_dev -b=1"),
        (Target({"kind": "ext_dev", "model": "x"}), "ext_dev", None, "ext_dev -model=x"),
        (Target({"kind": "ext_dev", "host": "llvm"}), "ext_dev", "llvm", "ext_dev"),
        (target.vta(), "ext_dev", None, "ext_dev -model=unknown"),
        (target.vta(model="sim_1x16"), "ext_dev", None, "ext_dev -model=sim_1x16"),
        (target.arm_cpu("pynq"), "llvm", None, "llvm -model=pynq"),
    ],
)
def test_forms(made: Target, kind: str, host: str | None, shown: str) -> None:
    assert (made.kind, made.host, str(made)) == (kind, host, shown)
    assert made == Target(made)
    assert hash(made) == hash(Target(made))


@pytest.mark.parametrize("kind", ["", " ", {}, {"kind": 3}, {"host": "llvm"}, None, 7])
def test_what_is_no_target(kind: object) -> None:
    with pytest.raises(ConfigError, match="target must be a name such as 'ext_dev', another"):
        Target(kind)  # type: ignore[arg-type]


def test_the_current_target() -> None:
    """`with` makes one the default of `vta.build`, in its own thread."""
    with vta.Environment("tiny") as env:
        work = vector_add(env, m=4)
        assert Target.current() is None
        with pytest.raises(ConfigError, match="there is no current target"):
            Target.current(allow_none=False)
        with Target(env.target, host="llvm") as outer:
            vta.build(*work)
            with Target("cuda") as inner:
                assert Target.current() is inner
                with pytest.raises(ConfigError, match="target must be 'ext_dev' .*, not 'cuda'"):
                    vta.build(*work)
                vta.build(*work, "ext_dev")
                seen: list[Target | None] = []
                thread = threading.Thread(target=lambda: seen.append(Target.current()))
                thread.start()
                thread.join()
                assert seen == [None]
            assert Target.current() is outer
        assert Target.current() is None
