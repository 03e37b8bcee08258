"""The dense layer, y = x w + b; all sizes are 4, so that no wrong product fails by its shape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minireptile.testing import check_gradients

from .record import Check, Mistake

N = 4
rng = np.random.default_rng(1)
x0, w0, u0 = rng.standard_normal((3, N, N))
b0 = rng.standard_normal(N)

Grads = tuple[NDArray, ...]


def forward(x: NDArray, w: NDArray, b: NDArray) -> NDArray:
    return x @ w + b


def backward(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    return dy @ w.T, x.T @ dy, dy.sum(0)


def check(backward: Callable[..., Grads]) -> Check:
    return lambda: check_gradients((forward, backward), x0, w0, b0, name="dense")


def x_not_transposed(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    return dy @ w.T, x @ dy, dy.sum(0)


def dw_transposed(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    return dy @ w.T, dy.T @ x, dy.sum(0)


def w_not_transposed(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    return dy @ w, x.T @ dy, dy.sum(0)


def mean_once_more(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    return dy @ w.T, x.T @ dy / len(x), dy.sum(0)  # dy has the loss's 1 / B already


def bias_mean(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    return dy @ w.T, x.T @ dy, dy.mean(0)


def bias_wrong_axis(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    return dy @ w.T, x.T @ dy, dy.sum(1)


def bias_not_summed(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    return dy @ w.T, x.T @ dy, dy


def bias_forgotten(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    return dy @ w.T, x.T @ dy, np.zeros_like(b)


def order_swapped(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> Grads:
    return x.T @ dy, dy @ w.T, dy.sum(0)


# The mean over the mini-batch, y = mean_b x_b w.


def mean_forward(x: NDArray, w: NDArray) -> NDArray:
    return (x @ w).mean(0)


def mean_backward(dy: NDArray, x: NDArray, w: NDArray) -> Grads:
    dy = np.tile(dy / len(x), (len(x), 1))
    return dy @ w.T, x.T @ dy


def mean_forgotten(dy: NDArray, x: NDArray, w: NDArray) -> Grads:
    dy = np.tile(dy, (len(x), 1))
    return dy @ w.T, x.T @ dy


def check_mean(backward: Callable[..., Grads]) -> Check:
    return lambda: check_gradients((mean_forward, backward), x0, w0, name="mean of a dense layer")


# With a shortcut, y = x w + x.


def shortcut_forward(x: NDArray, w: NDArray) -> NDArray:
    return x @ w + x


def shortcut_backward(dy: NDArray, x: NDArray, w: NDArray) -> Grads:
    return dy @ w.T + dy, x.T @ dy


def shortcut_overwritten(dy: NDArray, x: NDArray, w: NDArray) -> Grads:
    dx = dy
    dx = dy @ w.T  # should be added: x is used twice
    return dx, x.T @ dy


def check_shortcut(backward: Callable[..., Grads]) -> Check:
    return lambda: check_gradients((shortcut_forward, backward), x0, w0, name="shortcut")


# Two layers with one output, y = relu(x w + b) u.


def two_forward(x: NDArray, w: NDArray, b: NDArray, u: NDArray) -> NDArray:
    hidden = x @ w + b
    return np.where(hidden > 0, hidden, 0) @ u


def two_backward(dy: NDArray, x: NDArray, w: NDArray, b: NDArray, u: NDArray) -> Grads:
    hidden = x @ w + b
    dhidden = np.where(hidden > 0, dy @ u.T, 0)
    return dhidden @ w.T, x.T @ dhidden, dhidden.sum(0), np.maximum(hidden, 0).T @ dy


def wrong_upstream(dy: NDArray, x: NDArray, w: NDArray, b: NDArray, u: NDArray) -> Grads:
    hidden = x @ w + b
    dhidden = np.where(hidden > 0, dy @ u.T, 0)
    dw = x.T @ dy  # (4, 1), not (4, 4): w - lr * dw broadcasts without a word
    return dhidden @ w.T, dw, dhidden.sum(0), np.maximum(hidden, 0).T @ dy


def wrong_upstream_bias(dy: NDArray, x: NDArray, w: NDArray, b: NDArray, u: NDArray) -> Grads:
    hidden = x @ w + b
    dhidden = np.where(hidden > 0, dy @ u.T, 0)
    return dhidden @ w.T, x.T @ dhidden, dy.sum(0), np.maximum(hidden, 0).T @ dy


def relu_forgotten(dy: NDArray, x: NDArray, w: NDArray, b: NDArray, u: NDArray) -> Grads:
    hidden = x @ w + b
    dhidden = dy @ u.T
    return dhidden @ w.T, x.T @ dhidden, dhidden.sum(0), np.maximum(hidden, 0).T @ dy


def check_two(backward: Callable[..., Grads]) -> Check:
    inputs = x0, w0, b0, u0[:, :1]
    return lambda: check_gradients((two_forward, backward), *inputs, name="two layers")


MISTAKES = (
    Mistake(
        "dense: dw = x dy instead of x' dy",
        "with B = n_in the shape is right; dw alone is wrong, everywhere, at no constant ratio",
        check(x_not_transposed),
        r"dw: is wrong",
        check(backward),
        wrong={"backward": x_not_transposed},
    ),
    Mistake(
        "dense: dw = dy' x, the transpose of x' dy",
        "with n_in = n_out the shape is right; the diagonal of dw is right too",
        check(dw_transposed),
        r"transposed",
        check(backward),
        wrong={"backward": dw_transposed},
    ),
    Mistake(
        "dense: dx = dy w instead of dy w'",
        "with n_in = n_out the shape is right; dw and db are right, the layers below suffer",
        check(w_not_transposed),
        r"dx: is wrong",
        check(backward),
        wrong={"backward": w_not_transposed},
    ),
    Mistake(
        "dense: dw divided by B once more",
        "ratio 1/4 at B = 4: the loss's 1/B is in dy already; looks like a low learning rate",
        check(mean_once_more),
        r"1/4, and 4 is the size of axis 0.*mean",
        check(backward),
        wrong={"backward": mean_once_more},
    ),
    Mistake(
        "dense: 1/B of a mean forgotten",
        "ratio 4 at B = 4; the learning rate that works changes with the batch size",
        check_mean(mean_forgotten),
        r"ratio 4 everywhere.*mean",
        check_mean(mean_backward),
        wrong={"mean_backward": mean_forgotten},
    ),
    Mistake(
        "dense: db as a mean over the mini-batch",
        "ratio 1/4 at B = 4, in db alone; the biases learn too slowly",
        check(bias_mean),
        r"1/4, and 4 is the size of axis 0.*mean",
        check(backward),
        wrong={"backward": bias_mean},
    ),
    Mistake(
        "dense: db summed over the outputs instead of the mini-batch",
        "with B = n_out the shape is right; with keepdims, (B, 1) broadcasts",
        check(bias_wrong_axis),
        r"db: is wrong",
        check(backward),
        wrong={"backward": bias_wrong_axis},
    ),
    Mistake(
        "dense: db not summed at all",
        "db is (B, n_out): b - lr * db broadcasts, and b becomes a matrix",
        check(bias_not_summed),
        r"db: has shape \(4, 4\), expected \(4,\)",
        check(backward),
        wrong={"backward": bias_not_summed},
    ),
    Mistake(
        "dense: db forgotten",
        "db is all zeros; the biases stay where they started",
        check(bias_forgotten),
        r"all zeros.*never written",
        check(backward),
        wrong={"backward": bias_forgotten},
    ),
    Mistake(
        "dense: dx and dw returned in the wrong order",
        "with square shapes both are wrong, and each is the other",
        check(order_swapped),
        r"dw: is wrong",
        check(backward),
        wrong={"backward": order_swapped},
    ),
    Mistake(
        "dense: the shortcut's gradient overwritten",
        "what is missing from dx is exactly dy; x was used twice, so two gradients add up",
        check_shortcut(shortcut_overwritten),
        r"dx: is wrong",
        check_shortcut(shortcut_backward),
        wrong={"shortcut_backward": shortcut_overwritten},
    ),
    Mistake(
        "dense: dw of the hidden layer from the output's dy",
        "dw is (4, 1) and broadcasts into (4, 4): every unit gets the same step (maml_numpy's dW2)",
        check_two(wrong_upstream),
        r"dw: has shape \(4, 1\), expected \(4, 4\); it broadcasts",
        check_two(two_backward),
        wrong={"two_backward": wrong_upstream},
    ),
    Mistake(
        "dense: db of the hidden layer from the output's dy",
        "db is (1,) and broadcasts into (4,) (maml_numpy's db2)",
        check_two(wrong_upstream_bias),
        r"db: has shape \(1,\), expected \(4,\); it broadcasts",
        check_two(two_backward),
        wrong={"two_backward": wrong_upstream_bias},
    ),
    Mistake(
        "dense: the ReLU between two layers forgotten on the way back",
        "the last layer's gradient is right; everything below is wrong, dead units get gradients",
        check_two(relu_forgotten),
        r"dw: is wrong",
        check_two(two_backward),
        wrong={"two_backward": relu_forgotten},
    ),
)
