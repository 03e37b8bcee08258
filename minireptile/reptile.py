"""Reptile: two loops, one screen.

    Nichol, Achiam & Schulman, "On First-Order Meta-Learning Algorithms", 2018, Algorithms 1 and 2.

theta (P,) is the initialisation that is learned, phi (T, P) are T copies of it on their way to T
tasks. Symbols and sizes: k inner steps, T tasks in a meta-batch, B examples in a mini-batch. The
update is kernels/reptile.md, eq. 1; what it is made of, kernels/taylor.md, eq. 8.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .delegate import begin, inner_loop, outer_loop
from .loops import Loops, Snapshot, check_finite
from .model import Model
from .optim import Optimizer, State, hand_out, take_back
from .tasks.base import Tasks


# fmt: off
@outer_loop
def reptile(
    model: Model, tasks: Tasks, optimizer: Optimizer, loops: Loops, start: Snapshot | None = None
) -> Iterator[Snapshot]:
    """Learn an initialisation; yields the run after every outer iteration, to be looked at, saved
    or broken off. `start` continues a run bit for bit."""
    run = start or begin(model, optimizer, loops)
    for it in range(run.iteration, loops.iterations):                      # the outer loop
        x, y = loops.sample(tasks, it)                                     # x (k, T, B, ...)
        phi = np.repeat(run.theta[None], loops.meta_batch, axis=0)         # T copies of theta
        loss, state = adapt_tasks(model, phi, x, y, optimizer, run.state, loops.state)
        direction, outer = loops.direction(run, phi.mean(0) - run.theta)   # to the adapted weights
        theta = run.theta + loops.epsilon_at(it) * direction               # by epsilon of the way
        run = check_finite(Snapshot(it + 1, theta, {**state, **outer}, loss))
        yield run


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
    (k, T) and the state to share from now on."""
    lots = hand_out(optimizer, phi, shared, policy)
    losses = [adapt(model, phi[t], x[:, t], y[:, t], optimizer, state) for t, state in lots]
    loss = np.concatenate(losses, axis=1) if len(losses) > 1 else losses[0]
    return loss, take_back(lots, shared, policy)
