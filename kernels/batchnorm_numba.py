"""Batch normalisation with the statistics of the batch itself, Numba. Derivation: batchnorm.md.

v1  channel by channel, two passes over the values for the statistics and one for the output
v2  image by image, all channels at once: partial sums of each image while it is in the cache, put
    together in the order of the images (batchnorm.md, eq. 13 to 15)

The functions on one image are also what the compiled inner loop (adapt_numba.py) is made of: its
threads share the images of a task, and the sums do not depend on who computed what.
"""

import math

import numpy as np

from .jit_numba import inner, jit, packed, put
from .relu_numba import relu_backward
from .sums_numba import sum_products, sum_rows


def _by_channel(a, like):
    """A view (T, B, m, C) of an array (T, B, ..., C), so that a kernel is compiled once for all
    dimensions; where nobody wants an output, an array of no numbers, and False behind it."""
    if a is None:
        return np.empty((0, 0, 0, 0), like.dtype), False
    return a.reshape((*a.shape[:2], -1, a.shape[-1])), True


def _rows(a, like):
    """An output (T, C), or room for what others are computed from where nobody wants it."""
    return np.empty(like.shape, like.dtype) if a is None else a


def _forward(kernel, y, mean, rstd, x, gamma, beta, eps, relu):
    moments = _rows(mean, gamma), _rows(rstd, gamma)
    kernel(*_by_channel(y, x), *moments, _by_channel(x, x)[0], gamma, beta, eps, relu)


def _backward(kernel, dx, dgamma, dbeta, dy, x, mean, rstd, gamma):
    sums = np.empty((2, *mean.shape), x.dtype)
    arrays = _by_channel(dy, x)[0], _by_channel(x, x)[0]
    kernel(*_by_channel(dx, x), sums, *arrays, mean, rstd, gamma)
    for output, total in zip((dbeta, dgamma), sums, strict=True):
        if output is not None:
            output[...] = total


@jit
def _forward_v1(y, wanted, mean, rstd, x, gamma, beta, eps, relu):
    T, B, m, C = x.shape
    M, x_m = B * m, x.reshape((T, B * m, C))
    for t in range(T):
        for c in range(C):
            total = x.dtype.type(0)
            for i in range(M):
                total += x_m[t, i, c]
            mean[t, c] = total / M
            total = x.dtype.type(0)
            for i in range(M):
                total += (x_m[t, i, c] - mean[t, c]) ** 2
            rstd[t, c] = 1 / math.sqrt(total / M + eps)
            if wanted:
                y_t = y[t].reshape((M, C))
                for i in range(M):
                    xhat = (x_m[t, i, c] - mean[t, c]) * rstd[t, c]
                    y_t[i, c] = gamma[t, c] * xhat + beta[t, c]


def batchnorm_forward_v1(y, mean, rstd, x, gamma, beta, eps):
    """Write y, mean and rstd (batchnorm.md, eq. 1 to 4). Parameters as in the NumPy reference."""
    _forward(_forward_v1, y, mean, rstd, x, gamma, beta, eps, False)


@jit
def _backward_v1(dx, wanted, sums, dy, x, mean, rstd, gamma):
    T, B, m, C = x.shape
    M = B * m
    dy_m, x_m = dy.reshape((T, M, C)), x.reshape((T, M, C))
    for t in range(T):
        for c in range(C):
            sum_dy, sum_dy_xhat = x.dtype.type(0), x.dtype.type(0)
            for i in range(M):
                sum_dy += dy_m[t, i, c]
                sum_dy_xhat += dy_m[t, i, c] * (x_m[t, i, c] - mean[t, c]) * rstd[t, c]
            sums[0, t, c], sums[1, t, c] = sum_dy, sum_dy_xhat
            if wanted:
                dx_t = dx[t].reshape((M, C))
                for i in range(M):
                    xhat = (x_m[t, i, c] - mean[t, c]) * rstd[t, c]
                    d = dy_m[t, i, c] - sum_dy / M - xhat * sum_dy_xhat / M
                    dx_t[i, c] = gamma[t, c] * rstd[t, c] * d


def batchnorm_backward_v1(dx, dgamma, dbeta, dy, x, mean, rstd, gamma):
    """Write dx, dgamma and dbeta (batchnorm.md, eq. 5, 6 and 10)."""
    _backward(_backward_v1, dx, dgamma, dbeta, dy, x, mean, rstd, gamma)


@inner
def image_moments(mean, spread, x):
    """Write mean (C,) and spread (C,) = sum (x - mean)^2 of one image x (m, C) (eq. 13)."""
    one_over_m = x.dtype.type(1) / x.dtype.type(x.shape[0])
    sum_rows(mean, x)
    for c in range(x.shape[1]):
        mean[c] *= one_over_m
    sum_products(spread, x, mean, x, mean)


