"""A run: train, stop on request, save, resume. What its folder holds is in folder.py."""

import time
from collections import deque
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from ..backend import BACKENDS, announce_compilation, prepare
from ..delegate import begin
from ..errors import InputError, require
from ..files import write_atomically
from ..loops import Diverged, Snapshot
from . import checkpoint, console, metrics, pictures, report, words, workers
from .experiment import Experiment, build
from .folder import BASELINE, CHECKPOINT, METRICS
from .phases import Phases
from .settings import Settings
from .signals import Stopped, collected
from .workers import Pool

LOG_LINES = 1000
COMPILED = BACKENDS[1:]  # NumPy's kernels are ready


def train(
    settings: Settings, folder: Path, overwrite: bool = False, drawn: bool = True,
    pool: Pool | None = None,
) -> None:  # fmt: skip
    """Start a run in `folder` and take it to its end, with workers or without: the bits are the
    same. Its pictures are `drawn` then.

    `InputError` if something the settings name does not fit, or the folder holds a run already, or
    the run diverges: it is then saved up to its last checkpoint. `Stopped` on SIGINT or SIGTERM,
    after the iteration in hand, with the run saved.
    """
    if (folder / CHECKPOINT).exists() and not overwrite:
        raise InputError(
            f"{folder} holds a run already: continue it with 'minireptile resume {folder}', "
            "choose another --out, or pass --overwrite"
        )
    for package in ("safetensors.numpy", "rich", "matplotlib"):
        require(package, "cli")  # now, and not after an hour of training
    prepare(settings.backend)
    said = workers.check(settings, pool)
    phases = Phases()
    with phases.part("data", _loading(settings), said=False):
        experiment = replace(build(settings), map=pool)
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
    if said:
        console.say(said, stderr=True)
    _continue(experiment, start, folder, phases, drawn=drawn)


def resume(folder: Path, drawn: bool = True, pool: Pool | None = None, **changes: Any) -> None:
    """Continue a run from its last checkpoint, bit for bit; or with settings changed from here on,
    which the run keeps: `iterations` extends it, and epsilon is then annealed to the new end. Its
    tests are taken anew at the end. `InputError` and `Stopped` as from `train`; and if fewer
    iterations are asked for than are done."""
    path, phases = folder / CHECKPOINT, Phases()
    _, before = checkpoint.load(path)
    with phases.part("data", _loading(before), said=False):
        experiment, start = load(folder, pool=pool, **changes)
    now = experiment.settings
    if now.iterations < start.iteration:
        raise InputError(
            f"{folder} has {start.iteration:,} iterations behind it, and cannot go on to "
            f"{now.iterations:,}: ask for more with --iterations"
        )
    if _complete(experiment, start, folder):
        console.say(f"{folder} is complete: {start.iteration} iterations")
        words.next_steps(now, folder)
        return
    seconds = metrics.rewind(folder / METRICS, start.iteration, experiment.measure.values)
    if now != before:
        checkpoint.save(path, start, now)
    _continue(experiment, start, folder, phases, seconds, before, drawn)


def load(
    folder: Path, training: bool = True, pool: Pool | None = None, **changes: Any
) -> tuple[Experiment, Snapshot]:
    """A run's experiment, with some settings changed, and its last snapshot."""
    path = folder / CHECKPOINT
    run, settings = checkpoint.load(path)
    settings = replace(settings, **changes)
    if said := workers.check(settings, pool, training):
        console.say(said, stderr=True)
    announce_compilation(settings.backend)
    experiment = replace(build(settings, training), map=pool)
    fresh = begin(experiment.model, experiment.optimizer, experiment.loops)
    checkpoint.check_fits(path, run, fresh)
    return experiment, run


def _loading(s: Settings) -> str:
    return f"{'drawing' if s.dataset == 'glyphs' else 'loading'} the {s.dataset} tasks"


