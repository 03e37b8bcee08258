"""06: a convolution, tap by tap, and a classifier of drawn characters made of 01 to 06."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from minireptile.testing import check_gradients, check_same
from tests.mistakes import conv2d

from ..record import Exercise, made_in, named
from .classifier import finish

SOLUTION = named(conv2d, "forward", "backward", "flatten", "unflatten")
rng = np.random.default_rng(0)
x, w, b = (rng.standard_normal(shape) for shape in ((3, 4, 7, 1), (3, 3, 1, 2), (2,)))


def check(my: ModuleType) -> None:
    """As many channels in as out, then others; images of even and of odd sizes."""
    right = conv2d.x0, conv2d.w0, conv2d.b0
    check_same(my.forward, conv2d.forward, *right, length=20, name="forward")
    check_same(my.forward, conv2d.forward, x, w, b, length=20, name="forward of 1 channel")
    conv2d.check(my.backward)()
    pair = conv2d.forward, my.backward
    check_gradients(pair, x, w, b, name="conv2d, from 1 channel to 2")
    check_same(my.flatten, conv2d.flatten, conv2d.x0, name="flatten")
    conv2d.check_flatten(my.unflatten)()
    check_gradients((conv2d.flatten, my.unflatten), x, name="flatten of 1 channel")


EXERCISE = Exercise(
    name="06_convolution",
    title="a convolution by taps",
    minutes=45,
    read="kernels/conv2d.md, eq. 1 to 5",
    hints=(
        "y[b, o, p, n] = bias[n] + the sum over i, j, c of x[b, o s + i - pad, p s + j - pad, c] "
        "w[i, j, c, n]; dx, dw and db are eq. 3 to 5 of kernels/conv2d.md.",
        "One tap (i, j) alone: every output sees one pixel of its window, x[at], (B, H_out, W_out, "
        "C_in), through the matrix w[i, j], (C_in, C_out). That is a dense layer, and y is the sum "
        "of nine of them. The @ of an array (B, H, W, C) and a matrix works on the last axis.",
        "Backward, tap by tap too: a dense layer's dx and dw. dw[i, j] is the tap's own; dx[at] is "
        "added to, for a pixel lies in several windows, under another tap in each.",
        "dw[i, j] is x[at]' dy, summed over images, rows and columns: product(x[at], dy). "
        "Pad x as forward does, make dx of the padded size, and cut the border off at the end.",
        "unflatten: undo the two steps of flatten in the opposite order, with the sizes of x.",
    ),
    check=check,
    solution=SOLUTION,
    mistakes=made_in(SOLUTION, conv2d),
    finish=finish,
)
