"""07: max pooling: which input won, and where its gradient goes.   30 minutes, about 12 lines

Read kernels/maxpool.md, eq. 1 to 3 (here without the task axis t).

    x   (B, H, W, C)   images, channels last
    y   (B, H_out, W_out, C)   the largest of each window of ROWS x COLUMNS, channel by channel
    dy  like y

Of several equal entries the first one in its window, row by row, gets all of dy. What is below or
beside the last whole window is in none.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

ROWS, COLUMNS = 2, 3


# Given: the windows, side by side or one pixel apart, and a row of padding.


def windows_of(x):
    """All windows, one pixel apart: (B, H - ROWS + 1, W - COLUMNS + 1, C, ROWS, COLUMNS)."""
    return sliding_window_view(x, window_shape=(ROWS, COLUMNS), axis=(1, 2))


def by_window(x):
    """Windows side by side, (B, H_out, W_out, C, ROWS * COLUMNS)."""
    windows = windows_of(x)[:, ::ROWS, ::COLUMNS]
    return windows.reshape(*windows.shape[:4], -1)


def pad(x, value):
    """One row more, filled with the value."""
    return np.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0)), constant_values=value)


# Yours.


def forward(x):
    raise NotImplementedError("y, for windows side by side")


def scatter(dy, x, down, right):
    # Window (o, p) begins at pixel (o * down, p * right): 1 and 1 if one pixel apart.
    raise NotImplementedError("dx, (B, H, W, C): each dy at the first largest entry of its window")


def backward(dy, x):
    raise NotImplementedError("dx for windows side by side, by scatter")


def backward_overlapping(dy, x):
    raise NotImplementedError("dx for windows one pixel apart, which overlap")


def backward_padded(dy, x):
    raise NotImplementedError("dx, (B, H, W, C), of y = forward(pad(x, -inf))")
