"""01: a matrix product and its two gradients."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from minireptile.testing import check_gradients, check_same
from tests.mistakes import dense, interface

from ..record import Exercise, made_in, named

rng = np.random.default_rng(0)
x, w, b = rng.standard_normal((3, 4)), rng.standard_normal((4, 5)), rng.standard_normal(5)


def check(my: ModuleType) -> None:
    """Square matrices first, where nothing fails by its shape, then others."""
    check_same(my.forward, dense.forward, x, w, b, length=5, name="forward")
    dense.check(my.backward)()
    check_gradients((dense.forward, my.backward), x, w, b, name="dense, not square")
    dense.check_mean(my.mean_backward)()
    check_gradients((dense.mean_forward, my.mean_backward), x, w, name="mean, not square")


SOLUTION = named(dense, "forward", "backward", "mean_backward")

EXERCISE = Exercise(
    name="01_dense",
    title="the dense layer and its gradients",
    minutes=20,
    read="kernels/dense.md, eq. 1 to 4",
    hints=(
        "dx[b, i] = sum over n of dy[b, n] w[i, n];  dw[i, n] = sum over b of x[b, i] dy[b, n];  "
        "db[n] = sum over b of dy[b, n]: eq. 2 to 4 of kernels/dense.md.",
        "Write down the shape that you want, and look for two arrays whose product has it: dw is "
        "(n_in, n_out), x is (B, n_in), dy is (B, n_out). Only one product fits, with a transpose.",
        "An index that is on the right of an equation and not on the left is summed over. All "
        "examples share w and b, so dw and db sum over b; an input goes into all outputs, so dx "
        "sums over n.",
        "mean_backward: y is a mean, so each example has the share 1/B in it. Make dy for every "
        "example first, (B, n_out), each row dy / B: np.tile. From there on it is eq. 2 and 3.",
    ),
    check=check,
    solution=SOLUTION,
    mistakes=made_in(SOLUTION, dense, interface),
)
