"""Claim: "Reptile finds a point that (in Euclidean distance) is close to all of the optimal
solution manifolds of the training tasks" (a popular account of the paper's section 5.2). If the
inner steps arrive at the nearest solution, it descends the mean squared distance to them
(kernels/reptile.md, eq. 10 to 13).

Measured twice. In the plane, where a task's solutions are a line: the point that Reptile finds
beside the one that minimises the mean squared distance to all lines. And on sine waves: how far
gradient descent goes from theta until it has solved a task, from Reptile's theta, from joint
training's, and from a random one.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..joint import joint
from ..layers import Dense
from ..loops import Loops
from ..model import Model
from ..networks import sine_mlp
from ..optim import SGD
from ..reptile import adapt, reptile
from ..rng import Stream
from ..tasks.base import Task, sample
from ..tasks.sine import Sine
from .outcome import Finding, Outcome, around, interval, student

LINES = ((1.0, 0.15, 0.9), (0.2, 1.0, 0.7), (0.8, -0.6, -0.2))  # a . theta = b
SOLVED = 0.02  # mean squared error
SEEDS = 5  # of the walks in the plane
# Iterations, tasks and steps at most, if it is to be quick.
SIZES = {True: (1500, 60, 600), False: (30_000, 300, 4000)}
NEAR = 0.02  # in a plane where the lines meet about 0.1 apart


@dataclass(frozen=True)
class Lines:
    """Tasks whose solutions are lines in the plane: y = b at x = a, for theta = (w_1, w_2). With
    `steep`, a task's loss is its squared distance times the square of that."""

    input_shape: tuple[int, ...] = (2,)
    n_out: int = 1
    steep: tuple[float, ...] = (1.0, 1.0, 1.0)

    def draw(self, rng: np.random.Generator, shot: int, query: int) -> Task:
        n = rng.integers(len(LINES))
        line = np.array(LINES[n])
        a, b = line[:2], line[2]
        length = np.linalg.norm(a) / self.steep[n]
        x = np.tile(a / length, (shot + query, 1)).astype(np.float32)
        y = np.full((shot + query, 1), b / length, np.float32)
        return Task(x[:shot], y[:shot], x[shot:], y[shot:])


def run(quick: bool, backend: str = "numpy") -> Outcome:
    walks = [in_the_plane(300 if quick else 3000, seed) for seed in range(SEEDS)]
    path, nearest = walks[0]
    distances = on_sine(quick, backend)
    text = ", ".join(f"{np.mean(way):.2f} ({name})" for name, way in distances.items())
    data = {
        "path": path[:: max(len(path) // 200, 1)], "nearest": nearest, "distances": distances,
        "off": [float(np.linalg.norm(end[-1] - nearest)) for end, _ in walks],
    }  # fmt: skip

    def draw(left: Any, right: Any) -> None:
        span = np.array([-0.6, 1.4])
        for a1, a2, b in LINES:
            left.plot(span, (b - a1 * span) / a2, lw=1, color="0.6")
        left.plot(*path.T, lw=1, label="Reptile")
        left.plot(*nearest, "k+", ms=10, label="least squared distance")
        left.set(xlim=(-0.6, 1.4), ylim=(-0.6, 1.4), xlabel="theta 1", ylabel="theta 2")
        left.legend()
        right.boxplot(list(distances.values()), showfliers=False)
        right.set_xticks(range(1, 1 + len(distances)), list(distances))
        right.set(ylabel=f"way to an error of {SOLVED}")

    return Outcome(
        "Reptile ends near all the tasks' sets of solutions.",
        findings(data),
        f"On {len(distances['Reptile'])} sine waves, gradient descent goes {text} before it has "
        f"solved the task.",
        data, draw, panels=2,
    )  # fmt: skip


def findings(data: dict[str, Any]) -> list[Finding]:
    """The way from Reptile's theta is shorter, task by task, since some tasks are far from
    everywhere; and in the plane theta ends at the point of least squared distance."""
    ways = {name: np.asarray(way, float) for name, way in data["distances"].items()}
    off, half = student(data["off"])
    return [
        *(
            around(f"the way from {whose} theta less that from Reptile's",
                   *map(float, interval(ways[name] - ways["Reptile"])))
            for name, whose in (("joint training", "joint training's"), ("random", "a random"))
        ),
        around("in the plane, the distance of theta from the point of least squared distance",
               off, half, NEAR, above=False),
    ]  # fmt: skip


def in_the_plane(iterations: int, seed: int = 0) -> tuple[NDArray, NDArray]:
    """Reptile's way (n, 2) over lines, and the point of least mean squared distance to them."""
    model = Model([Dense(1, bias=False)], (2,), "squared_error", dtype="float64")
    loops = Loops(
        iterations, meta_batch=30, epsilon=0.1, inner_steps=20, inner_batch=1, train_shots=20,
        state="fresh", seed=seed,
    )  # fmt: skip
    path = [model.init(seed)] + [run.theta for run in reptile(model, Lines(), SGD(0.3), loops)]
    return np.array(path), least()


def least(steep: tuple[float, ...] = (1.0, 1.0, 1.0)) -> NDArray:
    """The point of least mean loss (2,), which is the squared distance where no task is steep."""
    lines = np.array(LINES)
    lengths = np.linalg.norm(lines[:, :2], axis=1) / steep
    found, *_ = np.linalg.lstsq(lines[:, :2] / lengths[:, None], lines[:, 2] / lengths, rcond=None)
    return found


def on_sine(quick: bool, backend: str) -> dict[str, NDArray]:
    """Distances to the first phi with an error below SOLVED, for each unseen task that has one."""
    iterations, tasks, longest = SIZES[quick]
    model = sine_mlp(64, backend=backend)
    loops = Loops(iterations, meta_batch=1, epsilon=0.1, train_shots=50, state="fresh")
    *_, learned = reptile(model, Sine(), SGD(0.02), loops)
    *_, mean = joint(model, Sine(), SGD(0.02), loops)
    starts = {"Reptile": learned.theta, "joint training": mean.theta, "random": model.init(1)}
    x, y = sample(Sine(), 2, 0, meta_batch=tasks, steps=1, batch=50, shot=50, stream=Stream.RUNNING)
    ways = {name: way(model, theta, x, y, longest) for name, theta in starts.items()}
    solved = np.all([np.isfinite(d) for d in ways.values()], axis=0)
    if solved.sum() < 5:  # compare what is left of the way instead, for all tasks
        return {name: way(model, t, x, y, longest, always=True) for name, t in starts.items()}
    return {name: d[solved] for name, d in ways.items()}


def way(
    model: Model, theta: NDArray, x: NDArray, y: NDArray, longest: int, always: bool = False
) -> NDArray:
    """||phi - theta|| of each task when its error falls below SOLVED; infinite if it never does,
    or, with `always`, where it is then."""
    tasks, every = x.shape[1], 20
    phi = np.repeat(theta[None], tasks, axis=0)
    found = np.full(tasks, np.inf)
    for _ in range(0, longest, every):
        adapt(model, phi, np.repeat(x, every, axis=0), np.repeat(y, every, axis=0), SGD(0.02))
        error = ((model.forward(phi, x[0]) - y[0]) ** 2).mean((1, 2))
        distance = np.linalg.norm(phi - theta, axis=1)
        new = np.isinf(found) & (error < SOLVED)
        found[new] = distance[new]
        if np.isfinite(found).all():
            break
    return np.where(np.isinf(found), distance, found) if always else found
