"""13: col2im, the adjoint of im2col.                                 20 minutes, about 9 lines

Read kernels/conv2d.md, eq. 6 and 9, and the lines around them (here without the task axis t).

    x       (B, H, W, C)                       images
    cols    (B, H_out, W_out, kh, kw, C)       what each output's window reads: im2col(x)
    shape   (B, H, W, C)                       that of x
    stride  a whole number, the same for rows and columns
    pad     ((top, bottom), (left, right))     rows and columns of zeros around each image
    w       (kh, kw, C, N)

im2col copies a pixel into every window that it lies in. Its adjoint takes cols to x, so that
<im2col(x), cols> = <x, col2im(cols)> for all x and cols: the gradient of x from that of cols.

spread is a transposed convolution, which makes images larger. Its adjoint takes x back to y.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

# Given.


def im2col(x, kernel, stride, pad):
    x = np.pad(x, ((0, 0), *pad, (0, 0)))
    windows = sliding_window_view(x, kernel, (1, 2))[:, ::stride, ::stride]
    return np.moveaxis(windows, 3, -1)


def spread(y, w, shape, stride, pad):
    return col2im(np.tensordot(y, w, (3, 3)), shape, stride, pad)


# Yours.


def col2im(cols, shape, stride, pad):
    raise NotImplementedError("images of that shape: each number of cols back where it was read")


def gather(x, w, stride, pad):
    raise NotImplementedError("the adjoint of spread, (B, H_out, W_out, N), by im2col")
