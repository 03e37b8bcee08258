"""2-D convolution (cross-correlation), NumPy. Derivation: conv2d.md.

    y[t, b, o, p, n] = bias[t, n] + sum_{i, j, c} x[t, b, o s + i - pad, p s + j - pad, c] w[t, i, j, c, n]

v1  the definition: one small matrix product for each tap (i, j) of the kernel
v2  im2col: the taps side by side in one matrix, then one large product, for a few images at a time
v3  Winograd's products, 2.25 times fewer, for 3 x 3 kernels with stride 1 (winograd.md); else v2
"""  # noqa: E501

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .window import Pair, taps
from .winograd_numpy import applies, winograd_backward, winograd_forward


def conv2d_forward_v1(
    y: NDArray, cols: NDArray | None, x: NDArray, w: NDArray, b: NDArray | None,
    stride: Pair, pad: Pair,
) -> None:  # fmt: skip
    """Write y, the convolution of x with w plus b, tap by tap (conv2d.md, eq. 1).

    Parameters
    ----------
    y : (T, B, H_out, W_out, C_out), written
    cols : scratch, unused here
    x : (T, B, H, W, C_in)
    w : (T, kh, kw, C_in, C_out)
    b : (T, C_out) or None
    stride, pad : (rows, columns); pad is what lies before the first row and column
    """
    y[...] = 0 if b is None else b[:, None, None, None, :]
    for i, j, outputs, inputs in taps(w.shape[1:3], x.shape[2:4], y.shape[2:4], stride, pad):
        y[outputs] += x[inputs] @ w[:, None, None, i, j]


def conv2d_backward_v1(
    dx: NDArray | None, dw: NDArray | None, db: NDArray | None, cols: NDArray | None,
    dy: NDArray, x: NDArray, w: NDArray, stride: Pair, pad: Pair,
) -> None:  # fmt: skip
    """Write dx, dw and db tap by tap (conv2d.md, eq. 3 to 5).

    Parameters
    ----------
    dx : (T, B, H, W, C_in), written
    dw : (T, kh, kw, C_in, C_out), written
    db : (T, C_out), written
    cols : scratch, unused here
    dy, x, w, stride, pad : as in the forward kernel
    """
    if db is not None:
        db[...] = dy.sum((1, 2, 3))
    for written in (dw, dx):
        if written is not None:
            written[...] = 0
    for i, j, outputs, inputs in taps(w.shape[1:3], x.shape[2:4], dy.shape[2:4], stride, pad):
        if dw is not None:
            dw[:, i, j] = np.einsum("tbhwc,tbhwn->tcn", x[inputs], dy[outputs])
        if dx is not None:
            dx[inputs] += dy[outputs] @ w[:, None, None, i, j].swapaxes(-1, -2)


def im2col(cols: NDArray, x: NDArray, stride: Pair, pad: Pair) -> None:
    """Write cols[t, b, o, p, i, j] = x[t, b, o s + i - pad, p s + j - pad], 0 on the padding.

    cols is (T, B, H_out, W_out, kh, kw, C_in).
    """
    cols[...] = 0
    for i, j, outputs, inputs in taps(cols.shape[4:6], x.shape[2:4], cols.shape[2:4], stride, pad):
        cols[..., i, j, :][outputs] = x[inputs]


def col2im(x: NDArray, cols: NDArray, stride: Pair, pad: Pair) -> None:
    """Write x, the sum of all entries of cols that im2col would have read there: its adjoint."""
    x[...] = 0
    for i, j, outputs, inputs in taps(cols.shape[4:6], x.shape[2:4], cols.shape[2:4], stride, pad):
        x[inputs] += cols[..., i, j, :][outputs]


