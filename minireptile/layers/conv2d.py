"""The convolution; derived in kernels/conv2d.md."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..backend import Kernels
from .base import (
    Layer,
    Param,
    Shape,
    Views,
    bias_of,
    check_choice,
    check_positive,
    pair,
    second_products,
    window_of,
)
from .initialisers import INITIALISERS

COLS_BYTES = 2**21  # a convolution's scratch: what stays in a core's cache


@dataclass(frozen=True)
class Conv2D(Layer):
    """2-D convolution, channels last (kernels/conv2d.md).

    Parameters
    ----------
    filters : int
        Output channels.
    kernel_size, stride : int or (int, int)
        Rows and columns.
    padding : {"same", "valid"}
        "same" pads as TensorFlow does.
    bias : bool
        Whether each filter has an offset.
    init, bias_init : str
        Initialisers of the weights and of the bias.
    """

    filters: int
    kernel_size: int | tuple[int, int]
    stride: int | tuple[int, int] = 1
    padding: str = "same"
    bias: bool = True
    init: str = "glorot_uniform"
    bias_init: str = "zeros"

    def __post_init__(self) -> None:
        check_positive(self, "filters", pairs=False)
        check_positive(self, "kernel_size", "stride")
        check_choice(self, "padding", ("same", "valid"))
        check_choice(self, "init", tuple(INITIALISERS))
        check_choice(self, "bias_init", tuple(INITIALISERS))

    @property
    def kind(self) -> str:
        return "conv"

    def out_shape(self, shape: Shape) -> Shape:
        rows, columns, _ = window_of(self, shape, self.kernel_size, self.stride, self.padding)
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
        _, _, pad = window_of(self, x.shape[2:], self.kernel_size, self.stride, self.padding)
        return pair(self.stride), pad

    def forward(self, k: Kernels, y: NDArray, x: NDArray, p: Views, s: Views) -> None:
        k.conv2d_forward(y, s["cols"], x, p["weight"], p.get("bias"), *self._geometry(x))

    def backward(
        self, k: Kernels, dx: NDArray | None, dp: Views, dy: NDArray,
        x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        dw, db = dp["weight"], dp.get("bias")
        k.conv2d_backward(dx, dw, db, s["cols"], dy, x, p["weight"], *self._geometry(x))

    def saved_r(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        return second_products(self, T, B, shape, dtype)

    def forward_r(
        self, k: Kernels, ry: NDArray, rx: NDArray | None, rp: Views, rs: Views,
        y: NDArray, x: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        at, cols = self._geometry(x), s["cols"]
        k.conv2d_forward(ry, cols, x, rp["weight"], rp.get("bias"), *at)
        if rx is not None:
            k.conv2d_forward(rs["y"], cols, rx, p["weight"], None, *at)
            k.add(ry, rs["y"])

    def backward_r(
        self, k: Kernels, rdx: NDArray | None, rdp: Views, rdy: NDArray,
        rx: NDArray | None, ry: NDArray, rp: Views, rs: Views,
        dp: Views, dy: NDArray, x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        at, cols, rdw = self._geometry(x), s["cols"], rdp["weight"]
        k.conv2d_backward(rdx, rdw, rdp.get("bias"), cols, rdy, x, p["weight"], *at)
        if rx is not None and rdx is not None:
            k.conv2d_backward(rs["x"], rs["weight"], None, cols, dy, rx, rp["weight"], *at)
            k.add_gradient(rdw, rs["weight"])
            k.add(rdx, rs["x"])
