"""The convolution; derived in kernels/conv2d.md."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..backend import Kernels
from ..checks import choice, count_or_pair, flag, settle, whole
from .base import Param, Product, Shape, Stage, bias_of, pair, window_of
from .initialisers import INITIALISERS

COLS_BYTES = 2**21  # a convolution's scratch: what stays in a core's cache


@dataclass(frozen=True)
class Conv2D(Product):
    """2-D convolution, channels last (kernels/conv2d.md).

    From (T, B, H, W, C) to (T, B, H', W', filters), by weight (T, kh, kw, C, filters) and bias
    (T, filters).

    Parameters
    ----------
    filters : int
        Output channels.
    kernel_size : int or (int, int)
        Rows kh and columns kw.
    stride : int or (int, int)
        Rows and columns from one output to the next.
    padding : {"same", "valid"}
        "same" pads as TensorFlow does.
    bias : bool
        Whether each filter has an offset.
    init : {"glorot_uniform", "he_normal", "fan_in_uniform", "zeros", "ones"}
        How the weights start.
    bias_init : as init
        How the bias starts.

    Raises
    ------
    InputError
        If an argument is out of range or of another kind.
    """

    recorded = True

    filters: int
    kernel_size: int | tuple[int, int]
    stride: int | tuple[int, int] = 1
    padding: str = "same"
    bias: bool = True
    init: str = "glorot_uniform"
    bias_init: str = "zeros"

    def __post_init__(self) -> None:
        settle(self, whole, "filters")
        settle(self, count_or_pair, "kernel_size", "stride")
        settle(self, choice, "padding", choices=("same", "valid"))
        settle(self, flag, "bias")
        settle(self, choice, "init", "bias_init", choices=tuple(INITIALISERS))

    @property
    def kind(self) -> str:
        return "conv"

    def out_shape(self, shape: Shape) -> Shape:
        rows, columns, _ = window_of(shape, self.kernel_size, self.stride, self.padding)
        return rows, columns, self.filters

    def params(self, shape: Shape) -> dict[str, Param]:
        taps, c_in, n = prod(pair(self.kernel_size)), shape[-1], self.filters
        fans = taps * c_in, taps * n
        weight = Param((*pair(self.kernel_size), c_in, n), self.init, *fans)
        return {"weight": weight, **bias_of(self.bias, n, self.bias_init, *fans)}

    def saved(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        rows, columns, _ = self.out_shape(shape)
        image = (rows, columns, *pair(self.kernel_size), shape[-1])
        room = COLS_BYTES // (prod(image) * np.dtype(dtype).itemsize)
        b = min(max(room, 1), B)
        t = min(max(room // B, 1), T) if b == B else 1
        return {"cols": np.empty((t, b, *image), dtype)}

    def _geometry(self, x: NDArray) -> tuple[tuple[int, int], tuple[int, int]]:
        _, _, pad = window_of(x.shape[2:], self.kernel_size, self.stride, self.padding)
        return pair(self.stride), pad

    def _product(self, k: Kernels, a: Stage, y: Any, x: Any, w: Any, b: Any) -> None:
        k.conv2d_forward(y, a.saved["cols"], x, w, b, *self._geometry(x))

    def _gradients(
        self, k: Kernels, a: Stage, dx: Any, dw: Any, db: Any, dy: Any, x: Any, w: Any
    ) -> None:
        k.conv2d_backward(dx, dw, db, a.saved["cols"], dy, x, w, *self._geometry(x))
