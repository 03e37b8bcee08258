"""Who runs a loop: the model's engine, where it has one of its own, or the lines as they stand.

reptile.py and its relatives hold the bare loops; the decorators here are the door to them. What a
person passes is checked once, and the engine is asked first (`Engine.adapt`, `Engine.outer`). What
`help` says of all algorithms alike is at the foot of this page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from inspect import cleandoc, signature
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from .doors import check_model, check_optimizer, check_state, in_place, k_batches
from .loops import Loops, Snapshot, check_run
from .lots import Map, check_parallel, in_lots
from .model import Model
from .optim import OUTER, Optimizer, State
from .tasks.base import Tasks


class OuterLoop(Protocol):
    """A meta-algorithm as it is called."""

    __name__: str

    def __call__(
        self, model: Model, tasks: Tasks, optimizer: Optimizer, loops: Loops,
        start: Snapshot | None = None, map: Map | None = None,
    ) -> Iterator[Snapshot]: ...  # fmt: skip


class InnerLoop(Protocol):
    """`adapt` as it is called."""

    def __call__(
        self, model: Model, phi: NDArray, x: NDArray, y: NDArray, optimizer: Optimizer,
        state: State | None = None,
    ) -> NDArray: ...  # fmt: skip


def outer_loop(loop: Callable[..., Iterator[Snapshot]]) -> OuterLoop:
    """A meta-algorithm: (model, tasks, optimizer, loops, start=None, map=None)."""

    @wraps(loop)
    def checked(
        model: Model, tasks: Tasks, optimizer: Optimizer, loops: Loops,
        start: Snapshot | None = None, map: Map | None = None,
    ) -> Iterator[Snapshot]:  # fmt: skip
        check_run(model, tasks, optimizer, loops, start)
        run = start or begin(model, optimizer, loops)
        if map is not None:
            if loop.__name__ != "joint":  # which hands on nothing
                check_parallel(loops)
            return loop(model, tasks, optimizer, loops, run, in_lots(map))
        own = model.engine.outer(loop.__name__, tasks, optimizer, loops, run)
        return loop(model, tasks, optimizer, loops, run) if own is NotImplemented else own

    checked.__doc__ = _whole(loop, OUTER_SECTIONS)
    checked.__signature__ = signature(checked, follow_wrapped=False)  # type: ignore[attr-defined]
    return cast(OuterLoop, checked)


def inner_loop(loop: Callable[..., Any]) -> InnerLoop:
    """`adapt`: (model, phi, x, y, optimizer, state=None). The loop and the engine see a task axis
    and a state; phi and the state are updated in place, whatever their layout."""

    @wraps(loop, ("__module__", "__name__", "__qualname__"))
    def checked(
        model: Model, phi: NDArray, x: NDArray, y: NDArray, optimizer: Optimizer,
        state: State | None = None,
    ) -> NDArray:  # fmt: skip
        check_model(model)
        check_optimizer(optimizer)
        in_place(phi, "phi", model.exotic, model.place)
        if _none(x) and _none(y):
            return np.empty((0, *phi.shape[:-1]), phi.dtype)
        single, phi_t, x, y = k_batches(model, phi, x, y)
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

    checked.__doc__ = _whole(loop, INNER_SECTIONS)
    checked.__signature__ = signature(checked, follow_wrapped=False)  # type: ignore[attr-defined]
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


# ------------------------------------------------------------------------------- documentation


def _whole(loop: Callable[..., Any], sections: str) -> str | None:
    """A loop's docstring, its sections, and its module's page as the notes."""
    if not loop.__doc__:  # python -OO
        return None
    notes = cleandoc(loop.__globals__["__doc__"])
    return f"{cleandoc(loop.__doc__)}\n{sections.format(name=loop.__name__, notes=notes)}"


OUTER_SECTIONS = """
Parameters
----------
model : Model
    Of P parameters, for examples and targets of the tasks' shapes.
tasks : FewShot, Sine, or anything with their `draw`
    Where each outer iteration draws T tasks from.
optimizer : SGD, Adam or another Optimizer
    Takes the k inner steps on each task. For maml, SGD.
loops : Loops
    The numbers of both loops: iterations, k, T, B, epsilon and others.
start : Snapshot, optional
    Where to go on, bit for bit as if never broken off; if None, at ``model.init(loops.seed)``.
map : callable, optional
    Of an executor of concurrent.futures, or the like: computes lots of tasks elsewhere, and the
    bits are the same. Not with ``loops.state="carry"``.

Yields
------
Snapshot
    The run after each outer iteration: theta (P,) in the model's dtype; loss (k, T), or for joint
    (1, k T); the optimizer's state.

Raises
------
InputError
    If an argument is of another kind or does not fit the others. In an iteration: if the tasks
    do not fit the model, or a loss or a parameter becomes NaN or infinite.
MissingPackage
    If imaml lacks SciPy.

Notes
-----
{notes}

Examples
--------
>>> import minireptile as mr
>>> loops = mr.Loops(iterations=2, meta_batch=3, prox=10.0)  # prox is of imaml alone
>>> for run in mr.{name}(mr.sine_mlp(8), mr.Sine(), mr.SGD(0.01), loops):
...     print(run.iteration, run.theta.shape, run.loss.size)
1 (97,) 15
2 (97,) 15
"""

INNER_SECTIONS = """
Parameters
----------
model : Model
    Of P parameters.
phi : array (T, P), or (P,)
    Parameters of each task, float32 or float64; changed in place.
x : array (k, T, B, *model.input_shape)
    The k mini-batches of each task; without T where phi has none.
y : array (k, T, B) of int, or (k, T, B, n_out) of float
    Labels or targets; without T where phi has none.
optimizer : SGD, Adam or another Optimizer
    Takes the steps.
state : dict of arrays (T, P), and (T,) for a count of steps; optional
    As ``optimizer.init(phi)`` gives; changed in place. If None, each task begins with a fresh one.

Returns
-------
array (k, T), or (k,)
    The loss of each task before each step, in phi's type.

Raises
------
InputError
    If a shape, a type or a label does not fit, or an array cannot be changed in place.

Notes
-----
{notes}

Examples
--------
>>> import numpy as np, minireptile as mr
>>> model = mr.Model([mr.Dense(1, bias=False)], (1,), "squared_error", dtype="float64")
>>> phi, x = np.zeros(1), np.ones((3, 1, 1))
>>> mr.adapt(model, phi, x, x, mr.SGD(0.25))  # three steps towards 1, each half of the way
array([1.    , 0.25  , 0.0625])
"""
