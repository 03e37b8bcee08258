"""What a run says of itself: before it begins, where it is changed, and what can be done next."""

from dataclasses import asdict
from pathlib import Path
from shlex import quote

from ..backend import device_of
from ..engine.threads import threads
from ..loops import Loops, Snapshot
from ..tasks.images import FewShot
from . import console
from .experiment import Experiment
from .machine import blas_threads
from .phases import NAME
from .settings import Settings
from .sources import SOURCES

EPSILON = "iterations", "epsilon", "epsilon_final"  # the settings that anneal it
MACHINE = "data", "backend"  # and those that are not of the run, but of where it is


def header(experiment: Experiment, start: Snapshot, folder: Path) -> None:
    """Print what a run is made of, some eight lines."""
    s, model = experiment.settings, experiment.model
    shots = f"{s.shot} points each" if _functions(s) else f"{s.way}-way {s.shot}-shot"
    examples = "" if _functions(s) else " of each class"
    annealed = "" if s.epsilon == s.epsilon_final else f" to {s.epsilon_final:g}"
    outer = "" if s.outer == "plain" else f", outer {s.outer}"
    since = f", from iteration {start.iteration:,} on" if start.iteration else ""
    lines = {
        "backend": _machine(s.backend),
        "data": _data(experiment),
        "note": experiment.note,
        "network": f"{s.network}, {model.size:,} parameters, {s.dtype}",
        "task": f"{shots}, trained on {s.train_shots} examples{examples}",
        "algorithm": f"{s.algorithm}, epsilon {s.epsilon:g}{annealed}{outer}",
        "loops": f"{many(s.iterations, 'iteration')} of {many(s.meta_batch, 'task')}; "
        f"{many(s.inner_steps, 'step')} of {many(s.inner_batch, 'example')}, "
        f"{s.optimizer} {s.inner_lr:g}",
        "run": f"{folder}{since}",
    }
    for name, text in lines.items():
        if text:
            console.say(f"{name:<{NAME}}{text}")


def many(number: int, what: str) -> str:
    """So many of them, in words."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _functions(s: Settings) -> bool:
    return SOURCES[s.dataset].kind == "regression"


def _machine(backend: str) -> str:
    """The backend, and on what it computes."""
    device = device_of(backend)
    if device:
        return f"{backend}, {device.describe().partition(',')[0]}"
    number = threads() if backend == "numba" else blas_threads()
    return f"{backend}, {many(number, 'thread')}"


def _data(experiment: Experiment) -> str:
    """Where the tasks come from, and of how many classes."""
    name = experiment.settings.dataset
    train, test = experiment.train, experiment.test
    if not (isinstance(train, FewShot) and isinstance(test, FewShot)):
        return name
    upright = len({name.rpartition("/rot")[0] or name for name in train.data.names})
    turned = f" ({upright:,}, each turned)" if upright < len(train.data) else ""
    return f"{name}, {len(train.data):,} classes to train on{turned}, {len(test.data):,} to test on"


def changed(before: Settings, now: Settings, iteration: int) -> None:
    """Print a line on each thing that a resumed run does otherwise from now on."""
    old, new = asdict(before), asdict(now)
    for name in (n for n in new if old[n] != new[n] and n not in (*EPSILON, *MACHINE)):
        console.say(
            f"{name.replace('_', '-')} was {_short(old[name])}, and is {_short(new[name])} from "
            f"iteration {iteration:,} on"
        )
    if any(old[name] != new[name] for name in EPSILON):
        was, is_ = (_epsilon(s, iteration) for s in (before, now))
        console.say(
            f"epsilon was {was:.3g} at iteration {iteration:,}, and is {is_:.3g} now; it goes to "
            f"{now.epsilon_final:g} at iteration {now.iterations:,}"
        )


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _epsilon(s: Settings, iteration: int) -> float:
    """The outer step size where this iteration is next."""
    loops = Loops(max(s.iterations, 1), epsilon=s.epsilon, epsilon_final=s.epsilon_final)
    return loops.epsilon_at(iteration)


def next_steps(s: Settings, folder: Path) -> None:
    """Print what can be done with a finished run."""
    run, more = quote(str(folder)), max(2 * s.iterations, 100)
    commands = [f"evaluate {run}", f"resume {run} --iterations {more}"]
    if not _functions(s):
        commands.insert(0, f"predict {run} --support DIR --query DIR")
    for i, command in enumerate(commands):
        console.say(f"{'' if i else 'next':<{NAME}}minireptile {command}")
