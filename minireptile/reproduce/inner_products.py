"""Claim: Reptile raises the inner product of gradients of different mini-batches of one task, which
is why a step on one mini-batch helps on others. Source: Nichol, Achiam & Schulman, 2018, section
5.1 (AvgGradInner), and both popular accounts of it.

Measured along training, at theta, on tasks that are drawn for this alone: the cosine between the
gradients of two mini-batches of the same task, for Reptile and for joint training.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..joint import joint
from ..loops import Loops
from ..model import Model
from ..networks import sine_mlp
from ..optim import SGD
from ..reptile import reptile
from ..rng import Stream
from ..tasks.base import sample
from ..tasks.sine import Sine
from .outcome import Finding, Outcome, around, difference, interval

SIZES = {True: (1500, 200), False: (30_000, 1000)}  # iterations and tasks, if it is to be quick


def run(quick: bool, backend: str = "numpy") -> Outcome:
    """Train both ways and look at the gradients on the way."""
    iterations, tasks = SIZES[quick]
    model = sine_mlp(64, backend=backend)
    loops = Loops(iterations, meta_batch=1, epsilon=0.1, train_shots=50, state="fresh")
    marks = sorted({0, *np.geomspace(10, iterations, 6 if quick else 16).astype(int).tolist()})
    # As many gradients for both; the rate at which joint training learns the mean of all tasks.
    found = {
        "Reptile": along(model, reptile(model, Sine(), SGD(0.02), loops), marks, tasks),
        "joint training": along(model, joint(model, Sine(), SGD(0.02), loops), marks, tasks),
    }
    start, end = (found["Reptile"][i] for i in (0, -1))
    other = found["joint training"][-1]
    data = {"iterations": iterations, "tasks": tasks, **found}

    def draw(ax: Any) -> None:
        for name, rows in found.items():
            x = [row["iteration"] + 1 for row in rows]
            y, ci = (np.array([row[key] for row in rows]) for key in ("cosine", "ci95"))
            ax.plot(x, y, "o-", ms=3, label=name)
            ax.fill_between(x, y - ci, y + ci, alpha=0.2)
        ax.set(xscale="log", xlabel="iteration + 1", ylabel="cosine of two mini-batches' gradients")
        ax.legend()

    return Outcome(
        "As Reptile trains, gradients of a task's mini-batches align.",
        findings(data),
        f"The cosine goes from {start['cosine']:.3f} to {end['cosine']:.3f} +- {end['ci95']:.3f} "
        f"over {tasks:,} unseen tasks; after joint training it is {other['cosine']:.3f}.",
        data, draw,
    )  # fmt: skip


def findings(data: dict[str, Any]) -> list[Finding]:
    """The cosine at the end of training is above that at its start, and above joint training's."""
    ends = {"at the start": data["Reptile"][0], "after joint training": data["joint training"][-1]}
    last, *others = [
        (row["cosine"], row["ci95"]) for row in (data["Reptile"][-1], *ends.values())
    ]  # fmt: skip
    return [
        around(f"the cosine at the end less that {name}", *difference(last, other))
        for name, other in zip(ends, others, strict=True)
    ]


def along(model: Model, training: Any, marks: list[int], tasks: int) -> list[dict[str, float]]:
    """Mean cosine and inner product at each mark."""
    rows = [looked_at(model, model.init(0), 0, tasks)]
    for run in training:
        if run.iteration in marks:
            rows.append(looked_at(model, run.theta, run.iteration, tasks))
    return rows


def looked_at(model: Model, theta: NDArray, iteration: int, tasks: int) -> dict[str, float]:
    x, y = sample(Sine(), 1, 0, meta_batch=tasks, steps=2, batch=10, shot=20, stream=Stream.RUNNING)
    phi = np.repeat(theta[None], tasks, axis=0)
    a, b = (model.loss_and_grad(phi, x[i], y[i])[1].astype(np.float64) for i in range(2))
    products = (a * b).sum(1)
    cosines = products / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    mean, ci95 = interval(cosines)
    return {
        "iteration": iteration, "cosine": float(mean), "ci95": float(ci95),
        "inner_product": float(products.mean()),
    }  # fmt: skip