@inner
def join_moments(mean, rstd, means, spreads, m, eps):
    """Write mean and rstd (C,) of a batch from its images' means and spreads (B, C)."""
    B, C = means.shape
    number = mean.dtype.type
    mean[:] = 0
    for b in range(B):
        for c in range(C):
            mean[c] += means[b, c]
    for c in range(C):
        mean[c] /= number(B)
    rstd[:] = 0
    for b in range(B):
        for c in range(C):
            d = means[b, c] - mean[c]
            rstd[c] += spreads[b, c] + number(m) * d * d
    for c in range(C):
        rstd[c] = number(1) / math.sqrt(rstd[c] / number(B * m) + number(eps))


@inner
def normalise(y, x, mean, rstd, gamma, beta, relu):
    """Write y = gamma (x - mean) rstd + beta, or its positive part, for rows y, x (m, C)."""
    m, C = x.shape
    zero = x.dtype.type(0)
    if relu:
        for i in range(m):
            for c in range(C):
                value = (x[i, c] - mean[c]) * (gamma[c] * rstd[c]) + beta[c]
                y[i, c] = zero if value <= zero else value
    else:
        for i in range(m):
            for c in range(C):
                y[i, c] = (x[i, c] - mean[c]) * (gamma[c] * rstd[c]) + beta[c]


@inner
def image_sums(sum_dy, sum_dy_xhat, dy, y, x, mean, rstd, relu):
    """Write the sums of dy and of dy xhat, (C,), over one image dy, x (m, C); behind a ReLU with
    the output y, dy becomes 0 where y is (relu.md, eq. 2); y is None where none may be. Four rows
    at a time, for the reason in sums_numba.py."""
    m, C = x.shape
    whole, zero = m - m % 4, x.dtype.type(0)
    sum_dy[:] = 0
    sum_dy_xhat[:] = 0
    for i in range(0, whole, 4):
        if y is not None and relu:
            for j in range(i, i + 4):
                for c in range(C):
                    dy[j, c] = zero if y[j, c] <= zero else dy[j, c]
        for c in range(C):
            mu, r = mean[c], rstd[c]
            a, b, d, e = dy[i, c], dy[i + 1, c], dy[i + 2, c], dy[i + 3, c]
            sum_dy[c] += (a + b) + (d + e)
            ab = a * ((x[i, c] - mu) * r) + b * ((x[i + 1, c] - mu) * r)
            de = d * ((x[i + 2, c] - mu) * r) + e * ((x[i + 3, c] - mu) * r)
            sum_dy_xhat[c] += ab + de
    for i in range(whole, m):
        for c in range(C):
            if y is not None and relu:
                dy[i, c] = zero if y[i, c] <= zero else dy[i, c]
            sum_dy[c] += dy[i, c]
            sum_dy_xhat[c] += dy[i, c] * ((x[i, c] - mean[c]) * rstd[c])


@inner
def normalise_backward(dx, dy, x, mean, rstd, gamma, dbeta, dgamma, M):
    """Write dx = gamma rstd (dy - dbeta / M - xhat dgamma / M) for rows (m, C) (eq. 10)."""
    m, C = x.shape
    share = x.dtype.type(1) / x.dtype.type(M)
    for i in range(m):
        for c in range(C):
            xhat = (x[i, c] - mean[c]) * rstd[c]
            d = dy[i, c] - (dbeta[c] + xhat * dgamma[c]) * share
            dx[i, c] = d * (gamma[c] * rstd[c])


@jit
def _forward_v2(y, wanted, mean, rstd, x, gamma, beta, eps, relu):
    T, B, m, C = x.shape
    own = np.empty((B, 2, C), x.dtype)  # of the images' moments, where there is no y to hold them
    for t in range(T):
        mean_t, rstd_t, x_t = packed(mean[t]), packed(rstd[t]), x[t].reshape((B * m, C))
        # y's memory serves for the images' moments until y is known; images of one value have
        # their mean in it and no spread.
        moments = y[t] if wanted and m >= 2 else own
        if m >= 2:
            for b in range(B):
                image_moments(moments[b, 0], moments[b, 1], x[t, b])
        else:
            for b in range(B):
                put(moments[b, 0], x_t[b])
            moments[:, 1] = 0
        join_moments(mean_t, rstd_t, moments[:, 0], moments[:, 1], m, eps)
        if wanted:
            y_t = y[t].reshape((B * m, C))
            normalise(y_t, x_t, mean_t, rstd_t, packed(gamma[t]), packed(beta[t]), relu)


def batchnorm_forward_v2(y, mean, rstd, x, gamma, beta, eps):
    """Write y, mean and rstd (batchnorm.md, eq. 4 and 13 to 15)."""
    _forward(_forward_v2, y, mean, rstd, x, gamma, beta, eps, False)


