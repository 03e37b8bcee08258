"""The rectifier; derived in kernels/relu.md."""

from __future__ import annotations

from dataclasses import dataclass

from ..backend import Kernels
from .base import Layer, Stage


@dataclass(frozen=True)
class ReLU(Layer):
    """The rectifier, max(x, 0) of every entry of (T, B, ...) (kernels/relu.md)."""

    recorded = True

    def forward(self, k: Kernels, a: Stage) -> None:
        k.relu_forward(a.y, a.x)

    def backward(self, k: Kernels, a: Stage) -> None:
        k.relu_backward(a.dx, a.dy, a.x)

    def forward_r(self, k: Kernels, a: Stage, r: Stage) -> None:
        k.relu_backward(r.y, r.x, a.x)

    def backward_r(self, k: Kernels, a: Stage, r: Stage) -> None:
        k.relu_backward(r.dx, r.dy, a.x)
