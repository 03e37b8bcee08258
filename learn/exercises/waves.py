"""What 10 and 12 end with: a small network learns to learn sine waves from ten points."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minireptile.tasks.base import Task
from minireptile.tasks.sine import Sine
from tests.mistakes import second_order
from tests.mistakes.loops import Batch
from tests.mistakes.second_order import flat, network

from ..learner import shown

# The network gets a number as PLACES bumps, of which those near it are high. So one hidden layer
# does, the one that exercise 11 differentiates twice.
PLACES, HIDDEN = 16, 40
SHAPES = (PLACES, HIDDEN), (HIDDEN,), (HIDDEN, 1), (1,)
LR, SHOT, UNSEEN, MARKS = 0.05, 10, 200, (0, 1, 5, 10)

Adapt = Callable[[NDArray, list[Batch]], None]


def seen(x: NDArray) -> NDArray:
    """Numbers (B, 1) of [-5, 5] as the network sees them, (B, PLACES)."""
    return np.exp(-((x - np.linspace(-5, 5, PLACES)) ** 2) / 2)


def parts(phi: NDArray) -> Any:
    """w, b, u and c of a vector (P,)."""
    return second_order.parts(phi, SHAPES)


def loss_and_grad(phi: NDArray, x: NDArray, y: NDArray) -> tuple[Any, NDArray]:
    """As the stubs have it."""
    loss, grad = network(parts(phi), x, y)
    return loss, flat(grad)


def forward(phi: NDArray, x: NDArray) -> NDArray:
    """What the network makes of x (B, PLACES)."""
    w, b, u, c = parts(phi)
    return np.tanh(x @ w + b) @ u + c


def first(rng: np.random.Generator) -> NDArray:
    """Parameters that have learned nothing yet."""
    sizes = PLACES**-0.5, 1, HIDDEN**-0.5, 0
    return flat(tuple(n * rng.standard_normal(s) for n, s in zip(sizes, SHAPES, strict=True)))


def mini_batches(task: Task, k: int) -> list[Batch]:
    """The support set in k mini-batches."""
    x, y = (np.split(a.astype(float), k) for a in (task.support_x, task.support_y))
    return [(seen(x_i), y_i) for x_i, y_i in zip(x, y, strict=True)]


def query(task: Task) -> Batch:
    """The whole wave."""
    return seen(task.query_x), task.query_y.astype(float)


def unseen() -> Iterator[Task]:
    """Waves that nothing is trained on."""
    rng = np.random.default_rng(1)
    return (Sine().draw(rng, SHOT, 1) for _ in range(UNSEEN))


def path(theta: NDArray, task: Task, adapt: Adapt) -> Iterator[NDArray]:
    """phi after MARKS steps on the support set."""
    phi = theta.copy()
    for done, mark in zip((0, *MARKS), MARKS, strict=False):
        adapt(phi, mini_batches(task, 1) * (mark - done))
        yield phi.copy()


def errors(theta: NDArray, adapt: Adapt) -> NDArray:
    """Mean squared errors of unseen waves after MARKS steps."""
    every = []
    for task in unseen():
        x, y = query(task)
        every.append([np.mean((forward(phi, x) - y) ** 2) for phi in path(theta, task, adapt)])
    return np.mean(every, axis=0)


def told(before: NDArray, after: NDArray, adapt: Adapt, file: Path) -> str:
    """What adaptation comes to from parameters before and after training, and the picture."""
    steps = "".join(f"{mark:>9}" for mark in MARKS)
    rows = [f"  {'steps on ' + str(SHOT) + ' points':<20}{steps}"]
    for name, theta in (("before training", before), ("after training", after)):
        rows.append(f"  {name:<20}" + "".join(f"{e:9.3f}" for e in errors(theta, adapt)))
    table = "\n".join(rows)
    said = f"Mean squared error on {UNSEEN} waves that it has never seen:\n\n{table}\n"
    return f"{said}\n{picture(before, after, adapt, file)}"


def picture(before: NDArray, after: NDArray, adapt: Adapt, file: Path) -> str:
    """Save an unseen wave and the way to it, before training and after; say where."""
    try:
        from matplotlib import colormaps
        from matplotlib.figure import Figure
    except ImportError:
        return "The picture was left out: matplotlib is not installed (pip install matplotlib)."
    task = max((t for t, _ in zip(unseen(), range(8), strict=False)), key=lambda t: t.query_y.max())
    grid = np.linspace(-5, 5, 201)[:, None]
    colors = colormaps["viridis"](np.linspace(0.85, 0, len(MARKS)))
    figure: Any = Figure(figsize=(9.6, 3.8), layout="constrained", dpi=150)
    axes = figure.subplots(ncols=2, sharey=True)
    for ax, theta, title in zip(
        axes, (before, after), ("before training", "after training"), strict=True
    ):
        ax.plot(task.query_x, task.query_y, color="0.75", lw=5, label="the wave")
        for phi, mark, color in zip(path(theta, task, adapt), MARKS, colors, strict=True):
            word = "step" if mark == 1 else "steps"
            ax.plot(grid, forward(phi, seen(grid)), color=color, lw=1.6, label=f"{mark} {word}")
        ax.plot(task.support_x, task.support_y, "o", color="C3", label=f"its {SHOT} points")
        ax.set(title=title, xlabel="x")
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right", frameon=False)
    try:
        figure.savefig(file)
    except OSError as error:
        return f"The picture could not be saved in {shown(file)}: {error.strerror or error}."
    return f"A picture of one of them: {shown(file)}"
