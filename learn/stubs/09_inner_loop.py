"""09: the inner loop: k steps on each task.                          20 minutes, about 8 lines

Read kernels/adapt.md, eq. 1; kernels/adam.md says what becomes of an optimizer's state.

    theta, phi    (P,)  where all tasks begin, and one task's parameters on their way
    batches       k mini-batches of one task: a list of pairs (x, y)
    tasks         T such lists

    loss, grad = loss_and_grad(phi, x, y)
    state = optimizer.init(phi)           a new state, for the first step
    optimizer.step(phi, grad, state)      takes a step: changes phi and the state in place

Each task begins at theta, with a new state. theta stays as it is.
"""

from __future__ import annotations

import numpy as np


def adapt(phi, batches, loss_and_grad, optimizer):
    # One task: phi is changed in place.
    raise NotImplementedError("a step on phi for each mini-batch; nothing is returned")


def adapt_tasks(theta, tasks, loss_and_grad, optimizer):
    raise NotImplementedError("where each task ends: phi, (T, P)")
