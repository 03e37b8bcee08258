"""Batch normalisation with the statistics of the batch itself, Numba. Derivation: batchnorm.md.

v1  channel by channel, two passes over the values for the statistics and one for the output
v2  image by image, all channels at once: partial sums of each image while it is in the cache, put
    together in the order of the images (batchnorm.md, eq. 13 to 15)

The functions on one image are also what the compiled inner loop (adapt_numba.py) is made of: its
threads share the images of a task, and the sums do not depend on who computed what.
"""

from __future__ import annotations

import math

from .jit_numba import jit, packed


@jit
def batchnorm_forward_v1(y, mean, rstd, x, gamma, beta, eps):
    """Write y, mean and rstd (batchnorm.md, eq. 1 to 4). Parameters as in the NumPy reference."""
    T, C = x.shape[0], x.shape[x.ndim - 1]
    y_m, x_m = y.reshape((T, -1, C)), x.reshape((T, -1, C))
    M = x_m.shape[1]
    for t in range(T):
        for c in range(C):
            total = x.dtype.type(0)
            for m in range(M):
                total += x_m[t, m, c]
            mean[t, c] = total / M
            total = x.dtype.type(0)
            for m in range(M):
                total += (x_m[t, m, c] - mean[t, c]) ** 2
            rstd[t, c] = 1 / math.sqrt(total / M + eps)
            for m in range(M):
                xhat = (x_m[t, m, c] - mean[t, c]) * rstd[t, c]
                y_m[t, m, c] = gamma[t, c] * xhat + beta[t, c]


@jit
def batchnorm_backward_v1(dx, dgamma, dbeta, dy, x, mean, rstd, gamma):
    """Write dx, dgamma and dbeta (batchnorm.md, eq. 5, 6 and 10)."""
    T, C = x.shape[0], x.shape[x.ndim - 1]
    dx_m, dy_m, x_m = dx.reshape((T, -1, C)), dy.reshape((T, -1, C)), x.reshape((T, -1, C))
    M = x_m.shape[1]
    for t in range(T):
        for c in range(C):
            sum_dy, sum_dy_xhat = x.dtype.type(0), x.dtype.type(0)
            for m in range(M):
                sum_dy += dy_m[t, m, c]
                sum_dy_xhat += dy_m[t, m, c] * (x_m[t, m, c] - mean[t, c]) * rstd[t, c]
            dbeta[t, c], dgamma[t, c] = sum_dy, sum_dy_xhat
            for m in range(M):
                xhat = (x_m[t, m, c] - mean[t, c]) * rstd[t, c]
                d = dy_m[t, m, c] - sum_dy / M - xhat * sum_dy_xhat / M
                dx_m[t, m, c] = gamma[t, c] * rstd[t, c] * d


@jit
def image_moments(mean, spread, x):
    """Write mean (C,) and spread (C,) = sum (x - mean)^2 of one image x (m, C) (eq. 13)."""
    m, C = x.shape
    one_over_m = x.dtype.type(1) / x.dtype.type(m)
    mean[:] = 0
    for i in range(m):
        for c in range(C):
            mean[c] += x[i, c]
    for c in range(C):
        mean[c] *= one_over_m
    spread[:] = 0
    for i in range(m):
        for c in range(C):
            d = x[i, c] - mean[c]
            spread[c] += d * d


@jit
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


@jit
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


@jit
def image_sums(sum_dy, sum_dy_xhat, dy, x, mean, rstd):
    """Write the sums of dy and of dy xhat, (C,), over one image dy, x (m, C)."""
    m, C = x.shape
    sum_dy[:] = 0
    sum_dy_xhat[:] = 0
    for i in range(m):
        for c in range(C):
            sum_dy[c] += dy[i, c]
            sum_dy_xhat[c] += dy[i, c] * ((x[i, c] - mean[c]) * rstd[c])


