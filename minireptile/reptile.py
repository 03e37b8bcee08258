"""Reptile: two loops, one screen.

    Nichol, Achiam & Schulman, "On First-Order Meta-Learning Algorithms", 2018, Algorithms 1 and 2.

theta (P,) is the initialisation that is learned, phi (T, P) are T copies of it on their way to T
tasks. Symbols and sizes: k inner steps, T tasks in a meta-batch, B examples in a mini-batch. The
update is kernels/reptile.md, eq. 1; what it is made of, kernels/taylor.md, eq. 8.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from .delegate import begin, inner_loop, outer_loop
from .loops import Loops, Snapshot, check_finite
from .lots import Each, Lot, at_once, join
from .model import Model
from .optim import Optimizer, State, hand_out
from .tasks.base import Tasks


# fmt: off
@outer_loop
def reptile(
    model: Model, tasks: Tasks, optimizer: Optimizer, loops: Loops, start: Snapshot | None = None,
    each: Each = at_once,
) -> Iterator[Snapshot]:
    """Learn an initialisation; yields the run after every outer iteration, to be looked at, saved
    or broken off. `start` continues a run bit for bit."""
    run, T = start or begin(model, optimizer, loops), loops.meta_batch
    for it in range(run.iteration, loops.iterations):                      # the outer loop
        lots = each(partial(adapt_lot, model, tasks, optimizer, loops, run=run), range(T))
        loss, phi, state = join(lots, run, loops)                          # phi (T, P), adapted
        direction, outer = loops.direction(run, phi.mean(0) - run.theta)   # to the adapted weights
        theta = run.theta + loops.epsilon_at(it) * direction               # by epsilon of the way
        run = check_finite(Snapshot(it + 1, theta, {**state, **outer}, loss))
        yield run


def adapt_lot(
    model: Model, tasks: Tasks, optimizer: Optimizer, loops: Loops, which: range, run: Snapshot
) -> Lot:
    """Adapt n of the iteration's T tasks from theta: losses (k, n), phi (n, P), and their state."""
    x, y = loops.sample(tasks, run.iteration, which)                       # x (k, n, B, ...)
    phi = np.repeat(run.theta[None], len(which), axis=0)                   # n copies of theta
    loss, state = adapt_tasks(model, phi, x, y, optimizer, run.state, loops.state)
    return loss, phi, state


@inner_loop
def adapt(
    model: Model, phi: NDArray, x: NDArray, y: NDArray, optimizer: Optimizer, state: State
) -> NDArray:
    """Take one gradient step on phi for each mini-batch: x (k, T, B, ...), y (k, T, B). Updates phi
    (T, P) and state in place; returns the losses (k, T) before each step. All may lack T, and the
    state may be left out."""
    losses = []
    for x_i, y_i in zip(x, y, strict=True):                                # the inner loop
        phi *= optimizer.weight_decay_rate                                 # 1 unless asked for
        loss, grad = model.loss_and_grad(phi, x_i, y_i)
        optimizer.step(phi, grad, state, model.kernels)                    # phi - alpha grad, or so
        losses.append(loss)
    return np.array(losses)


def adapt_tasks(
    model: Model, phi: NDArray, x: NDArray, y: NDArray, optimizer: Optimizer,
    shared: State, policy: str,
) -> tuple[NDArray, State]:
    """`adapt` every task from the optimizer state that the policy gives it. Returns the losses
    (k, T), and the state of each task, or of the last where they hand it on."""
    lots = hand_out(optimizer, phi, shared, policy)
    losses = [adapt(model, phi[t], x[:, t], y[:, t], optimizer, state) for t, state in lots]
    loss = np.concatenate(losses, axis=1) if len(losses) > 1 else losses[0]
    return loss, lots[-1][1]
