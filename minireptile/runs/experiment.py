"""From settings to the things they name: tasks, model, optimizer, loops, algorithm."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from math import prod
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..evaluate import Accuracy, Protocol, Regression, evaluate, evaluate_regression
from ..fomaml import fomaml
from ..imaml import check as check_imaml
from ..imaml import imaml
from ..joint import joint
from ..loops import Loops, Snapshot
from ..maml import check as check_maml
from ..maml import maml
from ..model import Model
from ..networks import miniimagenet_cnn, omniglot_cnn, sine_mlp
from ..optim import SGD, Adam, Optimizer
from ..reptile import reptile
from ..rng import Stream
from ..tasks.base import Tasks
from ..tasks.images import FewShot, Splits
from ..tasks.sine import Sine
from .settings import Settings

ALGORITHMS: dict[str, Callable[..., Iterator[Snapshot]]] = {
    "reptile": reptile, "joint": joint, "fomaml": fomaml, "maml": maml, "imaml": imaml,
}  # fmt: skip


@dataclass(frozen=True)
class Experiment:
    """Everything a run is made of. `watched` are the tasks of the running evaluation."""

    settings: Settings
    model: Model
    optimizer: Optimizer
    loops: Loops
    train: Tasks
    watched: Tasks
    test: Tasks
    note: str

    def run(self, start: Snapshot | None = None) -> Iterator[Snapshot]:
        """The algorithm's iterations."""
        algorithm = ALGORITHMS[self.settings.algorithm]
        return algorithm(self.model, self.train, self.optimizer, self.loops, start)

    def protocol(self, tasks: int, seed: int, **changes: Any) -> Protocol:
        """How this run's evaluation tasks are adapted to."""
        s = self.settings
        marks = (*(m for m in (0, 1, 5, 10, 32) if m < s.eval_steps), s.eval_steps)
        return Protocol(
            **{
                "tasks": tasks,
                "shot": s.shot,
                "marks": marks if s.dataset == "sine" else (s.eval_steps,),
                "batch": s.eval_batch,
                "replacement": s.replacement,
                "seed": seed,
                **changes,
            }
        )

    def evaluate(
        self, run: Snapshot, tasks: Tasks, protocol: Protocol, **report: Any
    ) -> Accuracy | Regression:
        """Accuracy for classification, squared error for regression."""
        measure = evaluate_regression if self.settings.dataset == "sine" else evaluate
        return measure(self.model, run.theta, run.state, tasks, self.optimizer, protocol, **report)

    def watch(self, run: Snapshot) -> Accuracy | Regression:
        """The running evaluation after an iteration."""
        changes = {"stream": Stream.RUNNING, "iteration": run.iteration}
        protocol = self.protocol(self.settings.eval_tasks, self.settings.seed, **changes)
        return self.evaluate(run, self.watched, protocol)


def build(settings: Settings, training: bool = True) -> Experiment:
    """Load the data and build the model; `InputError` where something does not fit.

    For training, one meta-batch is drawn, so that a task too large for its classes shows before a
    run starts. Otherwise, only the test classes are asked for.
    """
    s = settings
    numbers = {f.name: getattr(s, f.name) for f in fields(Loops) if f.name != "outer"}
    loops = Loops(**numbers, outer=_outer(s))
    optimizer: Optimizer = (
        SGD(s.inner_lr, s.momentum, s.weight_decay_rate)
        if s.optimizer == "sgd"
        else Adam(s.inner_lr, s.beta1, weight_decay_rate=s.weight_decay_rate)
    )
    if s.algorithm == "maml":
        check_maml(optimizer, loops)
    if s.algorithm == "imaml":
        check_imaml(optimizer, loops)
    train, watched, test, note = _tasks(s, training)
    model = build_model(s, test.input_shape)
    experiment = Experiment(s, model, optimizer, loops, train, watched, test, note)
    if training:
        _check_memory(s, model)
        sizes = s.inner_steps, s.meta_batch, s.inner_batch
        model.engine.check_memory(*sizes, model.dtype, second=s.algorithm == "maml")
        if s.algorithm in ("reptile", "joint"):
            loops.sample(train, 0)
        else:
            loops.sample_tail(train, 0)
    experiment.protocol(1, s.seed)
    return experiment


