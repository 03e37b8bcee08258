"""Losses and softmax. Each loss is the mean over a mini-batch of 4; softmax is over 5 classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minireptile.testing import check_gradients

from .record import Check, Mistake

B, CLASSES = 4, 5
rng = np.random.default_rng(7)
z0 = rng.standard_normal((B, CLASSES))
target0 = rng.standard_normal((B, CLASSES))
labels0 = np.array([3, 0, 3, 2])

LossGrads = tuple[NDArray, None]


def softmax(z: NDArray) -> NDArray:
    e = np.exp(z - z.real.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_softmax(z: NDArray) -> NDArray:
    z = z - z.real.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def onehot(labels: NDArray, classes: int) -> NDArray:
    return np.eye(classes)[labels]


# Softmax cross-entropy of logits z, the mean over the mini-batch.


def cross_entropy(z: NDArray, labels: NDArray) -> NDArray:
    return -(log_softmax(z) * onehot(labels, z.shape[1])).sum() / len(z)


def backward(dy: NDArray, z: NDArray, labels: NDArray) -> LossGrads:
    return dy * (softmax(z) - onehot(labels, z.shape[1])) / len(z), None


def sum_not_mean(dy: NDArray, z: NDArray, labels: NDArray) -> LossGrads:
    return dy * (softmax(z) - onehot(labels, CLASSES)), None


def mean_over_classes_too(dy: NDArray, z: NDArray, labels: NDArray) -> LossGrads:
    return dy * (softmax(z) - onehot(labels, CLASSES)) / z.size, None


def sign_reversed(dy: NDArray, z: NDArray, labels: NDArray) -> LossGrads:
    return dy * (onehot(labels, CLASSES) - softmax(z)) / B, None


def without_dy(dy: NDArray, z: NDArray, labels: NDArray) -> LossGrads:
    return (softmax(z) - onehot(labels, CLASSES)) / B, None


def of_probabilities(dy: NDArray, z: NDArray, labels: NDArray) -> LossGrads:
    return dy * -onehot(labels, CLASSES) / softmax(z) / B, None


def labels_from_one(dy: NDArray, z: NDArray, labels: NDArray) -> LossGrads:
    return dy * (softmax(z) - onehot(labels - 1, CLASSES)) / B, None


def onehot_forgotten(dy: NDArray, z: NDArray, labels: NDArray) -> LossGrads:
    return dy * softmax(z) / B, None


def overflow(dy: NDArray, z: NDArray, labels: NDArray) -> LossGrads:
    with np.errstate(all="ignore"):  # as it is outside of tests: a warning that scrolls by
        e = np.exp(z)
        return dy * (e / e.sum(-1, keepdims=True) - onehot(labels, CLASSES)) / B, None


def check(backward: Callable[..., LossGrads], z: NDArray = z0) -> Check:
    forward = cross_entropy
    return lambda: check_gradients((forward, backward), z, labels0, name="softmax cross-entropy")


# Softmax and its logarithm by themselves.


def softmax_backward(dy: NDArray, z: NDArray) -> NDArray:
    p = softmax(z)
    return p * (dy - (p * dy).sum(-1, keepdims=True))


def softmax_diagonal(dy: NDArray, z: NDArray) -> NDArray:
    p = softmax(z)
    return dy * p * (1 - p)


def log_softmax_backward(dy: NDArray, z: NDArray) -> NDArray:
    return dy - softmax(z) * dy.sum(-1, keepdims=True)


def log_softmax_plus(dy: NDArray, z: NDArray) -> NDArray:
    return dy + softmax(z) * dy.sum(-1, keepdims=True)


def log_softmax_not_summed(dy: NDArray, z: NDArray) -> NDArray:
    return dy - softmax(z) * dy


def check_function(forward: Callable[..., NDArray], backward: Callable[..., NDArray]) -> Check:
    return lambda: check_gradients((forward, backward), z0)


# Squared error, the mean over the mini-batch of the sum over outputs.


def squared_error(out: NDArray, target: NDArray) -> NDArray:
    return ((out - target) ** 2).sum() / len(out)


def squared_error_backward(dy: NDArray, out: NDArray, target: NDArray) -> tuple[NDArray, NDArray]:
    dout = 2 * dy * (out - target) / len(out)
    return dout, -dout


def factor_2_forgotten(dy: NDArray, out: NDArray, target: NDArray) -> tuple[NDArray, NDArray]:
    dout = dy * (out - target) / B
    return dout, -dout


def target_sign(dy: NDArray, out: NDArray, target: NDArray) -> tuple[NDArray, NDArray]:
    dout = 2 * dy * (out - target) / B
    return dout, dout


def check_squared(backward: Callable[..., tuple[NDArray, NDArray]]) -> Check:
    return lambda: check_gradients((squared_error, backward), z0, target0)


MISTAKES = (
    Mistake(
        "cross-entropy: p - onehot without 1/B",
        "ratio 4 at B = 4: the gradient of the sum, for a loss that is a mean",
        check(sum_not_mean),
        r"ratio 4 everywhere.*mean",
        check(backward),
        wrong={"backward": sum_not_mean},
    ),
    Mistake(
        "cross-entropy: divided by the number of entries, not of examples",
        "ratio 1/5 at 5 classes: p.mean() over both axes",
        check(mean_over_classes_too),
        r"1/5, and 5 is the size of axis 1.*mean",
        check(backward),
        wrong={"backward": mean_over_classes_too},
    ),
    Mistake(
        "cross-entropy: onehot - p",
        "ratio -1: the loss goes up",
        check(sign_reversed),
        r"ratio -1 everywhere: the sign",
        check(backward),
        wrong={"backward": sign_reversed},
    ),
    Mistake(
        "cross-entropy: dy taken as 1",
        "right as long as the loss is the last thing; wrong once it is weighted",
        check(without_dy),
        r"does not change with the upstream gradient",
        check(backward),
        wrong={"backward": without_dy},
    ),
    Mistake(
        "cross-entropy: gradient of the probabilities used as that of the logits",
        "zero for all classes but the label: -onehot / p, softmax never gone back through",
        check(of_probabilities),
        r"16 of 20 entries are 0 and should not be",
        check(backward),
        wrong={"backward": of_probabilities},
    ),
    Mistake(
        "cross-entropy: one-hot off by one",
        "p at the label is not lowered by one, p beside it is; labels counted from 1",
        check(labels_from_one),
        r"dz: is wrong",
        check(backward),
        wrong={"backward": labels_from_one},
    ),
    Mistake(
        "cross-entropy: one-hot not subtracted",
        "right for every class but the label",
        check(onehot_forgotten),
        r"dz: is wrong",
        check(backward),
        wrong={"backward": onehot_forgotten},
    ),
    Mistake(
        "cross-entropy: exp of large logits in the backward pass only",
        "NaN from logits of about 710 on (89 in float32), while the loss is finite",
        check(overflow, 1000 * z0),
        r"dz: .*NaN",
        check(backward, 1000 * z0),
        wrong={"backward": overflow},
    ),
    Mistake(
        "softmax: the diagonal of its Jacobian only",
        "dy p (1 - p): each probability depends on every logit, not on its own alone",
        check_function(softmax, softmax_diagonal),
        r"dz: is wrong",
        check_function(softmax, softmax_backward),
        wrong={"softmax_backward": softmax_diagonal},
    ),
    Mistake(
        "log-softmax: plus instead of minus",
        "dy + p sum(dy): no longer sums to 0 over the classes",
        check_function(log_softmax, log_softmax_plus),
        r"dz: is wrong",
        check_function(log_softmax, log_softmax_backward),
        wrong={"log_softmax_backward": log_softmax_plus},
    ),
    Mistake(
        "log-softmax: dy not summed over the classes",
        "dy - p dy: right for the class that alone has an upstream gradient",
        check_function(log_softmax, log_softmax_not_summed),
        r"dz: is wrong",
        check_function(log_softmax, log_softmax_backward),
        wrong={"log_softmax_backward": log_softmax_not_summed},
    ),
    Mistake(
        "squared error: factor 2 forgotten",
        "ratio 1/2: half the learning rate",
        check_squared(factor_2_forgotten),
        r"ratio 0\.5 everywhere: a factor 2",
        check_squared(squared_error_backward),
        wrong={"squared_error_backward": factor_2_forgotten},
    ),
    Mistake(
        "squared error: the target's gradient with the output's sign",
        "ratio -1 in one of two gradients that are each other's negative",
        check_squared(target_sign),
        r"ratio -1 everywhere: the sign",
        check_squared(squared_error_backward),
        wrong={"squared_error_backward": target_sign},
    ),
)
