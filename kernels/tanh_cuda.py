"""The hyperbolic tangent, Numba CUDA: a thread for each number. Derivation: tanh.md."""

import math

from .jit_cuda import cuda, flat, launch_each


@cuda.jit
def _forward(y, x):
    i = cuda.grid(1)
    if i < y.size:
        y[i] = math.tanh(x[i])


def tanh_forward(y, x):
    """Write y = tanh x, any equal shapes (tanh.md, eq. 1)."""
    launch_each(_forward, y.size, flat(y), flat(x))


@cuda.jit
def _backward(dx, dy, y):
    i = cuda.grid(1)
    if i < dx.size:
        dx[i] = dy[i] * (y.dtype.type(1) - y[i] * y[i])


def tanh_backward(dx, dy, y):
    """Write dx = dy (1 - y^2), from the output y = tanh x (tanh.md, eq. 2)."""
    launch_each(_backward, dx.size, flat(dx), flat(dy), flat(y))


@cuda.jit
def _backward_r(rdx, rdy, ry, dy, y):
    i = cuda.grid(1)
    if i < rdx.size:
        one, two = y.dtype.type(1), y.dtype.type(2)
        rdx[i] = rdy[i] * (one - y[i] * y[i]) - two * y[i] * ry[i] * dy[i]


def tanh_backward_r(rdx, rdy, ry, dy, y):
    """Write rdx = rdy (1 - y^2) - 2 y ry dy (tanh.md, eq. 7)."""
    launch_each(_backward_r, rdx.size, flat(rdx), flat(rdy), flat(ry), flat(dy), flat(y))
