"""Claim: of the sums of a task's inner gradients g_1, g_2, ... that could move theta, g_1 alone
(joint training) hardly learns, the last one alone (FOMAML) learns, and learning improves with the
number of summands (Reptile is their sum). Source: Nichol, Achiam & Schulman, 2018, section 6.2 and
the README of its code: SGD with rate 0.003 on the summed loss, mini-batches of 25 that do not
overlap, one task an iteration, outer step 0.25 falling to 0; averaged sums get as much less. Here
are a quarter of its 40,000 iterations.
"""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..loops import Loops
from ..lots import Map
from ..model import Model
from ..networks import omniglot_cnn
from ..optim import SGD
from ..tasks.images import FewShot
from .characters import accuracy, characters
from .outcome import Finding, Outcome, around, difference, weakest

EPSILON = 0.25
# Iterations; how often accuracy is measured on the way; unseen tasks for that, and at the end.
SIZES = {True: (300, 3, 100, 200), False: (10_000, 21, 100, 1000)}
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


def run(quick: bool, backend: str = "numpy", data: str = "", workers: Map | None = None) -> Outcome:
    """Train once for each sum and compare the accuracy on unseen characters."""
    iterations, often, few, many = SIZES[quick]
    names = QUICK if quick else tuple(RUNS)
    train, test, of = characters(quick, data)
    model = omniglot_cnn(5, filters=8 if quick else 64, reduction="sum", backend=backend)
    marks = np.linspace(0, iterations, often).astype(int).tolist()
    tasks = dict.fromkeys(marks, few) | {iterations: many}
    curves: dict[str, list[dict[str, float]]] = {}
    for k in sorted({max(RUNS[name][0]) for name in names}):
        alike = [name for name in names if max(RUNS[name][0]) == k]
        curves |= trained(model, train, test, alike, iterations, tasks, workers)
    curves = {name: curves[name] for name in names}
    ends = {name: curve[-1]["accuracy"] for name, curve in curves.items()}
    ci95 = max(curve[-1]["ci95"] for curve in curves.values())
    text = ", ".join(f"{name} {100 * end:.1f}" for name, end in ends.items())
    record: dict[str, Any] = {"iterations": iterations, "characters": of, "curves": curves}

    def draw(ax: Any) -> None:
        for name, curve in curves.items():
            x, y = ([row[key] for row in curve] for key in ("iteration", "accuracy"))
            color = f"C{max(RUNS[name][0]) - 1}"
            ax.plot(x, y, label=name, color=color, ls="--" if "/" in name else style(name), lw=1.2)
        ax.set(xlabel="iteration", ylabel="5-way 5-shot accuracy, transductive")
        ax.legend(fontsize=7)

    return Outcome(
        "g1 alone hardly learns, and the more gradients are summed, the better.",
        findings(record),
        f"After {iterations:,} iterations on {of} the accuracy is, in %: {text} "
        f"(+- {100 * ci95:.1f} or less, {tasks[iterations]:,} tasks).",
        record, draw,
    )  # fmt: skip


def findings(data: dict[str, Any]) -> list[Finding]:
    """All others end above g1, and the longest sum above the shortest; no sum ends below a shorter
    one by more than a point. If the longest has not learned, it is too soon for all of this."""
    ends, starts = (
        {name: (100 * curve[i]["accuracy"], 100 * curve[i]["ci95"])
         for name, curve in data["curves"].items()}
        for i in (-1, 0)
    )  # fmt: skip
    sums = [name for name in ends if "/" not in name and "+" in name]
    first, last = sums[0], sums[-1]
    return [
        around(f"the gain of {last} in training, in points,", *difference(ends[last], starts[last]),
               needed=True),
        weakest(around(f"the accuracy of {name} less that of g1, in points,",
                       *difference(end, ends["g1"])) for name, end in ends.items() if name != "g1"),
        around(f"the accuracy of {last} less that of {first}, in points,",
               *difference(ends[last], ends[first])),
        *(weakest(around(f"the accuracy of {b} less that of {a}, in points,",
                         *difference(ends[b], ends[a]), -1.0) for a, b in pairwise(sums))
          for _ in sums[2:3]),
    ]  # fmt: skip


def style(name: str) -> str:
    """Sums are solid, single gradients dotted."""
    return "-" if "+" in name else ":"


def trained(
    model: Model, train: FewShot, test: FewShot, names: list[str], iterations: int,
    tasks: dict[int, int], workers: Map | None = None,
) -> dict[str, list[dict[str, float]]]:  # fmt: skip
    """The accuracy of training with each of these sums, which have the same k, after so many
    iterations, on so many tasks. They see the same mini-batches, side by side: theta is (R, P)."""
    k, factors = max(RUNS[names[0]][0]), np.array([[RUNS[name][1]] for name in names])
    loops = Loops(
        iterations, meta_batch=1, epsilon=EPSILON, inner_steps=k, inner_batch=25,
        train_shots=5 * k,
    )  # fmt: skip
    theta, optimizer = np.repeat(model.init(0)[None], len(names), axis=0), SGD(0.003)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    chosen = np.array([[[i in RUNS[name][0]] for name in names] for i in range(1, k + 1)])
    for it in range(iterations + 1):
        if it in tasks:
            for name, start in zip(names, theta, strict=True):
                found = accuracy(model, start, {}, test, tasks[it], optimizer, workers)
                rows[name].append({"iteration": it, **found})
        if it < iterations:
            x, y = (np.repeat(a, len(names), axis=1) for a in loops.sample(train, it))
            update = optimizer.lr * summed(model, theta, x, y, optimizer.lr, chosen)
            theta = theta - (loops.epsilon_at(it) * factors * update).astype(theta.dtype)
    return rows


def summed(
    model: Model, theta: NDArray, x: NDArray, y: NDArray, alpha: float, chosen: NDArray
) -> NDArray:
    """The sum of the chosen gradients (R, P), of the k that inner steps from theta (R, P) meet;
    chosen is (k, R, 1)."""
    phi, total = theta.copy(), np.zeros_like(theta)
    for x_i, y_i, chosen_i in zip(x, y, chosen, strict=True):
        _, grad = model.loss_and_grad(phi, x_i, y_i)
        phi -= alpha * grad
        total += chosen_i * grad
    return total
