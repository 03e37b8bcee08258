"""Claim: FOMAML with a tail that shares its examples with the inner steps collapses when
mini-batches cycle through few examples, or are large; with a separate tail it does not, and neither
does Reptile. Source: Nichol, Achiam & Schulman, 2018, section 6.3 (figure 4), on Omniglot.

Measured on 5-way 5-shot, with fewer filters and iterations than the paper's: the
accuracy against the number of inner steps, the size of mini-batches, and the outer step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..evaluate import Accuracy, Protocol, evaluate
from ..fomaml import fomaml
from ..loops import Loops, Snapshot
from ..model import Model
from ..networks import omniglot_cnn
from ..optim import Adam
from ..reptile import reptile
from ..tasks.images import FewShot
from .characters import characters
from .outcome import Outcome

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


def run(quick: bool, backend: str = "numpy", data: str = "") -> Outcome:
    """Train for every point of every curve."""
    panels = {"inner_batch": (5, 10)} if quick else PANELS
    iterations, tasks = (10, 5) if quick else (2000, 200)
    train, test, of = characters(quick, data)
    model = omniglot_cnn(5, filters=4 if quick else 16, backend=backend)
    found: dict[str, dict[str, list[float]]] = {}
    for panel, values in panels.items():
        found[panel] = {
            curve: [
                accuracy(model, train, test, curve, iterations, tasks, {**BASE, panel: value})
                for value in values
            ]
            for curve in CURVES
        }
    worst = {c: min(min(found[p][c]) for p in found if p != "epsilon") for c in CURVES}
    best = {c: max(max(found[p][c]) for p in found if p != "epsilon") for c in CURVES}
    drops = {c: best[c] - worst[c] for c in CURVES}
    others = max(drops[c] for c in CURVES if c != "shared tail, cycling")
    holds = drops["shared tail, cycling"] > others + 0.02

    def draw(*axes: Any) -> None:
        for ax, (panel, values) in zip(axes, panels.items(), strict=True):
            for curve, heights in found[panel].items():
                style = {"shared": "--", "separ": "-."}.get(curve[:6].rstrip(), "-")
                ax.plot(range(len(values)), heights, "o" + style, ms=3, label=curve)
            ax.set_xticks(range(len(values)), [str(value) for value in values])
            ax.set(xlabel=panel.replace("_", " "), ylabel="5-way 5-shot accuracy")
        axes[0].legend(fontsize=7)

    return Outcome(
        "A tail that shares its examples with cycling inner steps makes FOMAML collapse; a "
        "separate one does not, and Reptile is insensitive.",
        bool(holds),
        f"over inner steps and batch sizes, shared tail and cycling loses "
        f"{100 * drops['shared tail, cycling']:.1f} points from best to worst, the others "
        f"{100 * others:.1f} at most ({iterations:,} iterations, {tasks} tasks, {of}).",
        {"iterations": iterations, "tasks": tasks, "characters": of, "panels": panels,
         "accuracy": found},
        draw, panels=len(panels),
    )  # fmt: skip


def accuracy(
    model: Model, train: FewShot, test: FewShot, curve: str, iterations: int, tasks: int,
    values: dict[str, Any],
) -> float:  # fmt: skip
    """What is reached with one algorithm and one set of values."""
    algorithm, options = CURVES[curve]
    separate = options.get("tail") == "separate"
    shots = SHOTS + TAIL if separate else SHOTS
    loops = Loops(
        iterations, meta_batch=1, train_shots=shots, tail_shots=TAIL, **{**values, **options}
    )
    *_, last = algorithm(model, train, Adam(0.001, beta1=0.0), loops)
    protocol = Protocol(tasks=tasks, shot=5, marks=(10,), batch=25)
    result = evaluate(model, last.theta, last.state, test, Adam(0.001, beta1=0.0), protocol)
    assert isinstance(result, Accuracy)
    return result.transductive_accuracy
