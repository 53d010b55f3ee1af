"""Sizes that several blocks rely on."""

import pytest

from vta.config import PRESETS
from vta.hw.bus.axi import PAGE_BYTES, AxiLiteSignature, AxiSignature
from vta.hw.bus.payloads import burst_beats


@pytest.mark.parametrize(
    ("log_bus", "max_burst", "beats"),
    [(6, 16, 16), (6, 64, 64), (6, 256, 256), (7, 256, 256), (8, 64, 64), (8, 256, 128)],
)
def test_the_longest_burst(log_bus, max_burst, beats):
    """As configured, but never more than a page holds."""
    config = PRESETS["default"].replace(log_bus_width=log_bus, max_burst=max_burst)
    assert burst_beats(config) == beats
    assert burst_beats(config) * config.bus_bytes <= PAGE_BYTES


def test_signatures_compare_by_their_parameters():
    one = AxiSignature(addr_width=32, data_width=64, id_width=3)
    assert one == AxiSignature(addr_width=32, data_width=64, id_width=3)
    assert one != AxiSignature(addr_width=32, data_width=128, id_width=3)
    assert one != AxiLiteSignature(addr_width=32)
    assert AxiLiteSignature(addr_width=12) == AxiLiteSignature(addr_width=12)
    assert repr(one) == "AxiSignature(addr_width=32, data_width=64, id_width=3)"
    assert repr(AxiLiteSignature(addr_width=12)) == "AxiLiteSignature(addr_width=12)"