def _complete(experiment: Experiment, run: Snapshot, folder: Path) -> bool:
    """Whether all iterations are done and, where a test is asked for, both its records are there:
    before and after."""
    s, records = experiment.settings, metrics.read(folder / METRICS, experiment.measure.values)
    tested = not s.test_tasks or sum("test" in record for record in records) == 2
    return run.iteration >= s.iterations and tested


def _continue(
    experiment: Experiment, start: Snapshot, folder: Path, phases: Phases, seconds: float = 0.0,
    before: Settings | None = None, drawn: bool = True,
) -> None:  # fmt: skip
    """What is left of a run; `seconds` went before, under the settings `before`."""
    s, run = experiment.settings, start
    words.header(experiment, start, folder)
    if before:
        words.changed(before, s, start.iteration)
    console.say("")
    if start.iteration < s.iterations:
        with collected() as received:
            warm_up(experiment, phases)
            with phases.part("training") as part:
                run = _iterate(experiment, start, folder, received, seconds)
                part.detail = f"{run.iteration - start.iteration:,} iterations"
        if received:
            raise Stopped(received[0], run.iteration)
    if s.test_tasks:
        with phases.part("testing") as part:
            results = report.before_and_after(experiment, run, folder)
            part.detail = f"{s.test_tasks:,} unseen tasks, before and after"
        console.say("")
        report.show(experiment, results)
        console.say("")
    if drawn and run.iteration:  # without any, there is nothing to draw
        with phases.part("pictures"):
            pictures.draw(experiment, run, folder)
    phases.total()
    words.next_steps(s, folder)


def warm_up(experiment: Experiment, phases: Phases) -> None:
    """Take an iteration and an evaluation of no account, so that what has to be compiled or loaded
    is there before the first of the run, and before workers begin, who would all compile it. Every
    random number is a function of where it is used (rng.py), so the run itself is none the
    wiser."""
    backend = experiment.settings.backend
    if backend not in COMPILED:
        return
    said = announce_compilation(backend)
    before = len(said)
    fresh = begin(experiment.model, experiment.optimizer, experiment.loops)
    here = experiment.map and map  # lots, but none for others
    once = replace(experiment, loops=replace(experiment.loops, iterations=1), map=here)
    with phases.part("loading", "loading the kernels") as part:
        with suppress(InputError):  # of a divergence, the run itself will tell
            list(once.run(fresh))
            protocol = experiment.protocol(1, experiment.settings.seed)
            once.evaluate(fresh, once.watched, protocol)
        part.detail = f"the {backend} kernels"
        if len(said) > before:
            part.name, part.detail = "compiling", f"{part.detail}, once for this machine"


def _iterate(
    experiment: Experiment, start: Snapshot, folder: Path, received: list[int], seconds: float
) -> Snapshot:
    """The iterations, with progress, metrics and checkpoints, until the end or a signal."""
    s, measure = experiment.settings, experiment.measure
    run, saved_at, began = start, start.iteration, time.perf_counter() - seconds
    log_every = max(1, s.iterations // LOG_LINES)
    name, form = measure.headline[0].format(**asdict(s)), measure.headline[1]
    recent: deque[float] = deque(maxlen=20)
    try:
        with console.progress(s.iterations, "training", done=start.iteration) as bar:
            for run in () if received else experiment.run(start):
                shown: dict[str, str] = {}
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
                bar.update(1, shown)
                if run.iteration % s.checkpoint_every == 0:
                    checkpoint.save(folder / CHECKPOINT, run, s)
                    saved_at = run.iteration
                if received:
                    break
    except Diverged as error:
        raise InputError(
            f"{error.what} {error.iteration}; {folder} is saved up to iteration {saved_at}: go on "
            f"with a lower rate, minireptile resume {quote(str(folder))} --inner-lr "
            f"{s.inner_lr / 4:.2g}, or with a lower --epsilon than {s.epsilon:g}"
        ) from None
    if run.iteration > saved_at:
        checkpoint.save(folder / CHECKPOINT, run, s)
    return run
