"""The update of every algorithm from one theta, over the meta-loss of the same sliders."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...imaml import adapt_near
from ...maml import meta_grad
from ...optim import SGD
from ..answer import Figure, call, figure
from ..values import count, real
from .two_weights import (
    CODE,
    MODEL,
    PLACE,
    TASKS,
    between,
    examples,
    losses_after,
    minibatches,
    off,
    places,
    square,
    ways,
)

METHODS = "joint", "fomaml", "maml", "reptile", "imaml"
SIZE = 48
RATE = real(0.001, 0.5)
STEPS = count(1, 10)
PROX = real(0.1, 4)  # times the highest rate, no more than 2: the pull does not overshoot


@call(tasks=TASKS, rate=RATE, steps=STEPS)
def comparison_plane(tasks: list[Any], rate: float, steps: int) -> dict[str, Any]:
    """MAML's loss after the k - 1 steps, (SIZE, SIZE), and what is zero on a task's solutions."""
    at = places(SIZE)
    return {
        "off": square(off(at, tasks)),
        "after": square(losses_after(at, tasks, rate, steps - 1).mean(0)),
    }


@call(theta=PLACE, tasks=TASKS, rate=RATE, steps=STEPS, epsilon=real(0, 1), prox=PROX)
def comparison(
    theta: list[float], tasks: list[Any], rate: float, steps: int, epsilon: float, prox: float
) -> dict[str, Any]:
    """What each of METHODS adds to theta, (5, 2), how much that is, and at what angle to MAML's.

    It is what minireptile's loops would add with a mini-batch of the task's one example at every
    step, and the last of the k as the tail. NaN where iMAML's theorem does not hold.
    """
    x, y = examples(tasks)
    path, sgd, start = ways(theta, tasks, rate, steps), SGD(rate), np.repeat([theta], len(tasks), 0)
    inner = minibatches(tasks, steps - 1)
    _, at_theta = MODEL.loss_and_grad(start, x, y)
    _, exact = meta_grad(MODEL, start.copy(), *inner, x, y, sgd, {})
    near = start.copy()
    adapt_near(MODEL, near, *inner, sgd, {}, prox)
    updates = np.array([
        -rate * at_theta.mean(0),
        (path[-1] - path[-2]).mean(0),
        -rate * exact.mean(0),
        path[-1].mean(0) - theta,
        -rate * implicit(near, tasks, prox).mean(0) if steps > 1 else np.full(2, np.nan),
    ])  # fmt: skip
    return {
        "updates": epsilon * updates,
        "lengths": epsilon * np.linalg.norm(updates, axis=-1),
        "angles": between(updates, updates[METHODS.index("maml")]),
    }


def implicit(phi: NDArray, tasks: list[Any], prox: float) -> NDArray:
    """iMAML's gradient of each task, (T, 2), at the end of its inner loop: (I + H / lambda)^-1 g
    (kernels/imaml.md, eq. 7), solved as it stands, since the plane has two dimensions. NaN where
    I + H / lambda is not positive definite, so that phi is no minimum (eq. 8)."""
    x, y = examples(tasks)
    _, g = MODEL.loss_and_grad(phi, x, y)
    columns = [MODEL.hvp(phi, x, y, np.tile(e, (len(phi), 1))) for e in np.eye(2)]
    a = np.eye(2) + np.stack(columns, -1) / prox
    across = a[:, 0, 0] * a[:, 1, 1]
    definite = (a[:, 0, 0] > 0) & (across - a[:, 0, 1] * a[:, 1, 0] > 1e-9 * across)
    z = np.full_like(g, np.nan)
    z[definite] = np.linalg.solve(a[definite], g[definite][..., None])[..., 0]
    return z


figure(
    Figure(
        "comparison",
        ("comparison_plane", "plane_outputs", "comparison"),
        {
            "theta": [0.2, 1.0],
            "tasks": [[0.4, 1.3], [2.5, 2.5]],
            "rate": 0.15,
            "steps": 2,
            "epsilon": 1.0,
            "prox": 2.0,
        },
        CODE
        + """
from minireptile.imaml import adapt_near
from minireptile.maml import meta_grad

k, alpha, epsilon, prox = {steps}, {rate}, {epsilon}, {prox}
sgd, start = mr.SGD(alpha), np.repeat(theta[None], T, axis=0)
def times(n): return np.repeat(x[None], n, 0), np.repeat(y[None], n, 0)

_, joint = model.loss_and_grad(start, x, y)
before, after, near = start.copy(), start.copy(), start.copy()
if k > 1: mr.adapt(model, before, *times(k - 1), sgd)           # phi_(k - 1), where the tail judges
mr.adapt(model, after, *times(k), sgd)                          # phi_k
_, maml = meta_grad(model, start.copy(), *times(k - 1), x, y, sgd, {{}})
adapt_near(model, near, *times(k - 1), sgd, {{}}, prox)
_, g = model.loss_and_grad(near, x, y)
H = np.stack([model.hvp(near, x, y, np.tile(e, (T, 1))) for e in np.eye(2)], -1)
imaml = np.linalg.solve(np.eye(2) + H / prox, g[..., None])[..., 0]
updates = epsilon * np.array([
    -alpha * joint.mean(0), (after - before).mean(0), -alpha * maml.mean(0),
    after.mean(0) - theta, -alpha * imaml.mean(0),
])                                             # of joint training, FOMAML, MAML, Reptile, iMAML
""",
        {"updates": "updates"},
        {name: True for name in METHODS} | {"unit": True},
    )
)
