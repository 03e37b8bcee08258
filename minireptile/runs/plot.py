"""Pictures of a run: the learning curve and, for sine, the functions during adaptation."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, require
from ..evaluate import Protocol, adapt_unseen
from ..files import write_atomically
from ..loops import Snapshot
from ..rng import Stream
from .experiment import Experiment
from .metrics import Record

MARKS = (0, 1, 5, 10, 32)
ACCURACIES = {"accuracy": "one query at a time", "transductive_accuracy": "transductive"}


def figure(**options: Any) -> tuple[Any, Any]:
    """A figure and its axes, without touching pyplot's global state or needing a screen."""
    new = require("matplotlib.figure", "cli").Figure(layout="constrained", dpi=120)
    axes = new.subplots(**options)
    for ax in np.atleast_1d(axes).ravel():
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    return new, axes


def save_figure(new: Any, path: Path) -> Path:
    """Write the picture, atomically."""
    content = io.BytesIO()
    new.savefig(content, format="png")
    write_atomically(path, content.getvalue())
    return path


def _smooth(values: NDArray, window: int) -> NDArray:
    """Centred moving average; the window shrinks at the ends."""
    sums = np.concatenate([[0], np.cumsum(values)])
    i = np.arange(len(values))
    low, high = np.maximum(i - window // 2, 0), np.minimum(i + window // 2 + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def learning_curve(experiment: Experiment, records: list[Record], folder: Path) -> Path:
    """Draw loss and few-shot performance over the outer iterations; returns the picture's path."""
    s = experiment.settings
    losses = [(r["iteration"], r["loss"]) for r in records if "loss" in r]
    running = [(r["iteration"], r["running"]) for r in records if "running" in r]
    tests = [(r["iteration"], r["test"]) for r in records if "test" in r]
    if not losses:
        raise InputError(f"{folder} has no iterations to draw yet: continue it with resume")
    picture, (left, right) = figure(ncols=2)
    picture.set_size_inches(10, 3.8)
    what = f"{s.algorithm} on {s.dataset}" + ("" if s.dataset == "sine" else f", {s.way}-way")
    picture.suptitle(what + (f" ({experiment.note})" if experiment.note else ""))

    iterations, loss = map(np.array, zip(*losses, strict=True))
    left.plot(iterations, loss, color="C0", alpha=0.25, lw=0.8)
    left.plot(iterations, _smooth(loss, max(len(loss) // 20, 1)), color="C0")
    left.set(xlabel="outer iteration", ylabel="loss at the last inner step")

    if s.dataset == "sine":
        steps = experiment.protocol(1, 0).marks
        for i, mark in enumerate(steps):
            _curve(right, running, tests, f"after {mark} steps", f"C{i}",
                   lambda result, i=i: result["mse"][i])  # fmt: skip
        right.set(ylabel="mean squared error", yscale="log")
    else:
        for i, (key, label) in enumerate(ACCURACIES.items()):
            _curve(right, running, tests, label, f"C{i}", lambda r, key=key: 100 * r[key])
        right.axhline(100 / s.way, color="0.6", lw=0.8, ls="--")
        right.set(ylabel=f"{s.way}-way {s.shot}-shot accuracy, %")
    right.set(xlabel="outer iteration")
    if right.get_legend_handles_labels()[1]:
        right.legend(frameon=False, fontsize=8)
    return save_figure(picture, folder / "learning_curve.png")


def _curve(ax: Any, running: list, tests: list, label: str, color: str, value: Any) -> None:
    """The running evaluation as a line, the evaluations before and after as large dots."""
    if running:
        iterations = [iteration for iteration, _ in running]
        values = np.array([value(result) for _, result in running])
        ax.plot(iterations, values, color=color, alpha=0.2, lw=0.8)
        ax.plot(iterations, _smooth(values, max(len(values) // 10, 1)), color=color, label=label)
    if tests:
        dots = [(iteration, value(result)) for iteration, result in tests]
        ax.plot(*zip(*dots, strict=True), "o", color=color, label=None if running else label)


def adaptation(experiment: Experiment, runs: dict[str, Snapshot], folder: Path) -> Path:
    """Draw one unseen sine wave and each run's functions on the way to it, after 0 to 32 steps."""
    colors = require("matplotlib", "cli").colormaps["viridis"](np.linspace(0, 0.9, len(MARKS)))
    picture, axes = figure(ncols=len(runs), sharey=True, squeeze=False)
    picture.set_size_inches(5.2 * len(runs), 4)
    s = experiment.settings
    protocol = Protocol(
        tasks=1, shot=s.shot, marks=MARKS, batch=s.eval_batch, seed=s.seed, stream=Stream.EXAMPLE
    )
    grid = np.linspace(-5, 5, 201, dtype=np.float32)[:, None]
    for ax, (name, run) in zip(axes[0], runs.items(), strict=True):
        path = adapt_unseen(
            experiment.model, run.theta, run.state, experiment.test, experiment.optimizer, protocol
        )
        for (mark, phi, batch), color in zip(path, colors, strict=True):
            if mark == 0:
                x = batch.query_x[0, :, 0]
                ax.plot(
                    x, batch.query_y[0, :, 0], color="black", lw=2.5, alpha=0.35, label="target"
                )
            curve = experiment.model.forward(phi[0], grid)
            ax.plot(grid[:, 0], curve[:, 0], color=color, label=f"{mark} steps")
        points = batch.x[:, 0].reshape(-1), batch.y[:, 0].reshape(-1)
        ax.plot(*points, "o", color="C3", ms=5, label="support")
        ax.set(title=name, xlabel="x")
    axes[0, 0].set_ylabel("f(x)")
    axes[0, -1].legend(frameon=False, fontsize=8, loc="upper right", bbox_to_anchor=(1.32, 1))
    return save_figure(picture, folder / "adaptation.png")
