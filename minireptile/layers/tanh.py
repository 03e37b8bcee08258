"""The hyperbolic tangent; derived in kernels/tanh.md."""

from __future__ import annotations

from dataclasses import dataclass

from ..backend import Kernels
from .base import Layer, Stage


@dataclass(frozen=True)
class Tanh(Layer):
    """The hyperbolic tangent of every entry of (T, B, ...) (kernels/tanh.md)."""

    recorded = True

    def forward(self, k: Kernels, a: Stage) -> None:
        k.tanh_forward(a.y, a.x)

    def backward(self, k: Kernels, a: Stage) -> None:
        k.tanh_backward(a.dx, a.dy, a.y)

    def forward_r(self, k: Kernels, a: Stage, r: Stage) -> None:
        k.tanh_backward(r.y, r.x, a.y)

    def backward_r(self, k: Kernels, a: Stage, r: Stage) -> None:
        k.tanh_backward_r(r.dx, r.dy, r.y, a.dy, a.y)