@jit
def image_sums_relu(sum_dy, sum_dy_xhat, dy, y, x, mean, rstd):
    """`image_sums` behind a ReLU with the output y: dy becomes 0 where y is (relu.md, eq. 2)."""
    m, C = x.shape
    zero = x.dtype.type(0)
    sum_dy[:] = 0
    sum_dy_xhat[:] = 0
    for i in range(m):
        for c in range(C):
            d = zero if y[i, c] <= zero else dy[i, c]
            dy[i, c] = d
            sum_dy[c] += d
            sum_dy_xhat[c] += d * ((x[i, c] - mean[c]) * rstd[c])


@jit
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
def batchnorm_forward_v2(y, mean, rstd, x, gamma, beta, eps):
    """Write y, mean and rstd (batchnorm.md, eq. 4 and 13 to 15)."""
    T, B, C = x.shape[0], x.shape[1], x.shape[x.ndim - 1]
    y_m, x_m = y.reshape((T, -1, C)), x.reshape((T, -1, C))
    m = x_m.shape[1] // B
    for t in range(T):
        mean_t, rstd_t = packed(mean[t]), packed(rstd[t])
        # y's memory serves for the images' moments until y is known; images of one value have
        # their mean in it and no spread.
        if m >= 2:
            for b in range(B):
                image_moments(y_m[t, b * m], y_m[t, b * m + 1], x_m[t, b * m : (b + 1) * m])
            moments = y_m[t].reshape((B, m, C))
            join_moments(mean_t, rstd_t, moments[:, 0], moments[:, 1], m, eps)
        else:
            y_m[t] = 0
            join_moments(mean_t, rstd_t, x_m[t], y_m[t], 1, eps)
        normalise(y_m[t], x_m[t], mean_t, rstd_t, packed(gamma[t]), packed(beta[t]), False)


@jit
def batchnorm_backward_v2(dx, dgamma, dbeta, dy, x, mean, rstd, gamma):
    """Write dx, dgamma and dbeta (batchnorm.md, eq. 5, 6 and 10)."""
    T, C = x.shape[0], x.shape[x.ndim - 1]
    dx_m, dy_m, x_m = dx.reshape((T, -1, C)), dy.reshape((T, -1, C)), x.reshape((T, -1, C))
    M = x_m.shape[1]
    for t in range(T):
        sums = packed(dbeta[t]), packed(dgamma[t])
        statistics = packed(mean[t]), packed(rstd[t])
        image_sums(*sums, dy_m[t], x_m[t], *statistics)
        normalise_backward(dx_m[t], dy_m[t], x_m[t], *statistics, packed(gamma[t]), *sums, M)


@jit
def moments_r(rmean, rrstd, rx, x, mean, rstd):
    """Write rmean and rrstd (C,) of a batch rx, x (M, C) (eq. 16 and 18)."""
    M, C = x.shape
    share = x.dtype.type(1) / x.dtype.type(M)
    rmean[:] = 0
    for m in range(M):
        for c in range(C):
            rmean[c] += rx[m, c]
    for c in range(C):
        rmean[c] *= share
    rrstd[:] = 0
    for m in range(M):
        for c in range(C):
            rrstd[c] += (x[m, c] - mean[c]) * (rx[m, c] - rmean[c])
    for c in range(C):
        rrstd[c] *= -share * rstd[c] * rstd[c] * rstd[c]


@jit
def image_moments_r(rmean, comoment, rx, x, mean):
    """Write rmean (C,) and comoment (C,) = sum (x - mean) (rx - rmean) of one image rx, x (m, C)
    with its own mean (eq. 26)."""
    m, C = x.shape
    one_over_m = x.dtype.type(1) / x.dtype.type(m)
    rmean[:] = 0
    for i in range(m):
        for c in range(C):
            rmean[c] += rx[i, c]
    for c in range(C):
        rmean[c] *= one_over_m
    comoment[:] = 0
    for i in range(m):
        for c in range(C):
            comoment[c] += (x[i, c] - mean[c]) * (rx[i, c] - rmean[c])


@jit
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


@jit
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


