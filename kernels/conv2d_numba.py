"""2-D convolution, Numba. Derivation: conv2d.md.

v1  the definition: seven loops
v2  im2col, a few rows of the output at a time so that they stay in the cache, and BLAS
v3  tiles of sums that stay in registers, straight from x (registers.md); what the compiled inner
    loop is made of
v4  Winograd's products, 2.25 times fewer, for 3 x 3 kernels with stride 1 (winograd.md); else v3
v5  the faster of the last two
"""

import numpy as np

from .jit_numba import copy, gemm, inner, jit, packed, put, wanted
from .memory_numba import address_of
from .registers_numba import HEIGHT, ROWS, conv_products, conv_rows, conv_rows_back, turned
from .sums_numba import sum_rows
from .tiles import Window, tables
from .winograd_numba import half_turn, room_for, room_in, winograd_dw, winograd_forward
from .winograd_numpy import applies, pays

# Multiply-adds that BLAS gets at once. Where OpenBLAS has kernels for small matrices (AVX-512), it
# computes these without copying its operands first.
TILE = 10**6


@jit
def conv2d_forward_v1(y, cols, x, w, b, stride, pad):
    """Write y, output by output (conv2d.md, eq. 1). Parameters as in the NumPy reference."""
    for t in range(x.shape[0]):
        for i_b in range(x.shape[1]):
            for o in range(y.shape[2]):
                for p in range(y.shape[3]):
                    for n in range(w.shape[4]):
                        y[t, i_b, o, p, n] = 0 if b is None else b[t, n]
                    for i in range(w.shape[1]):
                        for j in range(w.shape[2]):
                            r, q = o * stride[0] + i - pad[0], p * stride[1] + j - pad[1]
                            if 0 <= r < x.shape[2] and 0 <= q < x.shape[3]:
                                for c in range(w.shape[3]):
                                    for n in range(w.shape[4]):
                                        y[t, i_b, o, p, n] += x[t, i_b, r, q, c] * w[t, i, j, c, n]


@jit
def _backward_v1(dx, to_dx, dw, to_dw, db, to_db, dy, x, w, stride, pad):
    dx[...] = 0
    dw[...] = 0
    db[...] = 0
    for t in range(x.shape[0]):
        for i_b in range(x.shape[1]):
            for o in range(dy.shape[2]):
                for p in range(dy.shape[3]):
                    if to_db:
                        for n in range(w.shape[4]):
                            db[t, n] += dy[t, i_b, o, p, n]
                    for i in range(w.shape[1]):
                        for j in range(w.shape[2]):
                            r, q = o * stride[0] + i - pad[0], p * stride[1] + j - pad[1]
                            if 0 <= r < x.shape[2] and 0 <= q < x.shape[3]:
                                for c in range(w.shape[3]):
                                    for n in range(w.shape[4]):
                                        d = dy[t, i_b, o, p, n]
                                        if to_dw:
                                            dw[t, i, j, c, n] += x[t, i_b, r, q, c] * d
                                        if to_dx:
                                            dx[t, i_b, r, q, c] += w[t, i, j, c, n] * d


def _backward(kernel, dx, dw, db, like, *arguments):
    """Call a kernel with each output, and whether it is wanted."""
    outputs = *wanted(dx, like, 5), *wanted(dw, like, 5), *wanted(db, like, 2)
    kernel(*outputs, *arguments)


def conv2d_backward_v1(dx, dw, db, cols, dy, x, w, stride, pad):
    """Write dx, dw and db, output by output (conv2d.md, eq. 3 to 5)."""
    _backward(_backward_v1, dx, dw, db, x, dy, x, w, stride, pad)


