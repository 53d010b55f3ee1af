"""A random program before it is scheduled."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vta.compiler.te.tensor import Tensor
from vta.config import Config

__all__ = ["Drawn"]


@dataclass
class Drawn:
    """A program to be scheduled.

    Attributes
    ----------
    inputs, arrays
        Placeholders and their numbers; those in `direct` are read by ALU stages as they are, so
        that the schedule has to copy them by `cache_read`.
    roles : dict of Tensor to str
        What each stage is: "load", "alu", "gemm" or "store".
    scopes : dict of Tensor to str
        The memory of each stage that is not stored.
    outputs : list of Tensor
        Those with the role "alu" need `cache_write`.
    """

    config: Config
    inputs: list[Tensor] = field(default_factory=list)
    arrays: list[np.ndarray] = field(default_factory=list)
    direct: list[Tensor] = field(default_factory=list)
    roles: dict[Tensor, str] = field(default_factory=dict)
    scopes: dict[Tensor, str] = field(default_factory=dict)
    outputs: list[Tensor] = field(default_factory=list)

    def used_inputs(self) -> list[Tensor]:
        """The placeholders that the outputs depend on."""
        found: set[Tensor] = set()
        todo = list(self.outputs)
        while todo:
            tensor = todo.pop()
            if tensor not in found:
                found.add(tensor)
                todo += getattr(tensor.op, "input_tensors", ())
        return [tensor for tensor in self.inputs if tensor in found]
