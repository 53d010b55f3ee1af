"""Reads and checks an ONNX file: every problem is a `NetworkError` of one line."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import checker, external_data_helper, inliner

from vta.errors import NetworkError

__all__ = ["load_model", "one_line"]

OPSETS = range(7, onnx.defs.onnx_opset_version() + 1)
"""Versions of ONNX's operators that can be read."""


def load_model(source: str | os.PathLike[str] | onnx.ModelProto) -> onnx.ModelProto:
    """The model in a file, or a copy of a given one, checked and with its data in memory.

    Raises
    ------
    NetworkError
        If the file cannot be read, is no valid ONNX model, or uses unsupported features.
    """
    if isinstance(source, onnx.ModelProto):
        what = "the model"
        model = onnx.ModelProto()
        model.CopyFrom(source)
    else:
        what = str(Path(source))
        model = _parse(Path(source))
    if not model.graph.node or not model.graph.output:
        raise NetworkError(f"{what} must be an ONNX model with at least one node and one output")
    versions = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    if not versions or versions[0] not in OPSETS:
        raise NetworkError(
            f"{what} must use a version of ONNX's operators (opset) from {OPSETS[0]} to "
            f"{OPSETS[-1]}, not {versions[0] if versions else 'none'}"
        )
    if model.graph.sparse_initializer:
        raise NetworkError(f"{what} must not have sparse constants; store them as dense ones")
    if model.functions:
        model = inliner.inline_local_functions(model)
    if model.ir_version < 4:
        # Since then constants need not be inputs too.
        model.ir_version = 4
    _check(model, what)
    return model


def _check(model: onnx.ModelProto, what: str) -> None:
    kinds = [each.type.tensor_type for each in model.graph.output if each.HasField("type")]
    bare = [kind for kind in kinds if kind.elem_type and not kind.HasField("shape")]
    for kind in bare:
        # Only the checker wants a shape here; the real one is inferred.
        kind.shape.SetInParent()
    try:
        checker.check_model(model)
    except (checker.ValidationError, ValueError) as error:
        raise NetworkError(f"{what} is not a valid ONNX model: {one_line(error)}") from None
    for kind in bare:
        kind.ClearField("shape")


def _parse(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load_model(path, format="protobuf", load_external_data=False)
    except OSError as error:
        raise NetworkError(f"{path} cannot be read: {error.strerror or error}") from None
    except (DecodeError, ValueError):
        raise NetworkError(f"{path} must be an ONNX file, and complete; it is not") from None
    try:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, checker.ValidationError) as error:
        raise NetworkError(
            f"{path} needs data from another file, which cannot be read: {one_line(error)}"
        ) from None
    return model


def one_line(error: Exception) -> str:
    """An error's message as one line of at most 300 characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]}..."
