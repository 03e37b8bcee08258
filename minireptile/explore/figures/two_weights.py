"""The smallest network whose learning can be drawn: y = w2 tanh(w1 x).

theta = (w1, w2) is a point of the plane, its loss a landscape, and a task, one example (x, y), is
solved along a curve. With the loss (w2 tanh(w1 x) - y)^2, each has a valley and a saddle, which is
all that the algorithms need to differ.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...layers import Dense, Tanh
from ...model import Model
from ...optim import SGD
from ...reptile import adapt
from ..answer import call
from ..values import Check, count, listed, point, real

Range = tuple[float, float]
SPAN: Range = -0.5, 3.0  # of both weights, in most pictures
FAR = 20.0  # a theta beyond is no picture's
GRID = 64
WIDE = -3.0, 3.0  # of x, in the picture of the network's output
ALONG = 61

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


def minibatches(tasks: list[Any], k: int) -> tuple[NDArray, NDArray]:
    """x and y (k, T, 1, 1): k mini-batches of a task that has one example are all the same."""
    x, y = examples(tasks)
    return np.repeat(x[None], k, axis=0), np.repeat(y[None], k, axis=0)


def places(size: int = GRID, w1: Range = SPAN, w2: Range = SPAN) -> NDArray:
    """Every theta of a grid, (size * size, 2), row after row from the lowest w2."""
    along = np.linspace(*w1, size), np.linspace(*w2, size)
    return np.stack(np.meshgrid(*along), -1).reshape(-1, 2)


def ways(theta: list[float], tasks: list[Any], rate: float, steps: int) -> NDArray:
    """Where each task's inner loop comes by, from theta on: (steps + 1, T, 2)."""
    x, y = minibatches(tasks, 1)
    phi = np.repeat([theta], len(tasks), axis=0)
    path = [phi.copy()]
    for _ in range(steps):
        adapt(MODEL, phi, x, y, SGD(rate), {})
        path.append(phi.copy())
    return np.array(path)


def off(phi: NDArray, tasks: list[Any]) -> NDArray:
    """What each task's output is off by, (T, n), at n places (n, 2): zero on its solutions."""
    return np.array([
        MODEL.forward(phi, np.full((len(phi), 1, 1), x))[:, 0, 0] - y for x, y in tasks
    ])  # fmt: skip


def losses_after(phi: NDArray, tasks: list[Any], rate: float, steps: int) -> NDArray:
    """Each task's loss, (T, n), after `steps` steps from each of n places: the places are the tasks
    of one batched inner loop."""
    found = []
    for x, y in tasks:
        there, same = phi.copy(), (steps, len(phi), 1, 1)
        adapt(MODEL, there, np.full(same, x), np.full(same, y), SGD(rate), {})
        found.append(off(there, [[x, y]])[0] ** 2)
    return np.array(found)


def between(a: NDArray, b: NDArray) -> NDArray:
    """The angle from 0 to 180 degrees between vectors of the plane."""
    across, along = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0], (a * b).sum(-1)
    return np.degrees(np.arctan2(np.abs(across), along))


def square(grid: NDArray) -> NDArray:
    """What was computed at `places`, row by row."""
    size = int(grid.shape[-1] ** 0.5)
    return grid.reshape(*grid.shape[:-1], size, size)


@call(tasks=TASKS)
def plane_loss(tasks: list[Any]) -> dict[str, Any]:
    """What each task's output is off by, (T, GRID, GRID), and the mean loss, at every place of the
    picture: one batched call each."""
    found = square(off(places(), tasks))
    return {"off": found, "loss": np.mean(found**2, axis=0)}


@call(theta=PLACE, tasks=TASKS, rate=real(0.001, 2), steps=count(0, 20))
def plane_outputs(theta: list[float], tasks: list[Any], rate: float, steps: int) -> dict[str, Any]:
    """The network's output along x, (1 + T, ALONG), before and after each task's steps."""
    phi = np.concatenate([[theta], ways(theta, tasks, rate, steps)[-1]])
    x = np.linspace(*WIDE, ALONG)
    return {"outputs": MODEL.forward(phi, np.repeat(x[None, :, None], len(phi), axis=0))[..., 0]}
