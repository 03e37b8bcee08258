"""Update rules: what each of K = 6 steps adds to phi, compared with the engine's kernels.

Output k is step k, so the first wrong output tells when it goes wrong, and its ratio how far.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minireptile.kernels.adam_numpy import adam_step
from minireptile.kernels.sgd_numpy import sgd_step
from minireptile.testing import check_same

from .record import Check, Mistake

K, P = 6, 3
LR, MOMENTUM, BETA1, BETA2, EPS = 0.1, 0.9, 0.9, 0.999, 1e-3
grads0 = np.random.default_rng(8).standard_normal((K, P)) + 0.5

Steps = tuple[NDArray, ...]
Run = Callable[[NDArray], Steps]


def adam_reference(grads: NDArray) -> Steps:
    phi, m, v = np.zeros((3, 1, P))
    t = np.zeros(1, np.int64)
    steps = []
    for g in grads:
        phi[...] = 0  # so that phi is the step
        adam_step(phi, m, v, t, g[None], LR, BETA1, BETA2, EPS)
        steps.append(phi[0].copy())
    return tuple(steps)


def momentum_reference(grads: NDArray) -> Steps:
    phi, velocity = np.zeros((2, 1, P))
    steps = []
    for g in grads:
        phi[...] = 0
        sgd_step(phi, velocity, g[None], LR, MOMENTUM)
        steps.append(phi[0].copy())
    return tuple(steps)


def check_adam(run: Run) -> Check:
    return lambda: check_same(run, adam_reference, grads0, length=4 * K, name="adam")


def check_momentum(run: Run) -> Check:
    return lambda: check_same(run, momentum_reference, grads0, length=4 * K, name="momentum")


def adam(grads: NDArray) -> Steps:
    m, v, steps = np.zeros(P), np.zeros(P), []
    for t, g in enumerate(grads, start=1):
        m = BETA1 * m + (1 - BETA1) * g
        v = BETA2 * v + (1 - BETA2) * g**2
        rate = LR * np.sqrt(1 - BETA2**t) / (1 - BETA1**t)
        steps.append(-rate * m / (np.sqrt(v) + EPS))
    return tuple(steps)


def no_bias_correction(grads: NDArray) -> Steps:
    m, v, steps = np.zeros(P), np.zeros(P), []
    for g in grads:
        m = BETA1 * m + (1 - BETA1) * g
        v = BETA2 * v + (1 - BETA2) * g**2
        steps.append(-LR * m / (np.sqrt(v) + EPS))
    return tuple(steps)


def t_not_incremented(grads: NDArray) -> Steps:
    m, v, t, steps = np.zeros(P), np.zeros(P), 1, []
    for g in grads:
        m = BETA1 * m + (1 - BETA1) * g
        v = BETA2 * v + (1 - BETA2) * g**2
        rate = LR * np.sqrt(1 - BETA2**t) / (1 - BETA1**t)
        steps.append(-rate * m / (np.sqrt(v) + EPS))
    return tuple(steps)


def t_from_zero(grads: NDArray) -> Steps:
    m, v, steps = np.zeros(P), np.zeros(P), []
    for t in np.arange(len(grads)):
        m = BETA1 * m + (1 - BETA1) * grads[t]
        v = BETA2 * v + (1 - BETA2) * grads[t] ** 2
        with np.errstate(invalid="ignore"):  # 0 / 0, a warning that scrolls by
            rate = LR * np.sqrt(1 - BETA2**t) / (1 - BETA1**t)
        steps.append(-rate * m / (np.sqrt(v) + EPS))
    return tuple(steps)


def eps_in_the_root(grads: NDArray) -> Steps:
    m, v, steps = np.zeros(P), np.zeros(P), []
    for t, g in enumerate(grads, start=1):
        m = BETA1 * m + (1 - BETA1) * g
        v = BETA2 * v + (1 - BETA2) * g**2
        rate = LR * np.sqrt(1 - BETA2**t) / (1 - BETA1**t)
        steps.append(-rate * m / np.sqrt(v + EPS))
    return tuple(steps)


def betas_swapped(grads: NDArray) -> Steps:
    m, v, steps = np.zeros(P), np.zeros(P), []
    for t, g in enumerate(grads, start=1):
        m = BETA2 * m + (1 - BETA2) * g
        v = BETA1 * v + (1 - BETA1) * g**2
        rate = LR * np.sqrt(1 - BETA1**t) / (1 - BETA2**t)
        steps.append(-rate * m / (np.sqrt(v) + EPS))
    return tuple(steps)


def v_not_squared(grads: NDArray) -> Steps:
    m, v, steps = np.zeros(P), np.zeros(P), []
    for t, g in enumerate(grads, start=1):
        m = BETA1 * m + (1 - BETA1) * g
        v = BETA2 * v + (1 - BETA2) * g
        rate = LR * np.sqrt(1 - BETA2**t) / (1 - BETA1**t)
        with np.errstate(invalid="ignore"):  # the root of a negative number
            steps.append(-rate * m / (np.sqrt(v) + EPS))
    return tuple(steps)


def momentum(grads: NDArray) -> Steps:
    velocity, steps = np.zeros(P), []
    for g in grads:
        velocity = MOMENTUM * velocity + g
        steps.append(-LR * velocity)
    return tuple(steps)


def velocity_overwritten(grads: NDArray) -> Steps:
    steps = []
    for g in grads:
        velocity = g
        steps.append(-LR * velocity)
    return tuple(steps)


def velocity_averaged(grads: NDArray) -> Steps:
    velocity, steps = np.zeros(P), []
    for g in grads:
        velocity = MOMENTUM * velocity + (1 - MOMENTUM) * g
        steps.append(-LR * velocity)
    return tuple(steps)


def applied_before_update(grads: NDArray) -> Steps:
    velocity, steps = np.zeros(P), []
    for g in grads:
        steps.append(-LR * velocity)
        velocity = MOMENTUM * velocity + g
    return tuple(steps)


def uphill(grads: NDArray) -> Steps:
    velocity, steps = np.zeros(P), []
    for g in grads:
        velocity = MOMENTUM * velocity + g
        steps.append(LR * velocity)
    return tuple(steps)


def velocity_aliased(grads: NDArray) -> Steps:
    velocity, steps = np.zeros(P), []
    for g in grads:
        velocity *= MOMENTUM
        velocity -= LR * g
        steps.append(velocity)  # one array six times: should be a copy
    return tuple(steps)


MISTAKES = (
    Mistake(
        "adam: bias correction left out",
        "the first step is (1 - beta1) / sqrt(1 - beta2) = 3.2 times too long; later ones less so",
        check_adam(no_bias_correction),
        r"output 0 .*ratio 3\.16",
        check_adam(adam),
    ),
    Mistake(
        "adam: t not incremented",
        "step 0 is right, all later ones are too short or too long",
        check_adam(t_not_incremented),
        r"output 1 ",
        check_adam(adam),
    ),
    Mistake(
        "adam: t counted from 0",
        "0 / 0 in step 0: phi is NaN from there on",
        check_adam(t_from_zero),
        r"output 0 .*nan",
        check_adam(adam),
    ),
    Mistake(
        "adam: eps inside the root",
        "next to nothing for large gradients; for small ones the step is far too short",
        check_adam(eps_in_the_root),
        r"output 0 .*ratio 0\.",
        check_adam(adam),
    ),
    Mistake(
        "adam: beta1 and beta2 swapped",
        "step 0 is nearly right, for both averages are corrected; then they drift apart",
        check_adam(betas_swapped),
        r"output 0 .*ratio 1\.0",
        check_adam(adam),
    ),
    Mistake(
        "adam: v averages the gradient, not its square",
        "NaN where v is negative, nonsense elsewhere",
        check_adam(v_not_squared),
        r"output 0 .*nan",
        check_adam(adam),
    ),
    Mistake(
        "momentum: velocity overwritten",
        "plain SGD: step 0 is right, later ones lack what went before",
        check_momentum(velocity_overwritten),
        r"output 1 ",
        check_momentum(momentum),
    ),
    Mistake(
        "momentum: gradient scaled by 1 - momentum",
        "another convention: every step is 10 times too short at momentum 0.9",
        check_momentum(velocity_averaged),
        r"output 0 .*ratio 0\.1;",
        check_momentum(momentum),
    ),
    Mistake(
        "momentum: phi moved before the velocity is updated",
        "one step late: step 0 does nothing",
        check_momentum(applied_before_update),
        r"output 0 .*: -?0, expected",
        check_momentum(momentum),
    ),
    Mistake(
        "momentum: added instead of subtracted",
        "ratio -1 from step 0 on: the loss goes up",
        check_momentum(uphill),
        r"output 0 .*ratio -1;",
        check_momentum(momentum),
    ),
    Mistake(
        "momentum: velocity handed out without a copy",
        "every step shows the last velocity; a history of phi without copies looks the same",
        check_momentum(velocity_aliased),
        r"output 0 ",
        check_momentum(momentum),
    ),
)
