"""09: the inner loop, on tasks that are solved by hand."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from minireptile.optim import SGD, Adam
from minireptile.testing import check_same
from tests.mistakes import loops

from ..form import check_form
from ..record import Exercise, made_in, named

SOLUTION = named(loops, "adapt", "adapt_tasks")


def check(my: ModuleType) -> None:
    """One task by SGD; all tasks by Adam, which has a state; and whether theta stays."""
    loops.check_path(my.adapt)()
    theta = loops.theta0.copy()
    tasks = [loops.batches_of(loops.a0, c) for c in loops.c0[:2]]
    phi = my.adapt_tasks(theta, tasks, loops.quadratic, SGD(loops.LR))
    check_form("adapt_tasks", phi, phi=(2, loops.P))
    if not np.array_equal(theta, loops.theta0):
        raise AssertionError("adapt_tasks changes theta: every task's phi begins as a copy of it")
    loops.check_tasks(my.adapt_tasks)()

    def adapted(theta: NDArray, a: NDArray, c: NDArray) -> NDArray:
        my.adapt(theta, loops.batches_of(a, c), loops.quadratic, Adam(0.1))
        return theta

    def right(theta: NDArray, a: NDArray, c: NDArray) -> NDArray:
        loops.adapt(theta, loops.batches_of(a, c), loops.quadratic, Adam(0.1))
        return theta

    inputs = loops.theta0, loops.a0, loops.c0[0]
    check_same(adapted, right, *inputs, length=20, name="phi of a task by Adam")


EXERCISE = Exercise(
    name="09_inner_loop",
    title="the inner loop",
    minutes=20,
    read="kernels/adapt.md, eq. 1, and kernels/adam.md",
    hints=(
        "phi_i, state_i = U(phi_{i-1}, state_{i-1}, g_i), where g_i is the gradient at phi_{i-1}, "
        "on mini-batch i; phi_0 = theta: kernels/adapt.md, eq. 1.",
        "adapt is a state and a loop: for each mini-batch one gradient, at the phi of now, and one "
        "step with it. Both lines are in the stub's text.",
        "optimizer.step changes phi where it lies, so that nothing need be returned. phi = theta "
        "would not be a copy but another name: theta.copy(), or np.repeat(theta[None], T, axis=0).",
        "In adapt_tasks, phi[t] is a view of row t of phi: adapt(phi[t], ...) changes that row.",
    ),
    check=check,
    solution=SOLUTION,
    mistakes=made_in(SOLUTION, loops),
)
