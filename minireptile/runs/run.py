"""A run and its folder: train, stop on request, save, resume, measure.

RUN/checkpoint.safetensors    theta, optimizer state, iteration and settings (checkpoint.py)
RUN/metrics.jsonl             one line for each logged iteration and evaluation (metrics.py)
RUN/learning_curve.png        and, for sine, RUN/adaptation.png (plot.py)
RUN/joint.safetensors         sine: the baseline trained without meta-learning
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from ..backend import announce_compilation
from ..delegate import begin
from ..errors import InputError, require
from ..evaluate import Accuracy, Regression
from ..files import write_atomically
from ..loops import Snapshot
from . import checkpoint, metrics
from .experiment import Experiment, build
from .settings import Settings

CHECKPOINT = "checkpoint.safetensors"
METRICS = "metrics.jsonl"
BASELINE = "joint.safetensors"
LOG_LINES = 1000


class Stopped(Exception):
    """A signal asked for an end, and the run is saved."""

    def __init__(self, signum: int, iteration: int) -> None:
        super().__init__(signum, iteration)
        self.signum, self.iteration = signum, iteration


def train(settings: Settings, folder: Path, overwrite: bool = False) -> None:
    """Start a run in `folder` and take it to its end.

    Raises
    ------
    InputError
        If something the settings name does not fit, or the folder holds a run already.
    Stopped
        On SIGINT or SIGTERM, after the iteration in hand, with the run saved.
    """
    if (folder / CHECKPOINT).exists() and not overwrite:
        raise InputError(
            f"{folder} holds a run already: continue it with 'minireptile resume {folder}', "
            "choose another --out, or pass --overwrite"
        )
    for package in ("safetensors.numpy", "tqdm", "matplotlib"):
        require(package, "cli")  # now, and not after an hour of training
    announce_compilation(settings.backend)
    experiment = build(settings)
    start = begin(experiment.model, experiment.optimizer, experiment.loops)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot make the run folder {folder}: {error.strerror}; choose another --out"
        ) from error
    checkpoint.save(folder / CHECKPOINT, start, settings)
    write_atomically(folder / METRICS, b"")
    (folder / BASELINE).unlink(missing_ok=True)
    _continue(experiment, start, folder)


def resume(folder: Path, **changes: Any) -> None:
    """Continue a run from its last checkpoint, bit for bit. Raises as `train` does."""
    experiment, start = load(folder, **changes)
    if start.iteration < experiment.loops.iterations or not _tested(folder):
        metrics.rewind(folder / METRICS, start.iteration)
    else:
        print(f"{folder} is complete: {start.iteration} iterations")
        return
    _continue(experiment, start, folder)


def load(folder: Path, training: bool = True, **changes: Any) -> tuple[Experiment, Snapshot]:
    """A run's experiment, with some settings changed, and its last snapshot."""
    path = folder / CHECKPOINT
    run, settings = checkpoint.load(path)
    settings = replace(settings, **changes)
    announce_compilation(settings.backend)
    experiment = build(settings, training)
    fresh = begin(experiment.model, experiment.optimizer, experiment.loops)
    checkpoint.check_fits(path, run, fresh)
    return experiment, run


def _continue(experiment: Experiment, start: Snapshot, folder: Path) -> None:
    s = experiment.settings
    with _signals() as received:
        run = _iterate(experiment, start, folder, received)
    if received:
        raise Stopped(received[0], run.iteration)
    if s.test_tasks:
        print_before_and_after(experiment, run, folder)
    draw_pictures(experiment, run, folder)


