"""First-order MAML: Reptile's loops, of which the last inner step alone moves theta.

    Nichol, Achiam & Schulman, "On First-Order Meta-Learning Algorithms", 2018, section 5, and their
    code, supervised_reptile/reptile.py, FOML.

The last of the k mini-batches is the tail, drawn with the others or held out (`Loops.tail`). MAML
would differentiate its loss through the inner steps; here they count as constant, so that the outer
gradient is the tail's at phi_{k-1}: along the step of the inner optimizer, phi_k - phi_{k-1}.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .delegate import begin, outer_loop
from .loops import Loops, Snapshot, check_finite
from .model import Model
from .optim import Optimizer, hand_out, take_back
from .reptile import adapt
from .tasks.base import Tasks


# fmt: off
@outer_loop
def fomaml(
    model: Model, tasks: Tasks, optimizer: Optimizer, loops: Loops, start: Snapshot | None = None
) -> Iterator[Snapshot]:
    """Learn an initialisation, by the last inner step."""
    run = start or begin(model, optimizer, loops)
    k, T = loops.inner_steps, loops.meta_batch
    for it in range(run.iteration, loops.iterations):                      # the outer loop
        x, y, tail_x, tail_y = loops.sample_tail(tasks, it)                # x (k - 1, T, B, ...)
        phi = np.repeat(run.theta[None], T, axis=0)                        # T copies of theta
        loss, update = np.empty((k, T), phi.dtype), np.empty_like(phi)
        lots = hand_out(optimizer, phi, run.state, loops.state)
        for t, state in lots:                                              # all tasks, or each
            inner = adapt(model, phi[t], x[:, t], y[:, t], optimizer, state)
            before = phi[t].copy()                                         # phi_{k-1}
            tail = adapt(model, phi[t], tail_x[None, t], tail_y[None, t], optimizer, state)
            loss[:, t], update[t] = [*inner, *tail], phi[t] - before       # phi_k - phi_{k-1}
        direction, outer = loops.direction(run, update.mean(0))
        theta = run.theta + loops.epsilon_at(it) * direction               # theta + epsilon update
        state = take_back(lots, run.state, loops.state)
        run = check_finite(Snapshot(it + 1, theta, {**state, **outer}, loss))
        yield run
