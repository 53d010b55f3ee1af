"""Operators on int8 tensors, and the operator on float32 that each stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vta.compiler.graph.onnx_graph import Op

__all__ = ["INT8_FORMS", "MICROSOFT", "Form", "int8_form"]

MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""


@dataclass(frozen=True)
class Form:
    """Where an operator on int8 tensors has its operands: indices of its inputs.

    `operands` are triples of value, scale and zero point; if there are none here, all inputs after
    the result's are. `result` has scale and zero point; `bias` is an int32 constant.
    """

    domain: str
    kind: str
    operands: tuple[int, ...]
    result: tuple[int, int]
    bias: int | None = None

    def operands_of(self, op: Op) -> Sequence[int]:
        """The index of the value of each operand."""
        return self.operands or range(2, len(op.inputs), 3)


INT8_FORMS = {
    "QLinearConv": Form("", "Conv", (0, 3), (6, 7), 8),
    "QLinearMatMul": Form("", "MatMul", (0, 3), (6, 7)),
    "QGemm": Form(MICROSOFT, "Gemm", (0, 3), (7, 8), 6),
    "QLinearAdd": Form(MICROSOFT, "Add", (0, 3), (6, 7)),
    "QLinearMul": Form(MICROSOFT, "Mul", (0, 3), (6, 7)),
    "QLinearAveragePool": Form(MICROSOFT, "AveragePool", (0,), (3, 4)),
    "QLinearGlobalAveragePool": Form(MICROSOFT, "GlobalAveragePool", (0,), (3, 4)),
    "QLinearReduceMean": Form(MICROSOFT, "ReduceMean", (0,), (3, 4)),
    "QLinearConcat": Form(MICROSOFT, "Concat", (), (0, 1)),
}
"""The operators by name."""


def int8_form(op: Op) -> Form | None:
    """The form of an operator; None if it is another one."""
    form = INT8_FORMS.get(op.kind)
    return form if form is not None and form.domain == op.domain else None
