"""The hyperbolic tangent, Numba. Derivation: tanh.md.

v1  the C library's tanh, number by number
v2  arithmetic alone, so that the compiler computes 8 or 16 numbers at once (tanh.md, eq. 3 to 5)
"""

import math

import numpy as np

from .jit_numba import inner, jit, multiply_add

LOG2_E = 1 / math.log(2)
# ln 2 in two parts: n times the first has no rounding error for the n that occur.
LN2_HIGH_32, LN2_LOW_32 = 0.693359375, math.log(2) - 0.693359375
LN2_HIGH_64, LN2_LOW_64 = float.fromhex("0x1.62e42feep-1"), 1.9082149292705877e-10


@jit
def tanh_forward_v1(y, x):
    """Write y = tanh x, any equal shapes (tanh.md, eq. 1)."""
    y_1, x_1 = y.reshape(-1), x.reshape(-1)
    for i in range(x_1.shape[0]):
        y_1[i] = math.tanh(x_1[i])


@inner
def tanh_single(y, x):
    """Write y = tanh x, (n,), float32 (tanh.md, eq. 3 to 5)."""
    f, one, two = np.float32, np.float32(1), np.float32(2)
    for i in range(x.shape[0]):
        size = abs(x[i])
        z = -two * (f(10) if size > f(10) else size)  # tanh 10 rounds to 1; NaN stays NaN
        n = np.floor(z * f(LOG2_E) + f(0.5))
        r = (z - n * f(LN2_HIGH_32)) - n * f(LN2_LOW_32)
        p = multiply_add(r, f(1 / 40320), f(1 / 5040))
        p = multiply_add(r, p, f(1 / 720))
        p = multiply_add(r, p, f(1 / 120))
        p = multiply_add(r, p, f(1 / 24))
        p = multiply_add(r, p, f(1 / 6))
        p = multiply_add(r, p, f(1 / 2))
        p = multiply_add(r * r, p, r)
        scale = np.int32((np.int32(n) + np.int32(127)) * np.int32(2**23)).view(np.float32)
        e = scale * p + (scale - one)
        y[i] = math.copysign(e / (e + two), x[i])


@inner
def tanh_double(y, x):
    """Write y = tanh x, (n,), float64 (tanh.md, eq. 3 to 5)."""
    for i in range(x.shape[0]):
        size = abs(x[i])
        z = -2.0 * (20.0 if size > 20.0 else size)
        n = np.floor(z * LOG2_E + 0.5)
        r = (z - n * LN2_HIGH_64) - n * LN2_LOW_64
        p = multiply_add(r, 1 / 87178291200, 1 / 6227020800)
        p = multiply_add(r, p, 1 / 479001600)
        p = multiply_add(r, p, 1 / 39916800)
        p = multiply_add(r, p, 1 / 3628800)
        p = multiply_add(r, p, 1 / 362880)
        p = multiply_add(r, p, 1 / 40320)
        p = multiply_add(r, p, 1 / 5040)
        p = multiply_add(r, p, 1 / 720)
        p = multiply_add(r, p, 1 / 120)
        p = multiply_add(r, p, 1 / 24)
        p = multiply_add(r, p, 1 / 6)
        p = multiply_add(r, p, 1 / 2)
        p = multiply_add(r * r, p, r)
        scale = np.int64((np.int64(n) + np.int64(1023)) * np.int64(2**52)).view(np.float64)
        e = scale * p + (scale - 1.0)
        y[i] = math.copysign(e / (e + 2.0), x[i])


@jit
def tanh_forward_v2(y, x):
    """Write y = tanh x, any equal shapes, without a call (tanh.md, eq. 3 to 5)."""
    if x.itemsize == 4:
        tanh_single(y.reshape(-1), x.reshape(-1))
    else:
        tanh_double(y.reshape(-1), x.reshape(-1))


@jit
def tanh_backward(dx, dy, y):
    """Write dx = dy (1 - y^2), from the output y = tanh x (tanh.md, eq. 2)."""
    dx_1, dy_1, y_1 = dx.reshape(-1), dy.reshape(-1), y.reshape(-1)
    one = y.dtype.type(1)
    for i in range(y_1.shape[0]):
        dx_1[i] = dy_1[i] * (one - y_1[i] * y_1[i])


@jit
def tanh_backward_r(rdx, rdy, ry, dy, y):
    """Write rdx = rdy (1 - y^2) - 2 y ry dy (tanh.md, eq. 7)."""
    rdx_1, rdy_1, ry_1 = rdx.reshape(-1), rdy.reshape(-1), ry.reshape(-1)
    dy_1, y_1 = dy.reshape(-1), y.reshape(-1)
    one, two = y.dtype.type(1), y.dtype.type(2)
    for i in range(y_1.shape[0]):
        slope = one - y_1[i] * y_1[i]
        rdx_1[i] = rdy_1[i] * slope - two * y_1[i] * ry_1[i] * dy_1[i]


tanh_forward = tanh_forward_v2
