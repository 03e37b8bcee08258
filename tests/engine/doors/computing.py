"""Calls that compute, which are made on two backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import minireptile as mr
from minireptile.optim import State
from minireptile.tasks.images import FewShot
from minireptile.tasks.sine import Sine

from .constructors import CLASSES
from .wrong_values import (
    COUNT,
    KEPT,
    KEPT_COUNT,
    LABELS,
    NAMES,
    NEVER,
    PLACE,
    POOL,
    READ,
    STATE,
    THETA,
    UNKNOWN,
    Door,
    Wrong,
    among,
    count,
)

ADAM = mr.Adam(0.01, 0.5)
SMALL = {"meta_batch": 2, "inner_steps": 2, "inner_batch": 2, "train_shots": 2}


@cache
def model(backend: str, classes: bool = False) -> mr.Model:
    if classes:
        layers: list[mr.layers.Layer] = [mr.Flatten(), mr.Dense(2), mr.Tanh(), mr.Dense(2)]
        return mr.Model(layers, (2, 1, 1), backend=backend, dtype="float64")
    layers = [mr.Dense(2), mr.Tanh(), mr.Dense(1)]
    return mr.Model(layers, (1,), "squared_error", backend=backend, dtype="float64")


@cache
def start(classes: bool = False) -> NDArray:
    """Drawn once: thousands of calls begin with a copy."""
    return model("numpy", classes).init(0)


def numbers(*shape: int) -> NDArray:
    return np.random.default_rng(shape).standard_normal(shape)


def batch(*lead: int) -> dict[str, Any]:
    """phi, x and y of two tasks, or of one and without a task axis."""
    T = lead[-2:-1] if len(lead) > 1 else ()
    return {"phi": numbers(*T, 7), "x": numbers(*lead, 1), "y": numbers(*lead, 1)}


def used(optimizer: Any, phi: NDArray) -> State:
    return {name: np.asarray(a + 1) for name, a in optimizer.init(phi).items()}


def inner(backend: str, single: bool = False) -> dict[str, Any]:
    b = batch(3, 2) if single else batch(3, 2, 2)
    if single:
        b["phi"] = numbers(7)
    return {"model": model(backend), **b, "optimizer": ADAM, "state": used(ADAM, b["phi"])}


def outer(optimizer: Any, backend: str, **loops: Any) -> dict[str, Any]:
    theta = start().copy()
    begun = mr.Snapshot(1, theta, used(optimizer, theta), np.empty((0, 0)))
    chosen = mr.Loops(2, **{**SMALL, **loops})
    return {"model": model(backend), "tasks": Sine(), "optimizer": optimizer, "loops": chosen,
            "start": begun}  # fmt: skip


def first(algorithm: Callable[..., Iterator[mr.Snapshot]]) -> Callable[..., Any]:
    def call(**arguments: Any) -> Any:
        return list(algorithm(**arguments))

    return call


def evaluation(backend: str, classes: bool) -> dict[str, Any]:
    theta = start(classes).copy()
    tasks = FewShot(CLASSES, 2) if classes else Sine()
    protocol = mr.Protocol(2, 1, 1, (1, 2), 2)
    arguments = model(backend, classes), theta, used(ADAM, theta), tasks, ADAM, protocol
    names = "model", "theta", "state", "tasks", "optimizer", "protocol"
    return {**dict(zip(names, arguments, strict=True)), "report": lambda done: None}


ONLY_THE_RIGHT_ONE = (lambda v: False, POOL)
OPTIMIZERS = (lambda v: None if isinstance(v, mr.SGD) else False, POOL)
TASKS = (lambda v: False, (*POOL, Wrong("the images", lambda _: CLASSES)))
IN_LOOPS = {
    "model": ONLY_THE_RIGHT_ONE, "tasks": TASKS, "optimizer": OPTIMIZERS,
    "loops": ONLY_THE_RIGHT_ONE, "start": (lambda v: v is None, POOL),
    "start/iteration": count(0, 2), "start/theta": THETA(),
}  # fmt: skip
OF_ADAM = {
    "start/state": (lambda v: False, (*POOL, *NAMES[:4], NAMES[5])),
    "start/state/v": KEPT(), "start/state/m": KEPT(), "start/state/t": KEPT_COUNT(),
}  # fmt: skip
OF_SGD = {
    "start/state": (lambda v: False, POOL), "start/state/velocity": KEPT(),
}  # fmt: skip
IN_EVALUATION = {
    "model": ONLY_THE_RIGHT_ONE, "tasks": TASKS, "optimizer": OPTIMIZERS,
    "state": (lambda v: type(v) is dict and not v, (*POOL, *NAMES[:4], NAMES[5])),
    "state/v": KEPT(NaN=True), "state/m": KEPT(NaN=True), "state/t": KEPT_COUNT(),
    "protocol": ONLY_THE_RIGHT_ONE,
    "report": (lambda v: None if callable(v) else False, POOL),
    "theta": READ(float16=False, int16=False, uint64=False, booleans=False),
}  # fmt: skip
# A complex phi is NumPy's alone: its reference is analytic.
PHI = READ("complex", float16=False, int16=False, uint64=False, booleans=False)
X = READ(shorter_rows=False)
MOMENTUM = mr.SGD(0.01, 0.5)


def on(method: str) -> Callable[..., Any]:
    return lambda model, **arguments: getattr(model, method)(**arguments)


def method(*lead: int, **more: Any) -> Callable[[str], dict[str, Any]]:
    return lambda backend: {"model": model(backend), **batch(*lead), **{
        name: numbers(*value) if isinstance(value, tuple) else value for name, value in
        more.items()}}  # fmt: skip


def without_y(right: Callable[[str], dict[str, Any]]) -> Callable[[str], dict[str, Any]]:
    return lambda backend: {k: v for k, v in right(backend).items() if k != "y"}


def labelled(backend: str) -> dict[str, Any]:
    return {"model": model(backend, True), "phi": numbers(2, 12), "x": numbers(2, 3, 2, 1, 1),
            "y": np.array([[0, 1, 1], [1, 0, 1]])}  # fmt: skip


COMPUTING = {
    "Model.unflatten": Door(
        lambda model, phi: model.unflatten(phi),
        lambda backend: {"model": model(backend), "phi": numbers(2, 7)},
        {"phi": (UNKNOWN, (*(w for w in PHI[1] if w.legit is not False), *NEVER))},
    ),
    "Model.forward": Door(
        on("forward"), without_y(method(2, 3)), {"phi": PHI, "x": X}
    ),
    "Model.forward, one task": Door(
        on("forward"), without_y(method(3)), {"phi": PHI, "x": X}
    ),
    "Model.loss_and_grad": Door(on("loss_and_grad"), method(2, 3), {"phi": PHI, "x": X, "y": X}),
    "Model.loss_and_grad, one task": Door(
        on("loss_and_grad"), method(3), {"phi": PHI, "x": X, "y": X}
    ),
    "Model.loss_and_grad, labels": Door(
        on("loss_and_grad"), labelled, {"phi": PHI, "x": X, "y": LABELS()}
    ),
    "Model.hvp": Door(on("hvp"), method(2, 3, v=(2, 7), method="auto"), {
        "phi": PHI, "x": X, "y": X, "v": READ(), "method": among("auto", "r", "complex"),
    }),
    "adapt": Door(mr.adapt, inner, {
        "model": ONLY_THE_RIGHT_ONE, "phi": PLACE(), "x": X, "y": X, "optimizer": OPTIMIZERS,
        "state": (lambda v: v is None, (*POOL, *NAMES)), "state/v": STATE(), "state/m": STATE(),
        "state/t": COUNT(),
    }),
    "adapt, one task": Door(mr.adapt, partial(inner, single=True), {
        "phi": PLACE(), "x": X, "y": X, "state": (lambda v: v is None, (*POOL, *NAMES[:4])),
        "state/v": STATE(), "state/t": COUNT(with_gaps=None),
    }),
    "reptile": Door(first(mr.reptile), partial(outer, ADAM), {**IN_LOOPS, **OF_ADAM}),
    "fomaml": Door(first(mr.fomaml), partial(outer, ADAM), {**IN_LOOPS, **OF_ADAM}),
    "maml": Door(first(mr.maml), partial(outer, MOMENTUM), {**IN_LOOPS, **OF_SGD}),
    "imaml": Door(
        first(mr.imaml), partial(outer, MOMENTUM, prox=50.0), {**IN_LOOPS, **OF_SGD}
    ),
    "joint": Door(first(mr.joint), partial(outer, ADAM), {**IN_LOOPS, **OF_ADAM}),
    "reptile with an outer Adam": Door(
        first(mr.reptile),
        lambda backend: _with_outer(outer(MOMENTUM, backend, outer=ADAM)),
        {"start/state/outer.v": KEPT(), "start/state/outer.t": KEPT_COUNT(),
         "start/state": (lambda v: False, POOL)},
    ),
    "evaluate": Door(mr.evaluate, partial(evaluation, classes=True), IN_EVALUATION),
    "evaluate_regression": Door(
        mr.evaluate_regression, partial(evaluation, classes=False), IN_EVALUATION
    ),
}  # fmt: skip


def _with_outer(arguments: dict[str, Any]) -> dict[str, Any]:
    start = arguments["start"]
    more = {f"outer.{name}": a for name, a in used(ADAM, start.theta).items()}
    return {**arguments, "start": replace(start, state={**start.state, **more})}
