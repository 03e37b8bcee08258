"""Claim: "Reptile, since the update has lower variance, also converges to the solution faster"
(than MAML; a popular account of the paper).

Measured are both halves. The variance, at several points of training, task by task: each
algorithm's update is computed from several sets of k mini-batches, each set all 50 points of the
task dealt out anew. Its variance over these sets, relative to the squared mean, is what chance
there is in one update; no step size changes it. Reptile's sum sees all points in every set, where
the last step, MAML's and FOMAML's, sees ten. And how soon each gets where all get, with its own
best step size (convergence.py).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..loops import Loops
from ..model import Model
from ..networks import sine_mlp
from ..optim import SGD
from ..reptile import reptile
from ..tasks.sine import Sine
from .convergence import ALGORITHMS, ALPHA, GRADIENTS, LEVELS, K, Sizes, draw_race, race
from .outcome import Finding, Outcome, around, decide, difference, exactly, interval, ratio, weakest
from .taylor import at_tasks, updates

SETS = 8
LEARNED = 4  # times less than the untrained error
QUICK = [Sizes(200, 5, choice=(1,), report=(0, 1, 2, 3), tasks=40)]
FULL = [
    Sizes(6000, 1, choice=(5, 6, 7), report=(0, 1, 2, 3, 4), tasks=200),
    Sizes(3000, 5, choice=(5, 6, 7), report=(0, 1, 2, 3, 4), tasks=200),
]


def run(quick: bool, backend: str = "numpy") -> Outcome:
    """Look at all three algorithms' updates as Reptile trains, then let all three train."""
    tasks = 30 if quick else 300
    rows = shares(quick, backend, tasks)
    marks = sorted({row["iteration"] for row in rows})
    model = sine_mlp(32 if quick else 64, backend=backend)
    races = [race(model, sizes) for sizes in (QUICK if quick else FULL)]
    data: dict[str, Any] = {
        "alpha": ALPHA, "k": K, "sets": SETS, "tasks": tasks, "rows": rows, "races": races
    }  # fmt: skip
    data["verdicts"] = {
        "lower variance": decide([chance(data)]),
        "sooner in iterations": decide(sooner(data, "iterations")),
        "sooner in gradients": decide(sooner(data, "gradients")),
    }

    def draw(left: Any, right: Any) -> None:
        for n, name in enumerate(ALGORITHMS):
            here = [row for row in rows if row["algorithm"] == name]
            places = np.arange(len(here)) + 0.25 * (n - 1)
            values, errors = ([row[key] for row in here] for key in ("variance", "ci95"))
            left.bar(places, values, 0.23, yerr=errors, capsize=2, label=name)
        left.set_xticks(range(len(marks)), [f"{mark:,}" for mark in marks])
        left.set(xlabel="iteration", ylabel="variance of the update / its mean square")
        draw_race(right, races[0])

    ends = ", ".join(f"{of(rows, name, marks[-1])[0]:.3f} ({name})" for name in ALGORITHMS)
    halves = "; ".join(f"{half}: {verdict}" for half, verdict in data["verdicts"].items())
    return Outcome(
        "Reptile's update has a lower variance than FOMAML's and MAML's, and so it converges "
        "faster than MAML.",
        findings(data),
        f"By halves, {halves}. The share of chance in an update after {marks[-1]:,} iterations is "
        f"{ends}, over {tasks:,} tasks. {' '.join(told(found) for found in races)}",
        data, draw, panels=2,
    )  # fmt: skip


def findings(data: dict[str, Any]) -> list[Finding]:
    """Both halves of the claim, the second in iterations."""
    return [chance(data), *sooner(data, "iterations")]


def chance(data: dict[str, Any]) -> Finding:
    """The share of chance in Reptile's update is below both others', wherever it was looked at."""
    marks = sorted({row["iteration"] for row in data["rows"]})
    return weakest(
        around(f"the share of chance in {name}'s update less that in Reptile's, after {mark:,} "
               f"iterations,",
               *difference(of(data["rows"], name, mark), of(data["rows"], "Reptile", mark)))
        for mark in marks for name in ("FOMAML", "MAML")
    )  # fmt: skip


def sooner(data: dict[str, Any], unit: str) -> list[Finding]:
    """Reptile reaches each level of each race after fewer iterations, or gradients, than MAML, run
    by run. A run that never does is counted as if it did at its end. If neither has learned much,
    it is too soon for this."""
    found = []
    for each in data["races"]:
        tasks = f"{each['meta_batch']} task{'s' * (each['meta_batch'] > 1)}"
        least = min(each["least"][name] for name in ("Reptile", "MAML"))
        found.append(exactly(f"with {tasks} an iteration, the untrained error over the least",
                             each["start"] / least, LEARNED, needed=True))  # fmt: skip
        for level, by in each["reached"].items():
            mine, other = (
                np.array([each["iterations"] if run is None else max(run, 1.0)
                          for run in by[name]["each_run"]])
                * (GRADIENTS[name] if unit == "gradients" else 1.0)
                for name in ("Reptile", "MAML")
            )  # fmt: skip
            what = f"MAML's {unit} to an error of {each['levels'][level]:.2g} over Reptile's"
            found.append(ratio(f"{what}, with {tasks} an iteration,", other, mine))
    return found


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


def told(found: dict[str, Any]) -> str:
    """In words, after how many iterations and gradients each algorithm reaches each level."""
    words, edges = [], set()
    for level in LEVELS:
        each = []
        for name, its in found["reached"][level].items():
            if its["iterations"] is None:
                each.append(f"{name} not within {found['iterations']:,}")
            else:
                each.append(f"{name} {its['iterations']:,.0f} ({its['gradients']:,.0f})")
            edges |= {name} if its["at_edge"] else set()
        words.append(f"to an error of {found['levels'][level]:.2g}, {level}, {', '.join(each)}")
    T = found["meta_batch"]
    at_edge = f" The best epsilon of {' and '.join(sorted(edges))} is the last of its grid."
    return (
        f"With {T} task{'s' * (T > 1)} an iteration, the median run takes so many iterations "
        f"(gradients): {'; '.join(words)}.{at_edge if edges else ''}"
    )


def of(rows: list[dict[str, Any]], name: str, mark: int) -> tuple[float, float]:
    """An algorithm's relative variance at an iteration, and its interval."""
    (row,) = (r for r in rows if r["algorithm"] == name and r["iteration"] == mark)
    return row["variance"], row["ci95"]


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
