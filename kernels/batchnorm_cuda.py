"""Batch normalisation with the batch's own statistics, Numba CUDA. Derivation: batchnorm.md.

A block for each task and channel: its threads take every BLOCK-th of the M values, and the block's
sum is the tree of `block_sum`, always in the same order, and every thread has it, whether somebody
wants it written or not. With the ReLU behind it in the same
kernel, y is written and read once less.
"""

import math

from .jit_cuda import BLOCK, block_sum, cuda, launch, outputs


@cuda.jit
def _forward(y, mean, rstd, wanted, x, gamma, beta, eps, relu):
    shared = cuda.shared.array(BLOCK, x.dtype)
    c, t, first = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x
    M = x.shape[1]
    zero, one = x.dtype.type(0), x.dtype.type(1)
    share = one / x.dtype.type(M)
    total = zero
    for m in range(first, M, BLOCK):
        total += x[t, m, c]
    middle = block_sum(shared, total) * share
    total = zero
    for m in range(first, M, BLOCK):
        d = x[t, m, c] - middle
        total += d * d
    narrow = one / math.sqrt(block_sum(shared, total) * share + eps)
    factor, offset = gamma[t, c] * narrow, beta[t, c]
    if wanted[0]:
        for m in range(first, M, BLOCK):
            value = (x[t, m, c] - middle) * factor + offset
            y[t, m, c] = zero if relu and value <= zero else value
    if first == 0 and wanted[1]:
        mean[t, c] = middle
    if first == 0 and wanted[2]:
        rstd[t, c] = narrow


@cuda.jit
def _backward(dx, dgamma, dbeta, wanted, dy, y, relu, x, mean, rstd, gamma):
    shared = cuda.shared.array(BLOCK, x.dtype)
    c, t, first = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x
    M = x.shape[1]
    zero = x.dtype.type(0)
    middle, narrow = mean[t, c], rstd[t, c]
    sum_dy, sum_dy_xhat = zero, zero
    for m in range(first, M, BLOCK):
        if not (relu and y[t, m, c] <= zero):
            sum_dy += dy[t, m, c]
            sum_dy_xhat += dy[t, m, c] * ((x[t, m, c] - middle) * narrow)
    sum_dy = block_sum(shared, sum_dy)
    sum_dy_xhat = block_sum(shared, sum_dy_xhat)
    if first == 0 and wanted[1]:
        dgamma[t, c] = sum_dy_xhat
    if first == 0 and wanted[2]:
        dbeta[t, c] = sum_dy
    if wanted[0]:
        share, factor = x.dtype.type(1) / x.dtype.type(M), gamma[t, c] * narrow
        for m in range(first, M, BLOCK):
            xhat = (x[t, m, c] - middle) * narrow
            d = zero if relu and y[t, m, c] <= zero else dy[t, m, c]
            dx[t, m, c] = (d - (sum_dy + xhat * sum_dy_xhat) * share) * factor


