"""Claim: an initialisation that Reptile learned fits an unseen sine wave after a few gradient
steps, as MAML's does, where joint training has learned the mean of all waves. Source: Nichol,
Achiam & Schulman, 2018, section 4, and its code: SGD with rate 0.02, 5 mini-batches of 10 of the 50
points, one task an iteration, outer step 0.1 falling to 0. FOMAML, MAML and iMAML get an outer
Adam, as in the papers of the last two, and iMAML the inner loop of its preset. Evaluated are 32
steps on 10 points.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..algorithms import ALGORITHMS as KNOWN
from ..errors import InputError
from ..evaluate import Batch, Protocol, Regression, adapt_unseen, evaluate_regression
from ..loops import Loops, Snapshot
from ..networks import sine_mlp
from ..optim import SGD, Adam
from ..tasks.sine import Sine
from .outcome import Finding, Outcome, around, difference

ALPHA, MARKS = 0.02, (0, 1, 2, 4, 8, 16, 24, 32)
SIZES = {True: (1500, 100), False: (30_000, 1000)}  # iterations and tasks, if it is to be quick
ALGORITHMS = {n: KNOWN[n].run for n in ("joint", "reptile", "fomaml", "maml", "imaml")}


def run(quick: bool, backend: str = "numpy") -> Outcome:
    """Train with all five, and adapt to the same unseen tasks."""
    iterations, tasks = SIZES[quick]
    model = sine_mlp(64, backend=backend)
    recipes = settings(iterations, 15 if quick else 1)  # iMAML's take as long as 15 others
    found: dict[str, Regression] = {}
    learned: dict[str, Snapshot] = {}
    stopped = ""
    for name, algorithm in ALGORITHMS.items():
        learned[name], trouble = trained(algorithm(model, Sine(), *recipes[name]))
        stopped += f"; {name} stopped early: {trouble}" if trouble else ""
        protocol = Protocol(tasks=tasks, shot=10, query=40, marks=MARKS, batch=10)
        found[name] = evaluate_regression(
            model, learned[name].theta, {}, Sine(), SGD(ALPHA), protocol
        )
    text = ", ".join(
        f"{r.mse[-1]:.3f} +- {r.mse_ci95[-1] or 0:.3f} ({name})" for name, r in found.items()
    )
    fewer = f"; imaml had {recipes['imaml'][1].iterations:,} iterations" if quick else ""
    data = {
        "alpha": ALPHA, "iterations": iterations, "tasks": tasks, "steps": MARKS,
        "mse": {n: r.mse for n, r in found.items()},
        "mse_ci95": {n: r.mse_ci95 for n, r in found.items()},
    }  # fmt: skip

    def draw(left: Any, right: Any) -> None:
        for name, result in found.items():
            mse, ci95 = np.array(result.mse), np.array(result.mse_ci95, float)
            left.plot(MARKS, mse, "o-", ms=3, label=name)
            left.fill_between(MARKS, mse - ci95, mse + ci95, alpha=0.2)
        left.set(yscale="log", xlabel="gradient steps on 10 points", ylabel="mean squared error")
        left.legend()
        grid = np.linspace(-5, 5, 200, dtype=np.float32)[:, None]
        one = Protocol(tasks=1, shot=10, query=40, marks=(0, 32), batch=10, seed=3)
        for name, run_ in learned.items():
            *_, (_, phi, batch) = adapt_unseen(model, run_.theta, {}, Sine(), SGD(ALPHA), one)
            right.plot(grid, model.forward(phi[0], grid), lw=1, label=name)
        seen = batch.x[0, 0]
        right.plot(seen, np.interp(seen, *wave(batch)), "k^", ms=4, label="a mini-batch")
        right.plot(*wave(batch), "k:", lw=1)
        right.set(xlabel="x", ylabel="after 32 steps")
        right.legend(fontsize=7)

    return Outcome(
        "Reptile learns to fit an unseen sine wave in a few steps; joint training does not.",
        findings(data),
        f"After {iterations:,} iterations and 32 steps on 10 points the error is {text}, "
        f"over {tasks:,} tasks{fewer}{stopped}.",
        data, draw, panels=2,
    )  # fmt: skip


def settings(iterations: int, fewer: int = 1) -> dict[str, tuple[SGD, Loops]]:
    """Each algorithm's inner optimizer and loops; iMAML's iterations are divided by `fewer`."""
    plain = Loops(iterations, meta_batch=1, epsilon=0.1, train_shots=50, state="fresh")
    with_adam = replace(plain, epsilon=1.0, outer=Adam(0.001))
    implicit = KNOWN["imaml"].defaults["regression"]
    to_minimum = replace(
        with_adam, inner_steps=implicit["inner_steps"], prox=implicit["prox"],
        iterations=iterations // fewer,
    )  # fmt: skip
    sgd = SGD(ALPHA)
    return {
        "joint": (sgd, plain), "reptile": (sgd, plain), "fomaml": (sgd, with_adam),
        "maml": (sgd, with_adam), "imaml": (SGD(implicit["inner_lr"]), to_minimum),
    }  # fmt: skip


def findings(data: dict[str, Any]) -> list[Finding]:
    """Reptile's error after the last step is below joint training's."""
    joint, reptile = (
        (data["mse"][name][-1], data["mse_ci95"][name][-1] or 0.0) for name in ("joint", "reptile")
    )
    return [around("joint training's error less Reptile's", *difference(joint, reptile))]


def trained(iterations: Iterator[Snapshot]) -> tuple[Snapshot, str]:
    """The last snapshot of a run, and what ended it too soon, if something did."""
    last = next(iterations)
    try:
        for run in iterations:
            last = run
    except InputError as error:
        return last, f"iteration {last.iteration:,}, {error}"
    return last, ""


def wave(batch: Batch) -> tuple[NDArray, NDArray]:
    """The query points of the first task, from left to right."""
    order = np.argsort(batch.query_x[0, :, 0])
    return batch.query_x[0, order, 0], batch.query_y[0, order, 0]
