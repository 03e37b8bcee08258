"""Batch normalisation with the statistics of the batch itself, NumPy. Derivation: batchnorm.md.

Over the M = B H W values of one task and channel:

    mean = sum x / M,   var = sum (x - mean)^2 / M,   rstd = (var + eps)^(-1/2)
    xhat = (x - mean) rstd,   y = gamma xhat + beta
"""

import numpy as np
from numpy.typing import NDArray

from .relu_numpy import relu_backward, relu_forward


def _by_channel(*arrays: NDArray) -> list[NDArray]:
    """Views (T, M, C) of arrays (T, B, ..., C)."""
    return [a.reshape(a.shape[0], -1, a.shape[-1]) for a in arrays]


def _room(output: NDArray | None, like: NDArray) -> NDArray:
    """Memory for an output: where nobody wants it, others are still computed from it."""
    return np.empty_like(like) if output is None else output


def batchnorm_forward(
    y: NDArray | None, mean: NDArray | None, rstd: NDArray | None,
    x: NDArray, gamma: NDArray, beta: NDArray, eps: float,
) -> None:  # fmt: skip
    """Write y and the statistics that the backward kernel needs (batchnorm.md, eq. 1 to 4).

    Parameters
    ----------
    y : (T, B, ..., C), written
    mean, rstd : (T, C), written
    x : (T, B, ..., C)
    gamma, beta : (T, C)
    eps : added to the variance
    """
    y_m, x_m = _by_channel(_room(y, x), x)
    mean, rstd = _room(mean, gamma), _room(rstd, gamma)
    m = x_m.shape[1]
    mean[...] = np.sum(x_m, axis=1) / m
    np.subtract(x_m, mean[:, None], out=y_m)
    rstd[...] = (np.einsum("tmc,tmc->tc", y_m, y_m) / m + eps) ** -0.5
    if y is not None:
        y_m *= (gamma * rstd)[:, None]
        y_m += beta[:, None]