def _iterate(
    experiment: Experiment, start: Snapshot, folder: Path, received: list[int]
) -> Snapshot:
    """The iterations, with progress, metrics and checkpoints, until the end or a signal."""
    s = experiment.settings
    run, saved_at, began = start, start.iteration, time.perf_counter()
    log_every = max(1, s.iterations // LOG_LINES)
    shown: dict[str, str] = {}
    recent: deque[float] = deque(maxlen=20)
    bar = require("tqdm", "cli").tqdm(
        total=s.iterations, initial=start.iteration, unit="it", dynamic_ncols=True, smoothing=0.05,
        mininterval=0.5 if os.isatty(2) else 10.0,
    )  # fmt: skip
    with bar:
        for run in experiment.run(start):
            due = s.eval_every and run.iteration % s.eval_every == 0
            if due or run.iteration % log_every == 0 or run.iteration == s.iterations:
                record: metrics.Record = {
                    "iteration": run.iteration,
                    "loss": float(run.loss[-1].mean()),
                    "epsilon": experiment.loops.epsilon_at(run.iteration - 1),
                    "seconds": round(time.perf_counter() - began, 3),
                }
                shown["loss"] = f"{record['loss']:.3f}"
                if due:
                    result = experiment.watch(run)
                    record |= {"running": asdict(result)}
                    recent.append(_headline(result))
                    shown |= _running(result, float(np.mean(recent)))
                metrics.append(folder / METRICS, record)
            bar.set_postfix(shown, refresh=False)
            bar.update()
            if run.iteration % s.checkpoint_every == 0 or received:
                checkpoint.save(folder / CHECKPOINT, run, s)
                saved_at = run.iteration
            if received:
                break
    if run.iteration > saved_at:
        checkpoint.save(folder / CHECKPOINT, run, s)
    return run


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; the second one kills as usual."""
    received: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        received.append(signum)
        for s in before:
            signal.signal(s, signal.SIG_DFL)

    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    for s in before:
        signal.signal(s, note)
    try:
        yield received
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def _headline(result: Accuracy | Regression) -> float:
    """The one number to watch: transductive accuracy, or the error after the last step."""
    return result.mse[-1] if isinstance(result, Regression) else result.transductive_accuracy


def _running(result: Accuracy | Regression, value: float) -> dict[str, str]:
    if isinstance(result, Regression):
        return {f"mse@{result.steps[-1]}": f"{value:.3f}"}
    return {"accuracy": f"{100 * value:.1f}%"}


def measure(
    experiment: Experiment, run: Snapshot, tasks: int, seed: int, quiet: bool = False
) -> Accuracy | Regression:
    """Evaluate on unseen classes, with a progress bar."""
    with require("tqdm", "cli").tqdm(
        total=tasks, unit="task", desc="evaluate", leave=False, disable=quiet or not os.isatty(2)
    ) as bar:
        protocol = experiment.protocol(tasks, seed)
        return experiment.evaluate(run, experiment.test, protocol, report=bar.update)


def print_before_and_after(experiment: Experiment, run: Snapshot, folder: Path) -> None:
    """Evaluate the initial and the final theta; print a table and keep both in the metrics."""
    s = experiment.settings
    untrained = begin(experiment.model, experiment.optimizer, experiment.loops)
    results = []
    for snapshot in (untrained, run):
        results.append(measure(experiment, snapshot, s.test_tasks, s.seed))
    for snapshot, result in zip((untrained, run), results, strict=True):
        metrics.append(folder / METRICS, {"iteration": snapshot.iteration, "test": asdict(result)})
    print(table(experiment, dict(zip(("before", "after"), results, strict=True))))


def table(experiment: Experiment, results: dict[str, Accuracy | Regression]) -> str:
    """Results side by side, one column each, with 95 % intervals."""
    s = experiment.settings
    rows: list[list[str]] = [["", *results]]
    first = next(iter(results.values()))
    if isinstance(first, Regression):
        title = f"mean squared error on {first.tasks} unseen sine waves, {s.shot} points each"
        for i, steps in enumerate(first.steps):
            cells = [_cell(r.mse[i], r.mse_ci95[i]) for r in results.values()]  # type: ignore[union-attr]
            rows.append([f"{steps} steps", *cells])
    else:
        title = (
            f"{s.way}-way {s.shot}-shot accuracy in %, on {first.tasks} tasks of unseen classes "
            f"of {s.dataset}"
        )
        for name in ("accuracy", "transductive_accuracy"):
            cells = [
                _cell(100 * getattr(r, name), _percent(getattr(r, f"{name}_ci95")))
                for r in results.values()
            ]
            rows.append([name.replace("_", " "), *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
             for row in rows]  # fmt: skip
    note = [f"({experiment.note})"] if experiment.note else []
    return "\n".join([title, *lines, *note])


def _percent(half_width: float | None) -> float | None:
    return None if half_width is None else 100 * half_width


def _cell(value: float, half_width: float | None) -> str:
    return f"{value:.2f}" + ("" if half_width is None else f" ± {half_width:.2f}")


def _tested(folder: Path) -> bool:
    """Whether both evaluations, before and after, are there: the last thing that a run writes."""
    return sum("test" in record for record in metrics.read(folder / METRICS)) == 2


def baseline(experiment: Experiment, folder: Path) -> Snapshot:
    """Joint training from the same start and with the same budget, kept beside the run."""
    settings = replace(experiment.settings, algorithm="joint")
    path = folder / BASELINE
    if path.exists():
        run, found = checkpoint.load(path)
        if found == settings:
            return run
    print("training the baseline: the same network on all tasks jointly, without meta-learning")
    jointly = replace(experiment, settings=settings)
    run = begin(jointly.model, jointly.optimizer, jointly.loops)
    steps = require("tqdm", "cli").tqdm(
        jointly.run(run), total=settings.iterations, unit="it",
        mininterval=0.5 if os.isatty(2) else 10.0,
    )  # fmt: skip
    for snapshot in steps:
        run = snapshot
    checkpoint.save(path, run, settings)
    return run


def draw_pictures(experiment: Experiment, run: Snapshot, folder: Path) -> None:
    """Draw the pictures of a run and say where they are."""
    from . import plot

    records = metrics.read(folder / METRICS)
    pictures = [plot.learning_curve(experiment, records, folder)]
    if experiment.settings.dataset == "sine":
        runs = {experiment.settings.algorithm: run}
        if "joint" not in runs:
            runs["joint"] = baseline(experiment, folder)
        pictures.append(plot.adaptation(experiment, runs, folder))
    for picture in pictures:
        print(f"picture: {picture}")
