"""The dense layer, Numba. Derivation: dense.md.

v1  three loops
v2  BLAS, or a loop where the inner dimension is 1

The functions on rows of one task, without a task axis, are also what the compiled calls
(loss_and_grad_numba.py, hvp_numba.py) are made of.
"""

from __future__ import annotations

from .conv2d_numba import sum_rows
from .jit_numba import gemm, inner, jit, packed


@jit
def dense_forward_v1(y, x, w, b):
    """Write y = x w + b (dense.md, eq. 1). Parameters as in the NumPy reference."""
    for t in range(x.shape[0]):
        for m in range(x.shape[1]):
            for n in range(w.shape[2]):
                y[t, m, n] = 0 if b is None else b[t, n]
            for k in range(w.shape[1]):
                for n in range(w.shape[2]):
                    y[t, m, n] += x[t, m, k] * w[t, k, n]


@jit
def dense_backward_v1(dx, dw, db, dy, x, w):
    """Write dx = dy w', dw = x' dy, db = sum of dy (dense.md, eq. 2 to 4)."""
    for t in range(x.shape[0]):
        for n in range(w.shape[2]):
            if db is not None:
                db[t, n] = dy[t, :, n].sum()
            if dw is not None:
                for k in range(w.shape[1]):
                    dw[t, k, n] = 0
                    for m in range(x.shape[1]):
                        dw[t, k, n] += x[t, m, k] * dy[t, m, n]
        if dx is not None:
            for m in range(x.shape[1]):
                for k in range(w.shape[1]):
                    dx[t, m, k] = 0
                    for n in range(w.shape[2]):
                        dx[t, m, k] += dy[t, m, n] * w[t, k, n]


@inner
def outer(y, x, w, add):
    """Write y[m, n] = x[m] w[n], or add it: the products whose inner dimension is 1."""
    for m in range(y.shape[0]):
        if add:
            for n in range(y.shape[1]):
                y[m, n] += x[m] * w[n]
        else:
            for n in range(y.shape[1]):
                y[m, n] = x[m] * w[n]


@inner
def weighted_rows(total, x, weights, add):
    """Write total (n,) = sum_m weights[m] x[m, n], or add it."""
    if not add:
        total[:] = 0
    for m in range(x.shape[0]):
        for n in range(x.shape[1]):
            total[n] += weights[m] * x[m, n]


# The three products of rows of one task: x, dx (m, k), y, dy (m, n), w, dw (k n,). Each is written,
# or added. A network on scalars has products whose inner dimension is 1; a call to BLAS costs more.


@inner
def rows_w(y, x, w, add):
    """y = x w (dense.md, eq. 1)."""
    M, N, K = y.shape[0], y.shape[1], x.shape[1]
    if K == 1:
        outer(y, x.reshape(-1), w, add)
    else:
        beta = 1.0 if add else 0.0
        gemm(y.itemsize, M, N, K, x.ctypes.data, K, 0, w.ctypes.data, N, 0, y.ctypes.data, N, beta)


@inner
def rows_dw(dw, x, dy, add):
    """dw = x' dy (dense.md, eq. 3)."""
    M, N, K = dy.shape[0], dy.shape[1], x.shape[1]
    if K == 1:
        weighted_rows(dw, dy, x.reshape(-1), add)
    elif N == 1:
        weighted_rows(dw, x, dy.reshape(-1), add)
    else:
        beta, to = 1.0 if add else 0.0, dw.ctypes.data
        gemm(x.itemsize, K, N, M, x.ctypes.data, K, 1, dy.ctypes.data, N, 0, to, N, beta)


@inner
def rows_dx(dx, dy, w, add):
    """dx = dy w' (dense.md, eq. 2)."""
    M, N, K = dy.shape[0], dy.shape[1], dx.shape[1]
    if N == 1:
        outer(dx, dy.reshape(-1), w, add)
    else:
        beta, to = 1.0 if add else 0.0, dx.ctypes.data
        gemm(dx.itemsize, M, K, N, dy.ctypes.data, N, 0, w.ctypes.data, N, 1, to, K, beta)


@inner
def fill_rows(y, b):
    """Every row of y (m, n) becomes b (n,)."""
    for m in range(y.shape[0]):
        for n in range(y.shape[1]):
            y[m, n] = b[n]


@jit
def dense_forward_v2(y, x, w, b):
    """Write y = x w + b (dense.md, eq. 1), one product a task."""
    for t in range(x.shape[0]):
        if b is not None:
            fill_rows(y[t], b[t])
        rows_w(y[t], packed(x[t]), packed(w[t]).reshape(-1), b is not None)


@jit
def dense_backward_v2(dx, dw, db, dy, x, w):
    """Write dx = dy w', dw = x' dy, db = sum of dy (dense.md, eq. 2 to 4), by BLAS."""
    for t in range(x.shape[0]):
        x_t, dy_t = packed(x[t]), packed(dy[t])
        if dw is not None:
            rows_dw(packed(dw[t]).reshape(-1), x_t, dy_t, False)
        if dx is not None:
            rows_dx(dx[t], dy_t, packed(w[t]).reshape(-1), False)
        if db is not None:
            sum_rows(packed(db[t]), dy_t)


dense_forward = dense_forward_v2
dense_backward = dense_backward_v2
