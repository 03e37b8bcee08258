"""Layers: gradients against the complex step on random shapes, and what a layer refuses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from minireptile import BatchNorm, Conv2D, Dense, Flatten, InputError, MaxPool, ReLU, Tanh
from minireptile import testing as checks
from minireptile.backend import Kernels, kernels
from minireptile.layers import LAYERS, Layer, Stage
from minireptile.plan import LOSSES
from minireptile.testing.strategies import few, layers, seeds

K = kernels("numpy")
every_kind = pytest.mark.parametrize("kind", LAYERS)


@every_kind
@given(data=st.data(), T=st.integers(1, 2), B=few, seed=seeds)
def test_every_entry_of_every_gradient(
    kind: type[Layer], data: st.DataObject, T: int, B: int, seed: int
) -> None:
    layer, shape = data.draw(layers(kind))
    # Over two values x, batch norm has dx ~ eps / (var + eps): the terms of dx cancel, and what
    # is left is smaller than they are by that factor.
    tolerance = 1e-12 / (layer.eps if isinstance(layer, BatchNorm) else 1)
    x = np.random.default_rng(seed).standard_normal((T, B, *shape))
    report = checks.check_gradients(layer, x, seed=seed, tolerance=tolerance)
    assert list(report.errors) == ["dx", *(f"d{name}" for name in layer.params(shape))]
    assert report.method == "complex step"


@pytest.mark.parametrize("kind", [Conv2D, Dense, BatchNorm])
@given(data=st.data(), T=st.integers(1, 2), B=few, seed=seeds)
def test_the_first_layer_needs_no_dx(
    kind: type[Layer], data: st.DataObject, T: int, B: int, seed: int
) -> None:
    """With dx None the parameters' gradients are the same, and nothing else is written. A layer
    without parameters is not called there."""
    layer, shape = data.draw(layers(kind))
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((T, B, *shape))
    p = {name: rng.standard_normal((T, *q.shape)) for name, q in layer.params(shape).items()}
    y = np.full((T, B, *layer.out_shape(shape)), np.nan)
    dy = rng.standard_normal(y.shape)
    saved = layer.saved(T, B, shape, np.float64)
    stage = Stage(x, y, None, dy, p, {}, saved)
    layer.forward(K, stage)
    found = []
    for dx in (np.full_like(x, np.nan), None):
        dp = {name: np.full_like(array, np.nan) for name, array in p.items()}
        layer.backward(K, stage._replace(dx=dx, dp=dp))
        found.append(dp)
    for name, gradient in found[0].items():
        assert np.isfinite(gradient).all()
        np.testing.assert_array_equal(gradient, found[1][name])


def test_examples_pass_and_meet_every_layer() -> None:
    found = checks.check_layers()
    assert all(row.report.passed for row in found), checks.table(found)
    assert {row.layer for row in found} == {kind.__name__ for kind in LAYERS} | {*LOSSES, "Model"}
    only = checks.check_layers("BatchNorm")
    assert [row.gradient for row in only] == ["dx", "dgamma", "dbeta"] * 2
    with pytest.raises(InputError, match=r"no layer 'Dropout' to check: choose one of .*BatchNorm"):
        checks.check_layers("Dropout")


@dataclass(frozen=True)
class SlightlyWrong(Tanh):
    """Tanh whose derivative is wrong in one entry, by one part in 10^9, or never written."""

    factor: float = 1 + 1e-9

    def backward(self, k: Kernels, a: Stage) -> None:
        super().backward(k, a)
        a.dx.flat[np.argmax(abs(a.dx))] *= self.factor


@pytest.mark.parametrize("factor", [1 + 1e-9, np.nan])
def test_the_check_catches_a_wrong_entry(factor: float) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    with pytest.raises(checks.GradientError) as caught:
        checks.check_gradients(SlightlyWrong(factor), x)
    (finding,) = caught.value.report.findings
    assert (finding.kind, finding.gradient) == ("nan" if np.isnan(factor) else "value", "dx")


def test_complex_step_of_a_known_function() -> None:
    x = np.array([[0.5, -2.0], [3.0, 1.0]])
    gradient = checks.complex_step(lambda z: (z**3).sum() + z[0, 0] * z[1, 1], x)
    np.testing.assert_allclose(gradient, 3 * x**2 + [[1, 0], [0, 0.5]], rtol=1e-15)


# ---------------------------------------------------------------------------- shapes, errors


@pytest.mark.parametrize(
    ("layer", "shape", "out", "params"),
    [
        (Conv2D(4, 3, stride=2), (28, 28, 1), (14, 14, 4), {"weight": (3, 3, 1, 4), "bias": (4,)}),
        (Conv2D(4, (2, 3), bias=False), (5, 6, 2), (5, 6, 4), {"weight": (2, 3, 2, 4)}),
        (Conv2D(1, 3, 1, "valid", False), (3, 5, 2), (1, 3, 1), {"weight": (3, 3, 2, 1)}),
        (MaxPool(2), (21, 20, 3), (11, 10, 3), {}),
        (MaxPool((3, 2), (1, 2), "valid"), (5, 5, 3), (3, 2, 3), {}),
        (Dense(7), (3,), (7,), {"weight": (3, 7), "bias": (7,)}),
        (BatchNorm(), (4, 5, 6), (4, 5, 6), {"gamma": (6,), "beta": (6,)}),
        (ReLU(), (4, 5), (4, 5), {}),
        (Tanh(), (4,), (4,), {}),
        (Flatten(), (2, 3, 4), (24,), {}),
    ],
)  # fmt: skip
def test_shapes(
    layer: Layer, shape: tuple[int, ...], out: tuple[int, ...], params: dict[str, tuple[int, ...]]
) -> None:
    assert layer.out_shape(shape) == out
    assert {name: param.shape for name, param in layer.params(shape).items()} == params


def test_a_pool_saves_a_winner_of_each_window() -> None:
    """Of 4 bytes, whatever the type of the numbers."""
    (winner,) = MaxPool(2).saved(2, 3, (5, 4, 6), np.float64).values()
    assert (winner.shape, winner.dtype) == ((2, 3, 3, 2, 6), np.int32)


def test_a_pool_without_a_stride_does_not_overlap() -> None:
    assert MaxPool(3) == MaxPool(3, 3)
    assert MaxPool((2, 3)).stride == (2, 3)


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        (Conv2D, {"filters": 0, "kernel_size": 3}, "Conv2D: filters must be at least 1, not 0"),
        (Conv2D, {"filters": 2, "kernel_size": (3, 0)}, r"kernel_size .* not \(3, 0\)"),
        (Conv2D, {"filters": 2, "kernel_size": 2.5}, "kernel_size .* not 2.5"),
        (Conv2D, {"filters": 2, "kernel_size": (3, 3, 3)}, "kernel_size"),
        (Conv2D, {"filters": 2, "kernel_size": 3, "stride": -1}, "stride .* not -1"),
        (Conv2D, {"filters": 2, "kernel_size": 3, "padding": "full"}, "one of same, valid"),
        (Conv2D, {"filters": 2, "kernel_size": 3, "init": "magic"}, "init must be one of glorot"),
        (Dense, {"units": 0}, "Dense: units"),
        (Dense, {"units": 2, "bias_init": "magic"}, "bias_init"),
        (BatchNorm, {"eps": 0.0}, "eps must be positive, not 0.0"),
        (BatchNorm, {"eps": float("nan")}, "eps must be positive"),
        (MaxPool, {"size": 0}, "MaxPool: size"),
        (MaxPool, {"padding": "SAME"}, "padding must be one of same, valid, not 'SAME'"),
        (Conv2D, {"filters": 2, "kernel_size": (3,)}, "kernel_size"),
        (Conv2D, {"filters": (2, 2), "kernel_size": 3}, "filters"),
        (Dense, {"units": (4, 5)}, "units"),
    ],
)
def test_wrong_numbers_are_refused(kind: type, arguments: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        kind(**arguments)


@pytest.mark.parametrize("what", ["adjoint", "hvp"])
def test_the_table_shows_a_broken_identity(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = K.dense_backward

    def wrong(dx: NDArray | None, *others: NDArray) -> None:
        right(dx, *others)
        if dx is not None:
            dx *= 2

    monkeypatch.setattr(K, "dense_backward", wrong)
    found = [row for row in checks.check_layers() if row.gradient == what]
    broken = {row.layer for row in found if not row.report.passed}
    assert broken == {"adjoint": {"Dense"}, "hvp": {"Model"}}[what]
    assert "WRONG" in checks.table(found)
