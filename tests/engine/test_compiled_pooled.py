"""Batch normalisation, the max-pool behind it and a ReLU as one stage of the compiled calls: where
they are, and that nothing but the time is another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from minireptile import BatchNorm, Conv2D, Dense, Flatten, Layer, MaxPool, Model, ReLU, Tanh
from minireptile.backend import why_not
from minireptile.engine import compiled
from minireptile.testing.strategies import few, seeds
from tests.small import random_phi

if why_not("numba"):
    pytest.skip(why_not("numba"), allow_module_level=True)

POOL = MaxPool(2)
ONE = ["pooled_moments", "pooled"]
TWO = ["moments", "normalise"]


def model_of(*layers: Layer, size: tuple[int, int] = (5, 4), dtype: str = "float64") -> Model:
    """The layers behind a convolution of one pixel, which leaves equal numbers equal."""
    return Model([Conv2D(3, 1), *layers, Flatten(), Dense(2)], (*size, 2), dtype=dtype)


def kinds(model: Model, B: int) -> list[str]:
    """The stages between the first product and the last."""
    engine: Any = model.on("numba").engine
    assert isinstance(engine, compiled.Compiled)
    return [kind for kind, _ in engine._layout(B).short][1:-1]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([BatchNorm(), POOL, ReLU()], ONE),
        ([BatchNorm(), ReLU(), POOL], ONE),
        ([BatchNorm(), ReLU(), POOL, ReLU()], ONE),
        ([BatchNorm(), POOL], ONE),
        ([BatchNorm(), POOL, Tanh()], [*ONE, "tanh"]),
        ([BatchNorm(), POOL, POOL], [*ONE, "pool"]),
        ([BatchNorm(), POOL, BatchNorm(), POOL], [*ONE, *ONE]),
        ([BatchNorm(), MaxPool((2, 1))], [*TWO, "pool"]),
        ([BatchNorm(), MaxPool(2, (2, 1))], [*TWO, "pool"]),
        ([BatchNorm(), MaxPool(2, 1), ReLU()], [*TWO, "pool", "relu"]),
        ([BatchNorm(), MaxPool(3, 2)], [*TWO, "pool"]),
        ([BatchNorm(), MaxPool(2, padding="valid")], [*TWO, "pool"]),  # five rows: one in no window
        ([BatchNorm(), Tanh(), POOL, ReLU()], [*TWO, "tanh", "pool", "relu"]),
        ([POOL, ReLU()], ["pool", "relu"]),
    ],
)
def test_where_they_are_one(layers: list[Layer], expected: list[str]) -> None:
    model = model_of(*layers)
    assert kinds(model, 3) == expected
    stages: Any = model.on("numba").engine
    plain = [kind for kind, _ in stages._layout(3).stages]
    assert not {*ONE} & {*plain}, "what has tangents goes layer by layer"


@pytest.mark.parametrize(
    "layers",
    [[POOL, ReLU()], [POOL], [ReLU(), POOL], [POOL, BatchNorm(0.2), POOL, ReLU()]],
    ids=["pool, relu", "pool alone", "relu, pool", "twice"],
)
@given(
    H=st.integers(1, 7), W=st.integers(1, 7), B=few, seed=seeds,
    dtype=st.sampled_from(("float32", "float64")),
)  # fmt: skip
def test_they_compute_what_the_layers_would(
    layers: list[Layer], H: int, W: int, B: int, seed: int, dtype: str
) -> None:
    """On images of few different numbers, where many windows have several that are largest: the
    products are exact, so that what is equal is so on every processor."""
    rng = np.random.default_rng(seed)
    model = model_of(BatchNorm(0.1), *layers, size=(H, W), dtype=dtype)
    assert kinds(model, B)[-2:] == ONE
    phi = random_phi(model, rng, 2).astype(dtype)
    phi[:, :9] = np.round(4 * phi[:, :9]) / 4  # the convolution's
    x, y = rng.integers(0, 3, (2, B, H, W, 2)).astype(dtype), rng.integers(0, 2, (2, B))
    fast, plain = model.on("numba"), model.on("numpy")

    def all_of(m: Model) -> list[NDArray]:
        return [m.forward(phi, x), *m.loss_and_grad(phi, x, y)]

    rtol = 1e-9 if dtype == "float64" else 2e-3
    for got, want in zip(all_of(fast), all_of(plain), strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, want, rtol, rtol * np.max(np.abs(want)))


def test_nan_is_not_hidden() -> None:
    model = model_of(BatchNorm(), POOL, ReLU(), size=(4, 4))
    phi, x = model.init(0)[None], np.zeros((1, 2, 4, 4, 2))
    x[0, 0, 3, 3] = np.nan
    assert np.isnan(model.on("numba").forward(phi, x)).all()
    assert np.isnan(model.forward(phi, x)).all()
