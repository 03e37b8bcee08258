"""08: two optimizers, held to the engine's kernels."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minireptile.kernels import adam_numpy
from minireptile.testing import check_same
from tests.mistakes import optimizers

from ..form import check_form
from ..record import Exercise, made_in, named

SOLUTION = named(optimizers, "momentum_steps", "adam_step")
LR, BETA1, BETA2, EPS = 0.01, 0.8, 0.95, 1e-6
phi, m, v, grad = np.random.default_rng(0).standard_normal((4, 5))
v = 2 + v * v


def kernel(phi: NDArray, m: NDArray, v: NDArray, t: int, grad: NDArray) -> Any:
    """The kernel's step, which works in place on arrays with a task axis."""
    phi, m, v, steps = phi[None].copy(), m[None].copy(), v[None].copy(), np.array([t])
    adam_numpy.adam_step(phi, m, v, steps, grad[None], LR, BETA1, BETA2, EPS)
    return phi[0], m[0], v[0], steps[0]


def check(my: ModuleType) -> None:
    """Six steps from zero; then one in the middle of a run, and all that is kept."""
    grads = optimizers.grads0
    steps = my.momentum_steps(grads.copy(), 0.1, 0.9)
    check_form("momentum_steps", steps, steps=grads.shape)
    optimizers.check_momentum(my.momentum_steps)()

    def step(phi: NDArray, m: NDArray, v: NDArray, t: int, grad: NDArray) -> Any:
        result = my.adam_step(phi, m, v, t, grad, LR, BETA1, BETA2, EPS)
        check_form("adam_step", result, phi=phi.shape, m=m.shape, v=v.shape, t=())
        return result

    step(phi.copy(), m.copy(), v.copy(), 3, grad.copy())
    optimizers.check_adam(my.adam_step)()
    said = "phi, m, v and t (output 0 to 3) after step 4"
    check_same(step, kernel, phi, m, v, 3, grad, length=8, name=said)


EXERCISE = Exercise(
    name="08_adam",
    title="momentum and Adam",
    minutes=15,
    read="kernels/sgd.md, eq. 1 and 2, and kernels/adam.md, eq. 1 to 4",
    hints=(
        "u = mu u + g, and a step is -lr u. m = beta1 m + (1 - beta1) g; v = beta2 v + "
        "(1 - beta2) g^2; a step is -lr sqrt(1 - beta2^t) / (1 - beta1^t) times m / (sqrt(v) + "
        "eps), with t counted from 1: eq. 1 to 4 of kernels/adam.md.",
        "Momentum first updates the velocity, then moves by it. If the velocity is changed in "
        "place, a list of it six times holds one array six times.",
        "Adam's m and v begin at 0, so that at first they are too small, by the factors "
        "1 - beta1^t and 1 - beta2^t: kernels/adam.md, eq. 5. Both corrections are one number, "
        "the same for all parameters.",
        "Five lines: t, m, v, the rate with both corrections, and what is returned. eps is added "
        "to the root, and is not under it.",
    ),
    check=check,
    solution=SOLUTION,
    mistakes=made_in(SOLUTION, optimizers),
)
