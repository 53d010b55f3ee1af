"""Positions of a window: which of them see nothing, against every tap counted."""

from __future__ import annotations

import itertools

from vta.compiler.operators.shape_arguments import first_blind


def test_first_blind():
    seen = {True: 0, False: 0}
    for size, taps, stride, dilation, before in itertools.product(
        range(1, 5), range(1, 4), range(1, 4), range(1, 4), range(6)
    ):
        for positions in range(1, 6):
            blind = [
                place
                for place in range(positions)
                if not any(
                    0 <= place * stride - before + tap * dilation < size for tap in range(taps)
                )
            ]
            wanted = blind[0] if blind else None
            seen[bool(blind)] += 1
            found = first_blind(
                size, positions, taps=taps, stride=stride, dilation=dilation, before=before
            )
            assert found == wanted, (size, positions, taps, stride, dilation, before)
    assert min(seen.values()) > 100
