"""12: the exact meta-gradient, held to the meta-loss by the complex step."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from minireptile.optim import SGD
from minireptile.tasks.sine import Sine
from minireptile.testing import check_same
from tests.mistakes import loops, second_order

from ..form import check_form
from ..learner import passed_module
from ..record import Exercise, made_in, named
from . import waves
from .adam import EXERCISE as ADAM
from .hvp import EXERCISE as HVP

SOLUTION = named(second_order, "meta_gradient")
ITERATIONS, TASKS, INNER_STEPS, OUTER_LR = 600, 4, 5, 0.01


def check(my: ModuleType) -> None:
    """Three inner steps; none; and whether theta stays."""
    theta = loops.theta0.copy()
    given = second_order.query, second_order.curved, second_order.curved_hvp, loops.LR
    check_form(
        "meta_gradient", my.meta_gradient(theta, second_order.support, *given), dtheta=(loops.P,)
    )
    if not np.array_equal(theta, loops.theta0):
        raise AssertionError("meta_gradient changes theta: phi begins as a copy of it")
    second_order.check_maml(my.meta_gradient)()

    def without_steps(theta: NDArray) -> NDArray:
        return my.meta_gradient(theta, [], *given)

    def gradient(theta: NDArray) -> NDArray:
        return second_order.curved(theta, *second_order.query)[1]

    check_same(without_steps, gradient, theta, length=20, name="meta_gradient of 0 steps")


def finish(my: ModuleType, folder: Path) -> str:
    """Learn sine waves by the learner's own meta-gradient, products and Adam."""
    optimizer, second = (passed_module(e, folder) for e in (ADAM, HVP))
    print(
        f"\nYour meta-gradient learns sine waves now, with your Hessian-vector products of 11 and "
        f"your\nAdam of 08: {ITERATIONS * TASKS:,} waves, {INNER_STEPS} steps on each. This takes "
        "some seconds ...",
        flush=True,
    )

    def hvp(phi: NDArray, x: NDArray, y: NDArray, v: NDArray) -> NDArray:
        return waves.flat(second.hvp(waves.parts(phi), x, y, waves.parts(v)))

    def meta_gradient(theta: NDArray) -> NDArray:
        task = Sine().draw(rng, waves.SHOT, 1)
        support, query = waves.mini_batches(task, 1) * INNER_STEPS, waves.query(task)
        return my.meta_gradient(theta, support, query, waves.loss_and_grad, hvp, waves.LR)

    def adapt(phi: NDArray, batches: list[waves.Batch]) -> None:
        loops.adapt(phi, batches, waves.loss_and_grad, SGD(waves.LR))

    rng = np.random.default_rng(0)
    before = theta = waves.first(rng)
    m, v, t = np.zeros_like(theta), np.zeros_like(theta), 0
    for j in range(ITERATIONS):
        grad = np.mean([meta_gradient(theta) for _ in range(TASKS)], axis=0)
        lr = (1 - j / ITERATIONS) * OUTER_LR
        theta, m, v, t = optimizer.adam_step(theta, m, v, t, grad, lr, 0.9, 0.999, 1e-8)
    return waves.told(before, theta, adapt, folder / "12_maml.png")


EXERCISE = Exercise(
    name="12_maml",
    title="exact MAML",
    minutes=25,
    read="kernels/maml.md, eq. 1 to 5",
    hints=(
        "With a = the gradient on query at phi_k, go back through the steps: a <- a - lr H_j a, "
        "from the last step to the first, with H_j where step j began: kernels/maml.md, eq. 3 to "
        "5, where mu = 0 and rho = 1.",
        "A step is phi_j = phi_{j-1} - lr g(phi_{j-1}). Its derivative by phi_{j-1} is I - lr H, "
        "with the Hessian H at phi_{j-1}, on the mini-batch of step j; it is symmetric.",
        "So the way there must keep every place where a step began, in a list. On the way back "
        "both lists are read from their ends: reversed(path), reversed(support).",
        "loss_and_grad on query is asked once, where the steps end. hvp is asked k times, each "
        "time with the a of now. A phi -= ... would change the arrays in the list: phi = phi - ...",
    ),
    check=check,
    solution=SOLUTION,
    mistakes=made_in(SOLUTION, second_order),
    finish=finish,
)
