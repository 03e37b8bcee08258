"""First-order MAML: Reptile's loops, of which the last inner step alone moves theta.

    Nichol, Achiam & Schulman, "On First-Order Meta-Learning Algorithms", 2018, section 5, and their
    code, supervised_reptile/reptile.py, FOML.

The last of the k mini-batches is the tail, drawn with the others or held out (`Loops.tail`). MAML
would differentiate its loss through the inner steps; here they count as constant, so that the outer
gradient is the tail's at phi_{k-1}: along the step of the inner optimizer, phi_k - phi_{k-1}.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from .delegate import begin, outer_loop
from .loops import Loops, Snapshot, check_finite
from .lots import Each, Lot, at_once, join
from .model import Model
from .optim import Optimizer, hand_out
from .reptile import adapt
from .tasks.base import Tasks


# fmt: off
@outer_loop
def fomaml(
    model: Model, tasks: Tasks, optimizer: Optimizer, loops: Loops, start: Snapshot | None = None,
    each: Each = at_once,
) -> Iterator[Snapshot]:
    """Learn an initialisation, by the last inner step."""
    run, T = start or begin(model, optimizer, loops), loops.meta_batch
    for it in range(run.iteration, loops.iterations):                      # the outer loop
        lots = each(partial(last_step, model, tasks, optimizer, loops, run=run), range(T))
        loss, update, state = join(lots, run, loops)                       # update (T, P)
        direction, outer = loops.direction(run, update.mean(0))
        theta = run.theta + loops.epsilon_at(it) * direction               # theta + epsilon update
        run = check_finite(Snapshot(it + 1, theta, {**state, **outer}, loss))
        yield run


def last_step(
    model: Model, tasks: Tasks, optimizer: Optimizer, loops: Loops, which: range, run: Snapshot
) -> Lot:
    """The last inner step (n, P) of n of the iteration's T tasks; losses (k, n) and their state."""
    x, y, tail_x, tail_y = loops.sample_tail(tasks, run.iteration, which)  # x (k - 1, n, B, ...)
    phi = np.repeat(run.theta[None], len(which), axis=0)                   # n copies of theta
    loss, update = np.empty((loops.inner_steps, len(phi)), phi.dtype), np.empty_like(phi)
    handed_out = hand_out(optimizer, phi, run.state, loops.state)
    for t, state in handed_out:                                            # all of them, or each
        inner = adapt(model, phi[t], x[:, t], y[:, t], optimizer, state)
        before = phi[t].copy()                                             # phi_{k-1}
        tail = adapt(model, phi[t], tail_x[None, t], tail_y[None, t], optimizer, state)
        loss[:, t], update[t] = [*inner, *tail], phi[t] - before           # phi_k - phi_{k-1}
    return loss, update, handed_out[-1][1]
