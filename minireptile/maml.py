"""MAML, exactly: the gradient of the loss after the inner steps, by theta before them.

    Finn, Abbeel & Levine, "Model-Agnostic Meta-Learning for Fast Adaptation", 2017.

k - 1 inner steps lead from theta to phi_{k-1}, and the tail, the last of the k mini-batches, judges
it (`Loops.tail`). Its gradient is pulled back through the steps by Hessian-vector products, each at
the phi_j where the step began: no autograd, and a vector of memory a step (kernels/maml.md).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .delegate import begin, outer_loop
from .errors import InputError
from .fomaml import by_tail
from .loops import Loops, Snapshot
from .lots import Each, at_once
from .model import Model
from .optim import Optimizer, State
from .reptile import adapt
from .tasks.base import Tasks


# fmt: off
@outer_loop
def maml(
    model: Model, tasks: Tasks, optimizer: Optimizer, loops: Loops, start: Snapshot | None = None,
    each: Each = at_once,
) -> Iterator[Snapshot]:
    """Learn an initialisation, by the exact gradient.

    The update is -alpha times the mean meta-gradient, so that epsilon means what it does in
    `fomaml`.
    """
    check(optimizer, loops)
    run = start or begin(model, optimizer, loops)
    yield from by_tail(meta_grad, -optimizer.lr, model, tasks, optimizer, loops, run, each)


def meta_grad(
    model: Model, phi: NDArray, x: NDArray, y: NDArray, tail_x: NDArray, tail_y: NDArray,
    optimizer: Optimizer, state: State,
) -> tuple[NDArray, NDArray]:
    """The losses (k, T) of k - 1 inner steps and of the tail, and the gradient (T, P) of the latter
    by phi (T, P) before the steps (kernels/maml.md, eq. 3 and 4). Updates phi and state in place.
    x (k - 1, T, B, ...), tail_x (T, B', ...)."""
    alpha, mu, rho = optimizer.lr, optimizer.heavy_ball, optimizer.weight_decay_rate
    path = np.empty((len(x), *phi.shape), phi.dtype)                       # all that grows with k
    losses = []
    for j in range(len(x)):                                                # the inner loop
        np.multiply(rho, phi, out=path[j])                                 # where step j is taken
        losses += [*adapt(model, phi, x[j : j + 1], y[j : j + 1], optimizer, state)]
    loss, a = model.loss_and_grad(phi, tail_x, tail_y)                     # dM/dphi at phi_{k-1}
    c = np.zeros_like(a)                                                   # dM/dvelocity
    for j in reversed(range(len(x))):                                      # and back
        c = mu * c - alpha * a if mu else -alpha * a
        a += model.hvp(path[j], x[j], y[j], c)
        a *= rho
    return np.array([*losses, loss]), a


def check(optimizer: Optimizer, loops: Loops) -> None:
    """`InputError` if the optimizer's steps are not differentiated here."""
    if optimizer.heavy_ball is None:
        raise InputError(
            f"maml differentiates through the steps of SGD, with or without momentum, and not of "
            f"{type(optimizer).__name__}: choose --optimizer sgd, or --algorithm fomaml or imaml"
        )
