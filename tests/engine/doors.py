"""Wrong arguments for every public callable: the calls, and what must become of them.

`child` makes the calls that compute on two backends, in a process of its own.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from numpy.typing import NDArray

import minireptile as mr
from minireptile import testing as kit
from minireptile.optim import State
from minireptile.rng import Stream, generator
from minireptile.tasks.images import FewShot, from_arrays, take_classes
from minireptile.tasks.sine import Sine
from minireptile.testing import GradientError, IdentityError
from tests import conftest  # noqa: F401  Hypothesis's profile, in a child too

from .wrong_values import (
    BACKENDS,
    COUNT,
    DAMAGES,
    FLAG,
    FRACTION,
    IN_SHAPE,
    INIT,
    KEPT,
    KEPT_COUNT,
    LABELS,
    NAMES,
    NEVER,
    PAIR,
    PLACE,
    POOL,
    POSITIVE,
    RATE,
    READ,
    SEED,
    STATE,
    THETA,
    UNKNOWN,
    Door,
    Wrong,
    among,
    constantly,
    count,
    counts,
    one_or_two,
    real,
    rising,
)

FEW = 12  # failures of a door that are shown
WIDE = 500  # bytes of what is being tried


# ------------------------------------------------------------------------------------ right calls


def with_backend(**arguments: Any) -> Callable[[str], dict[str, Any]]:
    return lambda backend: dict(arguments)


def images() -> tuple[NDArray, NDArray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (12, 2, 1), np.uint8), np.repeat(np.arange(3), 4)


CLASSES = from_arrays(*images())
IMAGES = tuple(
    Wrong(label, make, None if label in ("booleans", "float16", "int16", "uint64", "empty")
          else "as the argument says")
    for label, (make, _) in DAMAGES.items()
)  # fmt: skip

LOOPS = {
    "iterations": count(0), "meta_batch": count(), "inner_steps": count(), "inner_batch": count(),
    "train_shots": count(), "tail_shots": count(), "cg_steps": count(), "epsilon": real(),
    "epsilon_final": real(), "prox": POSITIVE, "cg_tolerance": FRACTION, "replacement": FLAG,
    "state": among("carry", "mean", "fresh"), "tail": among("shared", "separate"), "seed": SEED,
    "outer": (
        lambda v: v is None or isinstance(v, mr.SGD) or v == {"lr": 0.1}, POOL
    ),
}  # fmt: skip
PROTOCOL = {
    "tasks": count(), "shot": count(), "query": count(), "batch": count(), "seed": SEED,
    "marks": counts(0, rising), "replacement": FLAG, "iteration": SEED,
    "stream": count(0, max(Stream)),
}  # fmt: skip


def a_model(**arguments: Any) -> mr.Model:
    return mr.Model(**arguments)


CONSTRUCTORS = {
    "Dense": Door(mr.Dense, with_backend(units=2, bias=True, init="zeros", bias_init="zeros"), {
        "units": count(), "bias": FLAG, "init": INIT, "bias_init": INIT,
    }),
    "Conv2D": Door(
        mr.Conv2D,
        with_backend(filters=2, kernel_size=3, stride=1, padding="same", bias=True, init="zeros",
                     bias_init="zeros"),
        {
            "filters": count(), "kernel_size": PAIR, "stride": PAIR, "bias": FLAG,
            "padding": among("same", "valid"), "init": INIT, "bias_init": INIT,
        },
    ),
    "MaxPool": Door(mr.MaxPool, with_backend(size=2, stride=2, padding="same"), {
        "size": PAIR, "stride": (lambda v: v is None or one_or_two(v), POOL),
        "padding": among("same", "valid"),
    }),
    "BatchNorm": Door(mr.BatchNorm, with_backend(eps=0.1), {"eps": POSITIVE}),
    "SGD": Door(mr.SGD, with_backend(lr=0.1, momentum=0.0, weight_decay_rate=1.0), {
        "lr": POSITIVE, "momentum": FRACTION, "weight_decay_rate": RATE,
    }),
    "Adam": Door(
        mr.Adam, with_backend(lr=0.1, beta1=0.0, beta2=0.9, eps=0.1, weight_decay_rate=1.0),
        {
            "lr": POSITIVE, "beta1": FRACTION, "beta2": FRACTION, "eps": POSITIVE,
            "weight_decay_rate": RATE,
        },
    ),
    "Loops": Door(mr.Loops, with_backend(**{n: getattr(mr.Loops(1), n) for n in LOOPS}), LOOPS),
    "Protocol": Door(
        mr.Protocol, with_backend(**{n: getattr(mr.Protocol(1, 1), n) for n in PROTOCOL}), PROTOCOL
    ),
    "Model": Door(
        a_model,
        with_backend(
            layers=[mr.Dense(1)], input_shape=(2,), loss="squared_error", reduction="mean",
            backend="numpy", dtype="float32", tf32=False,
        ),
        {
            "layers": (lambda v: False, (
                *POOL,
                Wrong("a class in it", lambda _: [mr.Tanh, mr.Dense(1)]),
                Wrong("a string in it", lambda _: [mr.Dense(1), "dense"]),
                Wrong("a model", lambda _: mr.Model([mr.Dense(1)], (2,))),
                Wrong("a layer that does not fit", lambda _: [mr.Conv2D(1, 2), mr.Dense(1)]),
            )),
            "input_shape": IN_SHAPE, "loss": among("softmax_cross_entropy", "squared_error"),
            "reduction": among("mean", "sum"),
            "backend": (lambda v: False, (
                *POOL,
                Wrong("abacus", constantly("abacus")),
                Wrong("the fastest", constantly("auto"), True),
            )),
            "dtype": (lambda v: False, (
                *POOL,
                *(Wrong(str(d), constantly(d), False) for d in ("float16", ">f4", "f4,f4", int)),
                *(Wrong(str(d), constantly(d), True) for d in ("f4", np.float64, float)),
            )),
            "tf32": (lambda v: type(v) in (bool, np.bool_) and not v, POOL),
        },
    ),
    "omniglot_cnn": Door(
        mr.omniglot_cnn, with_backend(way=2, filters=1, input_shape=(2, 2, 1)),
        {
            "way": count(), "filters": count(),
            "input_shape": counts(1, lambda v: len(v) == 3),
        },
    ),
    "miniimagenet_cnn": Door(
        mr.miniimagenet_cnn, with_backend(way=2, filters=1, input_shape=(2, 2, 1)),
        {
            "way": count(), "filters": count(),
            "input_shape": counts(1, lambda v: len(v) == 3),
        },
    ),
    "sine_mlp": Door(mr.sine_mlp, with_backend(hidden=2), {"hidden": count()}),
    "Model.init": Door(
        mr.Model([mr.Dense(1)], (1,)).init, with_backend(seed=0), {"seed": SEED},
    ),
    "Model.on": Door(mr.Model([mr.Dense(1)], (1,)).on, with_backend(backend="numpy"), {
        "backend": (lambda v: False, POOL),
    }),
    "generator": Door(
        generator, with_backend(seed=0, stream=Stream.TEST, iteration=0, task=0),
        {"seed": SEED, "stream": count(0, max(Stream)), "iteration": SEED, "task": SEED},
    ),
    "FewShot": Door(FewShot, with_backend(data=CLASSES, way=2), {
        "data": (lambda v: False, (*POOL, Wrong("the images", lambda _: images()[0]))),
        "way": count(2, 3),
    }),
    "FewShot.draw": Door(
        FewShot(CLASSES, 2).draw,
        lambda backend: {"rng": np.random.default_rng(0), "shot": 1, "query": 1},
        {"rng": (lambda v: False, POOL), "shot": count(0, 3), "query": count(0, 3)},
    ),
    "Sine.draw": Door(
        Sine().draw, lambda backend: {"rng": np.random.default_rng(0), "shot": 1, "query": 1},
        {"rng": (lambda v: False, POOL), "shot": count(1, 50), "query": count(0)},
    ),
    "from_arrays": Door(
        from_arrays,
        lambda backend: dict(zip(("images", "labels", "names"), (*images(), list("abc")),
                                 strict=True)),
        {
            "images": (UNKNOWN, (*IMAGES, *NEVER)), "labels": LABELS(longer_rows=False),
            "names": (
                lambda v: v is None or (type(v) in (tuple, np.ndarray) and np.shape(v) == (3,)),
                tuple(w for w in POOL if w.label not in ("an iterator",)),
            ),
        },
    ),
    "take_classes": Door(take_classes, with_backend(data=CLASSES, classes=np.array([0, 1])), {
        "data": (lambda v: False, POOL), "classes": counts(0, lambda v: v != [] and max(v) < 3),
    }),
}  # fmt: skip

# ------------------------------------------------------------------------ calls that compute

ADAM = mr.Adam(0.01, 0.5)
SMALL = {"meta_batch": 2, "inner_steps": 2, "inner_batch": 2, "train_shots": 2}


@cache
def model(backend: str, classes: bool = False) -> mr.Model:
    if classes:
        layers: list[mr.layers.Layer] = [mr.Flatten(), mr.Dense(2), mr.Tanh(), mr.Dense(2)]
        return mr.Model(layers, (2, 1, 1), backend=backend, dtype="float64")
    layers = [mr.Dense(2), mr.Tanh(), mr.Dense(1)]
    return mr.Model(layers, (1,), "squared_error", backend=backend, dtype="float64")


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
    theta = model("numpy").init(0)
    start = mr.Snapshot(1, theta, used(optimizer, theta), np.empty((0, 0)))
    chosen = mr.Loops(2, **{**SMALL, **loops})
    return {"model": model(backend), "tasks": Sine(), "optimizer": optimizer, "loops": chosen,
            "start": start}  # fmt: skip


def first(algorithm: Callable[..., Iterator[mr.Snapshot]]) -> Callable[..., Any]:
    def call(**arguments: Any) -> Any:
        return list(algorithm(**arguments))

    return call


def evaluation(backend: str, classes: bool) -> dict[str, Any]:
    theta = model("numpy", classes).init(0)
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


# ------------------------------------------------------------------------------------- the kit


def proving(check: Callable[..., Any]) -> Callable[..., Any]:
    """A check of the kit; that a proof fails is an answer, not an error."""

    def call(**arguments: Any) -> Any:
        try:
            return check(**arguments)
        except (GradientError, IdentityError) as failure:
            return failure

    return call


def twice(*arrays: NDArray) -> NDArray:
    return 2 * arrays[0]


def of_squares(theta: NDArray) -> float:
    return (theta**2).sum()


GUESS = (lambda v: None, POOL)
FUNCTION = (lambda v: None if callable(v) else False, POOL)
NOT_AT_ALL = ("a class", "a stranger", "a record", "a layer", "a function", "an iterator", "{}")
ANY_ARRAY = (UNKNOWN, (
    *(Wrong(label, make) for label, (make, _) in DAMAGES.items()),
    *(replace(wrong, legit=False if wrong.label in NOT_AT_ALL else None) for wrong in POOL),
))  # fmt: skip


@cache
def checked() -> list[Any]:
    """Rows of a table."""
    return kit.check_layers("Tanh")


KIT = {
    "check_gradients": Door(
        proving(lambda subject, x, **more: kit.check_gradients(subject, x, **more)),
        lambda backend: {
            "subject": (twice, twice), "x": numbers(2, 3), "params": (), "seed": 0,
            "method": "auto", "tolerance": None, "name": None,
        },
        {
            "subject": (
                lambda v: None if isinstance(v, mr.Tanh) else False,
                (*POOL, Wrong("one function", lambda f: f[0])),
            ),
            "x": ANY_ARRAY, "params": GUESS, "seed": GUESS, "tolerance": GUESS, "name": GUESS,
            "method": among("auto", "complex step", "differences"),
        },
    ),
    "check_gradients of a layer": Door(
        proving(lambda subject, x, **more: kit.check_gradients(subject, x, **more)),
        lambda backend: {"subject": mr.Dense(2), "x": numbers(2, 2, 3), "backend": "numpy"},
        {"x": ANY_ARRAY, "backend": (lambda v: False, POOL)},
    ),
    "check_adjoint": Door(
        proving(kit.check_adjoint),
        lambda backend: {"L": twice, "L_adjoint": twice, "x": numbers(3), "y": numbers(3),
                         "seed": 0, "name": "twice"},
        {"L": FUNCTION, "L_adjoint": FUNCTION, "x": ANY_ARRAY, "y": ANY_ARRAY, "seed": GUESS,
         "name": GUESS},
    ),
    "check_same": Door(
        proving(lambda kernel, reference, x, **more: kit.check_same(kernel, reference, x, **more)),
        lambda backend: {"kernel": twice, "reference": twice, "x": numbers(3), "length": 1,
                         "name": None},
        {"kernel": FUNCTION, "reference": FUNCTION, "length": GUESS, "name": GUESS},
    ),
    "check_hvp": Door(
        proving(kit.check_hvp),
        lambda backend: {
            "grad": twice, "hvp": lambda theta, v: 2 * v, "theta": numbers(3), "seed": 0,
            "loss": of_squares, "tolerance": 1e-6, "name": "twice",
        },
        {
            "grad": FUNCTION, "hvp": FUNCTION, "theta": ANY_ARRAY, "seed": GUESS,
            "loss": (lambda v: None if v is None or callable(v) else False, tuple(
                wrong for wrong in POOL if wrong.label != "a function")),
            "tolerance": GUESS, "name": GUESS,
        },
    ),
    "complex_step": Door(
        proving(kit.complex_step), lambda backend: {"f": of_squares, "x": numbers(3)},
        {"f": FUNCTION, "x": ANY_ARRAY},
    ),
    "check_layers": Door(
        kit.check_layers, with_backend(name="Tanh", backend="numpy"),
        {
            "name": (lambda v: None if v is None else False, POOL),
            "backend": (lambda v: False, POOL),
        },
    ),
    "table": Door(kit.table, lambda backend: {"rows": list(checked())}, {"rows": GUESS}),
}  # fmt: skip


def _with_outer(arguments: dict[str, Any]) -> dict[str, Any]:
    start = arguments["start"]
    more = {f"outer.{name}": a for name, a in used(ADAM, start.theta).items()}
    return {**arguments, "start": replace(start, state={**start.state, **more})}


def _die(value: Any) -> None:
    if value != "right":
        signal.raise_signal(signal.SIGSEGV)


CRASH = {"a crash": Door(_die, with_backend(value="right"), {"value": ONLY_THE_RIGHT_ONE}, False)}


# ----------------------------------------------------------------------------------- the child


def try_all(name: str, door: Door, backends: tuple[str, ...], say: Callable[[str], None]) -> str:
    """Make every wrong call, and those that Hypothesis thinks of; "" or what went wrong first."""
    for backend in backends:
        place = next(iter(door.places))
        right = Wrong("as it was", lambda value: value, True)
        say(f"{name}, right, on {backend}")
        door.check(door.outcome(backend, place, right), place, right)

    def check(case: tuple[str, Wrong]) -> None:
        place, wrong = case
        outcomes = []
        for backend in backends:
            say(f"{name} on {backend}, {place} = {wrong.label}")
            outcomes.append(door.outcome(backend, place, wrong))
            door.check(outcomes[-1], place, wrong)
        assert len({outcome[:5] for outcome in outcomes}) == 1, f"{place}, {wrong}: {outcomes}"

    failures = []
    for case in door.cases():
        try:
            check(case)
        except AssertionError as error:
            failures.append(str(error).split("\n")[0])
    if door.drawn and not failures:
        try:
            given(door.strategy())(check)()
        except AssertionError as error:
            failures.append(str(error).split("\n")[0])
    more = [f"and {len(failures) - FEW} others"] if len(failures) > FEW else []
    return "\n".join(failures[:FEW] + more)


def child(folder: Path, names: list[str]) -> None:
    """Try the doors of these names on both backends; what comes of each is a line of a file."""
    doors = {**COMPUTING, **CRASH}
    with (folder / "now").open("wb", buffering=0) as now, (folder / "done").open("w") as done:

        def say(what: str) -> None:  # in place: to open a file takes longer than most calls
            now.seek(0)
            now.write(what.encode()[:WIDE].ljust(WIDE))

        for name in names:
            failures = try_all(name, doors[name], BACKENDS, say)
            print(json.dumps({"name": name, "failures": failures}), file=done, flush=True)


if __name__ == "__main__":
    child(Path(sys.argv[1]), sys.argv[2:])
