"""Update rules: what each of K = 6 steps adds to phi, compared with the engine's kernels.

Output k is step k, so the first wrong output tells when it goes wrong, and its ratio how far.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minireptile.kernels import adam_numpy, sgd_numpy
from minireptile.testing import check_same

from .record import Check, Mistake

K, P = 6, 3
LR, MOMENTUM, BETA1, BETA2, EPS = 0.1, 0.9, 0.9, 0.999, 1e-3
grads0 = np.random.default_rng(8).standard_normal((K, P)) + 0.5

Steps = tuple[NDArray, ...]
Moved = tuple[NDArray, NDArray, NDArray, int]  # phi, m, v, t after a step


def adam_reference(grads: NDArray) -> Steps:
    phi, m, v = np.zeros((3, 1, P))
    t = np.zeros(1, np.int64)
    steps = []
    for g in grads:
        phi[...] = 0  # so that phi is the step
        adam_numpy.adam_step(phi, m, v, t, g[None], LR, BETA1, BETA2, EPS)
        steps.append(phi[0].copy())
    return tuple(steps)


def momentum_reference(grads: NDArray) -> Steps:
    phi, velocity = np.zeros((2, 1, P))
    steps = []
    for g in grads:
        phi[...] = 0
        sgd_numpy.sgd_step(phi, velocity, g[None], LR, MOMENTUM)
        steps.append(phi[0].copy())
    return tuple(steps)


def check_adam(adam_step: Callable[..., Moved]) -> Check:
    def run(grads: NDArray) -> Steps:
        m, v, t, steps = np.zeros(P), np.zeros(P), 0, []
        with np.errstate(all="ignore"):  # 0 / 0 and roots, warnings that scroll by
            for g in grads:
                phi, m, v, t = adam_step(np.zeros(P), m, v, t, g, LR, BETA1, BETA2, EPS)
                steps.append(phi)
        return tuple(steps)

    return lambda: check_same(run, adam_reference, grads0, length=4 * K, name="adam")


def check_momentum(momentum_steps: Callable[..., Steps]) -> Check:
    def run(grads: NDArray) -> Steps:
        return momentum_steps(grads, LR, MOMENTUM)

    return lambda: check_same(run, momentum_reference, grads0, length=4 * K, name="momentum")


def adam_step(
    phi: NDArray, m: NDArray, v: NDArray, t: int, grad: NDArray,
    lr: float, beta1: float, beta2: float, eps: float,
) -> Moved:  # fmt: skip
    t += 1
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    rate = lr * np.sqrt(1 - beta2**t) / (1 - beta1**t)
    return phi - rate * m / (np.sqrt(v) + eps), m, v, t


def no_bias_correction(
    phi: NDArray, m: NDArray, v: NDArray, t: int, grad: NDArray,
    lr: float, beta1: float, beta2: float, eps: float,
) -> Moved:  # fmt: skip
    t += 1
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    return phi - lr * m / (np.sqrt(v) + eps), m, v, t


def t_not_incremented(
    phi: NDArray, m: NDArray, v: NDArray, t: int, grad: NDArray,
    lr: float, beta1: float, beta2: float, eps: float,
) -> Moved:  # fmt: skip
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    rate = lr * np.sqrt(1 - beta2 ** (t + 1)) / (1 - beta1 ** (t + 1))
    return phi - rate * m / (np.sqrt(v) + eps), m, v, t


def t_from_zero(
    phi: NDArray, m: NDArray, v: NDArray, t: int, grad: NDArray,
    lr: float, beta1: float, beta2: float, eps: float,
) -> Moved:  # fmt: skip
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    rate = lr * np.sqrt(1 - beta2**t) / (1 - beta1**t)
    return phi - rate * m / (np.sqrt(v) + eps), m, v, t + 1


def eps_in_the_root(
    phi: NDArray, m: NDArray, v: NDArray, t: int, grad: NDArray,
    lr: float, beta1: float, beta2: float, eps: float,
) -> Moved:  # fmt: skip
    t += 1
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    rate = lr * np.sqrt(1 - beta2**t) / (1 - beta1**t)
    return phi - rate * m / np.sqrt(v + eps), m, v, t


def betas_swapped(
    phi: NDArray, m: NDArray, v: NDArray, t: int, grad: NDArray,
    lr: float, beta1: float, beta2: float, eps: float,
) -> Moved:  # fmt: skip
    t += 1
    m = beta2 * m + (1 - beta2) * grad
    v = beta1 * v + (1 - beta1) * grad**2
    rate = lr * np.sqrt(1 - beta1**t) / (1 - beta2**t)
    return phi - rate * m / (np.sqrt(v) + eps), m, v, t


def v_not_squared(
    phi: NDArray, m: NDArray, v: NDArray, t: int, grad: NDArray,
    lr: float, beta1: float, beta2: float, eps: float,
) -> Moved:  # fmt: skip
    t += 1
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad
    rate = lr * np.sqrt(1 - beta2**t) / (1 - beta1**t)
    return phi - rate * m / (np.sqrt(v) + eps), m, v, t


def momentum_steps(grads: NDArray, lr: float, mu: float) -> Steps:
    velocity, steps = np.zeros(grads.shape[1]), []
    for g in grads:
        velocity = mu * velocity + g
        steps.append(-lr * velocity)
    return tuple(steps)


def velocity_overwritten(grads: NDArray, lr: float, mu: float) -> Steps:
    steps = []
    for g in grads:
        velocity = g
        steps.append(-lr * velocity)
    return tuple(steps)


def velocity_averaged(grads: NDArray, lr: float, mu: float) -> Steps:
    velocity, steps = np.zeros(grads.shape[1]), []
    for g in grads:
        velocity = mu * velocity + (1 - mu) * g
        steps.append(-lr * velocity)
    return tuple(steps)


def applied_before_update(grads: NDArray, lr: float, mu: float) -> Steps:
    velocity, steps = np.zeros(grads.shape[1]), []
    for g in grads:
        steps.append(-lr * velocity)
        velocity = mu * velocity + g
    return tuple(steps)


def uphill(grads: NDArray, lr: float, mu: float) -> Steps:
    velocity, steps = np.zeros(grads.shape[1]), []
    for g in grads:
        velocity = mu * velocity + g
        steps.append(lr * velocity)
    return tuple(steps)


def velocity_aliased(grads: NDArray, lr: float, mu: float) -> Steps:
    velocity, steps = np.zeros(grads.shape[1]), []
    for g in grads:
        velocity *= mu
        velocity -= lr * g
        steps.append(velocity)  # one array six times: should be a copy
    return tuple(steps)


MISTAKES = (
    Mistake(
        "adam: bias correction left out",
        "the first step is (1 - beta1) / sqrt(1 - beta2) = 3.2 times too long; later ones less so",
        check_adam(no_bias_correction),
        r"output 0 .*ratio 3\.16",
        check_adam(adam_step),
        wrong={"adam_step": no_bias_correction},
    ),
    Mistake(
        "adam: t not incremented",
        "step 0 is right, all later ones are too short or too long",
        check_adam(t_not_incremented),
        r"output 1 ",
        check_adam(adam_step),
        wrong={"adam_step": t_not_incremented},
    ),
    Mistake(
        "adam: t counted from 0",
        "0 / 0 in step 0: phi is NaN from there on",
        check_adam(t_from_zero),
        r"output 0 .*nan",
        check_adam(adam_step),
        wrong={"adam_step": t_from_zero},
    ),
    Mistake(
        "adam: eps inside the root",
        "next to nothing for large gradients; for small ones the step is far too short",
        check_adam(eps_in_the_root),
        r"output 0 .*ratio 0\.",
        check_adam(adam_step),
        wrong={"adam_step": eps_in_the_root},
    ),
    Mistake(
        "adam: beta1 and beta2 swapped",
        "step 0 is nearly right, for both averages are corrected; then they drift apart",
        check_adam(betas_swapped),
        r"output 0 .*ratio 1\.0",
        check_adam(adam_step),
        wrong={"adam_step": betas_swapped},
    ),
    Mistake(
        "adam: v averages the gradient, not its square",
        "NaN where v is negative, nonsense elsewhere",
        check_adam(v_not_squared),
        r"output 0 .*nan",
        check_adam(adam_step),
        wrong={"adam_step": v_not_squared},
    ),
    Mistake(
        "momentum: velocity overwritten",
        "plain SGD: step 0 is right, later ones lack what went before",
        check_momentum(velocity_overwritten),
        r"output 1 ",
        check_momentum(momentum_steps),
        wrong={"momentum_steps": velocity_overwritten},
    ),
    Mistake(
        "momentum: gradient scaled by 1 - momentum",
        "another convention: every step is 10 times too short at momentum 0.9",
        check_momentum(velocity_averaged),
        r"output 0 .*ratio 0\.1;",
        check_momentum(momentum_steps),
        wrong={"momentum_steps": velocity_averaged},
    ),
    Mistake(
        "momentum: phi moved before the velocity is updated",
        "one step late: step 0 does nothing",
        check_momentum(applied_before_update),
        r"output 0 .*: -?0, expected",
        check_momentum(momentum_steps),
        wrong={"momentum_steps": applied_before_update},
    ),
    Mistake(
        "momentum: added instead of subtracted",
        "ratio -1 from step 0 on: the loss goes up",
        check_momentum(uphill),
        r"output 0 .*ratio -1;",
        check_momentum(momentum_steps),
        wrong={"momentum_steps": uphill},
    ),
    Mistake(
        "momentum: velocity handed out without a copy",
        "every step shows the last velocity; a history of phi without copies looks the same",
        check_momentum(velocity_aliased),
        r"output 0 ",
        check_momentum(momentum_steps),
        wrong={"momentum_steps": velocity_aliased},
    ),
)
