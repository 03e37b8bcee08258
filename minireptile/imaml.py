"""Implicit MAML: the outer gradient from where the inner loop ends, whatever way it took.

    Rajeswaran, Finn, Kakade & Levine, "Meta-Learning with Implicit Gradients", 2019.

The inner loop minimises the mean loss of its mini-batches plus lambda / 2 |phi - theta|^2
(`Loops.prox`). At the minimum, by the implicit function theorem, the gradient of the tail's loss by
theta is (I + H / lambda)^-1 g, which conjugate gradients solve for (kernels/imaml.md). So memory
does not grow with the steps, and the inner optimizer may be any.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from inspect import signature

import numpy as np
from numpy.typing import NDArray

from .delegate import begin, outer_loop
from .errors import InputError, require
from .fomaml import by_tail
from .loops import Loops, Snapshot
from .lots import Each, at_once
from .model import Model
from .optim import Optimizer, State
from .tasks.base import Tasks


# fmt: off
@outer_loop
def imaml(
    model: Model, tasks: Tasks, optimizer: Optimizer, loops: Loops, start: Snapshot | None = None,
    each: Each = at_once,
) -> Iterator[Snapshot]:
    """Learn an initialisation, by the implicit gradient.

    The update is -alpha times the mean meta-gradient, so that epsilon means what it does in
    `fomaml`.
    """
    check(optimizer, loops)
    judge = partial(implicit_grads, loops=loops)
    run = start or begin(model, optimizer, loops)
    yield from by_tail(judge, -optimizer.lr, model, tasks, optimizer, loops, run, each)


def implicit_grads(
    model: Model, phi: NDArray, x: NDArray, y: NDArray, tail_x: NDArray, tail_y: NDArray,
    optimizer: Optimizer, state: State, loops: Loops,
) -> tuple[NDArray, NDArray]:
    """The losses (k, T) of k - 1 inner steps and of the tail, and the implicit gradients (T, P)."""
    losses = adapt_near(model, phi, x, y, optimizer, state, loops.prox)
    loss, g = model.loss_and_grad(phi, tail_x, tail_y)                     # at phi_{k-1}
    grads = [implicit_grad(model, phi[t], x[:, t], y[:, t], g[t], loops) for t in range(len(phi))]
    return np.concatenate([losses, loss[None]]), np.array(grads)


def adapt_near(
    model: Model, phi: NDArray, x: NDArray, y: NDArray, optimizer: Optimizer, state: State,
    prox: float,
) -> NDArray:
    """`adapt` with the gradient of lambda / 2 |phi - theta|^2 added, theta being where phi (T, P)
    begins. Returns the losses without it, (len(x), T) (kernels/imaml.md, eq. 1)."""
    theta, losses = phi.copy(), np.empty((len(x), len(phi)), phi.dtype)
    for j, (x_j, y_j) in enumerate(zip(x, y, strict=True)):                # the inner loop
        losses[j], grad = model.loss_and_grad(phi, x_j, y_j)
        optimizer.step(phi, grad + prox * (phi - theta), state, model.kernels)
    return losses


def implicit_grad(
    model: Model, phi: NDArray, x: NDArray, y: NDArray, g: NDArray, loops: Loops
) -> NDArray:
    """Solve (I + H / lambda) z = g for one task, phi and g (P,), with H the mean Hessian of its
    mini-batches x (k - 1, B, ...), by conjugate gradients in double precision; returns z (P,)."""
    if not np.isfinite(g).all():                                           # the run has diverged
        return g
    linalg = require("scipy.sparse.linalg", "numba")
    phi = phi.astype(np.float64)

    def product(v: NDArray) -> NDArray:
        v = v.reshape(phi.shape)
        hv = sum(model.hvp(phi, x_j, y_j, v) for x_j, y_j in zip(x, y, strict=True)) / len(x)
        if v @ (v + hv / loops.prox) <= 0:
            raise InputError(
                f"imaml met negative curvature, v'(I + H/lambda) v <= 0, so that the inner loop "
                f"has not come to a minimum: raise --prox above {-(v @ hv) / (v @ v):.3g}, or take "
                f"more --inner-steps"
            )
        return v + hv / loops.prox

    operator = linalg.LinearOperator((model.size, model.size), product, dtype=np.float64)
    b, tolerance = g.astype(np.float64), max(loops.cg_tolerance, np.finfo(float).eps)
    name = "rtol" if "rtol" in signature(linalg.cg).parameters else "tol"  # SciPy before 1.12
    z, failed = linalg.cg(operator, b, maxiter=loops.cg_steps, atol=0.0, **{name: tolerance})
    if failed and loops.cg_tolerance:
        raise InputError(
            f"conjugate gradients did not reach a relative residual of {loops.cg_tolerance:g} in "
            f"{loops.cg_steps} steps: raise --cg-steps, --cg-tolerance or --prox"
        )
    return z


def check(optimizer: Optimizer, loops: Loops) -> None:
    """`InputError` if the inner loop is not one that the theorem is about; loads SciPy."""
    require("scipy.sparse.linalg", "numba")
    if loops.inner_steps < 2:
        raise InputError("imaml needs inner_steps of at least 2: one to adapt, and the tail")
    if optimizer.weight_decay_rate != 1:
        raise InputError(
            f"imaml pulls phi towards theta, and a weight_decay_rate of "
            f"{optimizer.weight_decay_rate} towards zero: leave it at 1"
        )
    bound = np.inf if optimizer.heavy_ball is None else 2 * (1 + optimizer.heavy_ball)
    if optimizer.lr * loops.prox >= bound:
        raise InputError(
            f"steps of rate {optimizer.lr} overshoot theta when a prox of {loops.prox} pulls "
            f"towards it: lower --inner-lr or --prox until their product is under {bound}"
        )
