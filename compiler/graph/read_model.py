"""Reads a quantised ONNX model into an int8 graph."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vta.compiler.graph.int8_graph import Graph
from vta.extras import needed

if TYPE_CHECKING:
    import onnx

__all__ = ["read"]


def read(source: str | os.PathLike[str] | onnx.ModelProto, batch: int = 1) -> Graph:
    """The int8 graph of a model.

    What the int8 graph has no operation for, or what is not quantised, becomes nodes with op
    ``cpu``, each with its reason.

    Parameters
    ----------
    source : path or onnx.ModelProto
        A model in QDQ form (QuantizeLinear and DequantizeLinear around operators on float32) or
        with operators on int8 (QLinearConv and so on).
    batch : int
        The first size of each input, where the model leaves it open.

    Raises
    ------
    NetworkError
        If the file cannot be read, is not a valid ONNX model, or has no fixed shapes.
    ToolError
        If the packages of the extra ``onnx`` are not installed.
    """
    with needed("reading a network", "onnx"):
        from vta.compiler.graph.infer_shapes import fix_batch
        from vta.compiler.graph.int8_layout import move_to_int8
        from vta.compiler.graph.load_model import load_model
        from vta.compiler.graph.make_int8_graph import make_int8_graph
        from vta.compiler.graph.onnx_graph import from_model
        from vta.compiler.graph.tidy import tidy
    graph = from_model(load_model(source))
    fix_batch(graph, batch)
    tidy(graph)
    move_to_int8(graph)
    tidy(graph)
    return make_int8_graph(graph)
