"""Where the GPU is faster than the processor: `adapt` over the number of tasks and the image side.

Both get their arrays from the host and give them back, as a user of the library has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import minireptile as mr
from minireptile.backend import DEVICES
from minireptile.runs.plot import save_figure

from ..inner_loop import GENTLE
from ..machine import usable
from ..measure import close_phi, in_turns
from ..plots import MARKERS, band, distinct, figure, logarithmic, ticks_at
from ..results import Row, timed
from ..settings import OMNIGLOT, QUICK, Setting
from ..tables import TIME, Columns
from .part import Context

COLUMNS: Columns = {**TIME, "ratio": ("ratio", "time over that of the processor")}

GROWTH: dict[str, tuple[int, ...]] = {
    "tasks": (1, 2, 5, 10, 32, 100, 256),
    "size": (14, 28, 42, 56, 84),
}
QUICK_GROWTH: dict[str, tuple[int, ...]] = {"tasks": (1, 2), "size": (14, 28)}
LABELS = {"tasks": "tasks T", "size": "image side, pixels"}


def run(context: Context) -> Iterator[Row]:
    """Rows of every size, the picture at the end."""
    base, growth = (QUICK, QUICK_GROWTH) if context.quick else (OMNIGLOT, GROWTH)
    rows: list[Row] = []
    for axis, values in growth.items():
        for value in values:
            if context.left() < 5:
                yield {"case": f"{axis}={value}", "variant": "", "note": "no time was left"}
                continue
            change: Any = {axis: value}
            for row in measure(replace(base, **change), min(context.rounds, 5)):
                rows.append({**row, "case": f"adapt {axis}={value}", "axis": axis, "value": value})
                yield rows[-1]
    if rows:
        name = draw(rows, context.folder)
        yield {"case": "picture", "variant": "", "note": str(name.name)}


def backends() -> list[str]:
    """The processor's fastest, and CuPy's."""
    there = usable(gpu=True)
    return ["numba" if "numba" in there else "numpy", *(n for n in ("cupy",) if n in there)]


def measure(setting: Setting, rounds: int) -> Iterator[Row]:
    """Check and time a meta-iteration's inner loop on each backend."""
    x, y = setting.data()
    theta = setting.model().init(0)
    models = {name: setting.model(name) for name in backends()}

    def adapted(model: mr.Model, optimizer: Any) -> np.ndarray:
        phi = np.repeat(theta[None], setting.tasks, axis=0)
        mr.adapt(model, phi, x, y, optimizer)
        return phi

    first, *others = models
    wanted = adapted(models[first], GENTLE)
    for name in others:
        phi = adapted(models[name], GENTLE)
        close_phi(f"{name} on {setting}", phi, wanted, theta, setting.steps)
    calls: dict[str, Callable[[], object]] = {
        name: (lambda model=model: adapted(model, setting.optimizer))  # type: ignore[misc]
        for name, model in models.items()
    }
    timings = in_turns(calls, rounds, least=0.01)
    for name, timing in timings.items():
        ratio = timing.median / timings[first].median
        yield timed("", name, timing, ratio=ratio)


def loses(rows: list[Row]) -> list[str]:
    """The cases in which a GPU is slower than the processor."""
    return [row["case"] for row in rows if row["variant"] in DEVICES and row["ratio"] > 1]


def draw(rows: list[Row], folder: Path) -> Path:
    """Draw both lines over each size."""
    axes_names, names = distinct(rows, "axis"), distinct(rows, "variant")
    new, axes = figure(
        "An inner loop on the processor and on the GPU, around the Omniglot setting\n"
        "arrays from the host and back",
        4.6 * len(axes_names), 4, ncols=len(axes_names), sharey=True,
    )  # fmt: skip
    for ax, axis in zip(axes[0], axes_names, strict=True):
        here = [row for row in rows if row["axis"] == axis]
        for i, name in enumerate(names):
            line = [row for row in here if row["variant"] == name]
            band(ax, line, "value", 1e3, marker=MARKERS[i], ms=5, color=f"C{i}", label=name)
        ax.set(xlabel=LABELS[axis])
        logarithmic(ax, "y")
        ticks_at(ax, distinct(here, "value"))
    axes[0, 0].set_ylabel("ms")
    axes[0, 0].legend(frameon=False)
    return save_figure(new, folder / "gpu-crossover.png")
