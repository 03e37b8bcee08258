"""A run: train, stop on request, save, resume. What its folder holds is in folder.py."""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import announce_compilation
from ..delegate import begin
from ..errors import InputError, require
from ..files import write_atomically
from ..loops import Snapshot
from . import checkpoint, metrics, pictures, report
from .experiment import Experiment, build
from .folder import BASELINE, CHECKPOINT, METRICS
from .settings import Settings
from .signals import Stopped, collected

LOG_LINES = 1000


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
    if _complete(experiment, start, folder):
        print(f"{folder} is complete: {start.iteration} iterations")
        return
    metrics.rewind(folder / METRICS, start.iteration, experiment.measure.values)
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


def _complete(experiment: Experiment, run: Snapshot, folder: Path) -> bool:
    """Whether all iterations are done and, where a test is asked for, both its records are there:
    before and after."""
    s, records = experiment.settings, metrics.read(folder / METRICS, experiment.measure.values)
    tested = not s.test_tasks or sum("test" in record for record in records) == 2
    return run.iteration >= s.iterations and tested


def _continue(experiment: Experiment, start: Snapshot, folder: Path) -> None:
    with collected() as received:
        run = _iterate(experiment, start, folder, received)
    if received:
        raise Stopped(received[0], run.iteration)
    if experiment.settings.test_tasks:
        print(report.before_and_after(experiment, run, folder))
    if run.iteration:  # without any, there is nothing to draw
        pictures.draw(experiment, run, folder)


def _iterate(
    experiment: Experiment, start: Snapshot, folder: Path, received: list[int]
) -> Snapshot:
    """The iterations, with progress, metrics and checkpoints, until the end or a signal."""
    s, measure = experiment.settings, experiment.measure
    run, saved_at, began = start, start.iteration, time.perf_counter()
    log_every = max(1, s.iterations // LOG_LINES)
    name, form = measure.headline[0].format(**asdict(s)), measure.headline[1]
    shown: dict[str, str] = {}
    recent: deque[float] = deque(maxlen=20)
    bar = require("tqdm", "cli").tqdm(
        total=s.iterations, initial=start.iteration, dynamic_ncols=True, smoothing=0.05,
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
                    record["running"] = asdict(result)
                    *_, (last, _) = measure.shown(result).values()
                    recent.append(last)
                    shown[name] = form.format(np.mean(recent))
                metrics.append(folder / METRICS, record)
            bar.set_postfix(shown, refresh=False)
            bar.update()
            if run.iteration % s.checkpoint_every == 0:
                checkpoint.save(folder / CHECKPOINT, run, s)
                saved_at = run.iteration
            if received:
                break
    if run.iteration > saved_at:
        checkpoint.save(folder / CHECKPOINT, run, s)
    return run