@inner
def im2col(cols, x, first, sr, sc, pr, pc, kw, height):
    """Write some rows of the output's patches: cols (rows, W_out, kh kw, C), x (n, H, W, C).

    Row number first + r, counted over all images, is row (first + r) % height of its image. The kw
    pixels of a patch's row lie side by side in the image and in the patch, with all channels.
    """
    H, W, C = x.shape[1], x.shape[2], x.shape[3]
    pixel = C * x.itemsize
    to, start = cols.ctypes.data, x.ctypes.data
    for row in range(cols.shape[0]):
        image, o = (first + row) // height, (first + row) % height
        for p in range(cols.shape[1]):
            q = p * sc - pc
            before, after = max(-q, 0), max(q + kw - W, 0)  # pixels on the padding
            for tap in range(0, cols.shape[2], kw):
                r = o * sr + tap // kw - pr
                if 0 <= r < H and before + after < kw:
                    at = to + ((row * cols.shape[1] + p) * cols.shape[2] + tap) * pixel
                    source = start + ((image * H + r) * W + q + before) * pixel
                    copy(at + before * pixel, source, (kw - before - after) * pixel)
                    for j in range(before):
                        cols[row, p, tap + j] = 0
                    for j in range(kw - after, kw):
                        cols[row, p, tap + j] = 0
                else:
                    for j in range(kw):
                        cols[row, p, tap + j] = 0


@inner
def im2col_grey(cols, x, first, sr, sc, pr, pc, kw, height):
    """`im2col` for one channel, where a patch is a few numbers and not a few rows of channels."""
    H, W = x.shape[1], x.shape[2]
    for row in range(cols.shape[0]):
        image, o = (first + row) // height, (first + row) % height
        for tap in range(cols.shape[2]):
            r, q0 = o * sr + tap // kw - pr, tap % kw - pc
            for p in range(cols.shape[1]):
                q = p * sc + q0
                inside = 0 <= r < H and 0 <= q < W
                cols[row, p, tap, 0] = x[image, r, q, 0] if inside else 0


@inner
def col2im(dx, cols, first, sr, sc, pr, pc, kw, height):
    """Add to dx, for some rows of the output, what `im2col` would have read there."""
    H, W, C = dx.shape[1], dx.shape[2], dx.shape[3]
    for row in range(cols.shape[0]):
        image, o = (first + row) // height, (first + row) % height
        for p in range(cols.shape[1]):
            for tap in range(cols.shape[2]):
                r, q = o * sr + tap // kw - pr, p * sc + tap % kw - pc
                if 0 <= r < H and 0 <= q < W:
                    for c in range(C):
                        dx[image, r, q, c] += cols[row, p, tap, c]


@inner
def _patches(cols, rows, wide, taps, c):
    """The scratch as (rows, W_out, kh kw, C)."""
    return cols[: rows * wide * taps * c].reshape((rows, wide, taps, c))


@inner
def _lower(block, x, first, sr, sc, pr, pc, kw, height):
    if x.shape[3] == 1:
        im2col_grey(block, x, first, sr, sc, pr, pc, kw, height)
    else:
        im2col(block, x, first, sr, sc, pr, pc, kw, height)


