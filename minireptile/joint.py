"""Joint training: minimise the average loss over all tasks, as if they were one.

The "pretrained" baseline that meta-learning is measured against. Each iteration computes as many
gradients as Reptile's, k T mini-batches, but each from another task and all of them at theta. With
k = 1 and SGD at the rate epsilon alpha, both are the same (kernels/reptile.md, eq. 9 and 15).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from .delegate import begin, outer_loop
from .loops import Loops, Snapshot, check_finite
from .lots import Each, Lot, at_once, join
from .model import Model
from .optim import Optimizer
from .tasks.base import Tasks


@outer_loop
def joint(
    model: Model, tasks: Tasks, optimizer: Optimizer, loops: Loops, start: Snapshot | None = None,
    each: Each = at_once,
) -> Iterator[Snapshot]:  # fmt: skip
    """Train theta on all tasks at once, by the average gradient.

    The optimizer acts on theta itself, so `loops.epsilon`, `epsilon_final`, `state` and `outer` do
    not matter.
    """
    run = start or begin(model, optimizer, loops)
    pooled = replace(loops, meta_batch=loops.meta_batch * loops.inner_steps, inner_steps=1)
    numbers = range(pooled.meta_batch)
    for it in range(run.iteration, loops.iterations):
        lots = each(partial(grads, model, tasks, optimizer, pooled, run=run), numbers)
        loss, grad, _ = join(lots, run, pooled)  # of k T tasks
        theta = run.theta * optimizer.weight_decay_rate
        state = {name: array.copy() for name, array in run.state.items()}
        optimizer.step(theta, grad.mean(0), state, model.kernels)
        run = check_finite(Snapshot(it + 1, theta, state, loss))
        yield run


def grads(
    model: Model, tasks: Tasks, optimizer: Optimizer, loops: Loops, which: range, run: Snapshot
) -> Lot:
    """The losses (1, n) and gradients (n, P) at theta of n of the iteration's tasks."""
    x, y = loops.sample(tasks, run.iteration, which)  # (1, n, B, ...)
    theta = run.theta * optimizer.weight_decay_rate
    loss, grad = model.loss_and_grad(np.repeat(theta[None], len(which), axis=0), x[0], y[0])
    return loss[None], grad, {}
