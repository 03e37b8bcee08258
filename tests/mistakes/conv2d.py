"""Convolution, channels last, of 6 x 5 images at stride 2, padded as TensorFlow does.

The 6 rows need one more, behind; the 5 columns one more on either side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from minireptile import Conv2D
from minireptile.backend import Kernels
from minireptile.layers import Stage
from minireptile.testing import check_adjoint, check_gradients

from .record import Check, Mistake

B, K, S, C, M = 2, 3, 2, 2, 3  # images, kernel, stride, channels in and out, rows and columns of y
rng = np.random.default_rng(2)
x0 = rng.standard_normal((B, 6, 5, C))
w0 = rng.standard_normal((K, K, C, C))
b0 = rng.standard_normal(C)
y0 = rng.standard_normal((B, M, M, C))

Grads = tuple[NDArray, ...]
Tap = tuple[int, int, tuple[slice, slice, slice]]


def padding(x: NDArray) -> tuple[tuple[int, int], ...]:
    """A row and a column of zeros behind, and one before where their number is odd."""
    return (0, 0), (x.shape[1] % 2, 1), (x.shape[2] % 2, 1), (0, 0)


def inside(x: NDArray) -> tuple[slice, ...]:
    """Where x is in np.pad(x, padding(x))."""
    top, left = x.shape[1] % 2, x.shape[2] % 2
    return slice(None), slice(top, top + x.shape[1]), slice(left, left + x.shape[2])


def taps(x: NDArray, left_out: int = 0) -> Iterator[Tap]:
    """Each (i, j) of the kernel, and the view of the padded images x that it meets."""
    rows, columns = (x.shape[1] - 1) // S - left_out, (x.shape[2] - 1) // S
    for i, j in np.ndindex(K, K):
        down, right = slice(i, i + S * rows, S), slice(j, j + S * columns, S)
        yield i, j, (slice(None), down, right)


PAD, INSIDE = padding(x0), inside(x0)


def product(x: NDArray, dy: NDArray) -> NDArray:
    """x' dy, summed over images, rows and columns: (C, C)."""
    return np.tensordot(x, dy, ((0, 1, 2), (0, 1, 2)))


def forward(x: NDArray, w: NDArray, b: NDArray) -> NDArray:
    x = np.pad(x, padding(x))
    return np.sum([x[at] @ w[i, j] for i, j, at in taps(x)], axis=0) + b


