"""The dense layer, Numba. Derivation: dense.md.

v1  three loops
v2  BLAS, or a loop where the inner dimension is 1

In the compiled calls it is a convolution of one pixel (registers.md).
"""

from .jit_numba import gemm, inner, jit, packed, wanted
from .sums_numba import sum_rows


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
def _backward_v1(dx, to_dx, dw, to_dw, db, to_db, dy, x, w):
    for t in range(x.shape[0]):
        for n in range(w.shape[2]):
            if to_db:
                db[t, n] = dy[t, :, n].sum()
            if to_dw:
                for k in range(w.shape[1]):
                    dw[t, k, n] = 0
                    for m in range(x.shape[1]):
                        dw[t, k, n] += x[t, m, k] * dy[t, m, n]
        if to_dx:
            for m in range(x.shape[1]):
                for k in range(w.shape[1]):
                    dx[t, m, k] = 0
                    for n in range(w.shape[2]):
                        dx[t, m, k] += dy[t, m, n] * w[t, k, n]


def _backward(kernel, dx, dw, db, dy, x, w):
    """Call a kernel with each output, and whether it is wanted."""
    kernel(*wanted(dx, x, 3), *wanted(dw, x, 3), *wanted(db, x, 2), dy, x, w)


def dense_backward_v1(dx, dw, db, dy, x, w):
    """Write dx = dy w', dw = x' dy, db = sum of dy (dense.md, eq. 2 to 4)."""
    _backward(_backward_v1, dx, dw, db, dy, x, w)


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
def weighted_rows(total, x, weights):
    """Write total (n,) = sum_m weights[m] x[m, n]."""
    total[:] = 0
    for m in range(x.shape[0]):
        for n in range(x.shape[1]):
            total[n] += weights[m] * x[m, n]


# The three products of rows of one task: x, dx (m, k), y, dy (m, n), w, dw (k n,). Each is written.
# A network on scalars has products whose inner dimension is 1; a call to BLAS costs more.


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
def rows_dw(dw, x, dy):
    """dw = x' dy (dense.md, eq. 3)."""
    M, N, K = dy.shape[0], dy.shape[1], x.shape[1]
    if K == 1:
        weighted_rows(dw, dy, x.reshape(-1))
    elif N == 1:
        weighted_rows(dw, x, dy.reshape(-1))
    else:
        to = dw.ctypes.data
        gemm(x.itemsize, K, N, M, x.ctypes.data, K, 1, dy.ctypes.data, N, 0, to, N, 0.0)


@inner
def rows_dx(dx, dy, w):
    """dx = dy w' (dense.md, eq. 2)."""
    M, N, K = dy.shape[0], dy.shape[1], dx.shape[1]
    if N == 1:
        outer(dx, dy.reshape(-1), w, False)
    else:
        to = dx.ctypes.data
        gemm(dx.itemsize, M, K, N, dy.ctypes.data, N, 0, w.ctypes.data, N, 1, to, K, 0.0)


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
def _backward_v2(dx, to_dx, dw, to_dw, db, to_db, dy, x, w):
    for t in range(x.shape[0]):
        x_t, dy_t = packed(x[t]), packed(dy[t])
        if to_dw:
            rows_dw(packed(dw[t]).reshape(-1), x_t, dy_t)
        if to_dx:
            rows_dx(dx[t], dy_t, packed(w[t]).reshape(-1))
        if to_db:
            sum_rows(packed(db[t]), dy_t)


def dense_backward_v2(dx, dw, db, dy, x, w):
    """Write dx = dy w', dw = x' dy, db = sum of dy (dense.md, eq. 2 to 4), by BLAS."""
    _backward(_backward_v2, dx, dw, db, dy, x, w)


dense_forward = dense_forward_v2
dense_backward = dense_backward_v2
