"""Claim: larger meta-batches have diminishing returns. An iteration on more tasks gets further, but
less and less so; and the same tasks get further in small meta-batches than in large ones. Source:
Charles et al., "On Large-Cohort Training for Federated Learning", 2021, of the cohorts of federated
averaging, which Reptile's meta-batches are (kernels/federated.md).

Measured on 5-way 5-shot, with and without an outer Adam, each with its own best step size, chosen
on training characters: the accuracy after equal numbers of tasks, and of iterations.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from ..loops import Loops, Snapshot
from ..lots import Map
from ..model import Model
from ..networks import omniglot_cnn
from ..optim import Adam, Optimizer
from ..reptile import reptile
from ..tasks.images import FewShot
from .characters import accuracy, characters
from .outcome import Finding, Outcome, around, difference, weakest

T = (1, 5, 20, 100)
RATES: dict[str, tuple[float, ...]] = {  # epsilon at the start, or the rate of the outer Adam
    "no outer optimizer": (0.5, 1.0, 2.0),
    "outer Adam": (0.001, 0.003, 0.01),
}
# Tasks seen in all where these are equal; iterations where those are; unseen tasks to judge by.
SIZES = {True: (400, 20, 100), False: (6000, 300, 500)}
PARTS = (16, 4, 2, 1)  # accuracy is measured after a 16th of the iterations, a quarter, ...
INNER = Adam(0.001, beta1=0.0)

Row = dict[str, Any]


def run(quick: bool, backend: str = "numpy", data: str = "", workers: Map | None = None) -> Outcome:
    """Train with every size of the meta-batch, on as many tasks and in as many iterations."""
    total, iterations, tasks = SIZES[quick]
    train, test, of = characters(quick, data)
    model = omniglot_cnn(5, filters=8 if quick else 16, backend=backend)

    @cache  # the two comparisons meet where total = size * iterations
    def curve(outer: str, size: int, count: int) -> list[Row]:
        return learned(model, train, test, outer, size, count, tasks, workers)

    curves = {
        equal: {
            outer: {str(size): curve(outer, size, count or total // size) for size in T}
            for outer in RATES
        }
        for equal, count in (("tasks", 0), ("iterations", iterations))
    }
    start = accuracy(model, model.init(0), {}, test, tasks, INNER, workers)
    record: dict[str, Any] = {
        "tasks": total, "iterations": iterations, "judged_on": tasks, "characters": of,
        "untrained": start, "curves": curves,
    }  # fmt: skip
    text = "; ".join(
        f"after {count:,} {equal}, {outer}: "
        + ", ".join(f"{100 * rows[-1]['accuracy']:.1f} (T = {size})" for size, rows in ends.items())
        for equal, count in (("tasks", total), ("iterations", iterations))
        for outer, ends in curves[equal].items()
    )
    ends = [rows[-1] for by in curves.values() for ends in by.values() for rows in ends.values()]

    def draw(left: Any, right: Any) -> None:
        for ax, equal, seen in ((left, "tasks", True), (right, "iterations", False)):
            for outer, by in curves[equal].items():
                for n, (size, rows) in enumerate(by.items()):
                    at = [row["iteration"] * (int(size) if seen else 1) for row in rows]
                    heights = [row["accuracy"] for row in rows]
                    style, end = ("o--", ", Adam") if "Adam" in outer else ("o-", "")
                    ax.plot(at, heights, style, ms=3, color=f"C{n}", label=f"T = {size}{end}")
            ax.axhline(start["accuracy"], color="k", lw=0.5)
            ticks = [row["iteration"] for row in curves[equal][outer]["1"]]
            ax.set(xscale="log", xlabel="tasks seen" if seen else "iterations")
            ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
            ax.set_xticks([], minor=True)
            ax.set_ylabel("5-way 5-shot accuracy, transductive")
        left.legend(fontsize=6, ncols=2, handlelength=3)

    return Outcome(
        "Larger meta-batches have diminishing returns: an iteration on more tasks gets further, "
        "but less and less so, and the same tasks get further in small meta-batches.",
        findings(record),
        f"Accuracies in %, {100 * start['accuracy']:.1f} before training, +- "
        f"{100 * max(row['ci95'] for row in ends):.1f} or less: {text} ({tasks} unseen tasks, "
        f"{of}).",
        record, draw, panels=2,
    )  # fmt: skip


def findings(data: dict[str, Any]) -> list[Finding]:
    """In equal iterations the largest meta-batch ends above the smallest, and the first step up
    brings more than the last; on equal tasks it ends below five tasks an iteration. With an outer
    Adam and without. If five tasks have taught nothing, it is too soon for this."""

    def end(equal: str, outer: str, size: str) -> tuple[float, float]:
        row = data["curves"][equal][outer][size][-1]
        return 100 * row["accuracy"], 100 * row["ci95"]

    def gain(outer: str, few: str, many: str) -> tuple[float, float]:
        return difference(end("iterations", outer, many), end("iterations", outer, few))

    one, few, more, most = map(str, T)
    start = 100 * data["untrained"]["accuracy"], 100 * data["untrained"]["ci95"]
    return [
        weakest(around(f"the gain by training on {data['tasks']:,} tasks, T = {few}, {outer}, in "
                       "points,", *difference(end("tasks", outer, few), start), needed=True)
                for outer in RATES),
        weakest(around(f"in equal iterations, {outer}, the accuracy with T = {most} less that with "
                       f"T = {one}, in points,", *gain(outer, one, most)) for outer in RATES),
        weakest(around(f"in equal iterations, {outer}, the gain from T = {one} to {few} less that "
                       f"from {more} to {most}, in points,",
                       *difference(gain(outer, one, few), gain(outer, more, most)))
                for outer in RATES),
        weakest(around(f"on equal tasks, {outer}, the accuracy with T = {few} less that with "
                       f"T = {most}, in points,",
                       *difference(end("tasks", outer, few), end("tasks", outer, most)))
                for outer in RATES),
    ]  # fmt: skip


def learned(
    model: Model, train: FewShot, test: FewShot, outer: str, size: int, iterations: int, tasks: int,
    workers: Map | None = None,
) -> list[Row]:  # fmt: skip
    """The accuracy along training with so many tasks an iteration, at the best of the rates: that
    after which unseen tasks of training characters are solved best."""

    def at(run: Snapshot, on: FewShot) -> dict[str, float]:
        return accuracy(model, run.theta, run.state, on, tasks, INNER, workers)

    runs = {
        rate: trained(model, train, outer, rate, size, iterations, workers) for rate in RATES[outer]
    }  # fmt: skip
    best = max(runs, key=lambda rate: at(runs[rate][-1], train)["accuracy"])
    return [{"iteration": run.iteration, "rate": best, **at(run, test)} for run in runs[best]]


def trained(
    model: Model, train: FewShot, outer: str, rate: float, size: int, iterations: int,
    workers: Map | None = None,
) -> Sequence[Snapshot]:  # fmt: skip
    """The run after each of PARTS of its iterations; workers are for several tasks."""
    optimizer: Optimizer | None = Adam(rate) if outer == "outer Adam" else None
    loops = Loops(iterations, meta_batch=size, epsilon=1.0 if optimizer else rate, outer=optimizer)
    marks = {max(1, iterations // part) for part in PARTS}
    runs = reptile(model, train, INNER, loops, map=workers if size > 1 else None)
    return [run for run in runs if run.iteration in marks]
