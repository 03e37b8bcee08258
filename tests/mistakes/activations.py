"""Activation functions, entry by entry: dx = dy f'(x)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minireptile.testing import check_gradients

from .record import Check, Mistake

SLOPE = 0.1
x0 = np.random.default_rng(4).standard_normal((3, 5))

Backward = Callable[[NDArray, NDArray], NDArray]


def relu(x: NDArray) -> NDArray:
    return np.where(x > 0, x, 0)


def relu_backward(dy: NDArray, x: NDArray) -> NDArray:
    return np.where(x > 0, dy, 0)


def relu_guided(dy: NDArray, x: NDArray) -> NDArray:
    return np.where(dy > 0, dy, 0)


def relu_mask_only(dy: NDArray, x: NDArray) -> NDArray:
    return np.where(x > 0, 1.0, 0.0)


def relu_in_place(dy: NDArray, x: NDArray) -> NDArray:
    dy[x <= 0] = 0
    return dy


def leaky(x: NDArray) -> NDArray:
    return np.where(x > 0, x, SLOPE * x)


def leaky_backward(dy: NDArray, x: NDArray) -> NDArray:
    return np.where(x > 0, dy, SLOPE * dy)


def tanh_of_x(dy: NDArray, x: NDArray) -> NDArray:
    return dy * (1 - x**2)


def tanh_not_squared(dy: NDArray, x: NDArray) -> NDArray:
    return dy * (1 - np.tanh(x))


def tanh_twice(dy: NDArray, x: NDArray) -> NDArray:
    y = np.tanh(x)
    return dy * (1 - np.tanh(y) ** 2)  # the derivative's formula for x, given y


def tanh_backward(dy: NDArray, x: NDArray) -> NDArray:
    return dy * (1 - np.tanh(x) ** 2)


def sigmoid(x: NDArray) -> NDArray:
    return 1 / (1 + np.exp(-x))


def sigmoid_backward(dy: NDArray, x: NDArray) -> NDArray:
    y = sigmoid(x)
    return dy * y * (1 - y)


def sigmoid_without_dy(dy: NDArray, x: NDArray) -> NDArray:
    y = sigmoid(x)
    return y * (1 - y)


def sigmoid_added(dy: NDArray, x: NDArray) -> NDArray:
    y = sigmoid(x)
    return dy * y * (1 + y)


def swish(x: NDArray) -> NDArray:
    return x * sigmoid(x)


def swish_backward(dy: NDArray, x: NDArray) -> NDArray:
    y = sigmoid(x)
    return dy * (y + x * y * (1 - y))


def swish_gate_constant(dy: NDArray, x: NDArray) -> NDArray:
    return dy * sigmoid(x)


def check(forward: Callable[[NDArray], NDArray], backward: Backward) -> Check:
    return lambda: check_gradients((forward, backward), x0)


MISTAKES = (
    Mistake(
        "relu: passes dy where dy > 0 instead of where x > 0",
        "looks plausible in pictures (guided backpropagation), but is no gradient of anything",
        check(relu, relu_guided),
        r"not linear in the upstream gradient",
        check(relu, relu_backward),
        wrong={"relu_backward": relu_guided},
    ),
    Mistake(
        "relu: returns the mask, without dy",
        "the same result whatever comes from above; right for the upstream gradient 1",
        check(relu, relu_mask_only),
        r"does not change with the upstream gradient",
        check(relu, relu_backward),
        wrong={"relu_backward": relu_mask_only},
    ),
    Mistake(
        "relu: zeros written into dy itself",
        "its values are right; whoever else needs dy (a shortcut) gets zeros",
        check(relu, relu_in_place),
        r"changes its input the upstream gradient",
        check(relu, relu_backward),
        wrong={"relu_backward": relu_in_place},
    ),
    Mistake(
        "leaky relu: slope forgotten on the way back",
        "zero where x < 0, right where x > 0",
        check(leaky, relu_backward),
        r"entries are 0 and should not be",
        check(leaky, leaky_backward),
        wrong={"leaky_backward": relu_backward},
    ),
    Mistake(
        "tanh: 1 - x^2 instead of 1 - y^2",
        "nearly right near 0, negative beyond 1, where learning runs uphill",
        check(np.tanh, tanh_of_x),
        r"dx: is wrong",
        check(np.tanh, tanh_backward),
        wrong={"tanh_backward": tanh_of_x},
    ),
    Mistake(
        "tanh: 1 - y instead of 1 - y^2",
        "right where y is 0 or 1; off by the factor 1 + y elsewhere",
        check(np.tanh, tanh_not_squared),
        r"dx: is wrong",
        check(np.tanh, tanh_backward),
        wrong={"tanh_backward": tanh_not_squared},
    ),
    Mistake(
        "tanh: tanh taken once more of the output",
        "1 - tanh(y)^2: always too large, never near 0, so saturation goes unseen",
        check(np.tanh, tanh_twice),
        r"dx: is wrong",
        check(np.tanh, tanh_backward),
        wrong={"tanh_backward": tanh_twice},
    ),
    Mistake(
        "sigmoid: derivative without dy",
        "the same result whatever comes from above; right for the upstream gradient 1",
        check(sigmoid, sigmoid_without_dy),
        r"does not change with the upstream gradient",
        check(sigmoid, sigmoid_backward),
        wrong={"sigmoid_backward": sigmoid_without_dy},
    ),
    Mistake(
        "sigmoid: y (1 + y) instead of y (1 - y)",
        "never near 0 where y is near 1: off by (1 + y) / (1 - y)",
        check(sigmoid, sigmoid_added),
        r"dx: is wrong",
        check(sigmoid, sigmoid_backward),
        wrong={"sigmoid_backward": sigmoid_added},
    ),
    Mistake(
        "swish: product rule's second term forgotten",
        "x sigmoid(x) with the gate taken as a constant: right at x = 0",
        check(swish, swish_gate_constant),
        r"dx: is wrong",
        check(swish, swish_backward),
        wrong={"swish_backward": swish_gate_constant},
    ),
)