def _by_channel(a):
    """A view (T, M, C) of an array (T, B, ..., C), None of none."""
    if a is None:
        return None
    T, C = a.shape[0], a.shape[len(a.shape) - 1]
    return a if len(a.shape) == 3 else a.reshape(T, a.size // (T * C), C)


def _launch_forward(y, mean, rstd, x, gamma, beta, eps, relu):
    (T, C), eps = gamma.shape, x.dtype.type(eps)
    y, x = _by_channel(y), _by_channel(x)
    written = outputs((y, mean, rstd), (x, gamma, gamma))
    launch(_forward, (C, T), (BLOCK,), *written, x, gamma, beta, eps, relu)


def _launch_backward(dx, dgamma, dbeta, dy, y, x, mean, rstd, gamma, relu):
    T, C = mean.shape
    dx, dy, y, x = (_by_channel(a) for a in (dx, dy, y, x))
    written = outputs((dx, dgamma, dbeta), (dy, gamma, gamma))
    launch(_backward, (C, T), (BLOCK,), *written, dy, y, relu, x, mean, rstd, gamma)


def batchnorm_forward(y, mean, rstd, x, gamma, beta, eps):
    """Write y, mean and rstd (batchnorm.md, eq. 1 to 4). Parameters as in the reference."""
    _launch_forward(y, mean, rstd, x, gamma, beta, eps, False)


def batchnorm_backward(dx, dgamma, dbeta, dy, x, mean, rstd, gamma):
    """Write dx, dgamma and dbeta (batchnorm.md, eq. 5, 6 and 10). Parameters as there."""
    _launch_backward(dx, dgamma, dbeta, dy, x, x, mean, rstd, gamma, False)


def batchnorm_relu_forward(y, mean, rstd, x, gamma, beta, eps):
    """`batchnorm_forward`, and the ReLU behind it (batchnorm.md, eq. 28)."""
    _launch_forward(y, mean, rstd, x, gamma, beta, eps, True)


def batchnorm_relu_backward(dx, dgamma, dbeta, dy, y, x, mean, rstd, gamma):
    """`batchnorm_backward` behind a ReLU with the output y (batchnorm.md, eq. 29)."""
    _launch_backward(dx, dgamma, dbeta, dy, y, x, mean, rstd, gamma, True)


@cuda.jit
def _forward_r(ry, rmean, rrstd, wanted, rx, rgamma, rbeta, x, mean, rstd, gamma):
    shared = cuda.shared.array(BLOCK, x.dtype)
    c, t, first = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x
    M = x.shape[1]
    share = x.dtype.type(1) / x.dtype.type(M)
    middle, narrow = mean[t, c], rstd[t, c]
    total = x.dtype.type(0)
    for m in range(first, M, BLOCK):
        total += rx[t, m, c]
    rmiddle = block_sum(shared, total) * share
    total = x.dtype.type(0)
    for m in range(first, M, BLOCK):
        total += (x[t, m, c] - middle) * (rx[t, m, c] - rmiddle)
    rnarrow = -block_sum(shared, total) * share * narrow * narrow * narrow
    slope, tilt = gamma[t, c] * narrow, rgamma[t, c] * narrow + gamma[t, c] * rnarrow
    if wanted[0]:
        for m in range(first, M, BLOCK):
            tangent = (rx[t, m, c] - rmiddle) * slope + (x[t, m, c] - middle) * tilt
            ry[t, m, c] = tangent + rbeta[t, c]
    if first == 0 and wanted[1]:
        rmean[t, c] = rmiddle
    if first == 0 and wanted[2]:
        rrstd[t, c] = rnarrow


@cuda.jit
def _backward_r(
    rdx, rdgamma, rdbeta, wanted, rdy, rx, rmean, rrstd, rgamma,
    dgamma, dbeta, dy, x, mean, rstd, gamma,
):  # fmt: skip
    shared = cuda.shared.array(BLOCK, x.dtype)
    c, t, first = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x
    M = x.shape[1]
    middle, narrow, rmiddle, rnarrow = mean[t, c], rstd[t, c], rmean[t, c], rrstd[t, c]
    sum_rdy, sum_xhat = x.dtype.type(0), x.dtype.type(0)
    for m in range(first, M, BLOCK):
        d = x[t, m, c] - middle
        rxhat = (rx[t, m, c] - rmiddle) * narrow + d * rnarrow
        sum_rdy += rdy[t, m, c]
        sum_xhat += rdy[t, m, c] * (d * narrow) + dy[t, m, c] * rxhat
    sum_rdy = block_sum(shared, sum_rdy)
    sum_xhat = block_sum(shared, sum_xhat)
    if first == 0 and wanted[1]:
        rdgamma[t, c] = sum_xhat
    if first == 0 and wanted[2]:
        rdbeta[t, c] = sum_rdy
    if wanted[0]:
        share, slope = x.dtype.type(1) / x.dtype.type(M), gamma[t, c] * narrow
        tilt = rgamma[t, c] * narrow + gamma[t, c] * rnarrow
        for m in range(first, M, BLOCK):
            xhat = (x[t, m, c] - middle) * narrow
            rxhat = (rx[t, m, c] - rmiddle) * narrow + (x[t, m, c] - middle) * rnarrow
            d = dy[t, m, c] - (dbeta[t, c] + xhat * dgamma[t, c]) * share
            rd = rdy[t, m, c] - (sum_rdy + rxhat * dgamma[t, c] + xhat * sum_xhat) * share
            rdx[t, m, c] = d * tilt + rd * slope


def batchnorm_forward_r(ry, rmean, rrstd, rx, rgamma, rbeta, x, mean, rstd, gamma):
    """Write ry, rmean and rrstd (batchnorm.md, eq. 16 to 20). Parameters as in the reference."""
    (T, C), (ry, rx, x) = mean.shape, map(_by_channel, (ry, rx, x))
    written = outputs((ry, rmean, rrstd), (x, mean, mean))
    launch(_forward_r, (C, T), (BLOCK,), *written, rx, rgamma, rbeta, x, mean, rstd, gamma)


def batchnorm_backward_r(
    rdx, rdgamma, rdbeta, rdy, rx, rmean, rrstd, rgamma, dgamma, dbeta, dy, x, mean, rstd, gamma
):
    """Write rdx, rdgamma and rdbeta (batchnorm.md, eq. 21 to 24)."""
    T, C = mean.shape
    rdx, rdy, rx, dy, x = map(_by_channel, (rdx, rdy, rx, dy, x))
    launch(
        _backward_r, (C, T), (BLOCK,),
        *outputs((rdx, rdgamma, rdbeta), (rdy, gamma, gamma)), rdy, rx, rmean, rrstd, rgamma,
        dgamma, dbeta, dy, x, mean, rstd, gamma,
    )  # fmt: skip
