"""05: batch normalisation, whose input reaches the output on three paths."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from minireptile.testing import check_gradients, check_same
from tests.mistakes import batchnorm

from ..record import Exercise, made_in, named

SOLUTION = named(
    batchnorm, "normalise", "forward", "backward", "image_forward", "image_backward"
)  # fmt: skip
rng = np.random.default_rng(0)
x, gamma, beta = rng.standard_normal((7, 3)) + 1, rng.standard_normal(3), rng.standard_normal(3)


def check(my: ModuleType) -> None:
    """Rows, as many as channels and then more; then images."""
    images = batchnorm.x0.reshape(3, 2, 2, 3)
    check_same(my.normalise, batchnorm.normalise, x, length=40, name="normalise")
    check_same(my.forward, batchnorm.forward, x, gamma, beta, length=40, name="forward")
    batchnorm.check(my.backward)()
    pair = batchnorm.forward, my.backward
    check_gradients(pair, x, gamma, beta, name="batchnorm, 7 rows of 3 channels")
    check_same(
        my.image_forward, batchnorm.image_forward, images, length=40, name="image_forward"
    )  # fmt: skip
    batchnorm.check_image(my.image_backward)()


EXERCISE = Exercise(
    name="05_batchnorm",
    title="batch normalisation: three paths back to the input",
    minutes=40,
    read="kernels/batchnorm.md, eq. 1 to 10",
    hints=(
        "dx_m = gamma rstd (dy_m - dbeta / M - xhat_m dgamma / M): eq. 10 of kernels/batchnorm.md; "
        "dbeta and dgamma are eq. 5 and 6.",
        "Each channel is by itself: every sum is over the rows, axis 0, and M = len(x). The "
        "variance divides by M, and EPS is inside of the root.",
        "Three paths lead from x_m to the outputs: its own xhat_m, the mean, the variance. Leave "
        "one out, and a term of eq. 10 is missing. Which one, the kit's message says.",
        "Two sums to test by hand: dx over the rows is 0 (eq. 11), for adding a constant to x "
        "changes nothing; dx xhat over the rows is almost 0 (eq. 12).",
        "Images: M counts images, rows and columns, so that a mean is over the axes (0, 1, 2). "
        "reshape(-1, C) makes rows of them; there is no gamma and no beta here.",
    ),
    check=check,
    solution=SOLUTION,
    mistakes=made_in(SOLUTION, batchnorm),
)
