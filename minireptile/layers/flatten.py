"""From images to rows: a reshape, without a kernel."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ..backend import Kernels
from .base import Layer, Shape, Stage


@dataclass(frozen=True)
class Flatten(Layer):
    """Each example as one row: (T, B, ...) as (T, B, n), which needs no kernel."""

    def out_shape(self, shape: Shape) -> Shape:
        return (prod(shape),)

    def forward(self, k: Kernels, a: Stage) -> None:
        a.y[...] = a.x.reshape(a.y.shape)

    def backward(self, k: Kernels, a: Stage) -> None:
        a.dx[...] = a.dy.reshape(a.dx.shape)

    def forward_r(self, k: Kernels, a: Stage, r: Stage) -> None:
        r.y[...] = r.x.reshape(r.y.shape)

    def backward_r(self, k: Kernels, a: Stage, r: Stage) -> None:
        r.dx[...] = r.dy.reshape(r.dx.shape)