@jit
def sums_r(rdbeta, rdgamma, rdy, rx, rmean, rrstd, dy, x, mean, rstd):
    """Write the sums of rdy and of rdy xhat + dy rxhat over rows (m, C) (eq. 19, 21 and 22)."""
    m, C = x.shape
    rdbeta[:] = 0
    rdgamma[:] = 0
    for i in range(m):
        for c in range(C):
            deviation = x[i, c] - mean[c]
            rxhat = (rx[i, c] - rmean[c]) * rstd[c] + deviation * rrstd[c]
            rdbeta[c] += rdy[i, c]
            rdgamma[c] += rdy[i, c] * (deviation * rstd[c]) + dy[i, c] * rxhat


@jit
def sums_r_relu(rdbeta, rdgamma, rdy, rx, rmean, rrstd, dy, x, mean, rstd, y):
    """`sums_r` behind a ReLU with the output y: rdy becomes 0 where y is; dy is so already."""
    m, C = x.shape
    zero = x.dtype.type(0)
    rdbeta[:] = 0
    rdgamma[:] = 0
    for i in range(m):
        for c in range(C):
            deviation = x[i, c] - mean[c]
            rxhat = (rx[i, c] - rmean[c]) * rstd[c] + deviation * rrstd[c]
            rd = zero if y[i, c] <= zero else rdy[i, c]
            rdy[i, c] = rd
            rdbeta[c] += rd
            rdgamma[c] += rd * (deviation * rstd[c]) + dy[i, c] * rxhat


@jit
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
def batchnorm_forward_r(ry, rmean, rrstd, rx, rgamma, rbeta, x, mean, rstd, gamma):
    """Write ry, rmean and rrstd (batchnorm.md, eq. 16 to 20). Parameters as in the reference."""
    T, C = x.shape[0], x.shape[x.ndim - 1]
    ry_m, rx_m, x_m = ry.reshape((T, -1, C)), rx.reshape((T, -1, C)), x.reshape((T, -1, C))
    for t in range(T):
        moments, tangents = (packed(mean[t]), packed(rstd[t])), (packed(rmean[t]), packed(rrstd[t]))
        rates = packed(rgamma[t]), packed(rbeta[t])
        moments_r(*tangents, rx_m[t], x_m[t], *moments)
        x_t = x_m[t]
        normalise_r(
            ry_m[t], rx_m[t], *tangents, *rates, x_t, *moments, packed(gamma[t]), x_t, False
        )


@jit
def batchnorm_backward_r(
    rdx, rdgamma, rdbeta, rdy, rx, rmean, rrstd, rgamma, dgamma, dbeta, dy, x, mean, rstd, gamma
):
    """Write rdx, rdgamma and rdbeta (batchnorm.md, eq. 21 to 24)."""
    T, C = x.shape[0], x.shape[x.ndim - 1]
    rdx_m, rdy_m, rx_m = rdx.reshape((T, -1, C)), rdy.reshape((T, -1, C)), rx.reshape((T, -1, C))
    dy_m, x_m = dy.reshape((T, -1, C)), x.reshape((T, -1, C))
    M = x_m.shape[1]
    for t in range(T):
        moments, tangents = (packed(mean[t]), packed(rstd[t])), (packed(rmean[t]), packed(rrstd[t]))
        rdgamma_t, rdbeta_t = packed(rdgamma[t]), packed(rdbeta[t])
        sums_r(rdbeta_t, rdgamma_t, rdy_m[t], rx_m[t], *tangents, dy_m[t], x_m[t], *moments)
        normalise_backward_r(
            rdx_m[t], rdgamma_t, rdbeta_t, rdy_m[t], rx_m[t], *tangents, packed(rgamma[t]),
            packed(dgamma[t]), packed(dbeta[t]), dy_m[t], x_m[t], *moments, packed(gamma[t]), M,
        )  # fmt: skip


batchnorm_forward = batchnorm_forward_v2
batchnorm_backward = batchnorm_backward_v2