def _outer(s: Settings) -> Optimizer | None:
    """What moves theta, other than epsilon."""
    try:
        if s.outer == "sgd":
            return SGD(s.outer_lr or 1.0, s.outer_momentum)
        return Adam(s.outer_lr or 0.001, s.outer_beta1) if s.outer == "adam" else None
    except InputError as error:
        raise InputError(f"the outer {error}") from None


def _check_memory(s: Settings, model: Model) -> None:
    """`InputError` if a meta-batch does not fit into this machine's memory."""
    examples = s.inner_steps * s.inner_batch * prod(model.input_shape)
    vectors = 4 if s.optimizer == "adam" and s.beta1 else 3
    vectors += s.inner_steps - 1 if s.algorithm == "maml" else 0  # where each step began
    task = (2 * examples + vectors * model.size) * model.dtype.itemsize
    memory = _memory()
    needed = s.meta_batch * task
    if needed > memory:
        raise InputError(
            f"a meta-batch of {s.meta_batch} tasks needs about {needed / 2**30:.0f} GiB and this "
            f"machine has {memory / 2**30:.0f}: lower --meta-batch to {memory // task:.0f} or less"
        )


def _memory() -> float:
    """Bytes of memory of this machine, where the system says."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return float("inf")


def _tasks(s: Settings, training: bool) -> tuple[Tasks, Tasks, Tasks, str]:
    """Tasks to train on, to watch and to test on, and a note on the data."""
    if s.dataset == "sine":
        return Sine(), Sine(), Sine(), ""
    splits = load_splits(s)
    test = FewShot(splits.test, s.way)
    test.check_shots(s.shot + 1)
    if not training:
        return test, test, test, splits.note
    train, watched = FewShot(splits.train, s.way), FewShot(splits.val or splits.test, s.way)
    train.check_shots(s.train_shots)
    watched.check_shots(s.shot + 1)
    return train, watched, test, splits.note


def build_model(s: Settings, input_shape: tuple[int, ...]) -> Model:
    """The network that the settings name."""
    common: dict[str, Any] = {"reduction": s.reduction, "backend": s.backend, "dtype": s.dtype}
    common["tf32"] = s.tf32 and s.backend == "cupy"  # a run may be evaluated elsewhere
    if s.network == "sine":
        return sine_mlp(**common)
    if s.filters:
        common["filters"] = s.filters
    network = omniglot_cnn if s.network == "omniglot" else miniimagenet_cnn
    return network(s.way, input_shape=input_shape, **common)


def load_splits(s: Settings) -> Splits:
    """The image classes that the settings name."""
    if s.dataset == "glyphs":
        from ..tasks.glyphs import glyph_splits

        return glyph_splits(
            train_classes=s.classes, drawers=s.drawers, seed=s.seed, rotations=s.rotations
        )
    if s.dataset == "omniglot":
        from ..tasks.files.omniglot import load_omniglot

        path = s.data or _downloaded_omniglot()
        return load_omniglot(path, seed=s.seed, split=s.split or "random", rotations=s.rotations)
    if not s.data:
        raise InputError(f"{s.dataset} needs --data: the folder with the images")
    if s.dataset == "miniimagenet":
        from ..tasks.files.miniimagenet import load_miniimagenet

        return load_miniimagenet(s.data, split=s.split or "folders")
    from ..tasks.files.folder import load_folder

    return load_folder(s.data, size=s.size, channels=s.channels, seed=s.seed)


def _downloaded_omniglot() -> Path:
    from ..tasks.files.download import cache_folder

    cache = cache_folder() / "omniglot"
    if not cache.is_dir():
        raise InputError(
            "omniglot needs --data DIR, or --download to fetch it once from its official address"
        )
    return cache
