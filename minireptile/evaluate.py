"""Evaluation: adapt to unseen tasks and measure, always with an interval over the tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np
from numpy.typing import NDArray

from .checks import changed, counts, flag, settle, shown, whole
from .doors import check_parts, initialisation
from .errors import InputError
from .lots import Map, in_lots
from .model import Model
from .optim import Optimizer, State, spread
from .reptile import adapt
from .rng import SEEDS, Stream, generator
from .tasks.base import Tasks, minibatches

CHUNK_FLOATS = 2**25  # mini-batches of at most 128 MiB are held at a time


@dataclass(frozen=True)
class Protocol:
    """How unseen tasks are drawn and adapted to.

    Parameters
    ----------
    tasks : int
        How many.
    shot : int
        Support examples of each class (of the task, without classes).
    query : int
        Query examples of each class: 1 in the paper.
    marks : tuple of int
        Measure after so many inner steps, in rising order; the paper measures after 50.
    batch : int
        Examples in the mini-batch of each step.
    replacement : bool
        As in training.
    seed : int
        From 0 to 2**64 - 1.
    stream : Stream
        Task i is drawn from (seed, stream, iteration, i): by default apart from those of training.
    iteration : int
        As above.

    Raises
    ------
    InputError
        If a number is out of range or of another kind.

    Examples
    --------
    >>> import minireptile as mr
    >>> mr.Protocol(tasks=1000, shot=5, marks=(0, 50))
    Protocol(tasks=1000, shot=5, marks=(0, 50))
    """

    tasks: int
    shot: int
    query: int = 1
    marks: tuple[int, ...] = (50,)
    batch: int = 5
    replacement: bool = False
    seed: int = 0
    stream: Stream = Stream.TEST
    iteration: int = 0

    __repr__ = changed

    def __post_init__(self) -> None:
        settle(self, whole, "tasks", "shot", "query", "batch")
        settle(self, counts, "marks", least=0, such_as="(1, 5, 50)")
        settle(self, flag, "replacement")
        settle(self, whole, "seed", "iteration", least=0, most=SEEDS)
        settle(self, whole, "stream", least=0, most=max(Stream))
        object.__setattr__(self, "stream", Stream(self.stream))
        if not self.marks or list(self.marks) != sorted(set(self.marks)):
            raise InputError(
                f"Protocol: marks must be some numbers of steps, rising, not {shown(self.marks)}"
            )


@dataclass(frozen=True)
class Accuracy:
    """Few-shot accuracy in [0, 1], averaged over tasks.

    Parameters
    ----------
    accuracy : float
        Of queries classified each on its own, batched with the support set.
    accuracy_ci95 : float or None
        Half-width of its 95 % interval over the tasks; None for a single task.
    transductive_accuracy : float
        Of a task's queries classified as one batch, so that batch norm sees them all.
    transductive_accuracy_ci95 : float or None
        Half-width of its interval.
    tasks : int
        How many were averaged.
    seed : int
        Of the tasks.

    Examples
    --------
    >>> import minireptile as mr
    >>> print(mr.Accuracy(0.85, 0.01, 0.896, 0.009, tasks=1000, seed=0))
    85.0 ± 1.0 % (transductive 89.6 ± 0.9 %), 1,000 tasks
    """

    accuracy: float
    accuracy_ci95: float | None
    transductive_accuracy: float
    transductive_accuracy_ci95: float | None
    tasks: int
    seed: int

    def __str__(self) -> str:
        plain, transductive = (
            f"{100 * mean:.1f}{'' if half is None else f' ± {100 * half:.1f}'} %"
            for mean, half in (
                (self.accuracy, self.accuracy_ci95),
                (self.transductive_accuracy, self.transductive_accuracy_ci95),
            )
        )
        return f"{plain} (transductive {transductive}), {_of_tasks(self.tasks)}"

    def __repr__(self) -> str:
        return f"Accuracy({self})"


@dataclass(frozen=True)
class Regression:
    """Mean squared error on the query set after each number of inner steps, averaged over tasks.

    Parameters
    ----------
    steps : tuple of int
        Inner steps taken: the marks of the `Protocol`.
    mse : tuple of float
        The error after so many, in the square of the targets' unit.
    mse_ci95 : tuple of float or None
        Half-widths of their 95 % intervals over the tasks; None for a single task.
    tasks : int
        How many were averaged.
    seed : int
        Of the tasks.
    """

    steps: tuple[int, ...]
    mse: tuple[float, ...]
    mse_ci95: tuple[float | None, ...]
    tasks: int
    seed: int

    def __str__(self) -> str:
        parts = (
            f"{mean:.3g}{'' if half is None else f' ± {half:.2g}'} after {steps} steps"
            for steps, mean, half in zip(self.steps, self.mse, self.mse_ci95, strict=True)
        )
        return f"mean squared error {', '.join(parts)}, {_of_tasks(self.tasks)}"

    def __repr__(self) -> str:
        return f"Regression({self})"


def _of_tasks(n: int) -> str:
    return f"{n:,} task{'s' if n > 1 else ''}"


@dataclass(frozen=True)
class Batch:
    """Several unseen tasks side by side."""

    support_x: NDArray  # (T, n, ...)
    query_x: NDArray  # (T, m, ...)
    query_y: NDArray  # (T, m) or (T, m, n_out)
    x: NDArray  # (k, T, B, ...): the mini-batches to adapt on
    y: NDArray


def mean_ci95(values: NDArray) -> tuple[float, float | None]:
    """Mean and half-width of its 95 % interval, by the normal approximation."""
    if len(values) < 2:
        return float(values.mean()), None
    return float(values.mean()), float(1.96 * values.std(ddof=1) / np.sqrt(len(values)))


def adapt_unseen(
    model: Model, theta: NDArray, state: State, tasks: Tasks, optimizer: Optimizer,
    protocol: Protocol,
) -> Iterator[tuple[int, NDArray, Batch]]:  # fmt: skip
    """Adapt to unseen tasks, many at a time, pausing at each mark: the inner steps done, phi (T,
    P), which is changed in place afterwards, and the tasks.

    Every task starts from theta and from the optimizer state that training left, as in the paper's
    code, which restores both after each task (supervised_reptile/reptile.py:112-134).
    """
    size = side_by_side(tasks, protocol)
    for first in range(0, protocol.tasks, size):
        which = range(first, min(first + size, protocol.tasks))
        yield from adapt_lot(model, theta, state, tasks, optimizer, protocol, which)


def side_by_side(tasks: Tasks, protocol: Protocol) -> int:
    """How many tasks are adapted to at a time."""
    floats = max(protocol.marks[-1], 1) * protocol.batch * prod(tasks.input_shape)
    return min(max(CHUNK_FLOATS // floats, 1), 32)


def adapt_lot(
    model: Model, theta: NDArray, state: State, tasks: Tasks, optimizer: Optimizer,
    protocol: Protocol, which: range,
) -> Iterator[tuple[int, NDArray, Batch]]:  # fmt: skip
    """`adapt_unseen`, to the tasks of these numbers."""
    batch = draw(tasks, protocol, which)
    phi = np.repeat(theta[None], len(which), axis=0)
    states = spread(state or optimizer.init(theta), len(which))
    done = 0
    for mark in protocol.marks:
        adapt(model, phi, batch.x[done:mark], batch.y[done:mark], optimizer, states)
        done = mark
        yield mark, phi, batch


def _check(
    model: Model, theta: NDArray, state: State, tasks: Tasks, optimizer: Optimizer,
    protocol: Protocol, report: object,
) -> NDArray:  # fmt: skip
    """theta (P,) as an array; `InputError` if it or another argument is something else."""
    check_parts(model, tasks, optimizer)
    if not isinstance(protocol, Protocol):
        raise InputError(f"protocol must be Protocol(...), not {shown(protocol)}")
    if not callable(report):
        raise InputError(f"report must be a function of the tasks done, not {shown(report)}")
    return initialisation(model, theta, state, optimizer)[0]


def _check_queries(outputs: NDArray, y: NDArray, classes: bool) -> None:
    """`InputError` if the tasks have targets where labels are counted, or labels for targets."""
    if y.shape != outputs.shape[: 2 if classes else 3]:
        name, kind, other = (
            ("evaluate", "labels (T, m)", "evaluate_regression")
            if classes
            else ("evaluate_regression", f"targets {outputs.shape}", "evaluate")
        )
        raise InputError(f"{name} is for tasks with {kind}, and these have {y.shape}: use {other}")


def draw(tasks: Tasks, protocol: Protocol, indices: range) -> Batch:
    """Draw the tasks of these indices; task i does not depend on the others."""
    drawn, xs, ys = [], [], []
    for i in indices:
        rng = generator(protocol.seed, protocol.stream, protocol.iteration, i)
        task = tasks.draw(rng, protocol.shot, protocol.query)
        order = minibatches(
            rng, len(task.support_x), protocol.marks[-1], protocol.batch, protocol.replacement
        )
        drawn.append(task)
        xs.append(task.support_x[order])
        ys.append(task.support_y[order])
    return Batch(
        np.stack([task.support_x for task in drawn]),
        np.stack([task.query_x for task in drawn]),
        np.stack([task.query_y for task in drawn]),
        np.stack(xs, axis=1),
        np.stack(ys, axis=1),
    )


def evaluate(
    model: Model, theta: NDArray, state: State, tasks: Tasks, optimizer: Optimizer,
    protocol: Protocol, report: Callable[[int], None] = lambda done: None,
    map: Map = map,
) -> Accuracy:  # fmt: skip
    """Measure the few-shot accuracy of an initialisation on unseen tasks.

    Parameters
    ----------
    model : Model
        Of P parameters.
    theta : array (P,)
        Where every task starts, float32 or float64.
    state : dict of arrays (P,), and () for a count of steps
        The optimizer's shared state, as in a `Snapshot`; {} for a fresh one.
    tasks : FewShot, or anything with its `draw`
        Where the tasks come from: of classes that were not trained on.
    optimizer : SGD, Adam or another Optimizer
        Takes ``protocol.marks[-1]`` steps on each task's support set.
    protocol : Protocol
        How many tasks, how they are drawn and adapted to.
    report : callable, optional
        Called with the number of tasks just done.
    map : callable, optional
        Of an executor of concurrent.futures, or the like: adapts to lots of tasks elsewhere, and
        the bits are the same.

    Returns
    -------
    Accuracy
        Plain and transductive, each with its interval over the tasks.

    Raises
    ------
    InputError
        If an argument does not fit the others, or the tasks have targets and no labels.
    """
    theta = _check(model, theta, state, tasks, optimizer, protocol, report)
    lot = partial(fractions, model, tasks, optimizer, protocol=protocol, theta=theta, state=state)
    plain, transductive = _measured(lot, tasks, protocol, map, report)
    return Accuracy(*mean_ci95(plain), *mean_ci95(transductive), protocol.tasks, protocol.seed)


def fractions(
    model: Model, tasks: Tasks, optimizer: Optimizer, which: range, protocol: Protocol,
    theta: NDArray, state: State,
) -> NDArray:  # fmt: skip
    """The fractions (2, n) of n tasks' queries that are right, each on its own and together."""
    *_, (_, phi, batch) = adapt_lot(model, theta, state, tasks, optimizer, protocol, which)
    together = model.forward(phi, batch.query_x)
    _check_queries(together, batch.query_y, classes=True)
    both = np.stack([one_by_one(model, phi, batch), together])
    return (both.argmax(-1) == batch.query_y).mean(2)


