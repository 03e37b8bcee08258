"""iMAML's inner loop: down a loss that is pulled back to theta (kernels/imaml.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...imaml import adapt_near
from ...optim import SGD, State
from ..answer import Figure, call, figure
from ..values import Check, count, listed, point, real
from .two_weights import CODE, MODEL, PLACE, TASKS, examples, places, plane_loss

LONGEST = 60  # steps of the balance
PROX: Check = real(0.01, 100)


class Recorded:
    """An optimizer, and every place that its steps lead to."""

    def __init__(self, optimizer: SGD, theta: NDArray) -> None:
        self.optimizer, self.path = optimizer, [theta.copy()]

    def step(self, phi: NDArray, grad: NDArray, state: State, kernels: Any) -> None:
        """One step, noted down."""
        self.optimizer.step(phi, grad, state, kernels)
        self.path.append(phi.copy())


def way(theta: list[float], tasks: list[Any], prox: float, steps: int, sgd: SGD) -> NDArray:
    """The way of `adapt_near` from theta for each task, (steps + 1, T, 2)."""
    x, y = examples(tasks)
    phi = np.repeat([theta], len(tasks), axis=0)
    recorded: Any = Recorded(sgd, phi)
    state = {"velocity": np.zeros_like(phi)} if sgd.momentum else {}
    xs, ys = np.repeat(x[None], steps, 0), np.repeat(y[None], steps, 0)
    adapt_near(MODEL, phi, xs, ys, recorded, state, prox)
    return np.array(recorded.path)


def forces(path: NDArray, theta: list[float], task: Any, prox: float) -> tuple[NDArray, NDArray]:
    """The gradient of a task's loss at every place (n, 2), and lambda (phi - theta)."""
    x, y = (np.repeat(a, len(path), axis=0) for a in examples([task]))
    return MODEL.loss_and_grad(path, x, y)[1], prox * (path - theta)


@call(theta=PLACE, tasks=TASKS, prox=PROX)
def prox_loss(theta: list[float], tasks: list[Any], prox: float) -> dict[str, Any]:
    """The loss with its pull at every place of the picture, (T, GRID, GRID); the way down to its
    minimum (n, T, 2), where it ends (T, 2), and what is left there of the gradient (T,)."""
    off = plane_loss(tasks)["off"]
    far = np.square(places() - theta).sum(1).reshape(off.shape[1:])
    path = way(theta, tasks, prox, 100, SGD(0.04 / (1 + 0.04 * prox), 0.7))
    ends = [np.sum(forces(path[-1:, t], theta, task, prox), 0)[0] for t, task in enumerate(tasks)]
    return {
        "off": off, "pulled": off**2 + prox / 2 * far, "path": path, "minimum": path[-1],
        "left": np.linalg.norm(ends, axis=1),
    }  # fmt: skip


@call(
    theta=PLACE, tasks=listed(point(-5.0, 5.0), 1, 1), prox=PROX, rate=real(0, 1),
    steps=count(0, LONGEST),
)  # fmt: skip
def balance(
    theta: list[float], tasks: list[Any], prox: float, rate: float, steps: int
) -> dict[str, Any]:
    """The way of the inner loop (LONGEST + 1, 2), and what is left of the balance after each of its
    steps; after `steps` of them phi, the gradient of the loss, and lambda (phi - theta)."""
    path = way(theta, tasks, prox, LONGEST, SGD(rate))[:, 0]
    gradient, pull = forces(path, theta, tasks[0], prox)
    return {
        "way": path, "left": np.linalg.norm(gradient + pull, axis=1),
        "phi": path[steps], "gradient": gradient[steps], "pull": pull[steps],
        "residual": gradient[steps] + pull[steps],
        "sizes": np.linalg.norm([gradient[steps], pull[steps]], axis=1),
    }  # fmt: skip


IMPORT = "from minireptile.imaml import adapt_near\n"

figure(
    Figure(
        "prox_loss",
        ("prox_loss",),
        {"theta": [0.7, 0.7], "tasks": [[0.5, 0.9], [2.0, 1.6]], "prox": 0.5},
        CODE
        + IMPORT
        + """
prox, k = {prox}, 100                                           # lambda, and enough steps
sgd = mr.SGD(0.04 / (1 + 0.04 * prox), momentum=0.7)
phi = np.repeat(theta[None], T, axis=0)
xs, ys = np.repeat(x[None], k, 0), np.repeat(y[None], k, 0)
adapt_near(model, phi, xs, ys, sgd, {{"velocity": np.zeros_like(phi)}}, prox)
left = model.loss_and_grad(phi, x, y)[1] + prox * (phi - theta)  # 0 at a minimum
left = np.linalg.norm(left, axis=1)
""",
        {"minimum": "phi", "left": "left"},
    )
)

figure(
    Figure(
        "balance",
        ("plane_loss", "balance"),
        {"theta": [0.1, 1.0], "tasks": [[2.0, 1.6]], "prox": 1.5, "rate": 0.05, "steps": 5},
        CODE
        + IMPORT
        + """
prox, k = {prox}, {steps}                                       # lambda, and the inner steps
phi = theta[None].copy()
xs, ys = np.repeat(x[None], k, 0), np.repeat(y[None], k, 0)
adapt_near(model, phi, xs, ys, mr.SGD({rate}), {{}}, prox)
phi = phi[0]
gradient = model.loss_and_grad(phi, x[0], y[0])[1]              # what pulls phi to the task
pull = prox * (phi - theta)                                     # what holds it back at theta
residual = gradient + pull                                      # 0 where both balance
""",
        {"phi": "phi", "gradient": "gradient", "pull": "pull", "residual": "residual"},
    )
)
