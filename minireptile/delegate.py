"""Who runs a loop: the model's engine, where it has one of its own, or the lines as they stand.

reptile.py and its relatives hold the bare loops; the decorators here are the door to them. What a
person passes is checked once, and the engine is asked first (`Engine.adapt`, `Engine.outer`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import numpy as np

from .doors import check_model, check_optimizer, check_state, in_place
from .loops import Loops, Snapshot, check_run
from .model import Model
from .optim import OUTER, Optimizer, State
from .tasks.base import Tasks

OuterLoop = Callable[..., Iterator[Snapshot]]


def outer_loop(loop: OuterLoop) -> OuterLoop:
    """A meta-algorithm: (model, tasks, optimizer, loops, start=None)."""

    @wraps(loop)
    def checked(
        model: Model, tasks: Tasks, optimizer: Optimizer, loops: Loops,
        start: Snapshot | None = None,
    ) -> Iterator[Snapshot]:  # fmt: skip
        check_run(model, tasks, optimizer, loops, start)
        run = start or begin(model, optimizer, loops)
        own = model.engine.outer(loop.__name__, tasks, optimizer, loops, run)
        return loop(model, tasks, optimizer, loops, run) if own is NotImplemented else own

    return checked


def inner_loop(loop: Callable[..., Any]) -> Callable[..., Any]:
    """`adapt`: (model, phi, x, y, optimizer, state=None). The loop and the engine see a task axis
    and a state; phi and the state are updated in place, whatever their layout."""

    @wraps(loop)
    def checked(
        model: Model, phi: Any, x: Any, y: Any, optimizer: Optimizer, state: State | None = None
    ) -> Any:
        check_model(model)
        check_optimizer(optimizer)
        in_place(phi, "phi", model.exotic, model.place)
        if _none(x) and _none(y):
            return np.empty((0, *phi.shape[:-1]), phi.dtype)
        single, phi_t, x, y = model.checked_steps(phi, x, y)
        if state is None:
            state = optimizer.init(phi)
        else:
            check_state(optimizer, state, phi, place=model.place)
        states = {name: array[None] if single else array for name, array in state.items()}
        loss = model.engine.adapt(phi_t, x, y, optimizer, states)
        if loss is NotImplemented:
            loss = loop(model, phi_t, x, y, optimizer, states)
        if isinstance(phi, np.ndarray) and not np.may_share_memory(phi, phi_t):
            phi[...] = phi_t.reshape(phi.shape)
        return loss[:, 0] if single else loss

    return checked


def begin(model: Model, optimizer: Optimizer, loops: Loops) -> Snapshot:
    """The run before its first iteration."""
    theta = model.init(loops.seed)
    outer = loops.outer.init(theta) if loops.outer else {}
    state = optimizer.init(theta) | {OUTER + name: array for name, array in outer.items()}
    return Snapshot(0, theta, state, np.empty((0, 0)))


def _none(batches: Any) -> bool:
    """Whether these are no mini-batches at all."""
    if isinstance(batches, list | tuple):
        return not batches
    return getattr(batches, "shape", ())[:1] == (0,)
