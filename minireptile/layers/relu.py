"""The rectifier; derived in kernels/relu.md."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import NDArray

from ..backend import Kernels
from .base import Layer, Views


@dataclass(frozen=True)
class ReLU(Layer):
    """max(x, 0) (kernels/relu.md)."""

    def forward(self, k: Kernels, y: NDArray, x: NDArray, p: Views, s: Views) -> None:
        k.relu_forward(y, x)

    def backward(
        self, k: Kernels, dx: NDArray | None, dp: Views, dy: NDArray,
        x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        if dx is not None:
            k.relu_backward(dx, dy, x)

    def forward_r(
        self, k: Kernels, ry: NDArray, rx: NDArray | None, rp: Views, rs: Views,
        y: NDArray, x: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        k.relu_backward(ry, rx, x)

    def backward_r(
        self, k: Kernels, rdx: NDArray | None, rdp: Views, rdy: NDArray,
        rx: NDArray | None, ry: NDArray, rp: Views, rs: Views,
        dp: Views, dy: NDArray, x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        k.relu_backward(rdx, rdy, x)
