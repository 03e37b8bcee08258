"""Claim: "Reptile, since the update has lower variance, also converges to the solution faster"
(than MAML; a popular account of the paper).

Measured are both halves. The variance, at several points of training, task by task: each
algorithm's update is computed from several sets of k mini-batches, each set all 50 points of the
task dealt out anew. Its variance over these sets, relative to the squared mean, is what chance
there is in one update; no step size changes it. Reptile's sum sees all points in every set, where
the last step, MAML's and FOMAML's, sees ten. And how soon each gets where all get, with its own
best step size (convergence.py).
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
from .convergence import ALGORITHMS, ALPHA, LEVELS, K, Sizes, draw_race, race
from .outcome import Outcome, interval
from .taylor import at_tasks, updates

SETS = 8
QUICK = [Sizes(40, 1, choice=(1,), report=(0,), tasks=10)]
FULL = [
    Sizes(6000, 1, choice=(5, 6, 7), report=(0, 1, 2, 3, 4), tasks=200),
    Sizes(3000, 5, choice=(5, 6, 7), report=(0, 1, 2, 3, 4), tasks=200),
]


def run(quick: bool, backend: str = "numpy") -> Outcome:
    """Look at all three algorithms' updates as Reptile trains, then let all three train."""
    tasks = 30 if quick else 300
    rows = shares(quick, backend, tasks)
    marks = sorted({row["iteration"] for row in rows})
    lower = [
        mark for mark in marks
        if all(of(rows, "Reptile", mark) < of(rows, name, mark) for name in ("FOMAML", "MAML"))
    ]  # fmt: skip
    first = len(lower) == len(marks)
    model = sine_mlp(16 if quick else 64, backend=backend)
    races = [race(model, sizes) for sizes in (QUICK if quick else FULL)]
    second, by_gradients = (decided(races, unit) for unit in ("iterations", "gradients"))
    says = {True: "holds", False: "does not hold", None: "cannot be seen so soon"}

    def draw(left: Any, right: Any) -> None:
        for n, name in enumerate(ALGORITHMS):
            here = [row for row in rows if row["algorithm"] == name]
            places = np.arange(len(here)) + 0.25 * (n - 1)
            values, errors = ([row[key] for row in here] for key in ("variance", "ci95"))
            left.bar(places, values, 0.23, yerr=errors, capsize=2, label=name)
        left.set_xticks(range(len(marks)), [f"{mark:,}" for mark in marks])
        left.set(xlabel="iteration", ylabel="variance of the update / its mean square")
        draw_race(right, races[0])

    ends = ", ".join(f"{of(rows, name, marks[-1]):.3f} ({name})" for name in ALGORITHMS)
    return Outcome(
        "Reptile's update has a lower variance than FOMAML's and MAML's, and so it converges "
        "faster than MAML.",
        first and second is True,
        f"the first half {says[first]}: the share of chance in an update "
        f"is lowest for Reptile at {len(lower)} of {len(marks)} points; after {marks[-1]:,} "
        f"iterations it is {ends}, over {tasks:,} tasks. The second half {says[second]} "
        f"in iterations, and {says[by_gradients]} in gradients, which stand in brackets: "
        f"{'; '.join(told(found) for found in races)}.",
        {"alpha": ALPHA, "k": K, "sets": SETS, "tasks": tasks, "rows": rows,
         "variance_is_lower": first, "converges_faster": second,
         "converges_faster_by_gradients": by_gradients, "races": races},
        draw, panels=2,
    )  # fmt: skip


def shares(quick: bool, backend: str, tasks: int) -> list[dict[str, Any]]:
    """Rows of relative variances at the start, a tenth of the way and the end of a training run."""
    iterations = 300 if quick else 20_000
    model = sine_mlp(16 if quick else 64, dtype="float64", backend=backend)
    loops = Loops(iterations, meta_batch=5, epsilon=0.1, train_shots=50, state="fresh")
    rows = looked_at(model, model.init(0), 0, tasks)
    for run in reptile(model, Sine(), SGD(ALPHA), loops):
        if run.iteration in (iterations // 10, iterations):
            rows += looked_at(model, run.theta, run.iteration, tasks)
    return rows


def decided(races: list[dict[str, Any]], unit: str) -> bool | None:
    """Whether Reptile was sooner in all races; None if one of them shows nothing yet."""
    answers = {sooner(found, unit) for found in races}
    return False if False in answers else None if None in answers else True


def sooner(found: dict[str, Any], unit: str) -> bool | None:
    """Whether Reptile reaches each level after fewer iterations, or gradients, than MAML; None if
    neither has got far enough for that to mean anything."""
    if min(found["least"][name] for name in ("Reptile", "MAML")) > found["start"] / 4:
        return None
    reached = found["reached"]
    pairs = [[reached[level][name][unit] for name in ("Reptile", "MAML")] for level in LEVELS]
    return all(mine is not None and (other is None or mine < other) for mine, other in pairs)


def told(found: dict[str, Any]) -> str:
    """In words, after how many iterations and gradients each algorithm reaches each level."""
    words = []
    for level in LEVELS:
        each = ", ".join(
            f"{name} {its['iterations']:,.0f} ({its['gradients']:,.0f}"
            + "; its epsilon is at the edge of its grid" * its["at_edge"] + ")"
            if its["iterations"] is not None else f"{name} more than there were"
            for name, its in found["reached"][level].items()
        )  # fmt: skip
        words.append(f"to an error of {found['levels'][level]:.2g}, {level}, {each}")
    T = found["meta_batch"]
    return f"with {T} task{'s' * (T > 1)} an iteration it takes, {' and '.join(words)}"


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
