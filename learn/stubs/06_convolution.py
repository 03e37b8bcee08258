"""06: a convolution, tap by tap.                                  45 minutes, about 10 lines

Read kernels/conv2d.md, eq. 1 to 5 (here without the task axis t).

    x  (B, H, W, C_in)    images, channels last
    w  (3, 3, C_in, C_out)
    b  (C_out,)
    y  (B, H_out, W_out, C_out)

The stride is 2, and y is half as high and wide as x, rounded up. What it takes to find the pixels
is given below; what to do with them is yours. At the end, your functions of 01 to 06 learn to read.
"""

import numpy as np

# Given: where the taps are.


def padding(x):
    """A row and a column of zeros behind, and one before where their number is odd."""
    return (0, 0), (x.shape[1] % 2, 1), (x.shape[2] % 2, 1), (0, 0)


def inside(x):
    """Where x is in np.pad(x, padding(x))."""
    top, left = x.shape[1] % 2, x.shape[2] % 2
    return slice(None), slice(top, top + x.shape[1]), slice(left, left + x.shape[2])


def taps(x):
    """Each (i, j) of the kernel, and where the padded images x meet it.

    for i, j, at in taps(padded): padded[at] is (B, H_out, W_out, C_in), one pixel per output.
    """
    rows, columns = (x.shape[1] - 1) // 2, (x.shape[2] - 1) // 2
    for i, j in np.ndindex(3, 3):
        yield i, j, (slice(None), slice(i, i + 2 * rows, 2), slice(j, j + 2 * columns, 2))


def product(x, dy):
    """x' dy, summed over images, rows and columns: (C_in, C_out)."""
    return np.tensordot(x, dy, ((0, 1, 2), (0, 1, 2)))


# Yours.


def forward(x, w, b):
    raise NotImplementedError("y, by eq. 1")


def backward(dy, x, w, b):
    raise NotImplementedError("dx, dw and db, in this order, by eq. 3 to 5")


def flatten(x):
    raise NotImplementedError("(B, C H W): channel by channel, each of them row by row")


def unflatten(dy, x):
    raise NotImplementedError("dx, (B, H, W, C), of y = flatten(x)")
