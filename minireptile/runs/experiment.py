"""From settings to the things they name: tasks, model, optimizer, loops, algorithm."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any

import numpy as np

from ..algorithms import ALGORITHMS
from ..errors import InputError
from ..evaluate import Protocol
from ..loops import Loops, Snapshot
from ..lots import Map
from ..model import Model
from ..networks import NETWORKS
from ..optim import OPTIMIZERS, Optimizer
from ..rng import Stream
from ..tasks.base import Tasks
from ..tasks.images import FewShot, Splits, from_arrays
from . import memory, needs
from .measures import MEASURES, Measure, Result
from .settings import Settings, named_after
from .sources import SOURCES


@dataclass(frozen=True)
class Experiment:
    """Everything a run is made of. `watched` are the tasks of the running evaluation; `map`, where
    there are workers, computes lots of tasks there."""

    settings: Settings
    model: Model
    optimizer: Optimizer
    loops: Loops
    train: Tasks
    watched: Tasks
    test: Tasks
    note: str
    map: Map | None = None

    @property
    def measure(self) -> Measure:
        """How its tasks are measured."""
        return MEASURES[SOURCES[self.settings.dataset].kind]

    def run(self, start: Snapshot | None = None) -> Iterator[Snapshot]:
        """The algorithm's iterations."""
        algorithm = ALGORITHMS[self.settings.algorithm]
        return algorithm.run(self.model, self.train, self.optimizer, self.loops, start, self.map)

    def protocol(self, tasks: int, seed: int, **changes: Any) -> Protocol:
        """How this run's evaluation tasks are adapted to."""
        s = self.settings
        own = {
            "shot": s.shot,
            "marks": self.measure.marks(s.eval_steps),
            "batch": s.eval_batch,
            "replacement": s.replacement,
        }
        return Protocol(tasks, seed=seed, **{**own, **changes})

    def evaluate(self, run: Snapshot, tasks: Tasks, protocol: Protocol, **report: Any) -> Result:
        """Accuracy for classification, squared error for regression."""
        measured = self.model, run.theta, run.state, tasks, self.optimizer, protocol
        return self.measure.evaluate(*measured, **{"map": self.map or map, **report})

    def watch(self, run: Snapshot) -> Result:
        """The running evaluation after an iteration."""
        changes = {"stream": Stream.RUNNING, "iteration": run.iteration}
        protocol = self.protocol(self.settings.eval_tasks, self.settings.seed, **changes)
        return self.evaluate(run, self.watched, protocol)


def build(settings: Settings, training: bool = True, data: Splits | None = None) -> Experiment:
    """Load the data, unless they are given, and build the model; `InputError` where something does
    not fit.

    For training, one meta-batch is drawn, so that a task too large for its classes shows before a
    run starts. Otherwise, only the test classes are asked for.
    """
    s, algorithm = settings, ALGORITHMS[settings.algorithm]
    loops = Loops(**{**named_after(Loops, s), "outer": _outer(s)})
    optimizer = build_optimizer(s)
    algorithm.check(optimizer, loops)
    train, watched, test, note = _tasks(s, training, data)
    model = build_model(s, test.input_shape)
    experiment = Experiment(s, model, optimizer, loops, train, watched, test, note)
    if training:
        memory.check(s, model, optimizer)
        algorithm.draw(loops)(train, 0)
    experiment.protocol(1, s.seed)
    return experiment


def _outer(s: Settings) -> Optimizer | None:
    """What moves theta, other than epsilon; without a rate of its own, at its record's, or 1."""
    if s.outer not in OPTIMIZERS:
        return None
    kind = OPTIMIZERS[s.outer]
    usual = signature(kind).parameters["lr"].default
    rate = s.outer_lr or (1.0 if usual is Parameter.empty else usual)
    try:
        return kind(**{**named_after(kind, s, "outer_"), "lr": rate})
    except InputError as error:
        raise InputError(f"the outer {error}") from None


def noise(s: Settings) -> Splits | None:
    """Images without meaning, as many as a task asks for: all but the data can be tried with them,
    and compiled for them. None where tasks need no data."""
    source = SOURCES[s.dataset]
    if source.kind != "classification":
        return None
    images, rng = max(s.train_shots, s.shot + 1), np.random.default_rng(0)
    shape = source.shape(**named_after(source.shape, s))
    pixels = rng.integers(0, 256, (max(s.way, 1) * images, *shape), dtype=np.uint8)
    made = from_arrays(pixels, np.arange(len(pixels)) // images)
    return Splits(made, made)


def _tasks(s: Settings, training: bool, given: Splits | None) -> tuple[Tasks, Tasks, Tasks, str]:
    """Tasks to train on, to watch and to test on, and a note on the data."""
    load: Callable[..., Splits | Tasks] = SOURCES[s.dataset].load
    data = given or load(**named_after(load, s))
    if not isinstance(data, Splits):
        return data, data, data, ""
    if not training and len(data.test) < s.way:  # and the network has as many outputs
        other = ", or raise --test-fraction" * ("test_fraction" in signature(load).parameters)
        raise InputError(
            f"the run is {s.way}-way, and the test classes of {s.dataset} are {len(data.test)}: "
            f"evaluate it on data with {s.way} or more{other}"
        )
    if training:
        parts = {"train": data.train, "val": data.val, "test": data.test}
        counts = {name: dict(zip(part.names, part.counts.tolist(), strict=True))
                  for name, part in parts.items() if part}  # fmt: skip
        if lacks := needs.lacking(s, counts):
            raise InputError(lacks)
    test = FewShot(data.test, s.way)
    test.check_shots(s.shot + 1)
    if not training:
        return test, test, test, data.note
    train, watched = FewShot(data.train, s.way), FewShot(data.val or data.test, s.way)
    return train, watched, test, data.note


def build_optimizer(s: Settings) -> Optimizer:
    """The inner optimizer that the settings name."""
    kind = OPTIMIZERS[s.optimizer]
    return kind(**{**named_after(kind, s), "lr": s.inner_lr})


def build_model(s: Settings, input_shape: tuple[int, ...]) -> Model:
    """The network that the settings name; of its sizes, those that it has."""
    network = NETWORKS[s.network]
    sizes = {"way": s.way, "filters": s.filters, "input_shape": input_shape}
    own = {n: size for n, size in sizes.items() if n in signature(network).parameters and size}
    return network(
        **own, reduction=s.reduction, backend=s.backend, dtype=s.dtype,
        tf32=s.tf32 and s.backend == "cupy",  # a run may be evaluated elsewhere
    )  # fmt: skip
