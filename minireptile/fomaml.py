"""First-order MAML: Reptile's loops, of which the last inner step alone moves theta.

    Nichol, Achiam & Schulman, "On First-Order Meta-Learning Algorithms", 2018, section 5, and their
    code, supervised_reptile/reptile.py, FOML.

The last of the k mini-batches is the tail, drawn with the others or held out (`Loops.tail`). MAML
would differentiate its loss through the inner steps; here they count as constant, so that the outer
gradient is the tail's at phi_{k-1}: along the step of the inner optimizer, phi_k - phi_{k-1}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from .delegate import begin, outer_loop
from .loops import Loops, Snapshot, check_finite
from .lots import Each, Lot, at_once, join
from .model import Model
from .optim import Optimizer, State, hand_out
from .reptile import adapt
from .tasks.base import Tasks


# fmt: off
@outer_loop
def fomaml(
    model: Model, tasks: Tasks, optimizer: Optimizer, loops: Loops, start: Snapshot | None = None,
    each: Each = at_once,
) -> Iterator[Snapshot]:
    """Learn an initialisation, by the last inner step."""
    run = start or begin(model, optimizer, loops)
    yield from by_tail(last_step, 1.0, model, tasks, optimizer, loops, run, each)


def last_step(
    model: Model, phi: NDArray, x: NDArray, y: NDArray, tail_x: NDArray, tail_y: NDArray,
    optimizer: Optimizer, state: State,
) -> tuple[NDArray, NDArray]:
    """The losses (k, T) of k - 1 inner steps and of the tail, and the step (T, P) on the latter."""
    inner = adapt(model, phi, x, y, optimizer, state)
    before = phi.copy()                                                    # phi_{k-1}
    tail = adapt(model, phi, tail_x[None], tail_y[None], optimizer, state)
    return np.concatenate([inner, tail]), phi - before                     # phi_k - phi_{k-1}


def by_tail(
    judge: Callable[..., tuple[NDArray, NDArray]], rate: float, model: Model, tasks: Tasks,
    optimizer: Optimizer, loops: Loops, run: Snapshot, each: Each,
) -> Iterator[Snapshot]:
    """The outer loop of all that judge theta by a tail. `judge` is a function as `last_step` is,
    and the update is `rate` times the mean over the tasks of what it gives."""
    for it in range(run.iteration, loops.iterations):                      # the outer loop
        lot = partial(judge_lot, judge, model, tasks, optimizer, loops, run=run)
        loss, found, state = join(each(lot, range(loops.meta_batch)), run, loops)  # found (T, P)
        direction, outer = loops.direction(run, rate * found.mean(0))
        theta = run.theta + loops.epsilon_at(it) * direction               # theta + epsilon update
        run = check_finite(Snapshot(it + 1, theta, {**state, **outer}, loss))
        yield run


def judge_lot(
    judge: Callable[..., tuple[NDArray, NDArray]], model: Model, tasks: Tasks,
    optimizer: Optimizer, loops: Loops, which: range, run: Snapshot,
) -> Lot:
    """Judge n of the iteration's T tasks: losses (k, n), vectors (n, P), and their state."""
    x, y, tail_x, tail_y = loops.sample_tail(tasks, run.iteration, which)  # x (k - 1, n, B, ...)
    phi = np.repeat(run.theta[None], len(which), axis=0)                   # n copies of theta
    loss, found = np.empty((loops.inner_steps, len(phi)), phi.dtype), np.empty_like(phi)
    handed_out = hand_out(optimizer, phi, run.state, loops.state)
    for t, state in handed_out:                                            # all of them, or each
        batches = x[:, t], y[:, t], tail_x[t], tail_y[t]
        loss[:, t], found[t] = judge(model, phi[t], *batches, optimizer, state)
    return loss, found, handed_out[-1][1]
