"""The dense layer, Numba. Derivation: dense.md.

v1  three loops
v2  BLAS
"""

from __future__ import annotations

from .jit_numba import gemm, jit


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


@jit
def outer(y, x, w, add):
    """Write y[m, n] = x[m] w[n], or add it: the products whose inner dimension is 1."""
    for m in range(y.shape[0]):
        if add:
            for n in range(y.shape[1]):
                y[m, n] += x[m] * w[n]
        else:
            for n in range(y.shape[1]):
                y[m, n] = x[m] * w[n]


@jit
def weighted_rows(total, x, weights, add):
    """Write total (n,) = sum_m weights[m] x[m, n], or add it."""
    if not add:
        total[:] = 0
    for m in range(x.shape[0]):
        for n in range(x.shape[1]):
            total[n] += weights[m] * x[m, n]


# The three products of rows of one task: x, dx (m, k), y, dy (m, n), w, dw (k n,). Each is written,
# or added. A network on scalars has products whose inner dimension is 1; a call to BLAS costs more.


@jit
def rows_w(y, x, w, add):
    """y = x w."""
    M, N, K = y.shape[0], y.shape[1], x.shape[1]
    if K == 1:
        outer(y, x.reshape(-1), w, add)
    else:
        beta = 1.0 if add else 0.0
        gemm(y.itemsize, M, N, K, x.ctypes.data, K, 0, w.ctypes.data, N, 0, y.ctypes.data, N, beta)


@jit
def rows_dw(dw, x, dy, add):
    """dw = x' dy."""
    M, N, K = dy.shape[0], dy.shape[1], x.shape[1]
    if K == 1:
        weighted_rows(dw, dy, x.reshape(-1), add)
    elif N == 1:
        weighted_rows(dw, x, dy.reshape(-1), add)
    else:
        beta, to = 1.0 if add else 0.0, dw.ctypes.data
        gemm(x.itemsize, K, N, M, x.ctypes.data, K, 1, dy.ctypes.data, N, 0, to, N, beta)


@jit
def rows_dx(dx, dy, w, add):
    """dx = dy w'."""
    M, N, K = dy.shape[0], dy.shape[1], dx.shape[1]
    if N == 1:
        outer(dx, dy.reshape(-1), w, add)
    else:
        beta, to = 1.0 if add else 0.0, dx.ctypes.data
        gemm(dx.itemsize, M, K, N, dy.ctypes.data, N, 0, w.ctypes.data, N, 1, to, K, beta)


@jit
def fill_rows(y, b):
    """Every row of y (m, n) becomes b (n,)."""
    for m in range(y.shape[0]):
        for n in range(y.shape[1]):
            y[m, n] = b[n]


@jit
def dense_forward_v2(y, x, w, b):
    """Write y = x w + b (dense.md, eq. 1), one product a task."""
    M, K, N = x.shape[1], x.shape[2], y.shape[2]
    for t in range(x.shape[0]):
        if b is not None:
            for m in range(M):
                for n in range(N):
                    y[t, m, n] = b[t, n]
        beta = 0.0 if b is None else 1.0
        a_x, a_w, a_y = x[t].ctypes.data, w[t].ctypes.data, y[t].ctypes.data
        gemm(y.itemsize, M, N, K, a_x, K, 0, a_w, N, 0, a_y, N, beta)


@jit
def dense_backward_v2(dx, dw, db, dy, x, w):
    """Write dx = dy w', dw = x' dy, db = sum of dy (dense.md, eq. 2 to 4), by BLAS."""
    M, K, N, size = x.shape[1], x.shape[2], dy.shape[2], x.itemsize
    for t in range(x.shape[0]):
        a_x, a_dy = x[t].ctypes.data, dy[t].ctypes.data
        gemm(size, K, N, M, a_x, K, 1, a_dy, N, 0, dw[t].ctypes.data, N, 0.0)
        if dx is not None:
            gemm(size, M, K, N, a_dy, N, 0, w[t].ctypes.data, N, 1, dx[t].ctypes.data, K, 0.0)
        if db is not None:
            for n in range(N):
                db[t, n] = 0
            for m in range(M):
                for n in range(N):
                    db[t, n] += dy[t, m, n]


dense_forward = dense_forward_v2
dense_backward = dense_backward_v2
