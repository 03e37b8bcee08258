"""What a run is worth: evaluation on unseen tasks, as a table."""

from dataclasses import asdict
from pathlib import Path

from ..delegate import begin
from ..loops import Snapshot
from . import console, metrics
from .experiment import Experiment
from .folder import METRICS
from .measures import Result


def measure(
    experiment: Experiment, run: Snapshot, tasks: int, seed: int, quiet: bool = False
) -> Result:
    """Evaluate on unseen tasks, with a progress bar."""
    with console.progress(tasks, "testing", "tasks", quiet=quiet) as bar:
        protocol = experiment.protocol(tasks, seed)
        return experiment.evaluate(run, experiment.test, protocol, report=bar.update)


def before_and_after(experiment: Experiment, run: Snapshot, folder: Path) -> dict[str, Result]:
    """Evaluate the initial and the final theta, and keep both in the metrics."""
    s = experiment.settings
    runs = {"before": begin(experiment.model, experiment.optimizer, experiment.loops), "after": run}
    results = {n: measure(experiment, each, s.test_tasks, s.seed) for n, each in runs.items()}
    for name, result in results.items():
        record = {"iteration": runs[name].iteration, "test": asdict(result)}
        metrics.append(folder / METRICS, record)
    return results


def show(experiment: Experiment, results: dict[str, Result]) -> None:
    """Print results side by side, one column each, with 95 % intervals."""
    shown = {name: experiment.measure.shown(result) for name, result in results.items()}
    rows = [["", *shown]]
    rows += [
        [label, *(_cell(*values[label]) for values in shown.values())]
        for label in next(iter(shown.values()))
    ]
    tasks = next(iter(results.values())).tasks
    title = experiment.measure.title.format(tasks=tasks, **asdict(experiment.settings))
    console.table(rows, title, experiment.note)


def _cell(value: float, half_width: float | None) -> str:
    return f"{value:.2f}" + ("" if half_width is None else f" ± {half_width:.2f}")
