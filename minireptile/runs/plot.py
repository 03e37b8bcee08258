"""Pictures of a run: the learning curve and, of functions, the way they take in adaptation."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, require
from ..evaluate import adapt_unseen
from ..files import write_atomically
from ..loops import Snapshot
from ..rng import Stream
from .experiment import Experiment
from .measures import MARKS, Measure
from .metrics import Record


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
    losses = [(r["iteration"], r["loss"]) for r in records if "loss" in r]
    if not losses:
        raise InputError(f"{folder} has no iterations to draw yet: continue it with resume")
    picture, (left, right) = figure(ncols=2)
    picture.set_size_inches(10, 3.8)
    measure, texts = experiment.measure, asdict(experiment.settings)
    note = f" ({experiment.note})" if experiment.note else ""
    picture.suptitle(measure.heading.format(**texts) + note)

    iterations, loss = map(np.array, zip(*losses, strict=True))
    left.plot(iterations, loss, color="C0", alpha=0.25, lw=0.8)
    left.plot(iterations, _smooth(loss, max(len(loss) // 20, 1)), color="C0")
    left.set(xlabel="outer iteration", ylabel="loss at the last inner step")

    running, tests = (curves(records, part, measure) for part in ("running", "test"))
    for i, label in enumerate({**running, **tests}):
        _curve(right, running.get(label, []), tests.get(label, []), label, f"C{i}")
    chance = measure.chance(experiment.settings)
    if chance is not None:
        right.axhline(chance, color="0.6", lw=0.8, ls="--")
    right.set(xlabel="outer iteration", ylabel=measure.axis.format(**texts), yscale=measure.scale)
    if right.get_legend_handles_labels()[1]:
        right.legend(frameon=False, fontsize=8)
    return save_figure(picture, folder / "learning_curve.png")


Points = list[tuple[int, float]]


def curves(records: list[Record], part: str, measure: Measure) -> dict[str, Points]:
    """(iteration, value) of each figure in one part of the records, by its name."""
    found: dict[str, Points] = {}
    for record in records:
        if part in record:
            for label, (value, _) in measure.values(record[part]).items():
                found.setdefault(label, []).append((record["iteration"], value))
    return found


def _curve(ax: Any, running: Points, tests: Points, label: str, color: str) -> None:
    """The running evaluation as a line, the evaluations before and after as large dots."""
    if running:
        iterations, values = map(np.array, zip(*running, strict=True))
        ax.plot(iterations, values, color=color, alpha=0.2, lw=0.8)
        ax.plot(iterations, _smooth(values, max(len(values) // 10, 1)), color=color, label=label)
    if tests:
        ax.plot(*zip(*tests, strict=True), "o", color=color, label=None if running else label)


def adaptation(experiment: Experiment, runs: dict[str, Snapshot], folder: Path) -> Path:
    """Draw one unseen sine wave and each run's functions on the way to it, after 0 to 32 steps."""
    colors = require("matplotlib", "cli").colormaps["viridis"](np.linspace(0, 0.9, len(MARKS)))
    picture, axes = figure(ncols=len(runs), sharey=True, squeeze=False)
    picture.set_size_inches(5.2 * len(runs), 4)
    protocol = experiment.protocol(1, experiment.settings.seed, marks=MARKS, stream=Stream.EXAMPLE)
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
