"""Claim: "Reptile, since the update has lower variance, also converges to the solution faster"
(than MAML; a popular account of the paper).

Measured at several points of training, task by task: each algorithm's update is computed from
several disjoint sets of k mini-batches of the same task. Its variance over these sets, relative to
the squared mean, is what chance there is in one update; no step size changes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..loops import Loops
from ..model import Model
from ..networks import sine_mlp
from ..optim import SGD
from ..reptile import reptile
from ..tasks.sine import Sine
from .outcome import Outcome, interval
from .taylor import at_tasks, updates

ALPHA, K, SETS = 0.02, 5, 8


NAMES = ("Reptile", "FOMAML", "MAML")


def run(quick: bool, backend: str = "numpy") -> Outcome:
    """Train with Reptile, and look at all three algorithms' updates on the way."""
    iterations, tasks = (300, 30) if quick else (20_000, 300)
    model = sine_mlp(16 if quick else 64, dtype="float64", backend=backend)
    loops = Loops(iterations, meta_batch=5, epsilon=0.1, train_shots=50, state="fresh")
    marks = [0, iterations // 10, iterations]
    rows = looked_at(model, model.init(0), 0, tasks)
    for run in reptile(model, Sine(), SGD(ALPHA), loops):
        if run.iteration in marks:
            rows += looked_at(model, run.theta, run.iteration, tasks)
    lower = [
        mark for mark in marks
        if all(of(rows, "Reptile", mark) < of(rows, name, mark) for name in ("FOMAML", "MAML"))
    ]  # fmt: skip

    def draw(ax: Any) -> None:
        for n, name in enumerate(NAMES):
            here = [row for row in rows if row["algorithm"] == name]
            places = np.arange(len(here)) + 0.25 * (n - 1)
            values, errors = ([row[key] for row in here] for key in ("variance", "ci95"))
            ax.bar(places, values, 0.23, yerr=errors, capsize=2, label=name)
        ax.set_xticks(range(len(marks)), [f"{mark:,}" for mark in marks])
        ax.set(xlabel="iteration", ylabel="variance of the update / its mean square")
        ax.legend()

    ends = ", ".join(f"{of(rows, name, iterations):.3f} ({name})" for name in NAMES)
    return Outcome(
        "Reptile's update has a lower variance than FOMAML's and MAML's.",
        len(lower) == len(marks),
        f"the share of chance in an update is lowest for Reptile at {len(lower)} of {len(marks)} "
        f"points; after {iterations:,} iterations it is {ends}, over {tasks:,} tasks.",
        {"alpha": ALPHA, "k": K, "sets": SETS, "tasks": tasks, "rows": rows},
        draw,
    )


def of(rows: list[dict[str, Any]], name: str, mark: int) -> float:
    """An algorithm's relative variance at an iteration."""
    (row,) = (r for r in rows if r["algorithm"] == name and r["iteration"] == mark)
    return row["variance"]


def looked_at(model: Model, theta: NDArray, iteration: int, tasks: int) -> list[dict[str, Any]]:
    """A row for each algorithm at theta: its relative variance, the mean over tasks."""
    g, hv = at_tasks(model, K * SETS, tasks)
    start = np.repeat(theta[None], tasks, axis=0)
    found = [updates(g, hv, start, list(range(s * K, (s + 1) * K)), ALPHA) for s in range(SETS)]
    rows = []
    for name in found[0]:
        mean, ci95 = interval(relative_variance(np.stack([each[name] for each in found])))
        rows.append({
            "iteration": iteration, "algorithm": name, "variance": float(mean), "ci95": float(ci95),
        })  # fmt: skip
    return rows


def relative_variance(update: NDArray) -> NDArray:
    """trace Cov / E||update||^2 over the first axis of update (sets, tasks, P): between 0, for an
    update without chance, and 1, for chance alone."""
    mean = update.mean(0)
    variance = ((update - mean) ** 2).sum((0, 2)) / (len(update) - 1)
    return variance / (update**2).sum(2).mean(0)
