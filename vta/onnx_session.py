"""ONNX Runtime for a model, which computes as the model says: operator by operator."""

from __future__ import annotations

import os
from typing import Any

from vta.extras import needed

__all__ = ["onnx_session"]


def onnx_session(model: bytes | str | os.PathLike[str], what: str) -> Any:
    """An `onnxruntime.InferenceSession` for a model or its file.

    Parameters
    ----------
    model : bytes or path
    what : str
        What needs it, for the error message.

    Raises
    ------
    ToolError
        If onnxruntime is not installed. ONNX Runtime's own errors have no common base.
    """
    with needed(what, "onnx"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
