"""Quantises a float32 model with ONNX Runtime, as suits the accelerator."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import version_converter
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from vta.compiler.graph.fold_float import FLOAT_RULES
from vta.compiler.graph.infer_shapes import fix_batch, infer_shapes
from vta.compiler.graph.int8_forms import INT8_FORMS
from vta.compiler.graph.load_model import load_model, one_line
from vta.compiler.graph.onnx_graph import OnnxGraph, build_model, from_model
from vta.compiler.graph.operator_table import ROWS
from vta.compiler.graph.tidy import tidy
from vta.errors import NetworkError

__all__ = ["METHODS", "float_graph", "quantise_model"]

Sample = Mapping[str, NDArray[Any]]

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
"""How the range of an activation is chosen, by name."""

PER_CHANNEL = 13
"""Since this version of ONNX's operators weights can have a scale for each channel."""


def float_graph(source: str | os.PathLike[str] | onnx.ModelProto) -> OnnxGraph:
    """A float32 model as a graph for `quantise_model`: checked, with fixed shapes.

    Raises
    ------
    NetworkError
        If the model cannot be read, or is quantised already.
    """
    model = load_model(source)
    if any(
        node.op_type in ("QuantizeLinear", "DequantizeLinear", *INT8_FORMS)
        for node in model.graph.node
    ):
        raise NetworkError("the model must be a float32 one; it is quantised already")
    opsets = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    if opsets[0] < PER_CHANNEL:
        try:
            model = version_converter.convert_version(model, PER_CHANNEL)
        except Exception as error:
            # The converter raises plain RuntimeError and others for operators that it lacks.
            raise NetworkError(
                f"the model must use opset {PER_CHANNEL} or newer; it uses {opsets[0]}, and "
                f"converting it failed: {one_line(error)}"
            ) from None
    graph = from_model(model)
    fix_batch(graph, 1)
    infer_shapes(graph)
    return graph


def quantise_model(
    graph: OnnxGraph,
    samples: Iterable[Sample],
    path: str | os.PathLike[str],
    method: str = "minmax",
) -> None:
    """Writes an int8 model in QDQ form.

    Normalisations and constant factors become part of the weights first. Weights are int8 with a
    scale for each channel and no zero point, activations int8 with a zero point.

    Parameters
    ----------
    graph : OnnxGraph
        From `float_graph`; it is changed.
    samples : iterable of mapping of str to array
        Inputs by name. They should be like those that the network will see.
    path : path
        Of the new model.
    method : str
        How the range of an activation is chosen: a name in `METHODS`.

    Raises
    ------
    NetworkError
        If ONNX Runtime cannot run or quantise the model.
    """
    tidy(graph, FLOAT_RULES)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        before, after = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        onnx.save(build_model(graph), before)
        try:
            quantize_static(
                before,
                after,
                _Samples(samples),
                quant_format=QuantFormat.QDQ,
                # The rest runs in float32, where int8 would only lose precision.
                op_types_to_quantize=[kind for kind in ROWS if kind != "QuantizeLinear"],
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=METHODS[method],
                extra_options={"WeightSymmetric": True, "ActivationSymmetric": False},
            )
        except NetworkError:
            raise
        except Exception as error:
            # ONNX Runtime raises many kinds of errors, some of them its own.
            raise NetworkError(
                f"ONNX Runtime cannot quantise the model: {one_line(error)}"
            ) from None
        data = after.read_bytes()
    try:
        Path(path).write_bytes(data)
    except OSError as error:
        raise NetworkError(f"{Path(path)} cannot be written: {error.strerror}") from None


class _Samples(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples: Iterator[Sample] = iter(samples)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        sample = next(self._samples, None)
        return None if sample is None else dict(sample)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice that ONNX Runtime logs."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
