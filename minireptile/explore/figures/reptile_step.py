"""One update of Reptile, on a network of two weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..answer import Figure, call, figure
from ..values import count, real
from .two_weights import CODE, PLACE, TASKS, ways


@call(theta=PLACE, tasks=TASKS, rate=real(0.001, 2), steps=count(1, 20), epsilon=real(0, 1))
def reptile_step(
    theta: list[float], tasks: list[Any], rate: float, steps: int, epsilon: float
) -> dict[str, Any]:
    """Every task's way from theta in `steps` steps (steps + 1, T, 2), the mean of where they end,
    and theta after the update."""
    path = ways(theta, tasks, rate, steps)
    mean = path[-1].mean(0)
    return {
        "path": path,
        "mean": mean,
        "next": np.array(theta) + epsilon * (mean - theta),
    }


figure(
    Figure(
        "reptile_step",
        ("plane_loss", "plane_outputs", "reptile_step"),
        {
            "theta": [1.0, 1.5],
            "tasks": [[0.5, 2.2], [1.3, 0.7]],
            "rate": 0.15,
            "steps": 10,
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
