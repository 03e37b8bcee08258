"""Max pooling, Numba. Derivation: maxpool.md.

v1  channel by channel, as the definition says
v2  all channels at once, window by window
"""

import numpy as np

from .jit_numba import inner, jit


def _both(y, winner, x):
    """y and winner: either comes from the other, so where nobody wants one, it has room."""
    y = np.empty(winner.shape, x.dtype) if y is None else y
    return y, np.empty(y.shape, np.int32) if winner is None else winner


@jit
def _forward_v1(y, winner, x, size, stride, pad):
    H, W = x.shape[2], x.shape[3]
    for t in range(x.shape[0]):
        for b in range(x.shape[1]):
            for o in range(y.shape[2]):
                for p in range(y.shape[3]):
                    for c in range(x.shape[4]):
                        best, tap = x.dtype.type(0), -1
                        for i in range(size[0]):
                            for j in range(size[1]):
                                r, q = o * stride[0] + i - pad[0], p * stride[1] + j - pad[1]
                                if 0 <= r < H and 0 <= q < W:
                                    here = x[t, b, r, q, c]
                                    if tap < 0 or not (here <= best or best != best):
                                        best, tap = here, i * size[1] + j
                        y[t, b, o, p, c] = best
                        winner[t, b, o, p, c] = tap


def maxpool_forward_v1(y, winner, x, size, stride, pad):
    """Write y and which tap won (maxpool.md, eq. 1 and 2). Parameters as in the reference."""
    _forward_v1(*_both(y, winner, x), x, size, stride, pad)


@jit
def maxpool_backward_v1(dx, dy, winner, size, stride, pad):
    """Write dx, each dy added where its maximum came from (maxpool.md, eq. 3)."""
    dx[...] = 0
    for t in range(dy.shape[0]):
        for b in range(dy.shape[1]):
            for o in range(dy.shape[2]):
                for p in range(dy.shape[3]):
                    for c in range(dy.shape[4]):
                        i, j = divmod(winner[t, b, o, p, c], size[1])
                        r, q = o * stride[0] + i - pad[0], p * stride[1] + j - pad[1]
                        dx[t, b, r, q, c] += dy[t, b, o, p, c]


@inner
def pool_forward(y, winner, x, kh, kw, sr, sc, pr, pc):
    """Write y and winner (n, H_out, W_out, C) for images x (n, H, W, C)."""
    H, W, C = x.shape[1], x.shape[2], x.shape[3]
    for b in range(x.shape[0]):
        for o in range(y.shape[1]):
            for p in range(y.shape[2]):
                first = True
                for tap in range(kh * kw):
                    r, q = o * sr + tap // kw - pr, p * sc + tap % kw - pc
                    if 0 <= r < H and 0 <= q < W:
                        if first:
                            for c in range(C):
                                y[b, o, p, c] = x[b, r, q, c]
                                winner[b, o, p, c] = tap
                            first = False
                        else:
                            for c in range(C):  # NaN wins, so it is not hidden
                                here, best = x[b, r, q, c], y[b, o, p, c]
                                wins = not (here <= best or best != best)
                                y[b, o, p, c] = here if wins else best
                                winner[b, o, p, c] = tap if wins else winner[b, o, p, c]


@inner
def pool_backward(dx, dy, winner, kh, kw, sr, sc, pr, pc):
    """Write dx (n, H, W, C) from dy and winner (n, H_out, W_out, C)."""
    H, W, C = dx.shape[1], dx.shape[2], dx.shape[3]
    zero = dx.dtype.type(0)
    dx[...] = 0
    for b in range(dy.shape[0]):
        for o in range(dy.shape[1]):
            for p in range(dy.shape[2]):
                for tap in range(kh * kw):
                    r, q = o * sr + tap // kw - pr, p * sc + tap % kw - pc
                    if 0 <= r < H and 0 <= q < W:
                        for c in range(C):
                            dx[b, r, q, c] += dy[b, o, p, c] if winner[b, o, p, c] == tap else zero


@jit
def _forward_v2(y, winner, x, size, stride, pad):
    for t in range(x.shape[0]):
        pool_forward(y[t], winner[t], x[t], *size, *stride, *pad)


def maxpool_forward_v2(y, winner, x, size, stride, pad):
    """Write y and which tap won (maxpool.md, eq. 1 and 2)."""
    _forward_v2(*_both(y, winner, x), x, size, stride, pad)


@jit
def maxpool_backward_v2(dx, dy, winner, size, stride, pad):
    """Write dx, each dy added where its maximum came from (maxpool.md, eq. 3)."""
    for t in range(dy.shape[0]):
        pool_backward(dx[t], dy[t], winner[t], *size, *stride, *pad)


@inner
def pool_forward_r(ry, rx, winner, kh, kw, sr, sc, pr, pc):
    """Write ry (n, H_out, W_out, C): rx (n, H, W, C) where each window's winner is."""
    H, W, C = rx.shape[1], rx.shape[2], rx.shape[3]
    for b in range(rx.shape[0]):
        for o in range(ry.shape[1]):
            for p in range(ry.shape[2]):
                for tap in range(kh * kw):
                    r, q = o * sr + tap // kw - pr, p * sc + tap % kw - pc
                    if 0 <= r < H and 0 <= q < W:
                        for c in range(C):
                            won = winner[b, o, p, c] == tap
                            ry[b, o, p, c] = rx[b, r, q, c] if won else ry[b, o, p, c]


@jit
def maxpool_forward_r(ry, rx, winner, size, stride, pad):
    """Write ry, the tangent of each window's winner (maxpool.md, eq. 4)."""
    for t in range(rx.shape[0]):
        pool_forward_r(ry[t], rx[t], winner[t], *size, *stride, *pad)


maxpool_forward = maxpool_forward_v2
maxpool_backward = maxpool_backward_v2
