"""What a task is, and how its examples become the mini-batches of an inner loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..rng import Stream, generator


@dataclass(frozen=True)
class Task:
    """One task: a support set to adapt on and a query set to be judged on.

    Attributes
    ----------
    support_x, query_x : array (n, ...) and (m, ...), float32
    support_y, query_y : array (n,) and (m,) of int64 labels, or (n, n_out) and (m, n_out) of
        float32 targets
    """

    support_x: NDArray
    support_y: NDArray
    query_x: NDArray
    query_y: NDArray

    def __repr__(self) -> str:
        support, query = (
            f"{x.shape} -> {y.shape}"
            for x, y in ((self.support_x, self.support_y), (self.query_x, self.query_y))
        )
        return f"Task(support {support}, query {query})"


class Tasks(Protocol):
    """A distribution of tasks: anything that can draw one from a generator."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example."""

    @property
    def n_out(self) -> int:
        """Outputs that a model for these tasks needs."""

    def draw(self, rng: np.random.Generator, shot: int, query: int) -> Task:
        """Draw a task with `shot` support and `query` query examples (per class, if any)."""


def minibatches(
    rng: np.random.Generator, n: int, steps: int, batch: int, replacement: bool
) -> NDArray[np.int64]:
    """Indices (steps, batch) of the mini-batches of an inner loop over `n` examples.

    Cycling shuffles the examples, deals them out in mini-batches, and shuffles again when they are
    used up, so that a mini-batch may straddle two passes. With replacement, each mini-batch is
    drawn anew from all examples, without repeats inside it. Both as in the paper's code
    (supervised_reptile/reptile.py, ``_mini_batches``).
    """
    if replacement:
        if batch > n:
            raise InputError(
                f"mini-batches of {batch} drawn with replacement need {batch} examples, "
                f"and the task has {n}: lower --inner-batch or raise the shots"
            )
        drawn = [rng.permutation(n)[:batch] for _ in range(steps)]
        return np.array(drawn, np.int64).reshape(steps, batch)
    passes = -(-steps * batch // n)
    order = np.array([rng.permutation(n) for _ in range(passes)], np.int64)
    return order.ravel()[: steps * batch].reshape(steps, batch)


def sample(
    tasks: Tasks, seed: int, iteration: int, *, meta_batch: int, steps: int, batch: int, shot: int,
    replacement: bool = False, stream: Stream = Stream.TRAIN, first: int = 0,
) -> tuple[NDArray, NDArray]:  # fmt: skip
    """The mini-batches of one meta-iteration: x (steps, meta_batch, batch, ...) of float32, and y
    (steps, meta_batch, batch) of labels, or (..., n_out) of targets.

    Task t depends on (seed, stream, iteration, t) alone; `first` is the number of the first one.
    """
    xs, ys = [], []
    for t in range(first, first + meta_batch):
        rng = generator(seed, stream, iteration, t)
        task = tasks.draw(rng, shot, 0)
        i = minibatches(rng, len(task.support_x), steps, batch, replacement)
        xs.append(task.support_x[i])
        ys.append(task.support_y[i])
    return np.stack(xs, axis=1), np.stack(ys, axis=1)