def batchnorm_relu_forward(y, mean, rstd, x, gamma, beta, eps):
    """`batchnorm_forward`, and the ReLU behind it (batchnorm.md, eq. 28)."""
    _forward(_forward_v2, y, mean, rstd, x, gamma, beta, eps, True)


@jit
def _backward_v2(dx, wanted, sums, dy, x, mean, rstd, gamma):
    T, B, m, C = x.shape
    M = B * m
    for t in range(T):
        dy_t, x_t = dy[t].reshape((M, C)), x[t].reshape((M, C))
        sums_t, statistics = (sums[0, t], sums[1, t]), (packed(mean[t]), packed(rstd[t]))
        image_sums(*sums_t, dy_t, None, x_t, *statistics, False)
        if wanted:
            dx_t = dx[t].reshape((M, C))
            normalise_backward(dx_t, dy_t, x_t, *statistics, packed(gamma[t]), *sums_t, M)


def batchnorm_backward_v2(dx, dgamma, dbeta, dy, x, mean, rstd, gamma):
    """Write dx, dgamma and dbeta (batchnorm.md, eq. 5, 6 and 10)."""
    _backward(_backward_v2, dx, dgamma, dbeta, dy, x, mean, rstd, gamma)


def batchnorm_relu_backward(dx, dgamma, dbeta, dy, y, x, mean, rstd, gamma):
    """`batchnorm_backward` behind a ReLU with the output y (batchnorm.md, eq. 29)."""
    through = np.empty_like(dy) if dx is None else dx  # dx's memory serves until dx is known
    relu_backward(through.reshape(-1), dy.reshape(-1), y.reshape(-1))
    _backward(_backward_v2, dx, dgamma, dbeta, through, x, mean, rstd, gamma)


@inner
def image_moments_r(rmean, comoment, rx, x, mean):
    """Write rmean (C,) and comoment (C,) = sum (x - mean) (rx - rmean) of one image rx, x (m, C)
    with its own mean (eq. 26)."""
    one_over_m = x.dtype.type(1) / x.dtype.type(x.shape[0])
    sum_rows(rmean, rx)
    for c in range(x.shape[1]):
        rmean[c] *= one_over_m
    sum_products(comoment, x, mean, rx, rmean)


@inner
def moments_r(rmean, rrstd, rx, x, mean, rstd):
    """Write rmean and rrstd (C,) of a batch rx, x (M, C) (eq. 16 and 18)."""
    image_moments_r(rmean, rrstd, rx, x, mean)
    share = x.dtype.type(1) / x.dtype.type(x.shape[0])
    for c in range(x.shape[1]):
        rrstd[c] *= -share * rstd[c] * rstd[c] * rstd[c]


@inner
def join_moments_r(rmean, rrstd, rmeans, comoments, means, mean, rstd, m):
    """Write rmean and rrstd (C,) of a batch from what its images have, (B, C) each (eq. 27)."""
    B, C = means.shape
    number = mean.dtype.type
    rmean[:] = 0
    for b in range(B):
        for c in range(C):
            rmean[c] += rmeans[b, c]
    for c in range(C):
        rmean[c] /= number(B)
    rrstd[:] = 0
    for b in range(B):
        for c in range(C):
            apart = (means[b, c] - mean[c]) * (rmeans[b, c] - rmean[c])
            rrstd[c] += comoments[b, c] + number(m) * apart
    for c in range(C):
        rrstd[c] *= -rstd[c] * rstd[c] * rstd[c] / number(B * m)


@inner
def normalise_r(ry, rx, rmean, rrstd, rgamma, rbeta, x, mean, rstd, gamma, y, relu):
    """Write ry for rows ry, rx, x (m, C) (eq. 19 and 20), or 0 where a ReLU behind has y = 0."""
    m, C = x.shape
    zero = x.dtype.type(0)
    for i in range(m):
        for c in range(C):
            tilt = rgamma[c] * rstd[c] + gamma[c] * rrstd[c]
            slope = gamma[c] * rstd[c]
            value = (rx[i, c] - rmean[c]) * slope + (x[i, c] - mean[c]) * tilt + rbeta[c]
            ry[i, c] = zero if relu and y[i, c] <= zero else value


@inner
def sums_r(rdbeta, rdgamma, rdy, rx, rmean, rrstd, dy, x, mean, rstd, y):
    """Write the sums of rdy and of rdy xhat + dy rxhat over rows (m, C) (eq. 19, 21 and 22); behind
    a ReLU with the output y, rdy becomes 0 where y is; dy is so already. Without one, y is None."""
    m, C = x.shape
    zero = x.dtype.type(0)
    rdbeta[:] = 0
    rdgamma[:] = 0
    for i in range(m):
        for c in range(C):
            deviation = x[i, c] - mean[c]
            rxhat = (rx[i, c] - rmean[c]) * rstd[c] + deviation * rrstd[c]
            rd = rdy[i, c]
            if y is not None:
                rd = zero if y[i, c] <= zero else rd
                rdy[i, c] = rd
            rdbeta[c] += rd
            rdgamma[c] += rd * (deviation * rstd[c]) + dy[i, c] * rxhat


