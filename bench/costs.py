"""What each operation writes and what it costs, by the names of its arguments.

Operations are counted as the formula has them: a multiplication and an addition are two, and so
are not fused; exp, log, sqrt, tanh, a division and a comparison are one. Of a convolution and a
dense layer only the matrix products count. Bytes are the compulsory traffic: every input read once
and every output written once, whatever a version reads again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

Arguments = Mapping[str, Any]  # a call's arguments by name, in the kernel's order

SCRATCH = ("cols",)  # memory that a version may use or leave


@dataclass(frozen=True)
class Cost:
    """What an operation writes, what it updates in place, and its floating-point operations."""

    written: tuple[str, ...]
    flops: Callable[[Arguments], int]
    updated: tuple[str, ...] = ()


def _each(name: str, operations: int) -> Callable[[Arguments], int]:
    """So many operations for each entry of an argument."""
    return lambda a: operations * a[name].size


def _product(a: Arguments, name: str) -> int:
    """2 M K N: a product over the weights w (T, ..., N) for every entry of `name` (..., N)."""
    return 2 * a[name].size * prod(a["w"].shape[1:-1])


def _two_products(a: Arguments) -> int:
    """One for dw, and one for dx where it is wanted."""
    return _product(a, "dy") * (1 if a["dx"] is None else 2)


COSTS: dict[str, Cost] = {
    "conv2d_forward": Cost(("y",), lambda a: _product(a, "y")),
    "conv2d_backward": Cost(("dx", "dw", "db"), _two_products),
    "dense_forward": Cost(("y",), lambda a: _product(a, "y")),
    "dense_backward": Cost(("dx", "dw", "db"), _two_products),
    # Mean 1, difference 1, its square's sum 2, scale and shift 2.
    "batchnorm_forward": Cost(("y", "mean", "rstd"), _each("x", 6)),
    # xhat 2, dbeta 1, dgamma 2, dx 4.
    "batchnorm_backward": Cost(("dx", "dgamma", "dbeta"), _each("x", 9)),
    # Mean 1, two differences 2, their product's sum 2, output 5.
    "batchnorm_forward_r": Cost(("ry", "rmean", "rrstd"), _each("x", 10)),
    # Two differences 2, xhat 1, rxhat 3, rdbeta 1, rdgamma 4, d 4, rd 6, rdx 3.
    "batchnorm_backward_r": Cost(("rdx", "rdgamma", "rdbeta"), _each("x", 24)),
    "relu_forward": Cost(("y",), _each("x", 1)),
    "relu_backward": Cost(("dx",), _each("x", 1)),
    "tanh_forward": Cost(("y",), _each("x", 1)),
    "tanh_backward": Cost(("dx",), _each("y", 3)),
    "tanh_backward_r": Cost(("rdx",), _each("y", 7)),
    "maxpool_forward": Cost(("y", "winner"), lambda a: a["y"].size * prod(a["size"])),
    "maxpool_backward": Cost(("dx",), _each("dy", 1)),
    "maxpool_forward_r": Cost(("ry",), _each("ry", 1)),
    # Maximum, difference, exp, sum, quotient, scale.
    "softmax_cross_entropy": Cost(("loss", "dlogits"), _each("logits", 6)),
    # As above, the mean of the tangents 2, difference, product.
    "softmax_cross_entropy_r": Cost(("rdlogits",), _each("logits", 10)),
    # Difference, its square's sum 2, scale.
    "squared_error": Cost(("loss", "dout"), _each("out", 4)),
    "squared_error_r": Cost(("rdout",), _each("rout", 1)),
    "sgd_step": Cost(
        (), lambda a: a["phi"].size * (2 if a["velocity"] is None else 4), ("phi", "velocity")
    ),
    # v 4, root, eps, quotient, rate, difference; 3 more for m.
    "adam_step": Cost(
        (), lambda a: a["phi"].size * (9 if a["m"] is None else 12), ("phi", "m", "v", "t")
    ),
}


def flops(operation: str, arguments: Arguments) -> int:
    """Floating-point operations of a call."""
    return COSTS[operation].flops(arguments)


def traffic(operation: str, arguments: Arguments) -> int:
    """Bytes that a call must move: inputs read, outputs written, what is updated both."""
    updated = COSTS[operation].updated
    return sum(
        array.nbytes * (2 if name in updated else 1)
        for name, array in arguments.items()
        if isinstance(array, np.ndarray) and name not in SCRATCH
    )
