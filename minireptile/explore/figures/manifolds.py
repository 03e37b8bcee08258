"""Reptile between three tasks whose solutions are lines: it walks to where all are near."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...layers import Dense
from ...loops import Loops, Snapshot
from ...model import Model
from ...optim import SGD
from ...reproduce.manifolds import LINES, Lines, least
from ...reptile import adapt, reptile
from ..answer import Figure, call, figure
from ..values import count, point, real

LOW, HIGH, GRID = -0.6, 1.4, 48  # of the picture
AHEAD = 10  # iterations that are shown before they are taken
ENDLESS = 10**6  # iterations: a run that is broken off
MODEL = Model([Dense(1, bias=False)], (2,), "squared_error", dtype="float64")
NORMALS = np.array([np.array(line) / np.hypot(*line[:2]) for line in LINES])  # (a1, a2, b), |a| = 1


def distance(theta: NDArray) -> NDArray:
    """The mean squared distance of places (..., 2) to the lines."""
    return np.square(theta @ NORMALS[:, :2].T - NORMALS[:, 2]).mean(-1)


@call()
def line_distance() -> dict[str, Any]:
    """Two ends of each line (3, 2, 2), and the mean squared distance to them at every place of the
    picture; where it is least, and how much that is."""
    ends = [[n[:2] * n[2] + s * np.array([-n[1], n[0]]) for s in (-3, 3)] for n in NORMALS]
    along = np.linspace(LOW, HIGH, GRID)
    nearest = least()
    return {
        "lines": np.array(ends),
        "far": distance(np.stack(np.meshgrid(along, along), -1)),
        "nearest": nearest,
        "least": float(distance(nearest)),
    }


@call(
    theta=point(-3.0, 3.0),
    iteration=count(0, 100_000),
    seed=count(0, 999),
    rate=real(0, 0.25),
    steps=count(1, 30),
    batch=count(1, 10),
    epsilon=real(0, 1),
    steep=real(0.5, 2),
)
def manifolds(
    theta: list[float], iteration: int, seed: int, rate: float, steps: int, batch: int,
    epsilon: float, steep: float,
) -> dict[str, Any]:  # fmt: skip
    """The next AHEAD iterations of a run that has done `iteration` of them, [theta, ...]; where the
    tasks of the first one lead (T, 2), and which they are; and the point of least mean loss."""
    tasks = Lines(steep=(steep, 1.0, 1.0))
    loops = Loops(
        ENDLESS, meta_batch=batch, epsilon=epsilon, epsilon_final=epsilon,
        inner_steps=steps, inner_batch=1, train_shots=steps, state="fresh", seed=seed,
    )  # fmt: skip
    run = Snapshot(iteration, np.array(theta), {}, np.empty((0, 0)))
    after = islice(reptile(MODEL, tasks, SGD(rate), loops, run), AHEAD)
    walk = [run.theta, *(run.theta for run in after)]
    x, y = loops.sample(tasks, iteration)
    phi = np.repeat([theta], batch, axis=0)
    adapt(MODEL, phi, x, y, SGD(rate), {})
    return {
        "walk": [place.tolist() for place in walk],  # float64: the page sends one back
        "phi": phi,
        "drawn": np.argmax(x[0, :, 0] @ NORMALS[:, :2].T / np.hypot(*x[0, :, 0].T)[:, None], 1),
        "distance": float(distance(run.theta)),
        "joint": least(tasks.steep),
    }


figure(
    Figure(
        "manifolds",
        ("line_distance", "manifolds"),
        {
            "theta": [1.25, -0.35],
            "iteration": 0,
            "seed": 0,
            "rate": 0.1,
            "steps": 15,
            "batch": 5,
            "epsilon": 0.34,
            "steep": 2.0,
        },
        """
from itertools import islice
import numpy as np
import minireptile as mr
from minireptile.loops import Snapshot
from minireptile.reproduce.manifolds import Lines, least

model = mr.Model([mr.Dense(1, bias=False)], (2,), "squared_error", dtype="float64")
tasks = Lines(steep=({steep}, 1.0, 1.0))                        # a . w = b, drawn at random
loops = mr.Loops(10**6, meta_batch={batch}, epsilon={epsilon}, epsilon_final={epsilon},
                 inner_steps={steps}, inner_batch=1, train_shots={steps}, state="fresh",
                 seed={seed})
run = Snapshot({iteration}, np.array({theta}), {{}}, np.empty((0, 0)))
walk = [run.theta]
for run in islice(mr.reptile(model, tasks, mr.SGD({rate}), loops, run), 10):
    walk.append(run.theta)
nearest, joint = least(), least(tasks.steep)                    # in distance, and in loss
""",
        {"walk": "walk", "nearest": "nearest", "joint": "joint"},
        {"speed": 10},
    )
)
