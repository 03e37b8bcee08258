"""Joint training: minimise the average loss over all tasks, as if they were one.

The "pretrained" baseline that meta-learning is measured against. Each iteration computes as many
gradients as Reptile's, k T mini-batches, but each from another task and all of them at theta. With
k = 1 and SGD at the rate epsilon alpha, both are the same (kernels/reptile.md, eq. 9 and 15).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from .delegate import begin, outer_loop
from .loops import Loops, Snapshot, check_finite
from .model import Model
from .optim import Optimizer
from .tasks.base import Tasks


@outer_loop
def joint(
    model: Model, tasks: Tasks, optimizer: Optimizer, loops: Loops, start: Snapshot | None = None
) -> Iterator[Snapshot]:
    """Train theta on all tasks at once, by the average gradient.

    The optimizer acts on theta itself, so `loops.epsilon`, `epsilon_final`, `state` and `outer` do
    not matter.
    """
    run = start or begin(model, optimizer, loops)
    pooled = replace(loops, meta_batch=loops.meta_batch * loops.inner_steps, inner_steps=1)
    for it in range(run.iteration, loops.iterations):
        x, y = pooled.sample(tasks, it)  # (1, k T, B, ...)
        theta = run.theta * optimizer.weight_decay_rate
        state = {name: array.copy() for name, array in run.state.items()}
        phi = np.repeat(theta[None], pooled.meta_batch, axis=0)
        loss, grad = model.loss_and_grad(phi, x[0], y[0])
        optimizer.step(theta, grad.mean(0), state, model.kernels)
        run = check_finite(Snapshot(it + 1, theta, state, loss[None]))
        yield run
