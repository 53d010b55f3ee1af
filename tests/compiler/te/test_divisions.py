"""Division in a rule: of indices by numbers of 1 or more, of values never."""

from __future__ import annotations

import numpy as np
import pytest

from vta import te
from vta.compiler.te.expr import Binary
from vta.errors import CompileError


def declare(rule):
    a = te.placeholder((8, 16), name="A", dtype="int8")
    return te.compute((8, 16), lambda i, j: rule(a, i, j), "C")


@pytest.mark.parametrize(
    ("name", "op"),
    [
        ("floordiv", "//"),
        ("indexdiv", "//"),
        ("floormod", "%"),
        ("indexmod", "%"),
        ("truncdiv", "truncdiv"),
        ("truncmod", "truncmod"),
    ],
)
def test_names(name, op):
    k = te.reduce_axis((0, 6), "k")
    for number in (2, np.int64(2), te.const(2), te.const(2, "int8")):
        found = getattr(te, name)(k, number)
        assert isinstance(found, Binary)
        assert (found.op, found.dtype, found.a, found.b.number) == (op, "int32", k.var, 2)


@pytest.mark.parametrize("left", [-7, -1, 0, 5, 12])
@pytest.mark.parametrize("right", [1, 2, 5])
def test_numbers_fold(left, right):
    index = te.const(left)
    assert (index // right).number == left // right
    assert (index % right).number == left % right
    assert te.truncdiv(index, right).number == int(left / right)
    assert te.truncmod(index, right).number == left - int(left / right) * right


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            lambda a, i, j: a(i // 0, j),
            "an index must be divided by a whole number of 1 or more, not 0",
        ),
        (lambda a, i, j: a(i % -2, j), "a whole number of 1 or more, not -2"),
        (lambda a, i, j: a(i // 2.0, j), "a whole number of 1 or more, not 2.0"),
        (lambda a, i, j: a(i // j, j), "a whole number of 1 or more, not the index j"),
        (lambda a, i, j: a(7 % i, j), "a whole number of 1 or more, not the index i"),
        (lambda a, i, j: a(i // (j + 1), j), "a whole number of 1 or more, not another index"),
        (lambda a, i, j: a(i / 2, j), "an index must be divided with // or %, which round down"),
        (lambda a, i, j: a(i, j) // 2, "VTA can neither divide nor take remainders"),
        (lambda a, i, j: 7 % a(i, j), "VTA can neither divide nor take remainders"),
        (lambda a, i, j: te.floordiv(a(i, j) + 1, 2), "VTA can neither divide"),
        (lambda a, i, j: i // a(i, j), "VTA can neither divide nor take remainders"),
        (lambda a, i, j: np.int32(9) // a(i, j), "VTA can neither divide nor take remainders"),
        (lambda a, i, j: divmod(a(i, j), 2), "VTA can neither divide nor take remainders"),
    ],
)
def test_what_is_refused(rule, message):
    with pytest.raises(CompileError, match=message):
        declare(rule)
