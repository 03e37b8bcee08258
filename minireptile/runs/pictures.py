"""The pictures of a run and, where its tasks are functions, the baseline to set beside it."""

from dataclasses import replace
from pathlib import Path

from ..delegate import begin
from ..loops import Snapshot
from ..tasks.images import FewShot
from . import checkpoint, console, metrics, plot
from .experiment import Experiment
from .folder import BASELINE, METRICS
from .sources import SOURCES


def draw(experiment: Experiment, run: Snapshot, folder: Path) -> None:
    """Draw the pictures of a run and say where they are."""
    s = experiment.settings
    records = metrics.read(folder / METRICS, experiment.measure.values)
    classified = None
    if isinstance(experiment.test, FewShot):
        before = begin(experiment.model, experiment.optimizer, experiment.loops)
        classified = {"before": before, "after": run}
    pictures = [plot.learning_curve(experiment, records, folder, classified)]
    if SOURCES[s.dataset].curves:
        runs = {s.algorithm: run}
        if "joint" not in runs:
            runs["joint"] = baseline(experiment, folder)
        pictures.append(plot.adaptation(experiment, runs, folder))
    for picture in pictures:
        console.say(f"picture: {picture}")


def baseline(experiment: Experiment, folder: Path) -> Snapshot:
    """Joint training from the same start and with the same budget, kept beside the run."""
    settings = replace(experiment.settings, algorithm="joint")
    path = folder / BASELINE
    if path.exists():
        run, found = checkpoint.load(path)
        if found == settings:
            return run
    console.say("training the baseline: the same network on all tasks jointly, no meta-learning")
    jointly = replace(experiment, settings=settings)
    run = begin(jointly.model, jointly.optimizer, jointly.loops)
    for snapshot in console.each(jointly.run(run), "baseline", settings.iterations):
        run = snapshot
    checkpoint.save(path, run, settings)
    return run