def one_by_one(model: Model, phi: NDArray, batch: Batch) -> NDArray:
    """The outputs (T, m, n_out) for each query on its own, beside the support set."""
    alone = [
        model.forward(phi, np.concatenate([batch.support_x, query[:, None]], axis=1))[:, -1]
        for query in batch.query_x.swapaxes(0, 1)
    ]
    return np.stack(alone, axis=1)


def evaluate_regression(
    model: Model, theta: NDArray, state: State, tasks: Tasks, optimizer: Optimizer,
    protocol: Protocol, report: Callable[[int], None] = lambda done: None,
    map: Map = map,
) -> Regression:  # fmt: skip
    """Measure the error of an initialisation on unseen tasks, after each of some inner steps.

    Parameters
    ----------
    model : Model
        Of P parameters.
    theta : array (P,)
        Where every task starts, float32 or float64.
    state : dict of arrays (P,), and () for a count of steps
        The optimizer's shared state, as in a `Snapshot`; {} for a fresh one.
    tasks : Sine, or anything with its `draw`
        Where the tasks come from.
    optimizer : SGD, Adam or another Optimizer
        Takes ``protocol.marks[-1]`` steps on each task's support set.
    protocol : Protocol
        How many tasks, how they are drawn and adapted to, and at which marks to measure.
    report : callable, optional
        Called with the number of tasks just done.
    map : callable, optional
        Of an executor of concurrent.futures, or the like: adapts to lots of tasks elsewhere, and
        the bits are the same.

    Returns
    -------
    Regression
        The mean squared error on the query sets at each mark, with its interval over the tasks.

    Raises
    ------
    InputError
        If an argument does not fit the others, or the tasks have labels and no targets.
    """
    theta = _check(model, theta, state, tasks, optimizer, protocol, report)
    lot = partial(errors, model, tasks, optimizer, protocol=protocol, theta=theta, state=state)
    summary = [mean_ci95(e) for e in _measured(lot, tasks, protocol, map, report)]
    mse, mse_ci95 = zip(*summary, strict=True)
    return Regression(protocol.marks, mse, mse_ci95, protocol.tasks, protocol.seed)


def errors(
    model: Model, tasks: Tasks, optimizer: Optimizer, which: range, protocol: Protocol,
    theta: NDArray, state: State,
) -> NDArray:  # fmt: skip
    """The mean squared errors (marks, n) on n tasks' queries."""
    found = []
    for _, phi, batch in adapt_lot(model, theta, state, tasks, optimizer, protocol, which):
        out = model.forward(phi, batch.query_x)
        _check_queries(out, batch.query_y, classes=False)
        found.append(((out - batch.query_y) ** 2).mean((1, 2)))
    return np.stack(found)


def _measured(
    lot: partial[NDArray], tasks: Tasks, protocol: Protocol, map: Map,
    report: Callable[[int], None],
) -> NDArray:  # fmt: skip
    """What is measured (rows, tasks) of all tasks, lot by lot."""
    found = []
    each = in_lots(map, side_by_side(tasks, protocol))
    for values in each(lot, range(protocol.tasks)):
        found.append(values)
        report(values.shape[1])
    return np.concatenate(found, axis=1)
