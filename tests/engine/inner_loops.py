"""Inner loops that several tests make on two backends: models, optimizers, data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile import (
    SGD,
    Adam,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    MaxPool,
    Model,
    ReLU,
    adapt,
    miniimagenet_cnn,
    omniglot_cnn,
    sine_mlp,
)
from minireptile.engine import Walked
from minireptile.optim import Optimizer, State
from tests.small import random_batch, random_phi, tiny_stacks

STACKS = {
    **tiny_stacks(),
    "flat first": Model([Flatten(), BatchNorm(), ReLU(), Dense(3)], (2, 2, 2), dtype="float64"),
    "omniglot": omniglot_cnn(3, filters=4, dtype="float64"),
    "mini-imagenet": miniimagenet_cnn(
        3, filters=4, input_shape=(9, 8, 3), dtype="float64", reduction="sum"
    ),
    "winograd": Model(
        [
            Conv2D(24, 3),
            ReLU(),
            Conv2D(24, 3, bias=False),
            BatchNorm(),
            MaxPool(2),
            Flatten(),
            Dense(2),
        ],
        (9, 8, 2),
        dtype="float64",
    ),
    "sine": sine_mlp(8, dtype="float64"),
}
OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": SGD(0.05),
    "momentum": SGD(0.05, 0.9, weight_decay_rate=0.97),
    "adam": Adam(0.01, weight_decay_rate=0.97),
    "adam without m": Adam(0.01, beta1=0.0, eps=1e-3),
}


@dataclass(frozen=True)
class Mine(ReLU):
    pass


def with_a_strange_layer(backend: str) -> tuple[Model, Model]:
    """A model, and the same on a backend that does not know one of its layers, and says so."""
    reference = Model([Dense(4), Mine(), Dense(2)], (3,), dtype="float64")
    said = f"mine1: the {backend} backend does not know such a layer"
    with pytest.warns(UserWarning, match=said):
        other = reference.on(backend)
    assert isinstance(other.engine, Walked)
    return reference, other


@dataclass
class Problem:
    """A model on both backends, phi, mini-batches and an optimizer with a used state."""

    model: Model
    phi: NDArray
    x: NDArray
    y: NDArray
    optimizer: Optimizer
    state: State

    def adapt(self, model: Model) -> tuple[NDArray, NDArray, State]:
        phi, state = self.phi.copy(), {name: a.copy() for name, a in self.state.items()}
        return adapt(model, phi, self.x, self.y, self.optimizer, state), phi, state


def problem(
    name: str, optimizer: str, k: int = 3, T: int = 2, B: int = 4, dtype: str = "float64"
) -> Problem:
    rng = np.random.default_rng([k, T, B])
    model = STACKS[name]
    phi = random_phi(model, rng, T).astype(dtype)
    x, y = random_batch(model, rng, k, T, B)
    used = OPTIMIZERS[optimizer].init(phi)
    for values in used.values():
        values += 3 if values.dtype.kind == "i" else rng.random(values.shape).astype(dtype)
    x, y = x.astype(dtype), y if y.dtype.kind == "i" else y.astype(dtype)
    return Problem(model, phi, x, y, OPTIMIZERS[optimizer], used)


def check_same(got: Any, wanted: Any, rtol: float = 1e-9) -> None:
    """Losses, phi and every array of the state agree."""
    for g, w in zip(got[:2], wanted[:2], strict=True):
        assert g.shape == w.shape
        assert g.dtype == w.dtype
        np.testing.assert_allclose(g, w, rtol, rtol * np.max(np.abs(w)))
    assert set(got[2]) == set(wanted[2])
    for name in wanted[2]:
        np.testing.assert_allclose(got[2][name], wanted[2][name], rtol, rtol)


def in_threads(counts: Sequence[int], call: Callable[[], Any]) -> list[Any]:
    """What a call returns in each number of threads, as if the smallest network were worth them;
    of a model of its own each time, since a model keeps how many it took."""
    compiled, workers = (
        import_module(f"minireptile.engine.{name}") for name in ("compiled", "threads")
    )
    results = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "WORTH_SLICES", 0)
        patch.setattr(workers, "WORTH_THREADS", 0)
        patch.setattr(compiled, "SLICES", 4)
        patch.setattr(compiled, "IMAGES", 1)
        for n in counts:
            patch.setattr(workers, "threads", lambda n=n: n)
            workers._pool.cache_clear()
            results.append(call())
    workers._pool.cache_clear()
    return results
