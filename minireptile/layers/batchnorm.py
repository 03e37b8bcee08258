"""Batch normalisation; derived in kernels/batchnorm.md."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..backend import Kernels
from ..errors import InputError
from .base import Layer, Param, Shape, Views


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation, always with the statistics of the batch (kernels/batchnorm.md).

    There are no moving averages: in training and in evaluation alike, every output depends on the
    other examples of its batch, as in the paper's code.

    Parameters
    ----------
    eps : float
        Added to the variance; 1e-3 is TensorFlow's.
    """

    eps: float = 1e-3

    def __post_init__(self) -> None:
        if not self.eps > 0:
            raise InputError(f"BatchNorm: eps must be positive, not {self.eps}")

    def params(self, shape: Shape) -> dict[str, Param]:
        return {"gamma": Param((shape[-1],), "ones"), "beta": Param((shape[-1],))}

    def saved(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        return {name: np.empty((T, shape[-1]), dtype) for name in ("mean", "rstd")}

    def forward(self, k: Kernels, y: NDArray, x: NDArray, p: Views, s: Views) -> None:
        k.batchnorm_forward(y, s["mean"], s["rstd"], x, p["gamma"], p["beta"], self.eps)

    def backward(
        self, k: Kernels, dx: NDArray | None, dp: Views, dy: NDArray,
        x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        dx = np.empty_like(x) if dx is None else dx  # only where nobody before has parameters
        k.batchnorm_backward(dx, dp["gamma"], dp["beta"], dy, x, s["mean"], s["rstd"], p["gamma"])

    def saved_r(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        return self.saved(T, B, shape, dtype)

    def forward_r(
        self, k: Kernels, ry: NDArray, rx: NDArray | None, rp: Views, rs: Views,
        y: NDArray, x: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        rx = np.zeros_like(x) if rx is None else rx  # likewise
        k.batchnorm_forward_r(
            ry, rs["mean"], rs["rstd"], rx, rp["gamma"], rp["beta"],
            x, s["mean"], s["rstd"], p["gamma"],
        )  # fmt: skip

    def backward_r(
        self, k: Kernels, rdx: NDArray | None, rdp: Views, rdy: NDArray,
        rx: NDArray | None, ry: NDArray, rp: Views, rs: Views,
        dp: Views, dy: NDArray, x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        rx = np.zeros_like(x) if rx is None else rx
        rdx = np.empty_like(x) if rdx is None else rdx
        k.batchnorm_backward_r(
            rdx, rdp["gamma"], rdp["beta"], rdy, rx, rs["mean"], rs["rstd"], rp["gamma"],
            dp["gamma"], dp["beta"], dy, x, s["mean"], s["rstd"], p["gamma"],
        )  # fmt: skip
