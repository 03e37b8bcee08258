"""Batch normalisation; derived in kernels/batchnorm.md."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..backend import Kernels
from ..checks import number, settle
from .base import Layer, Param, Shape, Stage


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation, always with the statistics of the batch (kernels/batchnorm.md).

    There are no moving averages: in training and in evaluation alike, every output depends on the
    other examples of its batch, as in the paper's code. From (T, B, ..., C) to the same shape, by
    gamma (T, C) and beta (T, C).

    Parameters
    ----------
    eps : float
        Added to the variance; 1e-3 is TensorFlow's.

    Raises
    ------
    InputError
        If eps is not positive.

    Notes
    -----
    Source: Ioffe & Szegedy, "Batch Normalization", 2015, Algorithm 1.
    """

    recorded = True

    eps: float = 1e-3

    def __post_init__(self) -> None:
        settle(self, number, "eps", kind="positive")

    def params(self, shape: Shape) -> dict[str, Param]:
        return {"gamma": Param((shape[-1],), "ones"), "beta": Param((shape[-1],))}

    def saved(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        return {name: np.empty((T, shape[-1]), dtype) for name in ("mean", "rstd")}

    def forward(self, k: Kernels, a: Stage) -> None:
        s, p = a.saved, a.p
        k.batchnorm_forward(a.y, s["mean"], s["rstd"], a.x, p["gamma"], p["beta"], self.eps)

    def backward(self, k: Kernels, a: Stage) -> None:
        s, dp = a.saved, a.dp
        written = a.dx, dp["gamma"], dp["beta"]
        k.batchnorm_backward(*written, a.dy, a.x, s["mean"], s["rstd"], a.p["gamma"])

    def saved_r(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        return {name: np.empty((T, shape[-1]), dtype) for name in ("mean", "rstd")}

    def forward_r(self, k: Kernels, a: Stage, r: Stage) -> None:
        written = r.y, r.saved["mean"], r.saved["rstd"]
        given = a.x, a.saved["mean"], a.saved["rstd"], a.p["gamma"]
        k.batchnorm_forward_r(*written, r.x, r.p["gamma"], r.p["beta"], *given)

    def backward_r(self, k: Kernels, a: Stage, r: Stage) -> None:
        written = r.dx, r.dp["gamma"], r.dp["beta"]
        tangents = r.dy, r.x, r.saved["mean"], r.saved["rstd"], r.p["gamma"]
        given = a.dy, a.x, a.saved["mean"], a.saved["rstd"], a.p["gamma"]
        k.batchnorm_backward_r(*written, *tangents, a.dp["gamma"], a.dp["beta"], *given)


@dataclass(frozen=True)
class BatchNormReLU(BatchNorm):
    """Batch normalisation with a ReLU behind it, in one pass: `plan.fuse` makes it of the two.

    The ReLU's derivative is 1 where y > 0, so that z, the output of the normalisation, is not kept
    (kernels/batchnorm.md).
    """

    recorded = True

    def forward(self, k: Kernels, a: Stage) -> None:
        s, p = a.saved, a.p
        k.batchnorm_relu_forward(a.y, s["mean"], s["rstd"], a.x, p["gamma"], p["beta"], self.eps)

    def backward(self, k: Kernels, a: Stage) -> None:
        s, dp = a.saved, a.dp
        written = a.dx, dp["gamma"], dp["beta"]
        given = a.x, s["mean"], s["rstd"], a.p["gamma"]
        k.batchnorm_relu_backward(*written, a.dy, a.y, *given)

    def saved_r(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        images = {name: np.empty((T, B, *shape), dtype) for name in ("rz", "dz")}
        return super().saved_r(T, B, shape, dtype) | images

    def forward_r(self, k: Kernels, a: Stage, r: Stage) -> None:
        rz = r.saved["rz"]
        super().forward_r(k, a, r._replace(y=rz))
        k.relu_backward(r.y, rz, a.y)

    def backward_r(self, k: Kernels, a: Stage, r: Stage) -> None:
        dz, rdz = r.saved["dz"], r.saved["rz"]
        k.relu_backward(dz, a.dy, a.y)
        k.relu_backward(rdz, r.dy, a.y)
        super().backward_r(k, a._replace(dy=dz), r._replace(dy=rdz))
