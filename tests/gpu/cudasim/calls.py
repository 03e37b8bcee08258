"""Calls of every operation, larger in every direction than the simulator's blocks and tiles: an
operation's own, or else those of the contract, enlarged."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minireptile.kernels.operations import OPERATIONS
from tests.kernels.contract import Gradient, Parameter, Updated, Written
from tests.kernels.contract_calls import enlarged


def numbers(*shape: int) -> NDArray:
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape)


STRIDE, PAD = (2, 1), (1, 0)
X, W, Y = (2, 2, 5, 4, 5), (2, 3, 2, 5, 6), (2, 2, 3, 3, 6)  # x, w and y of a convolution
WEIGHT, MATRIX = Parameter(numbers(*W)), Parameter(numbers(2, 20, 5))
ACTIVE, SCALE = (2, 3, 7, 2), Parameter(numbers(2, 2) + 2)
PHI = numbers(9, 19)
POOLED = (2, 2, 3, 3, 5)
WINNER = np.full(POOLED, 2, np.int32)  # the tap (1, 0), which is inside everywhere
LABELS = np.arange(18).reshape(2, 9) % 3

OWN: dict[str, list[tuple[Any, ...]]] = {
    "conv2d_forward": [
        (Written(Y), None, numbers(*X), WEIGHT, Parameter(numbers(2, 6)), STRIDE, PAD),
    ],
    "conv2d_backward": [
        (
            Written(X), Gradient(W), Gradient((2, 6)), None,
            numbers(*Y), numbers(*X), WEIGHT, STRIDE, PAD,
        ),
    ],
    "dense_forward": [
        (Written((2, 3, 5)), numbers(2, 3, 20), MATRIX, Parameter(numbers(2, 5))),
    ],
    "dense_backward": [
        (
            Written((2, 3, 20)), Gradient((2, 20, 5)), Gradient((2, 5)),
            numbers(2, 3, 5), numbers(2, 3, 20), MATRIX,
        ),
    ],
    "batchnorm_forward": [
        (Written(ACTIVE), Written((2, 2)), Written((2, 2)), numbers(*ACTIVE), SCALE, SCALE, 0.1),
    ],
    "batchnorm_backward": [
        (
            Written(ACTIVE), Gradient((2, 2)), Gradient((2, 2)),
            numbers(*ACTIVE), -numbers(*ACTIVE), numbers(2, 2), numbers(2, 2) + 2, SCALE,
        ),
    ],
    "batchnorm_relu_forward": [
        (Written(ACTIVE), Written((2, 2)), Written((2, 2)), numbers(*ACTIVE), SCALE, SCALE, 0.1),
    ],
    "batchnorm_relu_backward": [
        (
            Written(ACTIVE), Gradient((2, 2)), Gradient((2, 2)), numbers(*ACTIVE),
            numbers(2, 3, 7, 3)[..., 1:], -numbers(*ACTIVE), numbers(2, 2), numbers(2, 2) + 2,
            SCALE,
        ),
    ],
    "batchnorm_forward_r": [
        (
            Written(ACTIVE), Written((2, 2)), Written((2, 2)), numbers(*ACTIVE), SCALE, SCALE,
            -numbers(*ACTIVE), numbers(2, 2), numbers(2, 2) + 2, SCALE,
        ),
    ],
    "batchnorm_backward_r": [
        (
            Written(ACTIVE), Gradient((2, 2)), Gradient((2, 2)), numbers(*ACTIVE),
            -numbers(*ACTIVE), numbers(2, 2), -numbers(2, 2), SCALE, SCALE, SCALE,
            numbers(*ACTIVE) / 2, -numbers(*ACTIVE), numbers(2, 2), numbers(2, 2) + 2, SCALE,
        ),
    ],
    "relu_forward": [(Written(ACTIVE), numbers(*ACTIVE))],
    "relu_backward": [(Written(ACTIVE), numbers(*ACTIVE), -numbers(*ACTIVE))],
    "maxpool_forward": [
        (Written(POOLED), Written(POOLED, integer=True), numbers(*X), (3, 2), STRIDE, PAD),
    ],
    "maxpool_backward": [(Written(X), numbers(*POOLED), WINNER, (3, 2), STRIDE, PAD)],
    "maxpool_forward_r": [(Written(POOLED), numbers(*X), WINNER, (3, 2), STRIDE, PAD)],
    "softmax_cross_entropy": [
        (Written((2,)), Written((2, 9, 3)), numbers(2, 9, 3), LABELS, 1 / 9),
    ],
    "softmax_cross_entropy_r": [
        (Written((2, 9, 3)), numbers(2, 9, 3), -numbers(2, 9, 3), 1 / 9),
    ],
    "squared_error": [
        (Written((2,)), Written((2, 3, 9)), numbers(2, 3, 9), -numbers(2, 3, 9), 1 / 3),
    ],
    "squared_error_r": [
        (Written((2, 3, 9)), numbers(2, 3, 9), -numbers(2, 3, 9), 1 / 3),
    ],
    "sgd_step": [
        (Updated(PHI), None, numbers(9, 19), 0.1, 0.0),
        (Updated(PHI), Updated(-PHI), numbers(9, 19), 0.1, 0.9),
    ],
    "adam_step": [
        (
            Updated(PHI), None, Updated(PHI**2), Updated(np.arange(9)), numbers(9, 19),
            0.1, 0.0, 0.99, 1e-3,
        ),
        (
            Updated(PHI), Updated(-PHI), Updated(PHI**2), Updated(np.arange(9)), numbers(9, 19),
            0.1, 0.9, 0.99, 1e-3,
        ),
    ],
}  # fmt: skip

LARGE: dict[str, list[tuple[Any, ...]]] = {
    operation: OWN.get(operation) or [call.arguments for call in enlarged(operation, 20)]
    for operation in OPERATIONS
}
