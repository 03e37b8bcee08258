"""Claim: of the sums of a task's inner gradients g_1, g_2, ... that could move theta, g_1 alone
(joint training) hardly learns, the last one alone (FOMAML) learns, and learning improves with the
number of summands (Reptile is their sum). Source: Nichol, Achiam & Schulman, 2018, section 6.2 and
the README of its code: SGD with rate 0.003 on the summed loss, mini-batches of 25 that do not
overlap, one task an iteration, outer step 0.25 falling to 0; averaged sums get as much less.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..evaluate import Accuracy, Protocol, evaluate
from ..loops import Loops
from ..model import Model
from ..networks import omniglot_cnn
from ..optim import SGD
from ..tasks.base import Tasks
from .outcome import Outcome

EPSILON = 0.25
# Which of the k gradients are summed, and the factor of the outer step.
RUNS: dict[str, tuple[tuple[int, ...], float]] = {
    "g1": ((1,), 1.0),
    "g1 + g2": ((1, 2), 1.0),
    "(g1 + g2) / 2": ((1, 2), 1 / 2),
    "g2": ((2,), 1.0),
    "g1 + g2 + g3": ((1, 2, 3), 1.0),
    "(g1 + g2 + g3) / 3": ((1, 2, 3), 1 / 3),
    "g3": ((3,), 1.0),
    "g1 + g2 + g3 + g4": ((1, 2, 3, 4), 1.0),
    "(g1 + ... + g4) / 4": ((1, 2, 3, 4), 1 / 4),
    "g4": ((4,), 1.0),
}
QUICK = ("g1", "g1 + g2", "g2", "g1 + g2 + g3 + g4")


def run(quick: bool, backend: str = "numpy") -> Outcome:
    """Train once for each sum and compare the accuracy on unseen characters."""
    from ..tasks.glyphs import glyph_splits
    from ..tasks.images import FewShot

    iterations = 40 if quick else 10_000
    names = QUICK if quick else tuple(RUNS)
    splits = glyph_splits(train_classes=30 if quick else 1200, drawers=26, seed=0, rotations=True)
    train, test = FewShot(splits.train, 5), FewShot(splits.test, 5)
    model = omniglot_cnn(5, filters=8 if quick else 64, reduction="sum", backend=backend)
    marks = sorted({*np.linspace(0, iterations, 3 if quick else 21).astype(int).tolist()})
    tasks = 10 if quick else 400
    curves = {name: trained(model, train, test, name, iterations, marks, tasks) for name in names}
    ends = {name: curve[-1]["accuracy"] for name, curve in curves.items()}
    best = max(ends, key=lambda name: ends[name])
    sums = [name for name in ends if "/" not in name and "+" in name]
    rises = all(ends[a] <= ends[b] + 0.02 for a, b in pairwise(sums))
    holds = ends["g1"] == min(ends.values()) and ends["g1 + g2"] > ends["g1"] and rises

    def draw(ax: Any) -> None:
        for name, curve in curves.items():
            x, y = ([row[key] for row in curve] for key in ("iteration", "accuracy"))
            ax.plot(x, y, label=name, ls="--" if "/" in name else "-")
        ax.set(xlabel="iteration", ylabel="5-way 5-shot accuracy")
        ax.legend(fontsize=7)

    return Outcome(
        "g1 alone hardly learns, and the more gradients are summed, the better.",
        bool(holds),
        f"after {iterations:,} iterations on drawn characters g1 reaches {100 * ends['g1']:.1f} %, "
        f"g1 + g2 {100 * ends['g1 + g2']:.1f} %, g2 {100 * ends['g2']:.1f} %, "
        f"the best, {best}, {100 * ends[best]:.1f} % ({tasks} tasks).",
        {"iterations": iterations, "tasks": tasks, "curves": curves},
        draw,
    )


def trained(
    model: Model, train: Tasks, test: Tasks, name: str, iterations: int, marks: list[int],
    tasks: int,
) -> list[dict[str, float]]:  # fmt: skip
    """Accuracy at each mark of training with one of the sums."""
    chosen, factor = RUNS[name]
    k = max(chosen)
    loops = Loops(
        iterations, meta_batch=1, epsilon=EPSILON * factor, inner_steps=k, inner_batch=25,
        train_shots=5 * k,
    )  # fmt: skip
    theta, optimizer = model.init(0), SGD(0.003)
    rows = [{"iteration": 0, "accuracy": accuracy(model, theta, test, tasks)}]
    for it in range(iterations):
        x, y = loops.sample(train, it)
        theta = theta - loops.epsilon_at(it) * summed(model, theta, x, y, optimizer.lr, chosen)
        if it + 1 in marks:
            rows.append({"iteration": it + 1, "accuracy": accuracy(model, theta, test, tasks)})
    return rows


def summed(
    model: Model, theta: NDArray, x: NDArray, y: NDArray, alpha: float, chosen: tuple[int, ...]
) -> NDArray:
    """alpha times the sum of the chosen gradients, those of the steps 1 to k from theta."""
    phi, total = theta.copy(), np.zeros_like(theta)
    for i in range(len(x)):
        _, grad = model.loss_and_grad(phi, x[i, 0], y[i, 0])
        phi = phi - alpha * grad
        if i + 1 in chosen:
            total += alpha * grad
    return total


def accuracy(model: Model, theta: NDArray, test: Tasks, tasks: int) -> float:
    """As in the paper's running evaluation: 5 steps on mini-batches of 25."""
    protocol = Protocol(tasks=tasks, shot=5, marks=(5,), batch=25)
    found = evaluate(model, theta, {}, test, SGD(0.003), protocol)
    assert isinstance(found, Accuracy)
    return found.transductive_accuracy