@inner
def _patches_w(y, cols, w, M, K, N, size, tile, add):
    """Write y = cols w (M, N), or add it, in pieces of at most `tile` multiply-adds; addresses."""
    step, beta = max(1, tile // (K * N)), 1.0 if add else 0.0
    for m in range(0, M, step):
        a, c = cols + m * K * size, y + m * N * size
        gemm(size, min(step, M - m), N, K, a, K, 0, w, N, 0, c, N, beta)


@inner
def _patches_dw(dw, cols, dy, M, K, N, size, tile, add):
    """Write dw = cols' dy (K, N), or add it, likewise."""
    step, beta = max(1, tile // (M * N)), 1.0 if add else 0.0
    for k in range(0, K, step):
        a, c = cols + k * size, dw + k * N * size
        gemm(size, min(step, K - k), N, M, a, K, 1, dy, N, 0, c, N, beta)


@inner
def conv_forward(y, cols, x, w, kh, kw, sr, sc, pr, pc, tile):
    """Write y = im2col(x) w for the images of one task (conv2d.md, eq. 6); no bias.

    y (n, H_out, W_out, C_out), x (n, H, W, C_in), w an address, cols 1-D scratch for at least one
    row of the output. tile : multiply-adds that BLAS gets at once.
    """
    wide, N, taps, C, size = y.shape[2], y.shape[3], kh * kw, x.shape[3], y.itemsize
    K, total = taps * C, y.shape[0] * y.shape[1]
    step = max(1, min(total, cols.shape[0] // (wide * K)))
    for first in range(0, total, step):
        rows = min(step, total - first)
        _lower(_patches(cols, rows, wide, taps, C), x, first, sr, sc, pr, pc, kw, y.shape[1])
        to = y.ctypes.data + first * wide * N * size
        _patches_w(to, cols.ctypes.data, w, rows * wide, K, N, size, tile, False)


@inner
def conv_backward(dx, wanted, dw, cols, dy, x, w, kh, kw, sr, sc, pr, pc, tile):
    """Write dw = im2col(x)' dy and, if wanted, dx = col2im(dy w') (conv2d.md, eq. 7 and 9).

    w and dw are addresses, dw 0 where nobody wants it; the rest as in `conv_forward`.
    """
    wide, N, taps, C, size = dy.shape[2], dy.shape[3], kh * kw, x.shape[3], dy.itemsize
    K, total = taps * C, dy.shape[0] * dy.shape[1]
    step = max(1, min(total, cols.shape[0] // (wide * K)))
    if wanted:
        dx[...] = 0
    for first in range(0, total, step):
        rows = min(step, total - first)
        M = rows * wide
        block, to = _patches(cols, rows, wide, taps, C), cols.ctypes.data
        d = dy.ctypes.data + first * wide * N * size
        if dw != 0:
            _lower(block, x, first, sr, sc, pr, pc, kw, dy.shape[1])
            _patches_dw(dw, to, d, M, K, N, size, tile, first > 0)  # the sum over the rows goes on
        if wanted:
            gemm(size, M, K, N, d, N, 0, w, N, 1, to, K, 0.0)
            col2im(dx, block, first, sr, sc, pr, pc, kw, dy.shape[1])


@inner
def add_bias(y, b):
    """y (M, N) += b (N,)."""
    for m in range(y.shape[0]):
        for n in range(y.shape[1]):
            y[m, n] += b[n]


@jit
def conv2d_forward_v2(y, cols, x, w, b, stride, pad):
    """Write y = im2col(x) w + b (conv2d.md, eq. 6). Parameters as in the NumPy reference."""
    kh, kw, N = w.shape[1], w.shape[2], w.shape[4]
    for t in range(x.shape[0]):
        y_t = y[t]
        conv_forward(
            y_t, cols.reshape(-1), x[t], w[t].ctypes.data,
            kh, kw, stride[0], stride[1], pad[0], pad[1], TILE,
        )  # fmt: skip
        if b is not None:
            add_bias(y_t.reshape((-1, N)), packed(b[t]))


@jit
def _backward_v2(dx, to_dx, dw, to_dw, db, to_db, cols, dy, x, w, stride, pad):
    kh, kw, N = w.shape[1], w.shape[2], w.shape[4]
    for t in range(x.shape[0]):
        images = dx[t] if to_dx else dx[:0].reshape((0, 1, 1, 1))
        conv_backward(
            images, to_dx, address_of(dw[t]) if to_dw else 0, cols.reshape(-1), dy[t], x[t],
            address_of(w[t]), kh, kw, stride[0], stride[1], pad[0], pad[1], TILE,
        )  # fmt: skip
        if to_db:
            sum_rows(packed(db[t]), dy[t].reshape((-1, N)))


def conv2d_backward_v2(dx, dw, db, cols, dy, x, w, stride, pad):
    """Write dw = im2col(x)' dy, db = sum dy, dx = col2im(dy w') (conv2d.md, eq. 7 to 9)."""
    _backward(_backward_v2, dx, dw, db, x, cols, dy, x, w, stride, pad)


def _tables(x, w, outputs, stride, pad):
    """The tables of all images of a task (tiles.py)."""
    sizes = (*x.shape[2:], *outputs.shape[2:], *w.shape[1:3], *stride, *pad)
    return tables(Window(*map(int, sizes)), x.shape[1], HEIGHT, ROWS)


@jit
def _forward_v3(y, x, w, b, biased, these):
    one, n = x.dtype.type(1), w.shape[4]
    for t in range(x.shape[0]):
        bias = address_of(b[t]) if biased else 0
        conv_rows(one, address_of(y[t]), address_of(x[t]), address_of(w[t]), bias, these, n, 0)


def conv2d_forward_v3(y, cols, x, w, b, stride, pad):
    """Write y by tiles of sums in registers (registers.md, eq. 1)."""
    bias = w[:, 0, 0, 0] if b is None else b
    _forward_v3(y, x, w, bias, b is not None, _tables(x, w, y, stride, pad))


@jit
def _backward_v3(dx, to_dx, dw, to_dw, db, to_db, dy, x, w, these):
    one, taps, C, N = x.dtype.type(1), w.shape[1] * w.shape[2], w.shape[3], w.shape[4]
    wt = np.empty((taps, N, C), x.dtype)
    for t in range(x.shape[0]):
        at = address_of(dy[t])
        if to_dw:
            dw[t] = 0
            conv_products(one, address_of(dw[t]), address_of(x[t]), at, these, N)
        if to_dx:
            turned(wt, packed(w[t]).reshape((taps, C, N)))
            conv_rows_back(one, address_of(dx[t]), at, address_of(wt), these, C, 0)
        if to_db:
            sum_rows(packed(db[t]), dy[t].reshape((-1, N)))


def conv2d_backward_v3(dx, dw, db, cols, dy, x, w, stride, pad):
    """Write dx, dw and db likewise (registers.md, eq. 2 and 3); the weights are turned for dx."""
    _backward(_backward_v3, dx, dw, db, x, dy, x, w, _tables(x, w, dy, stride, pad))


def winograd_pays(x, w, y, stride):
    """Whether a convolution of x (T, B, H, W, C) with w (T, kh, kw, C, N) is faster so."""
    return pays(w.shape[1:3], stride, x.shape[4], y.shape[4], y.shape[2] * y.shape[3])


@jit
def _forward_v4(y, cols, x, w, b, biased, pad):
    C, N = x.shape[4], y.shape[4]
    room = room_in(cols, room_for(C, N))
    bias, rest = room[:N], room[N:]
    bias[:] = 0
    for t in range(x.shape[0]):
        if biased:
            put(bias, b[t])
        winograd_forward(y[t], rest, x[t], packed(w[t]), bias, pad[0], pad[1])


def conv2d_forward_v4(y, cols, x, w, b, stride, pad):
    """Write y by Winograd's products for 3 x 3 taps, stride 1 (winograd.md), or as version 3."""
    if not applies(w.shape[1:3], stride):
        conv2d_forward_v3(y, cols, x, w, b, stride, pad)
        return
    _forward_v4(y, cols, x, w, w[:, 0, 0, 0] if b is None else b, b is not None, pad)


@jit
def _backward_v4(dx, to_dx, dw, to_dw, db, to_db, cols, dy, x, w, pad):
    C, N = x.shape[4], dy.shape[4]
    room = room_in(cols, room_for(C, N))
    zero, rest = room[:C], room[C + 9 * C * N :]
    wt = room[C : C + 9 * C * N].reshape((3, 3, N, C))
    zero[:] = 0
    for t in range(x.shape[0]):
        if to_dw:
            winograd_dw(packed(dw[t]), rest, dy[t], x[t], pad[0], pad[1])
        if to_dx:
            half_turn(wt, w[t])
            winograd_forward(dx[t], rest, dy[t], wt, zero, 2 - pad[0], 2 - pad[1])
        if to_db:
            sum_rows(packed(db[t]), dy[t].reshape((-1, N)))


def conv2d_backward_v4(dx, dw, db, cols, dy, x, w, stride, pad):
    """Write dx, dw and db likewise."""
    if not applies(w.shape[1:3], stride):
        conv2d_backward_v3(dx, dw, db, cols, dy, x, w, stride, pad)
        return
    _backward(_backward_v4, dx, dw, db, x, cols, dy, x, w, pad)


def conv2d_forward_v5(y, cols, x, w, b, stride, pad):
    """Write y by version 4 where that is faster, else by version 3."""
    version = conv2d_forward_v4 if winograd_pays(x, w, y, stride) else conv2d_forward_v3
    version(y, cols, x, w, b, stride, pad)


def conv2d_backward_v5(dx, dw, db, cols, dy, x, w, stride, pad):
    """Write dx, dw and db likewise."""
    version = conv2d_backward_v4 if winograd_pays(x, w, dy, stride) else conv2d_backward_v3
    version(dx, dw, db, cols, dy, x, w, stride, pad)


conv2d_forward = conv2d_forward_v5
conv2d_backward = conv2d_backward_v5