def batchnorm_backward(
    dx: NDArray | None, dgamma: NDArray | None, dbeta: NDArray | None,
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
    dx_m, dy_m, x_m = _by_channel(_room(dx, x), dy, x)
    dgamma, dbeta = _room(dgamma, mean), _room(dbeta, mean)
    m = x_m.shape[1]
    xhat = np.subtract(x_m, mean[:, None], out=dx_m)  # dx's memory serves until dx is known
    xhat *= rstd[:, None]
    dbeta[...] = np.sum(dy_m, axis=1)
    dgamma[...] = np.einsum("tmc,tmc->tc", dy_m, xhat)
    if dx is not None:
        dx_m *= (dgamma / -m)[:, None]  # - xhat dgamma / M
        dx_m += dy_m
        dx_m -= (dbeta / m)[:, None]
        dx_m *= (gamma * rstd)[:, None]


def batchnorm_relu_forward(
    y: NDArray | None, mean: NDArray | None, rstd: NDArray | None,
    x: NDArray, gamma: NDArray, beta: NDArray, eps: float,
) -> None:  # fmt: skip
    """`batchnorm_forward`, and the ReLU behind it (batchnorm.md, eq. 28)."""
    batchnorm_forward(y, mean, rstd, x, gamma, beta, eps)
    if y is not None:
        relu_forward(y, y)


def batchnorm_relu_backward(
    dx: NDArray | None, dgamma: NDArray | None, dbeta: NDArray | None,
    dy: NDArray, y: NDArray, x: NDArray, mean: NDArray, rstd: NDArray, gamma: NDArray,
) -> None:  # fmt: skip
    """`batchnorm_backward` behind a ReLU with the output y (batchnorm.md, eq. 29)."""
    through = np.empty_like(dy)
    relu_backward(through, dy, y)
    batchnorm_backward(dx, dgamma, dbeta, through, x, mean, rstd, gamma)


def batchnorm_forward_r(
    ry: NDArray | None, rmean: NDArray | None, rrstd: NDArray | None,
    rx: NDArray, rgamma: NDArray, rbeta: NDArray,
    x: NDArray, mean: NDArray, rstd: NDArray, gamma: NDArray,
) -> None:  # fmt: skip
    """Write the tangents of what `batchnorm_forward` writes (batchnorm.md, eq. 16 to 20).

        rmean = sum rx / M,   rrstd = -rstd^3 / M sum (x - mean) (rx - rmean)
        ry    = gamma rstd (rx - rmean) + (rgamma rstd + gamma rrstd) (x - mean) + rbeta

    Parameters
    ----------
    ry : (T, B, ..., C), written
    rmean, rrstd : (T, C), written
    rx, x : (T, B, ..., C)
    rgamma, rbeta, mean, rstd, gamma : (T, C)
    """
    ry_m, rx_m, x_m = _by_channel(_room(ry, x), rx, x)
    rmean, rrstd = _room(rmean, mean), _room(rrstd, mean)
    m = x_m.shape[1]
    rmean[...] = np.sum(rx_m, axis=1) / m
    np.subtract(rx_m, rmean[:, None], out=ry_m)
    deviation = x_m - mean[:, None]
    rrstd[...] = np.einsum("tmc,tmc->tc", deviation, ry_m) * rstd**3 / -m
    if ry is not None:
        ry_m *= (gamma * rstd)[:, None]
        deviation *= (rgamma * rstd + gamma * rrstd)[:, None]
        ry_m += deviation
        ry_m += rbeta[:, None]


def batchnorm_backward_r(
    rdx: NDArray | None, rdgamma: NDArray | None, rdbeta: NDArray | None,
    rdy: NDArray, rx: NDArray, rmean: NDArray, rrstd: NDArray, rgamma: NDArray,
    dgamma: NDArray, dbeta: NDArray,
    dy: NDArray, x: NDArray, mean: NDArray, rstd: NDArray, gamma: NDArray,
) -> None:  # fmt: skip
    """Write the tangents of what `batchnorm_backward` writes (batchnorm.md, eq. 21 to 24).

        rdbeta  = sum rdy
        rdgamma = sum (rdy xhat + dy rxhat)
        d       = dy - dbeta / M - xhat dgamma / M
        rdx     = (rgamma rstd + gamma rrstd) d
                  + gamma rstd (rdy - rdbeta / M - rxhat dgamma / M - xhat rdgamma / M)

    Parameters
    ----------
    rdx : (T, B, ..., C), written
    rdgamma, rdbeta : (T, C), written
    rdy, rx, dy, x : (T, B, ..., C)
    rmean, rrstd, rgamma, dgamma, dbeta, mean, rstd, gamma : (T, C)
    """
    rdy_m, rx_m, dy_m, x_m = _by_channel(rdy, rx, dy, x)
    rdgamma, rdbeta = _room(rdgamma, mean), _room(rdbeta, mean)
    m = x_m.shape[1]
    deviation = x_m - mean[:, None]
    xhat = deviation * rstd[:, None]
    rxhat = (rx_m - rmean[:, None]) * rstd[:, None] + deviation * rrstd[:, None]
    rdbeta[...] = np.sum(rdy_m, axis=1)
    rdgamma[...] = np.einsum("tmc,tmc->tc", rdy_m, xhat) + np.einsum("tmc,tmc->tc", dy_m, rxhat)
    if rdx is None:
        return
    (rdx_m,) = _by_channel(rdx)
    d = dy_m - (dbeta[:, None] + xhat * dgamma[:, None]) / m
    rd = rdbeta[:, None] + rxhat * dgamma[:, None] + xhat * rdgamma[:, None]
    np.subtract(rdy_m, rd / m, out=rdx_m)
    rdx_m *= (gamma * rstd)[:, None]
    rdx_m += d * (rgamma * rstd + gamma * rrstd)[:, None]
