"""With one inner step, Reptile is SGD on the mean loss (kernels/reptile.md, eq. 9)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..answer import Figure, call, figure
from ..values import count, real
from .two_weights import CODE, MODEL, PLACE, TASKS, between, examples, ways

MOST = 20  # of k, in the picture of the angle


@call(theta=PLACE, tasks=TASKS, rate=real(0.001, 2), steps=count(1, MOST), epsilon=real(0, 1))
def one_step(
    theta: list[float], tasks: list[Any], rate: float, steps: int, epsilon: float
) -> dict[str, Any]:
    """Reptile's update and SGD's, at the rate alpha epsilon, and the angle between them in degrees
    for every k, (MOST,)."""
    path = ways(theta, tasks, rate, MOST)
    _, grad = MODEL.loss_and_grad(path[0], *examples(tasks))
    updates = epsilon * (path[1:].mean(1) - theta)
    sgd = -epsilon * rate * grad.mean(0)
    return {
        "path": path[: steps + 1],
        "mean": path[steps].mean(0),
        "reptile": updates[steps - 1],
        "sgd": sgd,
        "angles": between(updates, sgd),
        "lengths": np.linalg.norm([updates[steps - 1], sgd], axis=-1),
    }


figure(
    Figure(
        "one_step",
        ("plane_loss", "one_step"),
        {
            "theta": [0.2, 0.9],
            "tasks": [[1.2, 1.1], [1.5, 2.2]],
            "rate": 0.15,
            "steps": 4,
            "epsilon": 1.0,
        },
        CODE
        + """
def reptile(k):
    phi = np.repeat(theta[None], T, axis=0)
    mr.adapt(model, phi, np.repeat(x[None], k, 0), np.repeat(y[None], k, 0), mr.SGD({rate}))
    return {epsilon} * (phi.mean(0) - theta)

_, grad = model.loss_and_grad(np.repeat(theta[None], T, axis=0), x, y)
update = reptile(k={steps})
sgd = -{rate} * {epsilon} * grad.mean(0)                        # the same, for k = 1
""",
        {"reptile": "update", "sgd": "sgd"},
    )
)
