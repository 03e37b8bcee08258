"""Whole runs through `mr.reptile`, sampling included, and the first start of each backend.

The images are random, with the shapes and the types of the paper's data sets: what they show does
not change how long they take.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import numpy as np

import minireptile as mr
from minireptile.runs.console import each
from minireptile.runs.plot import save_figure
from minireptile.tasks.base import Tasks
from minireptile.tasks.images import FewShot, from_arrays
from minireptile.tasks.sine import Sine

from .child import ask
from .inner_loop import GENTLE
from .machine import blas_threads, compiled_threads, usable
from .measure import close_phi, in_turns
from .plots import distinct, figure
from .results import Row, timed
from .settings import MINIIMAGENET, OMNIGLOT, QUICK, SINE, Setting
from .tables import TIME, Columns

COLUMNS: Columns = {
    **TIME,
    "per_second": ("a second", "outer iterations in a second"),
    "sampling": ("sampling", "the share of the time that drawing the tasks takes"),
    "ratio": ("ratio", "time over that of NumPy"),
    "import_seconds": ("import", "time of the imports"),
    "first_seconds": ("first", "time of the first meta-iteration, which may compile"),
    "next_seconds": ("next", "time of the second one"),
}

SAMPLING = "sampling alone"
FOREVER = 10**9  # iterations; the generator is asked for as many as are timed


def images(classes: int, drawers: int, shape: tuple[int, ...], kind: type) -> FewShot:
    """5-way tasks on random images, as many of each class as there are drawers."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 2 if kind is bool else 256, (classes * drawers, *shape), np.uint8)
    labels = np.repeat(np.arange(classes), drawers)
    return FewShot(from_arrays(pixels.astype(kind, copy=False), labels), way=5)


def cases(quick: bool) -> Iterator[tuple[Setting, Tasks, int]]:
    """Setting, tasks and the training shots of every run."""
    yield SINE, Sine(), 50
    if quick:
        yield QUICK, images(10, 20, (28, 28), bool), 10
        return
    yield OMNIGLOT, images(1000, 20, (28, 28), bool), 10
    yield MINIIMAGENET, images(64, 40, (84, 84, 3), np.uint8), 15


def run(rounds: int, quick: bool, number: int | None = None) -> list[Row]:
    """Time outer iterations, and first starts, which compile for a minute and so are not quick;
    BLAS has one thread, as in a run. `Mismatch` if backends disagree."""
    number = compiled_threads(number)
    rows: list[Row] = []
    with blas_threads(1):
        for setting, tasks, shots in each(cases(quick), "runs"):
            rows += measure(setting, tasks, shots, rounds, 0.002 if quick else 0.02, number)
    if not quick:
        for backend in each(usable(), "first starts"):
            rows += starts("omniglot", backend)
    return rows


def measure(
    setting: Setting, tasks: Tasks, shots: int, rounds: int, least: float, number: int
) -> list[Row]:
    """Rows of one run: an outer iteration on each backend, and its sampling alone."""
    loops = mr.Loops(
        FOREVER, meta_batch=setting.tasks, epsilon=0.1, inner_steps=setting.steps,
        inner_batch=setting.batch, train_shots=shots,
    )  # fmt: skip
    check(setting, tasks, loops)
    calls: dict[str, Callable[[], object]] = {}
    for backend in usable():
        calls[backend] = many(setting, tasks, backend, loops)
    numbers = count()
    calls[SAMPLING] = lambda: loops.sample(tasks, next(numbers))
    timings = in_turns(calls, rounds, least)
    drawing = timings[SAMPLING].median
    rows = []
    for name, timing in timings.items():
        share = {} if name == SAMPLING else {"sampling": drawing / timing.median}
        ratio = timing.median / timings["numpy"].median
        rows.append(
            timed(f"run {setting}", name, timing, per_second=1 / timing.median, ratio=ratio,
                  threads=number, **share)
        )  # fmt: skip
    return rows


def many(
    setting: Setting, tasks: Tasks, backend: str, loops: mr.Loops, iterations: int = 1
) -> Callable[[], object]:
    """A function that makes so many outer iterations of a run, after a first one."""
    run = mr.reptile(setting.model(backend), tasks, setting.optimizer, loops)
    next(run)

    def call() -> object:
        *_, last = islice(run, iterations)
        return last.theta  # on a GPU nothing may be done before it is asked for

    return call


def check(setting: Setting, tasks: Tasks, loops: mr.Loops) -> None:
    """Compare theta after two outer iterations with SGD (inner_loop.py says why not Adam).
    `Mismatch` if a theta is further off than rounding explains."""
    iterations = 2
    loops = replace(loops, epsilon=1.0)  # or theta would move little more than its own rounding
    thetas = {}
    for backend in usable():
        run = mr.reptile(setting.model(backend), tasks, GENTLE, loops)
        thetas[backend] = [next(run) for _ in range(iterations)][-1].theta
    start = setting.model().init(loops.seed)
    steps = iterations * setting.steps
    for backend, theta in thetas.items():
        close_phi(f"{backend} on {setting}", theta, thetas["numpy"], start, steps)


def starts(network: str, backend: str) -> list[Row]:
    """The first meta-iteration of two processes: with nothing compiled yet, and after that."""
    with tempfile.TemporaryDirectory() as cache:
        rows: list[Row] = []
        for name in ("first start", "second start"):
            times = ask("bench.start", network, backend, NUMBA_CACHE_DIR=cache)
            rows.append({"case": f"{name}, {network}", "variant": backend, **times})
    return rows


def rate(row: Row) -> str:
    """Outer iterations a second, in three digits."""
    value = row["per_second"]
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def draw(rows: list[Row], folder: Path, where: str) -> list[Path]:
    """Draw an outer iteration of each run, with the share of the sampling."""
    runs = [row for row in rows if "sampling" in row]
    names = distinct(runs, "case")
    new, axes = figure(
        f"An outer iteration, sampling included, threads: {rows[0]['threads']}\n{where}",
        3.8 * len(names), 1.8 + 0.6 * len(usable()), ncols=len(names),
    )  # fmt: skip
    for ax, name in zip(axes[0], names, strict=True):
        here = [row for row in runs if row["case"] == name]
        y, seconds = range(len(here)), np.array([row["seconds"] for row in here])
        sampling = seconds * [row["sampling"] for row in here]
        ax.barh(y, 1e3 * sampling, color="C1", label="sampling")
        ax.barh(y, 1e3 * (seconds - sampling), left=1e3 * sampling, color="C0", label="the rest")
        ax.set_yticks(y, [f"{row['variant']}\n{rate(row)} a second" for row in here])
        ax.set(title=name.removeprefix("run "), xlabel="ms")
        ax.invert_yaxis()
    bars, labels = axes[0, 0].get_legend_handles_labels()
    new.legend(bars, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return [save_figure(new, folder / "runs.png")]
