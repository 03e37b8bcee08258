"""Batch normalisation with the statistics of the batch itself, NumPy. Derivation: batchnorm.md.

Over the M = B H W values of one task and channel:

    mean = sum x / M,   var = sum (x - mean)^2 / M,   rstd = (var + eps)^(-1/2)
    xhat = (x - mean) rstd,   y = gamma xhat + beta
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def _by_channel(*arrays: NDArray) -> list[NDArray]:
    """Views (T, M, C) of arrays (T, B, ..., C)."""
    return [a.reshape(a.shape[0], -1, a.shape[-1]) for a in arrays]


def batchnorm_forward(
    y: NDArray, mean: NDArray, rstd: NDArray, x: NDArray, gamma: NDArray, beta: NDArray, eps: float
) -> None:
    """Write y and the statistics that the backward kernel needs (batchnorm.md, eq. 1 to 4).

    Parameters
    ----------
    y : (T, B, ..., C), written
    mean, rstd : (T, C), written
    x : (T, B, ..., C)
    gamma, beta : (T, C)
    eps : added to the variance
    """
    y_m, x_m = _by_channel(y, x)
    m = x_m.shape[1]
    mean[...] = np.sum(x_m, axis=1) / m
    np.subtract(x_m, mean[:, None], out=y_m)
    rstd[...] = (np.einsum("tmc,tmc->tc", y_m, y_m) / m + eps) ** -0.5
    y_m *= (gamma * rstd)[:, None]
    y_m += beta[:, None]


def batchnorm_backward(
    dx: NDArray, dgamma: NDArray, dbeta: NDArray,
    dy: NDArray, x: NDArray, mean: NDArray, rstd: NDArray, gamma: NDArray,
) -> None:  # fmt: skip
    """Write dx, dgamma and dbeta (batchnorm.md, eq. 5, 6 and 10).

        dbeta  = sum dy
        dgamma = sum dy xhat
        dx     = gamma rstd (dy - dbeta / M - xhat dgamma / M)

    Parameters
    ----------
    dx : (T, B, ..., C), written
    dgamma, dbeta : (T, C), written
    dy, x : (T, B, ..., C)
    mean, rstd, gamma : (T, C)
    """
    dx_m, dy_m, x_m = _by_channel(dx, dy, x)
    m = x_m.shape[1]
    xhat = np.subtract(x_m, mean[:, None], out=dx_m)  # dx's memory serves until dx is known
    xhat *= rstd[:, None]
    dbeta[...] = np.sum(dy_m, axis=1)
    dgamma[...] = np.einsum("tmc,tmc->tc", dy_m, xhat)
    dx_m *= (dgamma / -m)[:, None]  # - xhat dgamma / M
    dx_m += dy_m
    dx_m -= (dbeta / m)[:, None]
    dx_m *= (gamma * rstd)[:, None]
