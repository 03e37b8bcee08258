"""The operations: one record for each, which all that computes, counts or checks them reads.

Floating-point operations are counted as the formula has them: a multiplication and an addition are
two, and so are not fused; exp, log, sqrt, tanh, a division and a comparison are one. Of a
convolution and a dense layer only the matrix products count.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

Arguments = Mapping[str, Any]  # a call's arguments by name, in the kernel's order
Count = Callable[[Arguments], int]

SCRATCH = ("cols",)  # memory that a version may use or leave


@dataclass(frozen=True)
class Operation:
    """What a kernel is for, whichever backend and version it is."""

    name: str  # of the kernel: a function of this name, or with _v1, _v2, ... behind it
    # The kernels are in kernels/MODULE_BACKEND.py, their derivation in the page of that name.
    module: str
    # Arguments that a call overwrites. Each may be None, where nobody wants it.
    written: tuple[str, ...]
    flops: Count  # floating-point operations of a call, from its arguments by name
    updated: tuple[str, ...] = ()  # arguments that a call reads and changes in place

    def traffic(self, arguments: Arguments) -> int:
        """Bytes that a call must move, whatever a version reads again: every input read once,
        every output written once, and what is updated both."""
        return sum(
            array.nbytes * (2 if name in self.updated else 1)
            for name, array in arguments.items()
            if isinstance(array, np.ndarray) and name not in SCRATCH
        )


def _each(name: str, operations: int, **more: int) -> Count:
    """So many operations for each entry of an argument, and more for what is not None."""
    return lambda a: (
        a[name].size * (operations + sum(n for other, n in more.items() if a[other] is not None))
    )


def _product(a: Arguments, name: str) -> int:
    """2 M K N: a product over the weights w (T, ..., N) for every entry of `name` (..., N)."""
    return 2 * a[name].size * prod(a["w"].shape[1:-1])


def _products(a: Arguments) -> int:
    """One for each of dx and dw that is wanted."""
    return _product(a, "dy") * sum(a[name] is not None for name in ("dx", "dw"))


def _comparisons(a: Arguments) -> int:
    """One for each tap of a window."""
    return (a["winner"] if a["y"] is None else a["y"]).size * prod(a["size"])


_GRADIENTS, _LAYER = ("dx", "dw", "db"), ("y",)
_NORM, _NORM_GRADIENTS = ("y", "mean", "rstd"), ("dx", "dgamma", "dbeta")

OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for operation in (
        Operation("conv2d_forward", "conv2d", _LAYER, lambda a: _product(a, "y")),
        Operation("conv2d_backward", "conv2d", _GRADIENTS, _products),
        Operation("dense_forward", "dense", _LAYER, lambda a: _product(a, "y")),
        Operation("dense_backward", "dense", _GRADIENTS, _products),
        # Mean 1, difference 1, its square's sum 2, scale and shift 2.
        Operation("batchnorm_forward", "batchnorm", _NORM, _each("x", 4, y=2)),
        # xhat 2, dbeta 1, dgamma 2, dx 4.
        Operation("batchnorm_backward", "batchnorm", _NORM_GRADIENTS, _each("x", 5, dx=4)),
        # A comparison more.
        Operation("batchnorm_relu_forward", "batchnorm", _NORM, _each("x", 4, y=3)),
        Operation("batchnorm_relu_backward", "batchnorm", _NORM_GRADIENTS, _each("x", 6, dx=4)),
        # Mean 1, two differences 2, their product's sum 2, output 5.
        Operation(
            "batchnorm_forward_r", "batchnorm", ("ry", "rmean", "rrstd"), _each("x", 5, ry=5)
        ),
        # Two differences 2, xhat 1, rxhat 3, rdbeta 1, rdgamma 4, d 4, rd 6, rdx 3.
        Operation(
            "batchnorm_backward_r", "batchnorm", ("rdx", "rdgamma", "rdbeta"),
            _each("x", 11, rdx=13),
        ),
        Operation("relu_forward", "relu", ("y",), _each("x", 1)),
        Operation("relu_backward", "relu", ("dx",), _each("x", 1)),
        Operation("tanh_forward", "tanh", ("y",), _each("x", 1)),
        Operation("tanh_backward", "tanh", ("dx",), _each("y", 3)),
        Operation("tanh_backward_r", "tanh", ("rdx",), _each("y", 7)),
        Operation("maxpool_forward", "maxpool", ("y", "winner"), _comparisons),
        Operation("maxpool_backward", "maxpool", ("dx",), _each("dy", 1)),
        Operation("maxpool_forward_r", "maxpool", ("ry",), _each("ry", 1)),
        # Maximum, difference, exp, sum; quotient, scale.
        Operation(
            "softmax_cross_entropy", "softmax_cross_entropy", ("loss", "dlogits"),
            _each("logits", 4, dlogits=2),
        ),
        # As above, the mean of the tangents 2, difference, product.
        Operation(
            "softmax_cross_entropy_r", "softmax_cross_entropy", ("rdlogits",), _each("logits", 10)
        ),
        # Difference; its square's sum 2; scale.
        Operation(
            "squared_error", "squared_error", ("loss", "dout"), _each("out", 1, loss=2, dout=1)
        ),
        Operation("squared_error_r", "squared_error", ("rdout",), _each("rout", 1)),
        Operation("sgd_step", "sgd", (), _each("phi", 2, velocity=2), ("phi", "velocity")),
        # v 4, root, eps, quotient, rate, difference; 3 more for m.
        Operation("adam_step", "adam", (), _each("phi", 9, m=3), ("phi", "m", "v", "t")),
    )
}  # fmt: skip

# Which module holds which operations; the same for every backend.
MODULES: dict[str, tuple[str, ...]] = {
    module: tuple(o.name for o in OPERATIONS.values() if o.module == module)
    for module in dict.fromkeys(o.module for o in OPERATIONS.values())
}
