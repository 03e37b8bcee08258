"""What a run is worth: evaluation on unseen tasks, as a table."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from ..delegate import begin
from ..errors import require
from ..loops import Snapshot
from . import metrics
from .experiment import Experiment
from .folder import METRICS
from .measures import Result


def measure(
    experiment: Experiment, run: Snapshot, tasks: int, seed: int, quiet: bool = False
) -> Result:
    """Evaluate on unseen tasks, with a progress bar."""
    with require("tqdm", "cli").tqdm(
        total=tasks, unit="task", desc="evaluate", leave=False, disable=quiet or not os.isatty(2)
    ) as bar:
        protocol = experiment.protocol(tasks, seed)
        return experiment.evaluate(run, experiment.test, protocol, report=bar.update)


def before_and_after(experiment: Experiment, run: Snapshot, folder: Path) -> str:
    """Evaluate the initial and the final theta; keep both in the metrics, and return a table."""
    s = experiment.settings
    runs = {"before": begin(experiment.model, experiment.optimizer, experiment.loops), "after": run}
    results = {n: measure(experiment, each, s.test_tasks, s.seed) for n, each in runs.items()}
    for name, result in results.items():
        record = {"iteration": runs[name].iteration, "test": asdict(result)}
        metrics.append(folder / METRICS, record)
    return table(experiment, results)


def table(experiment: Experiment, results: dict[str, Result]) -> str:
    """Results side by side, one column each, with 95 % intervals."""
    shown = {name: experiment.measure.shown(result) for name, result in results.items()}
    rows = [["", *shown]]
    rows += [
        [label, *(_cell(*values[label]) for values in shown.values())]
        for label in next(iter(shown.values()))
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
             for row in rows]  # fmt: skip
    tasks = next(iter(results.values())).tasks
    title = experiment.measure.title.format(tasks=tasks, **asdict(experiment.settings))
    return "\n".join([title, *lines, *([f"({experiment.note})"] if experiment.note else [])])


def _cell(value: float, half_width: float | None) -> str:
    return f"{value:.2f}" + ("" if half_width is None else f" ± {half_width:.2f}")
