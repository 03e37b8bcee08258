"""Claim: FOMAML with a tail that shares its examples with the inner steps collapses when
mini-batches cycle through few examples, or are large; with a separate tail it does not, and neither
does Reptile. Source: Nichol, Achiam & Schulman, 2018, section 6.3 (figure 4), on Omniglot.

Measured on 5-way 5-shot, with fewer filters and iterations than the paper's: the
accuracy against the number of inner steps, the size of mini-batches, and the outer step.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from typing import Any

from ..evaluate import Accuracy, Protocol, evaluate
from ..fomaml import fomaml
from ..loops import Loops, Snapshot
from ..lots import Map
from ..model import Model
from ..networks import omniglot_cnn
from ..optim import Adam
from ..reptile import reptile
from ..tasks.images import FewShot
from .characters import characters
from .outcome import Finding, Outcome, around, difference, weakest

BASE: dict[str, Any] = {"inner_steps": 4, "inner_batch": 25, "epsilon": 0.25}
PANELS: dict[str, tuple] = {
    "inner_steps": (2, 4, 6, 10),
    "inner_batch": (10, 25, 50, 75),
    "epsilon": (0.05, 0.25, 1.0),
}
CURVES: dict[str, tuple[Callable[..., Iterator[Snapshot]], dict[str, Any]]] = {
    "shared tail, cycling": (fomaml, {"tail": "shared"}),
    "shared tail, replacement": (fomaml, {"tail": "shared", "replacement": True}),
    "separate tail, cycling": (fomaml, {"tail": "separate"}),
    "separate tail, replacement": (fomaml, {"tail": "separate", "replacement": True}),
    "Reptile, cycling": (reptile, {}),
}
SHOTS, TAIL = 15, 5  # all that Omniglot has of a class
SLACK = 5.0  # points; a collapse is more


def run(quick: bool, backend: str = "numpy", data: str = "", workers: Map | None = None) -> Outcome:
    """Train for every point of every curve."""
    panels = {"inner_batch": (5, 10)} if quick else PANELS
    iterations, tasks = (10, 5) if quick else (2000, 200)
    train, test, of = characters(quick, data)
    model = omniglot_cnn(5, filters=4 if quick else 16, backend=backend)

    @cache  # the panels meet in one point
    def reached(curve: str, **numbers: Any) -> Accuracy:
        return accuracy(model, train, test, curve, iterations, tasks, numbers, workers)

    found = {
        panel: {
            curve: [reached(curve, **{**BASE, panel: value}) for value in values]
            for curve in CURVES
        }
        for panel, values in panels.items()
    }
    ends = {
        panel: {curve: (points[0], points[-1]) for curve, points in curves.items()}
        for panel, curves in found.items() if panel != "epsilon"
    }  # fmt: skip
    text = "; ".join(
        f"from {panels[panel][0]} to {panels[panel][-1]} in {panel.replace('_', ' ')}, "
        + ", ".join(
            f"{curve}: {100 * first.transductive_accuracy:.1f} to "
            f"{100 * last.transductive_accuracy:.1f}"
            for curve, (first, last) in curves.items()
        )
        for panel, curves in ends.items()
    )
    record: dict[str, Any] = {
        "iterations": iterations, "tasks": tasks, "characters": of, "panels": panels,
        "accuracy": {panel: {curve: [asdict(point) for point in points]
                             for curve, points in curves.items()}
                     for panel, curves in found.items()},
    }  # fmt: skip
    every = [point for curves in found.values() for points in curves.values() for point in points]
    ci95 = max(point.transductive_accuracy_ci95 or 0 for point in every)

    def draw(*axes: Any) -> None:
        for ax, (panel, values) in zip(axes, panels.items(), strict=True):
            for curve, points in found[panel].items():
                heights = [point.transductive_accuracy for point in points]
                style = {"shared": "--", "separate": "-."}.get(curve.split()[0], "-")
                ax.plot(range(len(values)), heights, "o" + style, ms=3, label=curve)
            ax.set_xticks(range(len(values)), [str(value) for value in values])
            ax.set(xlabel=panel.replace("_", " "), ylabel="5-way 5-shot accuracy")
        axes[0].legend(fontsize=7)

    return Outcome(
        "A tail that shares its examples with cycling inner steps makes FOMAML collapse; a "
        "separate one does not, and Reptile is insensitive.",
        findings(record),
        f"Accuracies in %, +- {100 * ci95:.1f} or less: {text} ({iterations:,} iterations, {tasks} "
        f"tasks, {of}).",
        record, draw, panels=len(panels),
    )  # fmt: skip


def findings(data: dict[str, Any]) -> list[Finding]:
    """From the first value of a panel to its last, the shared tail that cycles falls; the separate
    ones and Reptile do not, by SLACK points."""
    falls, stays = [], []
    for panel, curves in data["accuracy"].items():
        if panel == "epsilon":
            continue
        values = data["panels"][panel]
        way = f"from {values[0]} to {values[-1]} in {panel.replace('_', ' ')}"
        for curve, points in curves.items():
            first, last = (
                (100 * p["transductive_accuracy"], 100 * (p["transductive_accuracy_ci95"] or 0))
                for p in (points[0], points[-1])
            )
            if curve == "shared tail, cycling":
                falls.append(around(f"what a shared tail, cycling, loses {way}, in points,",
                                    *difference(first, last)))  # fmt: skip
            elif not curve.startswith("shared"):
                who = f"{'a ' * curve.startswith('separate')}{curve}"
                stays.append(around(f"what {who}, gains {way}, in points,",
                                    *difference(last, first), -SLACK))  # fmt: skip
    return [*falls, weakest(stays)]


def accuracy(
    model: Model, train: FewShot, test: FewShot, curve: str, iterations: int, tasks: int,
    values: dict[str, Any], workers: Map | None = None,
) -> Accuracy:  # fmt: skip
    """What is reached with one algorithm and one set of values."""
    algorithm, options = CURVES[curve]
    separate = options.get("tail") == "separate"
    shots = SHOTS + TAIL if separate else SHOTS
    loops = Loops(
        iterations, meta_batch=1, train_shots=shots, tail_shots=TAIL, **{**values, **options}
    )
    *_, last = algorithm(model, train, Adam(0.001, beta1=0.0), loops)
    protocol = Protocol(tasks=tasks, shot=5, marks=(10,), batch=25)
    optimizer = Adam(0.001, beta1=0.0)
    return evaluate(model, last.theta, last.state, test, optimizer, protocol, map=workers or map)
