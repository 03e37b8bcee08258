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
    InputError,
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


def check_calls(name: str, backend: str) -> tuple[NDArray, NDArray]:
    """Outputs, losses and gradients of several tasks and of one alone, against the reference. Of
    the one, both gradients: alone, and among the others."""
    p = problem(name, "sgd", k=1, T=3, B=5)
    fast = p.model.on(backend)
    assert not isinstance(fast.engine, Walked)
    outputs, right = (m.forward(p.phi, p.x[0]) for m in (fast, p.model))
    np.testing.assert_allclose(outputs, right, 1e-11, 1e-11)
    got, wanted = (m.loss_and_grad(p.phi, p.x[0], p.y[0]) for m in (fast, p.model))
    near = 1e-10 * np.max(np.abs(wanted[1]))
    np.testing.assert_allclose(got[0], wanted[0], 1e-11)
    np.testing.assert_allclose(got[1], wanted[1], 1e-9, near)
    alone = fast.loss_and_grad(p.phi[1], p.x[0, 1], p.y[0, 1])
    np.testing.assert_allclose(alone[1], wanted[1][1], 1e-9, near)
    return alone[1], got[1][1]


def check_a_single_task(backend: str) -> None:
    """It may lack its axis."""
    p = problem("relu first", "adam", T=1)
    wanted = p.adapt(p.model)
    phi, state = p.phi[0].copy(), {name: np.array(a[0]) for name, a in p.state.items()}
    loss = adapt(p.model.on(backend), phi, p.x[:, 0], p.y[:, 0], p.optimizer, state)
    with_axis = {name: a[None] for name, a in state.items()}
    check_same((loss[:, None], phi[None], with_axis), wanted)


def check_nan_is_not_hidden(backend: str) -> None:
    """And stays in its task."""
    p = problem("pooled", "sgd")
    p.x[0, 1, 0, 0, 0, 0] = np.nan
    loss, phi, _ = p.adapt(p.model.on(backend))
    assert np.isnan(loss[:, 1]).all()
    assert np.isfinite(loss[:, 0]).all()
    assert np.isfinite(phi[0]).all()


WRONG: list[tuple[Callable[[Problem], dict[str, NDArray]], str]] = [
    (lambda p: {"y": p.y[:1]}, "x has 3 mini-batches and y has 1"),
    (lambda p: {"y": p.y + 3}, "labels must lie in"),
    (lambda p: {"y": p.y[:, :, :1]}, "y must be"),
    (lambda p: {"x": p.x[..., :1, :]}, "x must be"),
    (lambda p: {"x": p.x[:, :1], "y": p.y[:, :1]}, "x must be"),
    (lambda p: {"phi": p.phi[:, 1:]}, "phi must be"),
    (lambda p: {"phi": p.phi.astype(np.float16)}, "float32 or float64, not float16"),
    (lambda p: {"phi": p.phi.astype(complex)}, "float32 or float64, not complex128"),
]


def check_refused(backend: str, change: Callable[[Problem], dict[str, Any]], words: str) -> None:
    """What a change to the arguments of `adapt` is told."""
    p = problem("strided", "sgd")
    given = {"phi": p.phi, "x": p.x, "y": p.y, **change(p)}
    with pytest.raises(InputError, match=words):
        adapt(p.model.on(backend), given["phi"], given["x"], given["y"], p.optimizer)


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
