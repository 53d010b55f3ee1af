"""The examples of docs/operators.md, as they stand there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import vta
from tests.compiler.operators import reference
from vta.config import PRESETS


def test_the_pages_examples():
    page = Path(__file__).resolve().parents[3] / "docs" / "operators.md"
    blocks = page.read_text(encoding="utf-8").split("```python\n")[1:]
    code = "\n".join(block.split("```")[0] for block in blocks)
    values = {}
    with vta.Environment(PRESETS["default"]):
        exec(compile(code, str(page), "exec"), values)
    expected = reference.finish(
        reference.conv2d(values["x"], values["w"], padding=(1,) * 4),
        bias=values["b"],
        shift=9,
        relu=True,
    )
    np.testing.assert_array_equal(values["result"], expected)
    np.testing.assert_array_equal(
        values["y"], reference.max_pool2d(expected, (2, 2), stride=(2, 2))
    )
