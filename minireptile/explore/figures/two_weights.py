"""The smallest network whose learning can be drawn: y = w2 tanh(w1 x).

theta = (w1, w2) is a point of the plane, its loss a landscape, and a task, one example (x, y), is
solved along a curve. With the loss (w2 tanh(w1 x) - y)^2, two tasks have a saddle and a valley
each, which is all that the algorithms need to differ.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...layers import Dense, Tanh
from ...model import Model
from ..answer import call
from ..values import Check, listed, point

LOW, HIGH = -0.5, 3.0  # of both weights, in the picture
FAR = 20.0  # a theta beyond is no picture's
GRID = 64

MODEL = Model(
    [Dense(1, bias=False), Tanh(), Dense(1, bias=False)], (1,), "squared_error", dtype="float64"
)
PLACE: Check = point(-FAR, FAR)
TASKS: Check = listed(point(-5.0, 5.0), 1, 4)

# What the lines behind a figure begin with.
CODE = """
import numpy as np
import minireptile as mr

model = mr.Model([mr.Dense(1, bias=False), mr.Tanh(), mr.Dense(1, bias=False)], (1,),
                 "squared_error", dtype="float64")              # y = w2 tanh(w1 x)
theta, tasks = np.array({theta}), np.array({tasks})              # a task is one example (x, y)
T = len(tasks)
x, y = tasks[:, 0].reshape(T, 1, 1), tasks[:, 1].reshape(T, 1, 1)
"""


def examples(tasks: list[Any]) -> tuple[NDArray, NDArray]:
    """x and y (T, 1, 1) of the tasks, a mini-batch of one example each."""
    given = np.array(tasks, float)
    return given[:, :1, None], given[:, 1:, None]


def places(size: int = GRID, low: float = LOW, high: float = HIGH) -> NDArray:
    """Every theta of a grid, (size * size, 2), row after row from the lowest w2."""
    along = np.linspace(low, high, size)
    return np.stack(np.meshgrid(along, along), -1).reshape(-1, 2)


@call(tasks=TASKS)
def plane_loss(tasks: list[Any]) -> dict[str, Any]:
    """What each task's output is off by, (T, GRID, GRID), and the mean loss, at every place of the
    picture: one batched call each."""
    phi = places()
    off = [
        MODEL.forward(phi, np.full((len(phi), 1, 1), x))[:, 0, 0].reshape(GRID, GRID) - y
        for x, y in tasks
    ]
    return {"off": np.array(off), "loss": np.mean(np.square(off), axis=0)}
