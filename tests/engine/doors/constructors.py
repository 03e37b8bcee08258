"""Numbers, names and data: what has a door of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import minireptile as mr
from minireptile.rng import Stream, generator
from minireptile.tasks.images import FewShot, from_arrays, take_classes
from minireptile.tasks.sine import Sine

from .wrong_values import (
    DAMAGES,
    FLAG,
    FRACTION,
    IN_SHAPE,
    INIT,
    LABELS,
    NEVER,
    PAIR,
    POOL,
    POSITIVE,
    RATE,
    SEED,
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