def _blocks(cols: NDArray, T: int, B: int) -> Iterator[tuple[slice, slice, NDArray]]:
    """Slices of tasks and images that cols has room for, with cols cut to their number.

    A block is some images of one task, or several whole tasks, so that it is contiguous.
    """
    t_step, b_step = cols.shape[:2]
    for t in range(0, T, t_step):
        for b in range(0, B, b_step):
            yield slice(t, t + t_step), slice(b, b + b_step), cols[: T - t, : B - b]


def _as_matrices(cols: NDArray, w: NDArray, y: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Views for a product a task: cols (T, M, K), w (T, K, N), y (T, M, N)."""
    T, n = y.shape[0], y.shape[-1]
    k = w.shape[1] * w.shape[2] * w.shape[3]
    return cols.reshape(T, -1, k), w.reshape(T, k, n), y.reshape(T, -1, n)


def conv2d_forward_v2(
    y: NDArray, cols: NDArray, x: NDArray, w: NDArray, b: NDArray | None,
    stride: Pair, pad: Pair,
) -> None:  # fmt: skip
    """Write y = im2col(x) w + b, block by block (conv2d.md, eq. 6).

    cols : (t, b, H_out, W_out, kh, kw, C_in), scratch: for b images of one task (t = 1), or for
        t tasks with all their images (b = B); as many as stay in the cache. The rest as in v1.
    """
    for tasks, images, block in _blocks(cols, *x.shape[:2]):
        im2col(block, x[tasks, images], stride, pad)
        cols_m, w_m, y_m = _as_matrices(block, w[tasks], y[tasks, images])
        np.matmul(cols_m, w_m, out=y_m)
        if b is not None:
            y_m += b[tasks, None, :]


def conv2d_backward_v2(
    dx: NDArray | None, dw: NDArray | None, db: NDArray | None, cols: NDArray,
    dy: NDArray, x: NDArray, w: NDArray, stride: Pair, pad: Pair,
) -> None:  # fmt: skip
    """Write dw = im2col(x)' dy, db = sum dy, dx = col2im(dy w') (conv2d.md, eq. 7 to 9).

    cols : scratch as in the forward kernel; the rest as in version 1.
    """
    if db is not None:
        np.sum(dy, axis=(1, 2, 3), out=db)
    for tasks, images, block in _blocks(cols, *x.shape[:2]):
        cols_m, w_m, dy_m = _as_matrices(block, w[tasks], dy[tasks, images])
        if dw is not None:
            im2col(block, x[tasks, images], stride, pad)
            dw_m = dw[tasks].reshape(w_m.shape)
            if images.start == 0:
                np.matmul(cols_m.swapaxes(1, 2), dy_m, out=dw_m)
            else:  # the sum over the images goes on
                dw_m += cols_m.swapaxes(1, 2) @ dy_m
        if dx is not None:
            np.matmul(dy_m, w_m.swapaxes(1, 2), out=cols_m)
            col2im(dx[tasks, images], block, stride, pad)


def conv2d_forward_v3(
    y: NDArray, cols: NDArray, x: NDArray, w: NDArray, b: NDArray | None,
    stride: Pair, pad: Pair,
) -> None:  # fmt: skip
    """Write y by Winograd's products for 3 x 3 taps, stride 1 (winograd.md), or as version 2."""
    if applies(w.shape[1:3], stride):
        winograd_forward(y, x, w, b, pad)
    else:
        conv2d_forward_v2(y, cols, x, w, b, stride, pad)


def conv2d_backward_v3(
    dx: NDArray | None, dw: NDArray | None, db: NDArray | None, cols: NDArray,
    dy: NDArray, x: NDArray, w: NDArray, stride: Pair, pad: Pair,
) -> None:  # fmt: skip
    """Write dx, dw and db likewise."""
    if applies(w.shape[1:3], stride):
        winograd_backward(dx, dw, db, dy, x, w, pad)
    else:
        conv2d_backward_v2(dx, dw, db, cols, dy, x, w, stride, pad)


conv2d_forward = conv2d_forward_v2
conv2d_backward = conv2d_backward_v2
