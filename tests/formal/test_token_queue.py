"""No token is lost or invented, whatever the order of pushes and pops. By induction."""

from __future__ import annotations

import pytest
from amaranth import *

from tests.formal.prover import Proof, fails, planted, prove
from vta.hw.issue.token_queue import TokenQueue
from vta.isa import MAX_TOKENS


class CountsTokens(Proof):
    def properties(self, m: Module) -> None:
        dut = self.dut
        self.assume(m, ~dut.push | ~dut.full)
        self.assume(m, ~dut.pop | dut.available)
        inside = Signal(range(MAX_TOKENS + 2))
        m.d.sync += inside.eq(inside + dut.push - dut.pop)
        self.always(m, dut.count == inside, "counts every push and every pop")
        self.always(m, dut.available == (inside != 0), "offers a token while there is one")
        self.always(m, dut.full == (inside == MAX_TOKENS), "is full at the limit, and only there")
        self.always(m, inside <= MAX_TOKENS, "never has more than the limit")


def test_tokens(tmp_path):
    prove(CountsTokens(TokenQueue()), tmp_path, depth=2, induction=True)


@pytest.mark.full
@pytest.mark.parametrize(
    ("old", "new", "property"),
    [
        ("self.push & ~self.pop", "self.push", "counts every push"),
        ("self.available.eq(self.count > 1)", "self.available.eq(1)", "offers a token"),
        ("self.count == MAX_TOKENS - 1", "self.count == MAX_TOKENS", "is full at the limit"),
    ],
)
def test_tokens_with_a_fault(tmp_path, old, new, property):
    faulty = planted(TokenQueue, {old: new})
    assert property in fails(CountsTokens(faulty()), tmp_path, depth=2, induction=True)
