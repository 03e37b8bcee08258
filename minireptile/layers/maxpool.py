"""Max pooling; derived in kernels/maxpool.md."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..backend import Kernels
from .base import Layer, Shape, Views, check_choice, check_positive, pair, window_of


@dataclass(frozen=True)
class MaxPool(Layer):
    """Max pooling, channels last (kernels/maxpool.md).

    Parameters
    ----------
    size : int or (int, int)
        Rows and columns of the window.
    stride : int or (int, int), optional
        The size, if not given.
    padding : {"same", "valid"}
        "same" pads as TensorFlow does; the padding never wins.
    """

    size: int | tuple[int, int] = 2
    stride: int | tuple[int, int] | None = None
    padding: str = "same"

    def __post_init__(self) -> None:
        if self.stride is None:
            object.__setattr__(self, "stride", self.size)
        check_positive(self, "size", "stride")
        check_choice(self, "padding", ("same", "valid"))

    def out_shape(self, shape: Shape) -> Shape:
        rows, columns, _ = window_of(self, shape, self.size, self.stride, self.padding)
        return rows, columns, shape[-1]

    def saved(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        return {"winner": np.empty((T, B, *self.out_shape(shape)), np.int32)}

    def _geometry(self, x: NDArray) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        _, _, pad = window_of(self, x.shape[2:], self.size, self.stride, self.padding)
        return pair(self.size), pair(self.stride), pad

    def forward(self, k: Kernels, y: NDArray, x: NDArray, p: Views, s: Views) -> None:
        k.maxpool_forward(y, s["winner"], x, *self._geometry(x))

    def backward(
        self, k: Kernels, dx: NDArray | None, dp: Views, dy: NDArray,
        x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        if dx is not None:
            k.maxpool_backward(dx, dy, s["winner"], *self._geometry(x))

    def forward_r(
        self, k: Kernels, ry: NDArray, rx: NDArray | None, rp: Views, rs: Views,
        y: NDArray, x: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        k.maxpool_forward_r(ry, rx, s["winner"], *self._geometry(x))

    def backward_r(
        self, k: Kernels, rdx: NDArray | None, rdp: Views, rdy: NDArray,
        rx: NDArray | None, ry: NDArray, rp: Views, rs: Views,
        dp: Views, dy: NDArray, x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        k.maxpool_backward(rdx, rdy, s["winner"], *self._geometry(x))
