"""Checks an ONNX model from a network's file before ONNX Runtime sees it.

It reads the protocol buffer by itself, because a network runs where the onnx package is missing.
"""

from __future__ import annotations

from collections.abc import Iterator

from vta.errors import NetworkError

__all__ = ["check_embedded_model"]

DOMAINS = (b"", b"ai.onnx", b"ai.onnx.ml", b"com.microsoft")
"""The operators that ONNX defines, and those that ONNX Runtime brings."""

# Numbers of fields, from onnx.proto.
MODEL_GRAPH, MODEL_OPSETS, MODEL_FUNCTIONS = 7, 8, 25
OPSET_DOMAIN = 1
GRAPH_NODES, GRAPH_TENSORS, GRAPH_SPARSE = 1, 5, 15
NODE_ATTRIBUTES, NODE_DOMAIN = 5, 7
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH, ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS = 5, 6, 10, 11
ATTRIBUTE_SPARSE = (22, 23)
SPARSE_PARTS = (1, 2)
TENSOR_EXTERNAL, TENSOR_PLACE = 13, 14

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
DEEPEST = 16
"""How deep graphs may lie in one another."""


def check_embedded_model(model: bytes) -> None:
    """Refuses operators that need more than ONNX Runtime, and tensors outside of the model.

    Raises
    ------
    NetworkError
    """
    for number, value in _fields(model):
        if number == MODEL_GRAPH:
            _check_graph(value, 0)
        elif number == MODEL_OPSETS:
            for inner, text in _fields(value):
                if inner == OPSET_DOMAIN:
                    _check_domain(text)
        elif number == MODEL_FUNCTIONS:
            raise NetworkError("an embedded model defines functions")


def _check_domain(domain: bytes) -> None:
    if domain not in DOMAINS:
        name = domain.decode("utf-8", "replace")
        raise NetworkError(f"an embedded model has operators of {name}, which need other libraries")


def _check_graph(graph: bytes, depth: int) -> None:
    if depth > DEEPEST:
        raise NetworkError("an embedded model is nested too deeply")
    for number, value in _fields(graph):
        if number == GRAPH_TENSORS:
            _check_tensor(value)
        elif number == GRAPH_SPARSE:
            _check_sparse(value)
        elif number == GRAPH_NODES:
            for inner, part in _fields(value):
                if inner == NODE_DOMAIN:
                    _check_domain(part)
                elif inner == NODE_ATTRIBUTES:
                    _check_attribute(part, depth)


def _check_attribute(attribute: bytes, depth: int) -> None:
    for number, value in _fields(attribute):
        if number in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS):
            _check_graph(value, depth + 1)
        elif number in (ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS):
            _check_tensor(value)
        elif number in ATTRIBUTE_SPARSE:
            _check_sparse(value)


def _check_sparse(tensor: bytes) -> None:
    for number, value in _fields(tensor):
        if number in SPARSE_PARTS:
            _check_tensor(value)


def _check_tensor(tensor: bytes) -> None:
    for number, value in _fields(tensor):
        if number == TENSOR_EXTERNAL or (number == TENSOR_PLACE and value != b"\0"):
            raise NetworkError("an embedded model has tensors in other files")


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Each field's number and bytes; of a number, its least byte."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        kind = tag & 7
        if kind == VARINT:
            number, place = _varint(message, place)
            yield tag >> 3, bytes([number & 0xFF])
            continue
        if kind == BYTES:
            size, place = _varint(message, place)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise NetworkError("an embedded model is damaged")
        if place + size > len(message):
            raise NetworkError("an embedded model is damaged")
        yield tag >> 3, message[place : place + size]
        place += size


def _varint(message: bytes, place: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            break
        byte = message[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
    raise NetworkError("an embedded model is damaged")
