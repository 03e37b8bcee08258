"""The dense layer, Numba CUDA. Derivation: dense.md.

v1  forward, a thread for each output
v2  forward, a block for each output: its threads share the sum. Outputs are few, sums are long.

Backward, a thread for each entry of dw and of dx: entries are many, sums are short.
"""

from .jit_cuda import BLOCK, block_sum, blocks, cuda, launch, launch_each, outputs


@cuda.jit
def _forward_v1(y, x, w, b, bias):
    index = cuda.grid(1)
    if index >= y.size:
        return
    B, N = y.shape[1], y.shape[2]
    n, index = index % N, index // N
    e, t = index % B, index // B
    total = b[t, n] if bias else x.dtype.type(0)
    for k in range(x.shape[2]):
        total += x[t, e, k] * w[t, k, n]
    y[t, e, n] = total


@cuda.jit
def _forward_v2(y, x, w, b, bias):
    shared = cuda.shared.array(BLOCK, x.dtype)
    n = cuda.blockIdx.x % y.shape[2]
    e, t = cuda.blockIdx.x // y.shape[2], cuda.blockIdx.y
    total = x.dtype.type(0)
    for k in range(cuda.threadIdx.x, x.shape[2], BLOCK):
        total += x[t, e, k] * w[t, k, n]
    total = block_sum(shared, total)
    if cuda.threadIdx.x == 0:
        y[t, e, n] = total + b[t, n] if bias else total


def dense_forward_v1(y, x, w, b):
    """Write y = x w + b (dense.md, eq. 1). Parameters as in the NumPy reference."""
    bias = b is not None
    launch_each(_forward_v1, y.size, y, x, w, b if bias else y[:, 0], bias)


def dense_forward_v2(y, x, w, b):
    """Write y = x w + b (dense.md, eq. 1). Parameters as in the NumPy reference."""
    T, B, N = y.shape
    bias = b is not None
    launch(_forward_v2, (B * N, T), (BLOCK,), y, x, w, b if bias else y[:, 0], bias)


@cuda.jit
def _backward_w(dw, db, wanted, dy, x):
    """A bias is the weight of one more input, which is always 1."""
    t, index = cuda.blockIdx.y, cuda.grid(1)
    K, N = x.shape[2], dy.shape[2]
    k, n = index // N, index % N
    total = x.dtype.type(0)
    if k < K and wanted[0]:
        for e in range(x.shape[1]):
            total += x[t, e, k] * dy[t, e, n]
        dw[t, k, n] = total
    elif k == K and wanted[1]:
        for e in range(x.shape[1]):
            total += dy[t, e, n]
        db[t, n] = total


@cuda.jit
def _backward_x(dx, dy, w):
    index = cuda.grid(1)
    if index >= dx.size:
        return
    B, K = dx.shape[1], dx.shape[2]
    k, index = index % K, index // K
    e, t = index % B, index // B
    total = dy.dtype.type(0)
    for n in range(dy.shape[2]):
        total += dy[t, e, n] * w[t, k, n]
    dx[t, e, k] = total


def dense_backward(dx, dw, db, dy, x, w):
    """Write dx, dw and db (dense.md, eq. 2 to 4). Parameters as in the NumPy reference."""
    T, K, N = w.shape
    if dw is not None or db is not None:
        grid = (blocks((K + 1) * N), T)
        launch(_backward_w, grid, (BLOCK,), *outputs((dw, db), (w, w[:, 0])), dy, x)
    if dx is not None:
        launch_each(_backward_x, dx.size, dx, dy, w)


dense_forward = dense_forward_v2
