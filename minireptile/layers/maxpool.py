"""Max pooling; derived in kernels/maxpool.md."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..backend import Kernels
from ..checks import choice, count_or_pair, settle
from .base import Layer, Shape, Stage, pair, window_of


@dataclass(frozen=True)
class MaxPool(Layer):
    """Max pooling, channels last (kernels/maxpool.md).

    From (T, B, H, W, C) to (T, B, H', W', C).

    Parameters
    ----------
    size : int or (int, int)
        Rows and columns of the window.
    stride : int or (int, int), optional
        The size, if not given.
    padding : {"same", "valid"}
        "same" pads as TensorFlow does; the padding never wins.

    Raises
    ------
    InputError
        If an argument is out of range or of another kind.
    """

    recorded = True

    size: int | tuple[int, int] = 2
    stride: int | tuple[int, int] | None = None
    padding: str = "same"

    def __post_init__(self) -> None:
        if self.stride is None:
            object.__setattr__(self, "stride", self.size)
        settle(self, count_or_pair, "size", "stride")
        settle(self, choice, "padding", choices=("same", "valid"))

    def out_shape(self, shape: Shape) -> Shape:
        rows, columns, _ = window_of(shape, self.size, self.stride, self.padding)
        return rows, columns, shape[-1]

    def saved(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        return {"winner": np.empty((T, B, *self.out_shape(shape)), np.int32)}

    def _geometry(self, x: NDArray) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        _, _, pad = window_of(x.shape[2:], self.size, self.stride, self.padding)
        return pair(self.size), pair(self.stride), pad

    def forward(self, k: Kernels, a: Stage) -> None:
        k.maxpool_forward(a.y, a.saved["winner"], a.x, *self._geometry(a.x))

    def backward(self, k: Kernels, a: Stage) -> None:
        k.maxpool_backward(a.dx, a.dy, a.saved["winner"], *self._geometry(a.x))

    def forward_r(self, k: Kernels, a: Stage, r: Stage) -> None:
        k.maxpool_forward_r(r.y, r.x, a.saved["winner"], *self._geometry(a.x))

    def backward_r(self, k: Kernels, a: Stage, r: Stage) -> None:
        k.maxpool_backward(r.dx, r.dy, a.saved["winner"], *self._geometry(a.x))
