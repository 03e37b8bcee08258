"""Training as in the paper on a GPU, timed, with the accuracy beside the paper's.

The tasks of a meta-batch run in parallel (`state` "mean"); the paper's code carries the
optimizer's state from one to the next. Presets that differ in `shot` alone train alike, so one run
is evaluated for both. A run that would not fit into the time gets fewer iterations, over which the
outer step size falls all the same, and its row says how many.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from minireptile.backend import fastest
from minireptile.delegate import begin
from minireptile.loops import Snapshot
from minireptile.runs.checkpoint import save
from minireptile.runs.experiment import Experiment, build
from minireptile.runs.presets import PRESETS
from minireptile.runs.settings import Settings

from ..results import Row
from ..tables import Columns
from .part import Context

COLUMNS: Columns = {
    "seconds": ("time", "of the training, or of the evaluation"),
    "iterations": ("outer", "outer iterations that were made"),
    "per_second": ("a second", "outer iterations in a second"),
    "loss": ("loss", "of the last inner step"),
    "tasks": ("tasks", "unseen tasks that were evaluated"),
    "accuracy": ("single", "accuracy in %, one query at a time"),
    "ci95": ("+- s.", "half of its 95 % interval"),
    "paper": ("paper s.", "the paper's accuracy, one query at a time"),
    "transductive": ("joint", "accuracy in %, all queries of a task at once"),
    "transductive_ci95": ("+- j.", "half of its 95 % interval"),
    "paper_transductive": ("paper j.", "the paper's accuracy, all queries of a task at once"),
}

# Accuracy in %, and of queries classified together: Nichol, Achiam & Schulman, tables 1 and 2.
PAPER = {
    "omniglot-5way-1shot": (95.39, 97.68),
    "omniglot-5way-5shot": (98.90, 99.48),
    "omniglot-20way-1shot": (88.14, 89.43),
    "omniglot-20way-5shot": (96.65, 97.12),
    "miniimagenet-5way-1shot": (47.07, 49.97),
    "miniimagenet-5way-5shot": (62.74, 65.99),
}
RUN = ("omniglot-5way-1shot", "omniglot-5way-5shot")  # one training, two evaluations
TRIAL = 200  # iterations that tell how fast it goes
EVALUATION = 0.2  # of the time
TEST_TASKS = 10_000  # at most, as many as there is time for
FIRST_TASKS = 64
FOLDERS = {"omniglot": "omniglot", "miniimagenet": "miniimagenet"}


def run(context: Context) -> Iterator[Row]:
    """Rows of the paper's 5-way Omniglot run."""
    yield from trained(RUN, context, context.left())


def trained(presets: tuple[str, ...], context: Context, seconds: float) -> Iterator[Row]:
    """Train once within so many seconds and evaluate for each preset: a row of the run, and one
    for each evaluation."""
    end = time.monotonic() + seconds
    settings, note = settings_of(presets[0], context.quick)
    experiment = build(settings)
    case = f"{presets[0].rsplit('-', 1)[0]}, state {settings.state}"
    each = speed(experiment, 0.05 * seconds)
    count = affordable(settings.iterations, each, (1 - EVALUATION) * (end - time.monotonic()))
    if count < settings.iterations:
        note += f"; {count:,} of {settings.iterations:,} iterations, for lack of time"
        experiment = build(replace(settings, iterations=count))
    start = time.perf_counter()
    last = begin(experiment.model, experiment.optimizer, experiment.loops)
    for last in experiment.run():
        if time.monotonic() > end:
            note += f"; stopped after {last.iteration:,}: it went slower than at first"
            break
    loss = float(last.loss[-1].mean())  # on a GPU, this is what waits for the end
    taken = time.perf_counter() - start
    save(context.folder / f"{presets[0]}.safetensors", last, experiment.settings)
    yield {
        "case": case, "variant": settings.backend, "seconds": taken, "low": taken, "high": taken,
        "iterations": last.iteration, "per_second": last.iteration / taken, "loss": loss,
        "note": note.strip("; "),
    }  # fmt: skip
    for preset in presets:
        share = EVALUATION * seconds / len(presets)
        yield evaluated(preset, experiment, last, context.quick, share, note)


