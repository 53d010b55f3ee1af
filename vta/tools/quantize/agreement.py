"""How well an int8 model agrees with the float32 model that it was made from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vta.onnx_session import onnx_session

__all__ = ["Agreement", "compare"]


@dataclass(frozen=True)
class Agreement:
    """Of one output, over all samples.

    Attributes
    ----------
    output : str
    samples : int
    same_top : float or None
        Share of samples with the same greatest number; None where there is only one number.
    mean_error, greatest_error : float
        Absolute differences.
    decibels : float
        Power of the float32 model's output by that of the difference, in dB.
    """

    output: str
    samples: int
    same_top: float | None
    mean_error: float
    greatest_error: float
    decibels: float


def compare(
    float_model: bytes,
    int8_model: str | os.PathLike[str],
    samples: Iterable[Mapping[str, NDArray[Any]]],
) -> list[Agreement]:
    """Runs both models in ONNX Runtime."""
    what = "comparing the models"
    sessions = [onnx_session(model, what) for model in (float_model, int8_model)]
    names = [output.name for output in sessions[0].get_outputs()]
    pairs: list[list[tuple[NDArray[Any], NDArray[Any]]]] = [[] for _ in names]
    for sample in samples:
        results = [session.run(names, dict(sample)) for session in sessions]
        for index, pair in enumerate(zip(*results, strict=True)):
            pairs[index].append(pair)
    return [_agreement(name, found) for name, found in zip(names, pairs, strict=True)]


def _agreement(name: str, pairs: list[tuple[NDArray[Any], NDArray[Any]]]) -> Agreement:
    wanted, found = (
        np.stack([pair[side].reshape(-1).astype(np.float64) for pair in pairs]) for side in (0, 1)
    )
    error = np.abs(wanted - found)
    noise = float((error**2).sum())
    with np.errstate(divide="ignore"):
        decibels = float(10 * np.log10((wanted**2).sum() / noise)) if noise else float("inf")
    top = None
    if wanted.shape[1] > 1:
        top = float((wanted.argmax(1) == found.argmax(1)).mean())
    return Agreement(name, len(pairs), top, float(error.mean()), float(error.max()), decibels)
