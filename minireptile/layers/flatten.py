"""From images to rows: a reshape, without a kernel."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from numpy.typing import NDArray

from ..backend import Kernels
from .base import Layer, Shape, Views


@dataclass(frozen=True)
class Flatten(Layer):
    """Each example as one row; there is nothing to compute, so there is no kernel."""

    def out_shape(self, shape: Shape) -> Shape:
        return (prod(shape),)

    def forward(self, k: Kernels, y: NDArray, x: NDArray, p: Views, s: Views) -> None:
        y[...] = x.reshape(y.shape)

    def backward(
        self, k: Kernels, dx: NDArray | None, dp: Views, dy: NDArray,
        x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        if dx is not None:
            dx[...] = dy.reshape(dx.shape)

    def forward_r(
        self, k: Kernels, ry: NDArray, rx: NDArray | None, rp: Views, rs: Views,
        y: NDArray, x: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        assert rx is not None
        ry[...] = rx.reshape(ry.shape)

    def backward_r(
        self, k: Kernels, rdx: NDArray | None, rdp: Views, rdy: NDArray,
        rx: NDArray | None, ry: NDArray, rp: Views, rs: Views,
        dp: Views, dy: NDArray, x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        assert rdx is not None
        rdx[...] = rdy.reshape(rdx.shape)