def settings_of(preset: str, quick: bool) -> tuple[Settings, str]:
    """The preset's settings on the fastest backend, and what had to be changed."""
    values: dict[str, Any] = {**PRESETS[preset], "state": "mean", "backend": fastest()}
    folder, note = data_of(values["dataset"]), ""
    if folder:
        values["data"] = str(folder)
    else:
        note = f"no {values['dataset']} in MINIREPTILE_DATA: drawn characters in its place"
        values |= {"dataset": "glyphs", "split": "", "network": "omniglot"}
    if quick:
        values |= {"filters": 8, "iterations": 200, "classes": 100}
    return Settings(**values), note


def data_of(dataset: str) -> Path | None:
    """The folder of a data set below MINIREPTILE_DATA, if it is there."""
    root = os.environ.get("MINIREPTILE_DATA", "")
    folder = Path(root, FOLDERS[dataset]).resolve()
    return folder if root and folder.is_dir() else None


def speed(experiment: Experiment, seconds: float) -> float:
    """Seconds of an iteration, by more and more of them until so many seconds have gone by, or
    TRIAL of them. The first one, which may compile, does not count."""
    iterations, count, each = iter(experiment.run()), 1, 0.0
    first = next(iterations)
    first.theta.sum()
    while not each or (count < TRIAL and 2 * count * each < seconds):
        count *= 2
        start = time.perf_counter()
        several = list(islice(iterations, count))
        if several:
            several[-1].theta.sum()  # waits for the GPU
        if len(several) < count:
            return each or (time.perf_counter() - start) / max(len(several), 1)
        each = (time.perf_counter() - start) / count
    return each


def affordable(wanted: int, each: float, seconds: float) -> int:
    """As many iterations as fit, in two digits, and one at least."""
    fitting = int(seconds / each)
    if fitting >= wanted:
        return wanted
    digits = 10 ** max(len(str(max(fitting, 1))) - 2, 0)
    return min(wanted, max(fitting // digits * digits, 1))


def evaluated(
    preset: str, experiment: Experiment, last: Snapshot, quick: bool, seconds: float, note: str
) -> Row:
    """The accuracy on unseen classes for one preset, in %, with the paper's."""
    s = PRESETS[preset]
    changed = replace(experiment.settings, shot=s["shot"], eval_batch=s["eval_batch"])
    there = replace(experiment, settings=changed)
    tasks = 20 if quick else FIRST_TASKS
    found, taken = _accuracy(there, last, tasks)
    more = 0 if quick else min(int(seconds / taken) * FIRST_TASKS, TEST_TASKS)
    if more > tasks:
        tasks = more
        found, taken = _accuracy(there, last, tasks)
    numbers = {
        "accuracy": found.accuracy, "ci95": found.accuracy_ci95,
        "transductive": found.transductive_accuracy,
        "transductive_ci95": found.transductive_accuracy_ci95,
    }  # fmt: skip
    paper, paper_transductive = PAPER[preset]
    return {
        "case": f"accuracy {preset}", "variant": experiment.settings.backend,
        "seconds": taken, "low": taken, "high": taken,
        **{key: None if value is None else 100 * value for key, value in numbers.items()},
        "paper": paper, "paper_transductive": paper_transductive,
        "iterations": last.iteration, "tasks": tasks, "note": note.strip("; "),
    }  # fmt: skip


def _accuracy(experiment: Experiment, last: Snapshot, tasks: int) -> tuple[Any, float]:
    """The accuracy on so many unseen tasks, and the seconds that it took."""
    start = time.perf_counter()
    protocol = experiment.protocol(tasks, experiment.settings.seed)
    return experiment.evaluate(last, experiment.test, protocol), time.perf_counter() - start