def backward(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    padded = np.pad(x, padding(x))
    dx, dw = np.zeros_like(padded), np.zeros_like(w)
    for i, j, at in taps(padded):
        dx[at] += dy @ w[i, j].T
        dw[i, j] = product(padded[at], dy)
    return dx[inside(x)], dw, dy.sum((0, 1, 2))


def check(backward: Callable[..., Grads]) -> Check:
    return lambda: check_gradients((forward, backward), x0, w0, b0, name="conv2d")


def last_row_left_out(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    x = np.pad(x, PAD)
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i, j, at in taps(x, left_out=1):
        dx[at] += dy[:, :-1] @ w[i, j].T
        dw[i, j] = product(x[at], dy[:, :-1])
    return dx[INSIDE], dw, dy.sum((0, 1, 2))


def padded_before(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    x = np.pad(x, ((0, 0), (1, 0), (1, 1), (0, 0)))
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i, j, at in taps(x):
        dx[at] += dy @ w[i, j].T
        dw[i, j] = product(x[at], dy)
    return dx[:, 1:, 1:6], dw, dy.sum((0, 1, 2))


def kernel_flipped(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    x = np.pad(x, PAD)
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i, j, at in taps(x):
        dx[at] += dy @ w[-1 - i, -1 - j].T
        dw[i, j] = product(x[at], dy)
    return dx[INSIDE], dw, dy.sum((0, 1, 2))


def dw_flipped(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    dx, dw, db = backward(dy, x, w, b)
    return dx, dw[::-1, ::-1], db


def channels_swapped(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    x = np.pad(x, PAD)
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i, j, at in taps(x):
        dx[at] += dy @ w[i, j]
        dw[i, j] = product(x[at], dy)
    return dx[INSIDE], dw, dy.sum((0, 1, 2))


def dw_channels_swapped(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    x = np.pad(x, PAD)
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i, j, at in taps(x):
        dx[at] += dy @ w[i, j].T
        dw[i, j] = product(dy, x[at])
    return dx[INSIDE], dw, dy.sum((0, 1, 2))


def overlap_assigned(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    x = np.pad(x, PAD)
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i, j, at in taps(x):
        dx[at] = dy @ w[i, j].T
        dw[i, j] = product(x[at], dy)
    return dx[INSIDE], dw, dy.sum((0, 1, 2))


def taps_left_out(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    x = np.pad(x, PAD)
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i, j, at in taps(x):
        dx[at] += dy @ w[i, j].T
        if i < K - 1:  # for i in range(K - 1)
            dw[i, j] = product(x[at], dy)
    return dx[INSIDE], dw, dy.sum((0, 1, 2))


def buffer_not_cleared() -> Callable[..., Grads]:
    buffer = np.zeros_like(w0)  # made once, with the layer

    def backward_into_buffer(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
        dx, dw, db = backward(dy, x, w, b)
        buffer[...] += dw
        return dx, buffer, db

    return backward_into_buffer


def dw_of_last_image(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    for n in range(B):
        dw = backward(dy[n : n + 1], x[n : n + 1], w, b)[1]  # should be added up
    return backward(dy, x, w, b)[0], dw, dy.sum((0, 1, 2))


def dx_of_last_image(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    dx = np.zeros_like(x)
    for n in range(B):
        image = backward(dy[n : n + 1], x[n : n + 1], w, b)[0]
    dx[n : n + 1] = image  # should be inside the loop
    return dx, *backward(dy, x, w, b)[1:]


def bias_mean_over_positions(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    return *backward(dy, x, w, b)[:2], dy.mean((1, 2)).sum(0)


# im2col and col2im, which must be adjoint: <im2col(x), cols> = <x, col2im(cols)>. pad is what lies
# before and behind, (rows, columns); cols is (B, H_out, W_out, kh, kw, C).

Pads = tuple[tuple[int, int], tuple[int, int]]
SAME = (0, 1), (1, 1)  # for the images above, whose rows are even and columns odd


def im2col(x: NDArray, kernel: tuple[int, int], stride: int, pad: Pads) -> NDArray:
    x = np.pad(x, ((0, 0), *pad, (0, 0)))
    windows = sliding_window_view(x, kernel, (1, 2))[:, ::stride, ::stride]
    return np.moveaxis(windows, 3, -1)


def col2im(cols: NDArray, shape: tuple[int, ...], stride: int, pad: Pads) -> NDArray:
    (top, bottom), (left, right) = pad
    images, height, width, channels = shape
    x = np.zeros((images, top + height + bottom, left + width + right, channels))
    rows, columns, kh, kw = cols.shape[1:5]
    for i, j in np.ndindex(kh, kw):
        down, across = slice(i, i + stride * rows, stride), slice(j, j + stride * columns, stride)
        x[:, down, across] += cols[:, :, :, i, j]
    return x[:, top : top + height, left : left + width]


def col2im_stride_forgotten(
    cols: NDArray, shape: tuple[int, ...], stride: int, pad: Pads
) -> NDArray:
    return col2im(cols, shape, 1, pad)


def col2im_assigned(cols: NDArray, shape: tuple[int, ...], stride: int, pad: Pads) -> NDArray:
    (top, bottom), (left, right) = pad
    images, height, width, channels = shape
    x = np.zeros((images, top + height + bottom, left + width + right, channels))
    rows, columns, kh, kw = cols.shape[1:5]
    for i, j in np.ndindex(kh, kw):
        down, across = slice(i, i + stride * rows, stride), slice(j, j + stride * columns, stride)
        x[:, down, across] = cols[:, :, :, i, j]
    return x[:, top : top + height, left : left + width]


def check_col2im(
    col2im: Callable[..., NDArray], x: NDArray = x0, kernel: tuple[int, int] = (K, K),
    stride: int = S, pad: Pads = SAME,
) -> Check:  # fmt: skip
    def out(x: NDArray) -> NDArray:
        return im2col(x, kernel, stride, pad)

    def back(cols: NDArray) -> NDArray:
        return col2im(cols, x.shape, stride, pad)

    return lambda: check_adjoint(out, back, x, out(x), name="im2col")


# Transposed convolution, whose adjoint is the convolution with the same kernel.


def spread(y: NDArray, w: NDArray, shape: tuple[int, ...], stride: int, pad: Pads) -> NDArray:
    return col2im(np.tensordot(y, w, (3, 3)), shape, stride, pad)


def gather(x: NDArray, w: NDArray, stride: int, pad: Pads) -> NDArray:
    return np.tensordot(im2col(x, w.shape[:2], stride, pad), w, 3)


def gather_flipped(x: NDArray, w: NDArray, stride: int, pad: Pads) -> NDArray:
    return np.tensordot(im2col(x, w.shape[:2], stride, pad), w[::-1, ::-1], 3)


def check_transposed(gather: Callable[..., NDArray]) -> Check:
    def out(y: NDArray) -> NDArray:
        return spread(y, w0, x0.shape, S, SAME)

    def back(x: NDArray) -> NDArray:
        return gather(x, w0, S, SAME)

    return lambda: check_adjoint(out, back, y0, x0, name="transposed convolution")


# Flattening an image channel by channel on the way up, pixel by pixel on the way down.


def flatten(x: NDArray) -> NDArray:
    return np.moveaxis(x, -1, 1).reshape(len(x), -1)


def unflatten(dy: NDArray, x: NDArray) -> NDArray:
    return np.moveaxis(dy.reshape(len(x), x.shape[3], *x.shape[1:3]), 1, -1)


def unflatten_wrong_order(dy: NDArray, x: NDArray) -> NDArray:
    return dy.reshape(x.shape)


def check_flatten(backward: Callable[..., NDArray]) -> Check:
    return lambda: check_gradients((flatten, backward), x0, name="flatten")


# A layer of the engine, where every task has weights of its own.


class FirstTasksWeights(Conv2D):
    """Goes back through task 0's weights in every task."""

    def backward(self, k: Kernels, a: Stage) -> None:
        w = np.broadcast_to(a.p["weight"][:1], a.p["weight"].shape).copy()
        super().backward(k, a._replace(p={**a.p, "weight": w}))


def check_layer(layer: Conv2D) -> Check:
    return lambda: check_gradients(layer, np.stack([x0, x0[::-1]]))


MISTAKES = (
    Mistake(
        "conv2d: the last row of outputs left out",
        "dx is wrong in the rows that the last row of outputs saw, and right above them",
        check(last_row_left_out),
        r"only at indices 4, 5 of axis 1",
        check(backward),
        wrong={"backward": last_row_left_out},
    ),
    Mistake(
        "conv2d: padded before instead of behind on the way back",
        "dx is shifted by one row; along the columns, an odd number, nothing shows",
        check(padded_before),
        r"shifted by -?1 along axis 1",
        check(backward),
        wrong={"backward": padded_before},
    ),
    Mistake(
        "conv2d: dx with a flipped kernel",
        "dw is right, dx wrong except under the kernel's centre; invisible for symmetric kernels",
        check(kernel_flipped),
        r"dx: is wrong",
        check(backward),
        wrong={"backward": kernel_flipped},
    ),
    Mistake(
        "conv2d: dw flipped",
        "dw is right at the centre of the kernel, where the flip changes nothing",
        check(dw_flipped),
        r"flipped along axis 0, 1",
        check(backward),
        wrong={"backward": dw_flipped},
    ),
    Mistake(
        "conv2d: w[i, j] not transposed in dx",
        "with C_in = C_out the shape is right; input and output channels are swapped in dx",
        check(channels_swapped),
        r"dx: is wrong",
        check(backward),
        wrong={"backward": channels_swapped},
    ),
    Mistake(
        "conv2d: input and output channels swapped in dw",
        "with C_in = C_out the shape is right; dw is right where both channels are equal",
        check(dw_channels_swapped),
        r"transposed: axes 2 and 3",
        check(backward),
        wrong={"backward": dw_channels_swapped},
    ),
    Mistake(
        "conv2d: overlapping patches assigned, not added",
        "dx is right only where one patch alone met the pixel; invisible at stride >= kernel",
        check(overlap_assigned),
        r"dx: is wrong",
        check(backward),
        wrong={"backward": overlap_assigned},
    ),
    Mistake(
        "conv2d: the last row of taps left out of dw",
        "dw is zero in row 2 of the kernel, which never learns",
        check(taps_left_out),
        r"only at index 2 of axis 0",
        check(backward),
        wrong={"backward": taps_left_out},
    ),
    Mistake(
        "conv2d: dw added into a buffer that is not cleared",
        "the first call is right; the second one gives the sum of both",
        check(buffer_not_cleared()),
        r"dw: a second call adds to what the first left",
        check(backward),
        wrong={"backward": buffer_not_cleared()},
    ),
    Mistake(
        "conv2d: dw of the last image only",
        "right for a batch of one image, too small otherwise",
        check(dw_of_last_image),
        r"dw: is wrong",
        check(backward),
        wrong={"backward": dw_of_last_image},
    ),
    Mistake(
        "conv2d: dx of the last image only",
        "dx is zero in every image but the last: a line that slid out of the loop",
        check(dx_of_last_image),
        r"only at index 0 of axis 0",
        check(backward),
        wrong={"backward": dx_of_last_image},
    ),
    Mistake(
        "conv2d: db as a mean over the positions",
        "ratio 1/9 at 3 x 3 outputs, in db alone",
        check(bias_mean_over_positions),
        r"1/9, and 9 is the size of axis 1, 2.*mean",
        check(backward),
        wrong={"backward": bias_mean_over_positions},
    ),
    Mistake(
        "conv2d: stride forgotten in col2im",
        "<im2col x, y> and <x, col2im y> differ; invisible at stride 1",
        check_col2im(col2im_stride_forgotten),
        r"not adjoint",
        check_col2im(col2im),
        wrong={"col2im": col2im_stride_forgotten},
    ),
    Mistake(
        "conv2d: col2im assigns where patches overlap",
        "col2im is linear and of the right shape, but not im2col's adjoint",
        check_col2im(col2im_assigned),
        r"not adjoint",
        check_col2im(col2im),
        wrong={"col2im": col2im_assigned},
    ),
    Mistake(
        "conv2d: kernel flipped in a transposed convolution's adjoint",
        "the convolution that goes back has the same kernel, not the flipped one",
        check_transposed(gather_flipped),
        r"not adjoint",
        check_transposed(gather),
    ),
    Mistake(
        "conv2d: flattened by channel, unflattened by pixel",
        "every value of dy is in dx, at another place",
        check_flatten(unflatten_wrong_order),
        r"in another order",
        check_flatten(unflatten),
        wrong={"unflatten": unflatten_wrong_order},
    ),
    Mistake(
        "conv2d: task 0's weights for every task",
        "dx is right in task 0 alone; invisible while all tasks have equal weights",
        check_layer(FirstTasksWeights(2, 3, stride=2)),
        r"only at index 1 of axis 0",
        check_layer(Conv2D(2, 3, stride=2)),
    ),
)
