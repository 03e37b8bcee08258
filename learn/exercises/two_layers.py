"""04: the chain rule through two layers, and through two paths."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from minireptile.testing import check_gradients, check_same
from tests.mistakes import dense

from ..record import Exercise, made_in, named

SOLUTION = named(dense, "two_forward", "two_backward", "shortcut_forward", "shortcut_backward")
rng = np.random.default_rng(0)
shapes = (5, 3), (3, 4), (4,), (4, 2)
x, w, b, u = (rng.standard_normal(shape) for shape in shapes)


def check(my: ModuleType) -> None:
    """One output and square matrices, then sizes that differ."""
    check_same(my.two_forward, dense.two_forward, x, w, b, u, length=8, name="two_forward")
    dense.check_two(my.two_backward)()
    two = dense.two_forward, my.two_backward
    check_gradients(two, x, w, b, u, name="two layers, not square")
    square = dense.x0, dense.w0
    check_same(my.shortcut_forward, dense.shortcut_forward, *square, length=5, name="shortcut")
    dense.check_shortcut(my.shortcut_backward)()


EXERCISE = Exercise(
    name="04_two_layers",
    title="the chain rule: two layers, and two paths",
    minutes=25,
    read="kernels/loss_and_grad.md, eq. 2, 4 and 5",
    hints=(
        "Layer by layer from the last one: its dy gives dp, the gradients of its own parameters, "
        "and the dy of the layer below. kernels/loss_and_grad.md, eq. 4 and 5.",
        "Write the forward pass in three lines, a = x w + b, h = relu(a), y = h u, and go back "
        "through them from the last to the first: dh and du, then da, then dx, dw and db.",
        "Each of these steps is one that you have written already: exercises 01 and 02. What is "
        "dy there is the gradient of that step's own output: da for the first layer, never the "
        "dy of the whole.",
        "The shortcut: x goes into y twice, so that two gradients come back to it. They add up.",
    ),
    check=check,
    solution=SOLUTION,
    mistakes=made_in(SOLUTION, dense),
)
