"""07: max pooling: which input won, and where its gradient goes."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from minireptile.testing import check_gradients, check_same
from tests.mistakes import maxpool

from ..record import Exercise, made_in, named

SOLUTION = named(
    maxpool, "forward", "scatter", "backward", "backward_overlapping", "backward_padded"
)  # fmt: skip
x = np.random.default_rng(0).standard_normal((3, 6, 9, 1))


def check(my: ModuleType) -> None:
    """Without ties, with them, then overlapping windows and padding."""
    x0, below = maxpool.x0, -np.abs(maxpool.x0)
    check_same(my.forward, maxpool.forward, x0, name="forward")
    maxpool.check(maxpool.forward, my.backward, x0)()
    maxpool.check(maxpool.forward, my.backward, np.round(x0))()
    maxpool.check_convention(my.backward)()
    check_gradients((maxpool.forward, my.backward), x, name="maxpool of other images")
    dy = np.random.default_rng(1).standard_normal((2, 2, 4, 2))
    check_same(my.scatter, maxpool.scatter, dy, x0, 3, 1, length=6, name="scatter")
    maxpool.check(maxpool.forward_overlapping, my.backward_overlapping, x0)()
    maxpool.check(maxpool.forward_padded, my.backward_padded, below)()


EXERCISE = Exercise(
    name="07_maxpool",
    title="max pooling: which input won, and where its gradient goes",
    minutes=30,
    read="kernels/maxpool.md, eq. 1 to 3",
    hints=(
        "dx[r, q] = the sum of dy[o, p] over all windows (o, p) that the pixel (r, q) won: eq. 3 "
        "of kernels/maxpool.md.",
        "Start from zeros, go through the outputs one by one, np.ndindex(dy.shape), and add each "
        "dy to the pixel that won its window. Add: a pixel can win in two windows.",
        "np.argmax of a window counts its entries row by row, and finds the first of equal ones. "
        "divmod(number, COLUMNS) takes it apart into row and column.",
        "Window (o, p) begins at row o * down and column p * right, and so does its (row, column).",
        "The padded one: pad with -inf, which never wins, go back as before, and cut the row off.",
    ),
    check=check,
    solution=SOLUTION,
    mistakes=made_in(SOLUTION, maxpool),
)