@inner
def normalise_backward_r(
    rdx, rdgamma, rdbeta, rdy, rx, rmean, rrstd, rgamma, dgamma, dbeta, dy, x, mean, rstd, gamma, M
):
    """Write rdx for rows (m, C) of a batch of M (eq. 19, 23 and 24)."""
    m, C = x.shape
    share = x.dtype.type(1) / x.dtype.type(M)
    for i in range(m):
        for c in range(C):
            deviation = x[i, c] - mean[c]
            xhat = deviation * rstd[c]
            rxhat = (rx[i, c] - rmean[c]) * rstd[c] + deviation * rrstd[c]
            d = dy[i, c] - (dbeta[c] + xhat * dgamma[c]) * share
            rd = rdy[i, c] - (rdbeta[c] + rxhat * dgamma[c] + xhat * rdgamma[c]) * share
            tilt = rgamma[c] * rstd[c] + gamma[c] * rrstd[c]
            rdx[i, c] = d * tilt + rd * (gamma[c] * rstd[c])


@jit
def _forward_r(ry, wanted, rmean, rrstd, rx, rgamma, rbeta, x, mean, rstd, gamma):
    T, B, m, C = x.shape
    for t in range(T):
        rx_t, x_t = rx[t].reshape((B * m, C)), x[t].reshape((B * m, C))
        moments, tangents = (packed(mean[t]), packed(rstd[t])), (packed(rmean[t]), packed(rrstd[t]))
        moments_r(*tangents, rx_t, x_t, *moments)
        if wanted:
            normalise_r(
                ry[t].reshape((B * m, C)), rx_t, *tangents, packed(rgamma[t]), packed(rbeta[t]),
                x_t, *moments, packed(gamma[t]), x_t, False,
            )  # fmt: skip


def batchnorm_forward_r(ry, rmean, rrstd, rx, rgamma, rbeta, x, mean, rstd, gamma):
    """Write ry, rmean and rrstd (batchnorm.md, eq. 16 to 20). Parameters as in the reference."""
    rx_m, x_m = _by_channel(rx, x)[0], _by_channel(x, x)[0]
    tangents = _rows(rmean, mean), _rows(rrstd, mean)
    _forward_r(*_by_channel(ry, x), *tangents, rx_m, rgamma, rbeta, x_m, mean, rstd, gamma)


@jit
def _backward_r(
    rdx, wanted, sums, rdy, rx, rmean, rrstd, rgamma, dgamma, dbeta, dy, x, mean, rstd, gamma
):
    T, B, m, C = x.shape
    M = B * m
    for t in range(T):
        rdy_t, rx_t = rdy[t].reshape((M, C)), rx[t].reshape((M, C))
        dy_t, x_t = dy[t].reshape((M, C)), x[t].reshape((M, C))
        moments, tangents = (packed(mean[t]), packed(rstd[t])), (packed(rmean[t]), packed(rrstd[t]))
        rdbeta_t, rdgamma_t = sums[0, t], sums[1, t]
        sums_r(rdbeta_t, rdgamma_t, rdy_t, rx_t, *tangents, dy_t, x_t, *moments, None)
        if wanted:
            normalise_backward_r(
                rdx[t].reshape((M, C)), rdgamma_t, rdbeta_t, rdy_t, rx_t, *tangents,
                packed(rgamma[t]), packed(dgamma[t]), packed(dbeta[t]), dy_t, x_t, *moments,
                packed(gamma[t]), M,
            )  # fmt: skip


def batchnorm_backward_r(
    rdx, rdgamma, rdbeta, rdy, rx, rmean, rrstd, rgamma, dgamma, dbeta, dy, x, mean, rstd, gamma
):
    """Write rdx, rdgamma and rdbeta (batchnorm.md, eq. 21 to 24)."""
    sums = np.empty((2, *mean.shape), x.dtype)
    rdy_m, rx_m, dy_m, x_m = (_by_channel(a, x)[0] for a in (rdy, rx, dy, x))
    _backward_r(
        *_by_channel(rdx, x), sums, rdy_m, rx_m, rmean, rrstd, rgamma,
        dgamma, dbeta, dy_m, x_m, mean, rstd, gamma,
    )  # fmt: skip
    for output, total in zip((rdbeta, rdgamma), sums, strict=True):
        if output is not None:
            output[...] = total


batchnorm_forward = batchnorm_forward_v2
batchnorm_backward = batchnorm_backward_v2
