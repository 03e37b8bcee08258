"""10: Reptile's step of theta, and its outer loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minireptile.optim import SGD
from minireptile.tasks.sine import Sine
from minireptile.testing import check_same
from tests.mistakes import loops
from tests.mistakes.loops import Batches, reptile_step

from ..form import check_form
from ..learner import passed_module
from ..record import Exercise, made_in
from . import waves
from .inner_loop import EXERCISE as INNER_LOOP

ITERATIONS, POINTS, INNER_STEPS = 4000, 50, 5


def reptile(
    theta: NDArray, draw: Callable[[int], Sequence[Batches]], adapt: Callable[..., None],
    epsilon: float, iterations: int,
) -> NDArray:  # fmt: skip
    for j in range(iterations):
        theta = reptile_step(theta, draw(j), adapt, (1 - j / iterations) * epsilon)
    return theta


SOLUTION: dict[str, Callable] = {"reptile_step": reptile_step, "reptile": reptile}


def drawn(j: int) -> list[Batches]:
    """The meta-batch of iteration j: other numbers in each."""
    return [loops.batches_of(loops.a0, c + j) for c in loops.c0]


def by_hand(theta: NDArray, iterations: int) -> NDArray:
    """theta after so many iterations, by the closed form of the inner loop."""
    for j in range(iterations):
        ends = [loops.path_reference(theta, loops.a0, c + j)[-1] for c in loops.c0]
        epsilon = (1 - j / iterations) * loops.EPSILON
        theta = theta + epsilon * (np.mean(ends, axis=0) - theta)
    return theta


def check(my: ModuleType) -> None:
    """One step; then runs of 1, 2 and 3 iterations."""
    theta = loops.theta0.copy()
    result = my.reptile_step(theta, drawn(0), loops.sgd_steps, loops.EPSILON)
    check_form("reptile_step", result, theta=(loops.P,))
    loops.check_reptile(my.reptile_step)()
    if not np.array_equal(theta, loops.theta0):
        raise AssertionError("reptile_step changes the theta that it is given: make a new array")

    def run(theta: NDArray) -> Any:
        return tuple(
            my.reptile(theta.copy(), drawn, loops.sgd_steps, loops.EPSILON, n) for n in (1, 2, 3)
        )

    for result in run(loops.theta0):
        check_form("reptile", result, theta=(loops.P,))
    said = "theta after a run of 1, 2 and 3 iterations (output 0 to 2)"
    check_same(
        run, lambda theta: tuple(by_hand(theta, n) for n in (1, 2, 3)), loops.theta0,
        length=60, name=said,
    )  # fmt: skip


def finish(my: ModuleType, folder: Path) -> str:
    """Learn sine waves by the learner's own loops."""
    inner, sgd = passed_module(INNER_LOOP, folder), SGD(waves.LR)
    print(
        f"\nYour outer loop and your inner loop of 09 learn sine waves now: {ITERATIONS:,} of "
        f"them,\n{INNER_STEPS} steps on each. This takes some seconds ...",
        flush=True,
    )

    def adapt(phi: NDArray, batches: list[waves.Batch]) -> None:
        inner.adapt(phi, batches, waves.loss_and_grad, sgd)

    def draw(j: int) -> list[list[waves.Batch]]:
        return [waves.mini_batches(Sine().draw(rng, POINTS), INNER_STEPS)]

    rng = np.random.default_rng(0)
    before = waves.first(rng)
    after = my.reptile(before, draw, adapt, 1.0, ITERATIONS)
    return waves.told(before, after, adapt, folder / "10_reptile.png")


EXERCISE = Exercise(
    name="10_reptile",
    title="Reptile",
    minutes=15,
    read="kernels/reptile.md, eq. 1 and 2",
    hints=(
        "theta' = theta + epsilon (mean over the tasks of phi_k - theta); epsilon_j = (1 - j/N) "
        "epsilon_0: eq. 1 and 2 of kernels/reptile.md, with epsilon_N = 0.",
        "Every task has a phi of its own, which begins as a copy of theta and which adapt changes. "
        "If phi is theta itself, theta moves too, and phi - theta is 0.",
        "T copies at once: np.repeat(theta[None], T, axis=0), (T, P). adapt(phi[t], batches) works "
        "on row t, and phi.mean(0) is the mean over the tasks.",
        "reptile is a loop over reptile_step: each iteration draws its own tasks, and begins where "
        "the one before it ended.",
    ),
    check=check,
    solution=SOLUTION,
    mistakes=made_in(SOLUTION, loops),
    finish=finish,
)
