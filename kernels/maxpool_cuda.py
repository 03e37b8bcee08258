"""Max pooling, Numba CUDA. Derivation: maxpool.md.

Forward, a thread for each output looks for its largest input. Backward, a thread for each input
asks the windows that cover it whether it won there: nobody writes where another thread writes.
"""

from .jit_cuda import cuda, launch_each, outputs


@cuda.jit
def _forward(y, winner, wanted, x, size, stride, pad):
    index = cuda.grid(1)
    if index >= y.size:
        return
    _, _, H_out, W_out, C = y.shape
    _, B, H, W, _ = x.shape
    c, index = index % C, index // C
    p, index = index % W_out, index // W_out
    o, index = index % H_out, index // H_out
    b, t = index % B, index // B
    won, best = -1, x.dtype.type(0)
    for i in range(size[0]):
        for j in range(size[1]):
            r, q = o * stride[0] + i - pad[0], p * stride[1] + j - pad[1]
            if 0 <= r < H and 0 <= q < W:
                here = x[t, b, r, q, c]
                # NaN wins, so it is not hidden, and nothing wins against it.
                if won < 0 or not (here <= best or best != best):
                    best, won = here, i * size[1] + j
    if wanted[0]:
        y[t, b, o, p, c] = best
    if wanted[1]:
        winner[t, b, o, p, c] = won


def maxpool_forward(y, winner, x, size, stride, pad):
    """Write y and which tap won (maxpool.md, eq. 1 and 2). Parameters as in the reference."""
    any_one = winner if y is None else y  # of the right shape
    written = outputs((y, winner), (any_one, any_one))
    launch_each(_forward, any_one.size, *written, x, size, stride, pad)


@cuda.jit
def _backward(dx, dy, winner, size, stride, pad):
    index = cuda.grid(1)
    if index >= dx.size:
        return
    _, B, H, W, C = dx.shape
    H_out, W_out = dy.shape[2], dy.shape[3]
    c, index = index % C, index // C
    q, index = index % W, index // W
    r, index = index % H, index // H
    b, t = index % B, index // B
    total = dx.dtype.type(0)
    for i in range(size[0]):
        for j in range(size[1]):
            # The window in which this input is the tap (i, j): o s + i - pad = r.
            above, left = r + pad[0] - i, q + pad[1] - j
            o, p = above // stride[0], left // stride[1]
            whole = o * stride[0] == above and p * stride[1] == left
            if whole and 0 <= o < H_out and 0 <= p < W_out:  # noqa: SIM102
                if winner[t, b, o, p, c] == i * size[1] + j:
                    total += dy[t, b, o, p, c]
    dx[t, b, r, q, c] = total


def maxpool_backward(dx, dy, winner, size, stride, pad):
    """Write dx, each dy where its maximum came from (maxpool.md, eq. 3)."""
    launch_each(_backward, dx.size, dx, dy, winner, size, stride, pad)


@cuda.jit
def _forward_r(ry, rx, winner, size, stride, pad):
    index = cuda.grid(1)
    if index >= ry.size:
        return
    _, B, H_out, W_out, C = ry.shape
    c, index = index % C, index // C
    p, index = index % W_out, index // W_out
    o, index = index % H_out, index // H_out
    b, t = index % B, index // B
    tap = winner[t, b, o, p, c]
    r, q = o * stride[0] + tap // size[1] - pad[0], p * stride[1] + tap % size[1] - pad[1]
    ry[t, b, o, p, c] = rx[t, b, r, q, c]


def maxpool_forward_r(ry, rx, winner, size, stride, pad):
    """Write ry, the tangent of each window's winner (maxpool.md, eq. 4)."""
    launch_each(_forward_r, ry.size, ry, rx, winner, size, stride, pad)
