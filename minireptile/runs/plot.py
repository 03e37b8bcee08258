"""Pictures of a run: the learning curve and, of functions, the way they take in adaptation."""

import io
from collections.abc import Mapping
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
from . import plot_task
from .experiment import Experiment
from .measures import MARKS, Measure
from .metrics import Record


def figure(**options: Any) -> tuple[Any, Any]:
    """A figure and its axes, without touching pyplot's global state or needing a screen."""
    new = _blank()
    axes = new.subplots(**options)
    for ax in np.atleast_1d(axes).ravel():
        _plain(ax)
    return new, axes


def _blank() -> Any:
    return require("matplotlib.figure", "cli").Figure(layout="constrained", dpi=120)


def _plain(ax: Any) -> None:
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)


def save_figure(new: Any, path: Path) -> Path:
    """Write the picture, atomically."""
    content = io.BytesIO()
    new.savefig(content, format="png")
    write_atomically(path, content.getvalue())
    return path


def _windows(count: int, window: int) -> tuple[NDArray, NDArray]:
    """Where the windows around so many values begin and end; they shrink at the ends."""
    i = np.arange(count)
    return np.maximum(i - window // 2, 0), np.minimum(i + window // 2 + 1, count)


def _smooth(values: NDArray, window: int) -> NDArray:
    """Centred moving average."""
    low, high = _windows(len(values), window)
    sums = np.concatenate([[0], np.cumsum(values)])
    return (sums[high] - sums[low]) / (high - low)


def _smooth_half(halves: NDArray, window: int) -> NDArray:
    """Half the 95 % interval of that average, where the values have one each: of n of them,
    sqrt(h_1^2 + ... + h_n^2) / n."""
    low, high = _windows(len(halves), window)
    return np.sqrt(_smooth(halves**2, window) / (high - low))


def learning_curve(
    experiment: Experiment, records: list[Record], folder: Path,
    runs: Mapping[str, Snapshot] | None = None,
) -> Path:  # fmt: skip
    """Draw what was learned, and return the picture's path.

    Few-shot performance and loss over the outer iterations; and where there are `runs`, beside it
    one unseen task of images as each of them classifies it.
    """
    losses = [(r["iteration"], r["loss"]) for r in records if "loss" in r]
    if not losses:
        raise InputError(f"{folder} has no iterations to draw yet: continue it with resume")
    picture = _blank()
    if runs:
        tasks = {name: plot_task.classify(experiment, run) for name, run in runs.items()}
        width, height = plot_task.size(tasks)
        picture.set_size_inches(width + 6, height + 0.9)
        task, area = picture.subfigures(ncols=2, width_ratios=(width, 6), wspace=0.03)
        plot_task.draw(task.subplots(), tasks)
        task.suptitle("one unseen task: its queries, and the class each is given", fontsize=10)
        above, below = area.subplots(nrows=2, sharex=True, height_ratios=(3, 2))
        area.suptitle("unseen tasks, with 95 % intervals; and the loss in training", fontsize=10)
    else:
        above, below = picture.subplots(ncols=2)
        above.set_xlabel("outer iteration")
        picture.set_size_inches(10, 3.8)
    _performance(above, experiment, records)
    _losses(below, losses)
    note = f" ({experiment.note})" if experiment.note else ""
    picture.suptitle(experiment.measure.heading.format(**asdict(experiment.settings)) + note)
    return save_figure(picture, folder / "learning_curve.png")


def _losses(ax: Any, losses: list[tuple[int, float]]) -> None:
    """The loss of each logged iteration, and its moving average."""
    iterations, loss = map(np.array, zip(*losses, strict=True))
    ax.plot(iterations, loss, color="0.3", alpha=0.25, lw=0.8)
    ax.plot(iterations, _smooth(loss, max(len(loss) // 20, 1)), color="0.3")
    ax.set(xlabel="outer iteration", ylabel="loss at the last inner step")
    _plain(ax)


def _performance(ax: Any, experiment: Experiment, records: list[Record]) -> None:
    """Figures on unseen tasks: while training went on, and before and after it."""
    measure, texts = experiment.measure, asdict(experiment.settings)
    running, tests = (curves(records, part, measure) for part in ("running", "test"))
    for i, label in enumerate({**running, **tests}):
        _curve(ax, running.get(label, []), tests.get(label, []), label, f"C{i}", 5 * i)
    chance = measure.chance(experiment.settings)
    if chance is not None:
        ax.axhline(chance, color="0.5", lw=1, ls="--", label="chance")
        ax.set_ylim(top=min(ax.get_ylim()[1], 102))  # a band goes on beyond 100 %, no accuracy does
    ax.set(ylabel=measure.axis.format(**texts), yscale=measure.scale)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(
            frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=5,
            columnspacing=1.2, handlelength=1.6,
        )  # fmt: skip
    _plain(ax)


Points = list[tuple[int, float, float]]


def curves(records: list[Record], part: str, measure: Measure) -> dict[str, Points]:
    """(iteration, value, half its 95 % interval or NaN) of each figure in one part of the records,
    by its name."""
    found: dict[str, Points] = {}
    for record in records:
        if part in record:
            for label, (value, half) in measure.values(record[part]).items():
                point = record["iteration"], value, np.nan if half is None else half
                found.setdefault(label, []).append(point)
    return found


def _curve(ax: Any, running: Points, tests: Points, label: str, color: str, shift: float) -> None:
    """The running evaluation as a line in its band, the evaluations before and after as dots with
    bars: 95 % intervals. The dots are moved to the right by so many typographic points, so that
    several are seen at one iteration."""
    if running:
        iterations, values, halves = map(np.array, zip(*running, strict=True))
        window = max(len(values) // 10, 1)
        mean, half = _smooth(values, window), _smooth_half(halves, window)
        ax.fill_between(
            iterations, mean - half, mean + half, where=mean > half, color=color, alpha=0.15, lw=0
        )
        ax.plot(iterations, mean, color=color, label=label)
    if tests:
        iterations, values, halves = map(np.array, zip(*tests, strict=True))
        # Below zero there is no figure, and on a logarithmic axis no end.
        bars = None if np.isnan(halves).any() else np.stack([halves * (values > halves), halves])
        aside = require("matplotlib.transforms", "cli").ScaledTranslation(
            shift / 72, 0, ax.figure.dpi_scale_trans
        )
        ax.errorbar(
            iterations, values, bars, fmt="o", ms=6, capsize=3, color=color, mec="white",
            label=None if running else label, zorder=3, transform=ax.transData + aside,
            clip_on=False,
        )  # fmt: skip
        # Moved aside, they do not count where the axes find their limits.
        ends = [values] if bars is None else [values + bars[1], values - bars[0]]
        for end in ends:
            ax.update_datalim(np.column_stack([iterations, end]))
        ax.autoscale_view()


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
