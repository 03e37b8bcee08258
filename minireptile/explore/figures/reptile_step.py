"""One update of Reptile, on a network of two weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...optim import SGD
from ...reptile import adapt
from ..answer import Figure, call, figure
from ..values import count, real
from .two_weights import CODE, MODEL, PLACE, TASKS, examples


@call(theta=PLACE, tasks=TASKS, rate=real(0, 2), steps=count(1, 20), epsilon=real(0, 1))
def reptile_step(
    theta: list[float], tasks: list[Any], rate: float, steps: int, epsilon: float
) -> dict[str, Any]:
    """Every task's way from theta in `steps` steps (steps + 1, T, 2), the mean of where they end,
    and theta after the update."""
    x, y = examples(tasks)
    phi = np.repeat([theta], len(tasks), axis=0)
    path = [phi.copy()]
    for _ in range(steps):
        adapt(MODEL, phi, x[None], y[None], SGD(rate), {})
        path.append(phi.copy())
    mean = phi.mean(0)
    return {
        "path": np.array(path),
        "mean": mean,
        "next": np.array(theta) + epsilon * (mean - theta),
    }


figure(
    Figure(
        "reptile_step",
        ("plane_loss", "reptile_step"),
        {
            "theta": [0.6, 2.4],
            "tasks": [[0.5, 0.9], [2.0, 1.6]],
            "rate": 0.3,
            "steps": 4,
            "epsilon": 0.5,
        },
        CODE
        + """
phi = np.repeat(theta[None], T, axis=0)                         # T copies of theta
k = {steps}
mr.adapt(model, phi, np.repeat(x[None], k, 0), np.repeat(y[None], k, 0), mr.SGD({rate}))
theta = theta + {epsilon} * (phi.mean(0) - theta)               # Reptile's update
""",
        {"next": "theta"},
    )
)
