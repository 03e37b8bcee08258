"""02: functions entry by entry, where dx = dy f'(x)."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from minireptile.testing import check_same
from tests.mistakes import activations

from ..record import Exercise, made_in, named

FORWARD = {"relu": activations.relu, "leaky": activations.leaky, "sigmoid": activations.sigmoid,
           "swish": activations.swish}  # fmt: skip
SOLUTION = {
    **named(activations, "relu", "relu_backward", "leaky", "leaky_backward", "tanh_backward"),
    **named(activations, "sigmoid", "sigmoid_backward", "swish", "swish_backward"),
}


def check(my: ModuleType) -> None:
    """Each function, then its backward pass, in the order of the stub."""
    for name in ("relu", "leaky", "tanh", "sigmoid", "swish"):
        right = FORWARD.get(name, np.tanh)
        if name in FORWARD:
            check_same(getattr(my, name), right, activations.x0, length=8, name=name)
        activations.check(right, getattr(my, f"{name}_backward"))()


EXERCISE = Exercise(
    name="02_activations",
    title="ReLU, tanh and others: one number in, one number out",
    minutes=25,
    read="kernels/relu.md, eq. 1 and 2; kernels/tanh.md, eq. 1 and 2",
    hints=(
        "dx = dy where x > 0, else 0 (kernels/relu.md, eq. 2); dx = dy (1 - y^2) with y = tanh x "
        "(kernels/tanh.md, eq. 2). All others have the same form: dx = dy f'(x).",
        "An output depends on its own input alone, so that the chain rule has one term: dy, times "
        "the slope at x. dy is a factor and nothing else: it never decides anything.",
        "np.where(condition, a, b) chooses entry by entry, and leaves what it is given alone.",
        "sigmoid: with y = 1 / (1 + exp(-x)), the slope is exp(-x) / (1 + exp(-x))^2. Write that "
        "as a product of two factors, and each with y alone.",
        "swish is x times sigmoid(x): a product, of which both factors depend on x.",
    ),
    check=check,
    solution=SOLUTION,
    mistakes=made_in(SOLUTION, activations),
)
