"""What MAML minimises: the loss after the inner steps, over the plane of theta; and two tasks with
one theta between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...maml import meta_grad
from ...optim import SGD
from ..answer import Figure, call, figure
from ..values import count, real
from .two_weights import (
    CODE,
    MODEL,
    PLACE,
    TASKS,
    examples,
    losses_after,
    minibatches,
    off,
    places,
    square,
    ways,
)

WIDE = -2.5, 2.5  # of both weights: these figures' tasks have solutions on both sides of zero
SIZE = 48  # of the grid: twenty steps from each of its places in a few milliseconds

RATE = real(0.001, 1)
STEPS = count(0, 20)


@call(tasks=TASKS)
def task_losses(tasks: list[Any]) -> dict[str, Any]:
    """Each task's loss without a step, (T, SIZE, SIZE), their mean, and what is zero on its
    solutions."""
    found = square(off(places(SIZE, WIDE, WIDE), tasks))
    return {"off": found, "losses": found**2, "loss": np.mean(found**2, axis=0)}


@call(tasks=TASKS, rate=RATE, steps=STEPS)
def meta_loss(tasks: list[Any], rate: float, steps: int) -> dict[str, Any]:
    """The mean loss after `steps` inner steps, (SIZE, SIZE)."""
    found = losses_after(places(SIZE, WIDE, WIDE), tasks, rate, steps)
    return {"after": square(found.mean(0))}


@call(theta=PLACE, tasks=TASKS, rate=RATE, steps=STEPS)
def meta_ways(theta: list[float], tasks: list[Any], rate: float, steps: int) -> dict[str, Any]:
    """The tasks' ways from theta, (steps + 1, T, 2); their losses before and after, (T,); and the
    gradients of the former and of the latter by theta, (T, 2) and their means."""
    start = np.repeat([theta], len(tasks), axis=0)
    x, y = examples(tasks)
    before, grads = MODEL.loss_and_grad(start, x, y)
    losses, exact = meta_grad(MODEL, start.copy(), *minibatches(tasks, steps), x, y, SGD(rate), {})
    return {
        "path": ways(theta, tasks, rate, steps),
        "loss_before": before,
        "loss_after": losses[-1],
        "grads": grads,
        "meta_grads": exact,
        "mean_grad": grads.mean(0),
        "mean_meta_grad": exact.mean(0),
    }


LINES = (
    CODE
    + """
from minireptile.maml import meta_grad

start, m = np.repeat(theta[None], T, axis=0), {steps}            # T copies of theta
loss_before, grad = model.loss_and_grad(start, x, y)            # at theta
many = np.repeat(x[None], m, 0), np.repeat(y[None], m, 0)
loss, exact = meta_grad(model, start.copy(), *many, x, y, mr.SGD({rate}), {{}})
loss_after = loss[-1]                                           # after m steps
mean_grad, mean_meta_grad = grad.mean(0), exact.mean(0)
"""
)
GIVES = {
    name: name for name in ("loss_before", "loss_after", "mean_grad", "mean_meta_grad")
} | {"meta_grads": "exact"}  # fmt: skip
OPPOSITE = [[1.0, 1.5], [1.0, -1.5]]

figure(
    Figure(
        "meta_loss",
        ("task_losses", "meta_loss", "meta_ways"),
        {"theta": [0.5, 0.4], "tasks": OPPOSITE, "rate": 0.2, "steps": 3},
        LINES,
        GIVES,
    )
)
figure(
    Figure(
        "two_losses",
        ("task_losses", "meta_loss", "meta_ways"),
        {"theta": [1.2, 0.3], "tasks": OPPOSITE, "rate": 0.2, "steps": 2},
        LINES,
        GIVES,
    )
)
