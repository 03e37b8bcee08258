"""03: losses, which are where every gradient begins."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from minireptile.testing import check_gradients, check_same
from tests.mistakes import losses

from ..record import Exercise, made_in, named

SOLUTION = {
    **named(losses, "squared_error", "squared_error_backward", "softmax", "softmax_backward"),
    **named(losses, "log_softmax", "log_softmax_backward", "onehot"),
    **named(losses, "cross_entropy", "backward"),
}
rng = np.random.default_rng(0)
z, labels = rng.standard_normal((6, 3)), np.array([2, 0, 0, 1, 2, 2])


def check(my: ModuleType) -> None:
    """In the order of the stub: what comes later is made of what came before."""
    many = losses.z0.size
    large = 1000 * losses.z0
    pair = losses.z0, losses.target0
    check_same(my.squared_error, losses.squared_error, *pair, length=many, name="squared_error")
    losses.check_squared(my.squared_error_backward)()
    check_gradients((losses.squared_error, my.squared_error_backward), z, z[::-1])
    for name in ("softmax", "log_softmax"):
        right, own = getattr(losses, name), getattr(my, name)
        check_same(own, right, losses.z0, length=8, name=name)
        check_same(own, right, large, length=8, name=f"{name} of large logits")
        losses.check_function(right, getattr(my, f"{name}_backward"))()
    check_same(my.onehot, losses.onehot, labels, 3, name="onehot")
    entropy = losses.cross_entropy
    for logits in (losses.z0, large):
        check_same(
            my.cross_entropy, entropy, logits, losses.labels0, length=many, name="cross_entropy"
        )
        losses.check(my.backward, logits)()
    check_gradients((entropy, my.backward), z, labels, name="cross-entropy of 3 classes")


EXERCISE = Exercise(
    name="03_cross_entropy",
    title="softmax and the losses",
    minutes=40,
    read="kernels/squared_error.md, eq. 1 and 2; kernels/softmax_cross_entropy.md, eq. 1 to 5",
    hints=(
        "dz = dy (p - onehot(label)) / B with p = softmax(z): kernels/softmax_cross_entropy.md, "
        "eq. 5. The loss itself is eq. 3.",
        "Softmax does not change if the same number is taken from all logits of a row. Take their "
        "largest, and no exp can overflow. keepdims=True keeps (B, N) and (B, 1) apart.",
        "softmax_backward: every p_k depends on every z_n, d p_k / d z_n = p_k (delta_kn - p_n). "
        "Multiply by dy_k and sum over k: one of the two terms is a sum over the row.",
        "log_softmax_backward: d log p_k / d z_n = delta_kn - p_n, so that the same two terms are "
        "there without p in front, and dy is what is summed over the row.",
        "backward: the loss is a mean over B rows, each of which picks one entry of log p, with a "
        "minus sign. Put that into log_softmax_backward, and multiply by dy, a single number.",
    ),
    check=check,
    solution=SOLUTION,
    mistakes=made_in(SOLUTION, losses),
)
