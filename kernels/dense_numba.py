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
def dense_forward_rows(y, x, w, b):
    """Write y = x w + b for rows of one task: y (m, n), x (m, k), w an address, b (n,) or None."""
    M, N, K = y.shape[0], y.shape[1], x.shape[1]
    beta = 0.0
    if b is not None:
        beta = 1.0
        for m in range(M):
            for n in range(N):
                y[m, n] = b[n]
    gemm(y.itemsize, M, N, K, x.ctypes.data, K, 0, w, N, 0, y.ctypes.data, N, beta)


@jit
def dense_backward_rows(dx, dw, dy, x, w):
    """Write dw = x' dy and dx = dy w' for rows of one task; dx, dw and w are addresses, dx is 0
    where nobody wants it."""
    M, N, K = dy.shape[0], dy.shape[1], x.shape[1]
    gemm(x.itemsize, K, N, M, x.ctypes.data, K, 1, dy.ctypes.data, N, 0, dw, N, 0.0)
    if dx:
        gemm(x.itemsize, M, K, N, dy.ctypes.data, N, 0, w, N, 1, dx, K, 0.0)


@jit
def dense_forward_v2(y, x, w, b):
    """Write y = x w + b (dense.md, eq. 1), one product a task."""
    for t in range(x.shape[0]):
        dense_forward_rows(y[t], x[t], w[t].ctypes.data, None if b is None else b[t])


@jit
def dense_backward_v2(dx, dw, db, dy, x, w):
    """Write dx = dy w', dw = x' dy, db = sum of dy (dense.md, eq. 2 to 4), by BLAS."""
    for t in range(x.shape[0]):
        dx_t = 0 if dx is None else dx[t].ctypes.data
        dense_backward_rows(dx_t, dw[t].ctypes.data, dy[t], x[t], w[t].ctypes.data)
        if db is not None:
            for n in range(dy.shape[2]):
                db[t, n] = 0
            for m in range(dy.shape[1]):
                for n in range(dy.shape[2]):
                    db[t, n] += dy[t, m, n]


dense_forward = dense_forward_v2
dense_backward = dense_backward_v2
