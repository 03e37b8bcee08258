"""The R-operator: Hessian-vector products by tangents, against the complex step and each other."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from minireptile import (
    Conv2D,
    Dense,
    Flatten,
    InputError,
    MaxPool,
    Model,
    ReLU,
    Tanh,
    miniimagenet_cnn,
    omniglot_cnn,
    sine_mlp,
)  # fmt: skip
from minireptile.backend import Kernels, kernels, why_not
from minireptile.layers import LAYERS, Layer, Stage, has_r
from minireptile.testing import check_hvp
from minireptile.testing.layers import examples
from minireptile.testing.strategies import few, seeds
from tests.gpu.cuda_on_cpu_build import COMPILER, SUPPORTED
from tests.small import random_batch, random_phi, relative, tiny_model, tiny_stacks

H = 1e-20
BACKENDS = [backend for backend in ("numpy", "numba") if not why_not(backend)]
STACKS = {
    **tiny_stacks(),
    "omniglot": omniglot_cnn(3, 4, (20, 20, 1), dtype="float64"),
    "mini-imagenet": miniimagenet_cnn(3, 4, (20, 20, 3), reduction="sum", dtype="float64"),
    "sine": sine_mlp(16, dtype="float64"),
    "two inputs without parameters": Model(
        [ReLU(), MaxPool(2), Conv2D(2, 2, bias=False), Tanh(), MaxPool(3, 1), Flatten(), Dense(2)],
        (6, 6, 2), "squared_error", dtype="float64",
    ),
}  # fmt: skip
MODELS = {(name, backend): m.on(backend) for name, m in STACKS.items() for backend in BACKENDS}
# A batch norm of the data is walked layer by layer, in kernels that the compiled loops do without.
every_model = pytest.mark.parametrize(
    ("name", "backend"),
    [
        pytest.param(*m, marks=pytest.mark.long if m == ("batchnorm first", "numba") else ())
        for m in MODELS
    ],
)
every_backend = pytest.mark.parametrize("backend", BACKENDS)


def problem(model: Model, seed: int, *lead: int) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """phi, x, y and v; lead is (T, B) or (B,)."""
    rng = np.random.default_rng(seed)
    phi, v = (random_phi(model, rng, *lead[:-1]) for _ in range(2))
    return (phi, *random_batch(model, rng, *lead), v)


# ------------------------------------------------------------------------------- whole models


@every_model
@given(T=st.integers(1, 3), B=st.integers(2, 4), seed=seeds)
def test_the_r_pass_is_the_complex_step(name: str, backend: str, T: int, B: int, seed: int) -> None:
    """In double precision, to rounding; and so for a vector phi (P,)."""
    model = MODELS[name, backend]
    phi, x, y, v = problem(model, seed, T, B)
    exact = model.hvp(phi, x, y, v, method="complex")
    assert relative(model.hvp(phi, x, y, v, method="r"), exact) < 1e-12
    np.testing.assert_array_equal(
        model.hvp(phi, x, y, v), model.hvp(phi, x, y, v, method="r"), "auto is the R pass"
    )
    single = model.hvp(phi[0], x[0], y[0], v[0], method="r")
    assert single.shape == (model.size,)
    assert relative(single, exact[0]) < 1e-12


@every_backend
@pytest.mark.parametrize("way", ["omniglot", "mini-imagenet"])
def test_the_papers_networks_at_their_start(way: str, backend: str) -> None:
    """Whole, with all filters, where training begins; float32 against float64."""
    make = {"omniglot": omniglot_cnn, "mini-imagenet": miniimagenet_cnn}[way]
    model = make(5, backend=backend, dtype="float64")
    _, x, y, v = problem(model, 0, 1, 2)
    phi = model.init(1)[None]
    exact = model.hvp(phi, x, y, v, method="complex")
    assert relative(model.hvp(phi, x, y, v), exact) < 1e-12
    single = model.hvp(phi.astype(np.float32), x, y, v.astype(np.float32))
    assert single.dtype == np.float32
    assert relative(single, exact) < 1e-5


@every_model
@pytest.mark.parametrize("seed", range(4))
def test_single_precision(name: str, backend: str, seed: int) -> None:
    """The model's own type: as close as rounding phi, x and v lets it be, and not closer.

    One problem in forty has a number so near the kink of a ReLU or a maximum that rounding takes it
    across. Hypothesis would find them; these are none."""
    model = MODELS[name, backend]
    phi, x, y, v = (np.float32(a) if a.dtype.kind == "f" else a for a in problem(model, seed, 2, 3))
    single = model.hvp(phi, x, y, v)
    double = model.hvp(phi.astype(np.float64), x, y, v.astype(np.float64))
    assert single.dtype == np.float32
    assert relative(single, double) < 2e-5
    assert (double == 0).all() or (single != double.astype(np.float32)).any()


@every_model
@given(T=st.integers(1, 2), B=few, seed=seeds)
def test_symmetric_and_linear(name: str, backend: str, T: int, B: int, seed: int) -> None:
    model = MODELS[name, backend]
    phi, x, y, v = problem(model, seed, T, B)
    w = random_phi(model, np.random.default_rng(seed + 1), T)
    hv, hw = (model.hvp(phi, x, y, u, method="r") for u in (v, w))
    size = (abs(v) * abs(hw)).sum(1) + (abs(w) * abs(hv)).sum(1) + 1
    assert (abs((v * hw).sum(1) - (w * hv).sum(1)) <= 1e-10 * size).all()
    both = model.hvp(phi, x, y, 2 * v - 3 * w, method="r")
    np.testing.assert_allclose(both, 2 * hv - 3 * hw, rtol=0, atol=1e-11 * (1 + np.max(abs(both))))
    np.testing.assert_array_equal(model.hvp(phi, x, y, 0 * v, method="r"), 0 * v)


@every_backend
def test_by_differences_of_gradients(backend: str) -> None:
    """The kit's own check, which knows nothing of complex numbers."""
    model = tiny_model(backend=backend)
    phi, x, y, _ = problem(model, 5, 3)
    check_hvp(
        lambda t: model.loss_and_grad(t, x, y)[1],
        lambda t, u: model.hvp(t, x, y, u, method="r"),
        phi,
        loss=lambda t: float(model.loss_and_grad(t, x, y)[0]),
    )


@every_backend
def test_many_shapes_in_turn_leave_nothing_behind(backend: str) -> None:
    model = tiny_model(backend=backend)
    for T, B in [(1, 2), (2, 3), (3, 1), (1, 5), (4, 4), (1, 2), (2, 3)] * 2:
        for dtype in (np.float64, np.float32):
            phi, x, y, v = problem(model, T + B, T, B)
            got, fresh = (m.hvp(dtype(phi), x, y, v) for m in (model, tiny_model(backend=backend)))
            assert got.dtype == dtype
            np.testing.assert_array_equal(got, fresh)


@every_backend
def test_a_direction_is_rounded_to_phis_type(backend: str) -> None:
    model = tiny_model(backend=backend)
    phi, x, y, v = problem(model, 3, 2, 3)
    phi = phi.astype(np.float32)
    np.testing.assert_array_equal(
        model.hvp(phi, x, y, v), model.hvp(phi, x, y, v.astype(np.float32))
    )


@every_backend
def test_parts_of_larger_arrays_and_other_integers(backend: str) -> None:
    model = tiny_model(backend=backend)
    phi, x, y, v = problem(model, 3, 2, 3)
    expected = model.hvp(phi, x, y, v)
    stored = np.stack([v, phi, v])
    stored.setflags(write=False)
    for arguments in (
        (stored[1], x, y.astype(np.uint8), stored[0]),
        (phi.tolist(), x, y, v.tolist()),
        (np.asfortranarray(phi), x.tolist(), y.tolist(), np.repeat(v, 2, axis=1)[:, ::2]),
    ):
        np.testing.assert_array_equal(model.hvp(*arguments), expected)


@every_backend
@pytest.mark.parametrize("layers", [[ReLU()], [Tanh(), Flatten()]])
def test_without_parameters_there_is_an_empty_product(layers: list[Layer], backend: str) -> None:
    model = Model(layers, (3,), backend=backend, dtype="float64")
    phi, x, y, v = problem(model, 0, 2, 3)
    assert model.hvp(phi, x, y, v).shape == (2, 0)


# -------------------------------------------------------------------------- each layer by itself


def stepped(arrays: Any, tangents: Any) -> Any:
    if isinstance(arrays, dict):
        return {name: stepped(arrays[name], tangents[name]) for name in arrays}
    return arrays + 1j * H * tangents


def both_passes(layer: Layer, dtype: Any, x: NDArray, dy: NDArray, p: Any) -> Stage:
    """Forward and backward."""
    k = kernels("numpy")
    s = layer.saved(x.shape[0], x.shape[1], x.shape[2:], dtype)
    y, dx = np.empty(dy.shape, dtype), np.empty(x.shape, dtype)
    dp = {name: np.empty(a.shape, dtype) for name, a in p.items()}
    a = Stage(x, y, dx, dy, p, dp, s)
    layer.forward(k, a)
    layer.backward(k, a)
    return a


EXAMPLES = [pytest.param(layer, shape, id=repr(layer)) for layer, shape in examples()]


@every_backend
@pytest.mark.parametrize(("layer", "shape"), EXAMPLES)
@given(T=st.integers(1, 2), B=st.integers(2, 3), seed=seeds)
def test_tangents_of_each_layer(
    layer: Layer, shape: tuple[int, ...], backend: str, T: int, B: int, seed: int
) -> None:
    """Of y, dx and every dp, for any rx, rdy and rp; in the first layer without rx and rdx."""
    rng, k = np.random.default_rng(seed), kernels(backend)
    x, rx = rng.standard_normal((2, T, B, *shape))
    dy, rdy = rng.standard_normal((2, T, B, *layer.out_shape(shape)))
    params = layer.params(shape)
    p, rp = ({n: rng.standard_normal((T, *q.shape)) for n, q in params.items()} for _ in range(2))
    for first in (False, True) if params else (False,):
        rx = 0 * rx if first else rx
        steps = stepped(x, rx), stepped(dy, rdy), stepped(p, rp)
        step = both_passes(layer, complex, *steps)
        a = both_passes(layer, float, x, dy, p)
        rs = layer.saved_r(T, B, shape, np.float64)
        ry, rdx = np.full(dy.shape, np.nan), np.full(x.shape, np.nan)
        rdp = {name: np.full(a.shape, np.nan) for name, a in p.items()}
        given_rx = None if first and "x" not in layer.reads_r else rx
        r = Stage(given_rx, ry, None if first else rdx, rdy, rp, rdp, rs)
        layer.forward_r(k, a, r)
        layer.backward_r(k, a, r)
        # Where batch norm divides by rstd^3, rounding is larger by that than the numbers are.
        found = [(ry, step.y), *((rdp[name], step.dp[name]) for name in p)]
        for tangent, stepped_ in found if first else [*found, (rdx, step.dx)]:
            assert relative(tangent, stepped_.imag / H) < 1e-10
        assert first == np.isnan(rdx).all()


@every_backend
@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 1, 3)], ids=["examples", "tasks"])
def test_each_example_is_shifted_by_its_own_largest_logit(
    shape: tuple[int, ...], backend: str
) -> None:
    """By its neighbour's, 2000 above, every exponential would underflow to 0."""
    row, rz = np.array([0.0, 1.0, -2.0]), np.array([0.5, -1.0, 2.0])
    z, rdz = np.stack([row, row - 2000]).reshape(shape), np.full(shape, np.nan)
    kernels(backend).softmax_cross_entropy_r(rdz, np.stack([rz, rz]).reshape(shape), z, 1.0)
    p = np.exp(row) / np.exp(row).sum()
    expected = np.stack([p * (rz - p @ rz)] * 2).reshape(shape)
    np.testing.assert_allclose(rdz, expected, rtol=0, atol=1e-14)


def test_every_layer_has_an_r_pass() -> None:
    kinds = {type(layer) for layer, _ in examples()}
    assert kinds == {*LAYERS}
    assert all(has_r(layer) for layer, _ in examples())


# ------------------------------------------------------------------- layers without an R pass


@dataclass(frozen=True)
class Square(Layer):
    """x^2, without an R pass."""

    def forward(self, k: Kernels, a: Stage) -> None:
        np.multiply(a.x, a.x, out=a.y)

    def backward(self, k: Kernels, a: Stage) -> None:
        np.multiply(2 * a.x, a.dy, out=a.dx)


@dataclass(frozen=True)
class SquareR(Square):
    """x^2, with one."""

    def forward_r(self, k: Kernels, a: Stage, r: Stage) -> None:
        r.y[...] = 2 * a.x * r.x

    def backward_r(self, k: Kernels, a: Stage, r: Stage) -> None:
        r.dx[...] = 2 * (a.x * r.dy + r.x * a.dy)


@dataclass(frozen=True)
class HalfTanh(Tanh):
    """Another function than the one whose R pass it inherits."""

    def forward(self, k: Kernels, a: Stage) -> None:
        np.tanh(a.x / 2, out=a.y)

    def backward(self, k: Kernels, a: Stage) -> None:
        a.dx[...] = a.dy * (1 - a.y**2) / 2


@dataclass(frozen=True)
class OwnBackward(Tanh):
    """A gradient of its own, and so a Hessian of its own."""

    def backward(self, k: Kernels, a: Stage) -> None:
        a.dx[...] = a.dy


@dataclass(frozen=True)
class NamedTanh(Tanh):
    """The same function by another name."""

    @property
    def kind(self) -> str:
        return "named"


def with_layer(layer: Layer, backend: str = "numpy") -> Model:
    layers = [Dense(3), layer, Dense(2)]
    known = pytest.warns(UserWarning, match=f"^{layer.kind}1: the {backend} backend does not know")
    with nullcontext() if backend == "numpy" else known:
        return Model(layers, (4,), "squared_error", backend=backend, dtype="float64")


@every_backend
@pytest.mark.parametrize(
    ("layer", "name"),
    [(Square(), "square1"), (HalfTanh(), "halftanh1"), (OwnBackward(), "ownbackward1")],
)
def test_a_layer_without_falls_back_and_says_so_once(layer: Layer, name: str, backend: str) -> None:
    model = with_layer(layer, backend)
    phi, x, y, v = problem(model, 0, 2, 3)
    with pytest.warns(UserWarning, match=f"^{name}: no R pass, .* take the complex step") as said:
        fell_back = model.hvp(phi, x, y, v)
    assert len(said) == 1
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(model.hvp(phi, x, y, v), fell_back)
        np.testing.assert_array_equal(model.hvp(phi, x, y, v, method="complex"), fell_back)
    with pytest.raises(InputError, match=f'^{name}: no R pass, .* use method="complex"$'):
        model.hvp(phi, x, y, v, method="r")


@every_backend
@pytest.mark.parametrize("layer", [SquareR(), NamedTanh()])
def test_a_layer_of_ones_own_with_one(layer: Layer, backend: str) -> None:
    model = with_layer(layer, backend)
    phi, x, y, v = problem(model, 0, 2, 3)
    assert relative(model.hvp(phi, x, y, v), model.hvp(phi, x, y, v, method="complex")) < 1e-13


def test_before_the_first_parameter_no_r_pass_is_needed() -> None:
    model = Model([Square(), Dense(2)], (4,), "squared_error", dtype="float64")
    phi, x, y, v = problem(model, 0, 2, 3)
    assert relative(model.hvp(phi, x, y, v), model.hvp(phi, x, y, v, method="complex")) < 1e-13


# --------------------------------------------------------------------------- complex, GPU, errors


@every_backend
def test_third_derivatives_by_a_complex_step_of_the_r_pass(backend: str) -> None:
    """Through NumPy, whatever the backend: Im R{grad}(phi + i h w) / h is symmetric in v and w."""
    model = tiny_model(backend=backend)
    phi, x, y, v = problem(model, 0, 2, 3)
    w = random_phi(model, np.random.default_rng(1), 2)
    vw, wv = (model.hvp(phi + 1j * H * a, x, y, b) for a, b in ((v, w), (w, v)))
    assert vw.dtype == np.complex128
    assert relative(vw.imag, wv.imag) < 1e-11
    assert relative(vw.real, model.hvp(phi, x, y, w)) < 1e-12
    ahead, behind = (model.hvp(phi + h * v, x, y, w) for h in (1e-6, -1e-6))
    assert relative((ahead - behind) / 2e-6, vw.imag / H) < 1e-6
    with pytest.raises(InputError, match="needs a real phi, not complex128"):
        model.hvp(phi + 0j, x, y, v, method="complex")


def test_wrong_arguments() -> None:
    model = tiny_model()
    phi, x, y, v = problem(model, 0, 2, 3)
    with pytest.raises(InputError, match="method must be one of auto, r, complex, not 'exact'"):
        model.hvp(phi, x, y, v, method="exact")
    with pytest.raises(InputError, match="v must have phi's shape"):
        model.hvp(phi, x, y, v[0])
    with pytest.raises(InputError, match="v must be real where phi is"):
        model.hvp(phi, x, y, v * 1j)
    for method in ("r", "complex"):
        with pytest.raises(InputError, match="phi must hold floating-point numbers, not int64"):
            model.hvp(np.ones(phi.shape, int), x, y, v, method=method)
    with pytest.raises(InputError, match="phi holds no task"):
        model.hvp(phi[:0], x[:0], y[:0], v[:0])
    for method in ("r", "complex"):
        with pytest.raises(InputError, match="labels must lie in"):
            model.hvp(phi, x, y + 7, v, method=method)
        with pytest.raises(InputError, match="x must be"):
            model.hvp(phi, x[0], y, v, method=method)


@pytest.fixture(scope="module")
def gpu() -> Iterator[Any]:
    if not (COMPILER and SUPPORTED):
        pytest.skip("needs g++ on Linux, on x86-64 or AArch64")
    from tests.gpu.gpu_stand_in import stand_in

    with stand_in() as device:
        yield device


@pytest.mark.parametrize("name", ["strided", "pooled", "relu first", "batchnorm first"])
def test_on_a_gpu(name: str, gpu: Any) -> None:
    """By its kernels, also for arrays that lie there: the product lies there too."""
    from tests.gpu.gpu_stand_in import on_gpu

    model = STACKS[name].on("cupy")
    phi, x, y, v = problem(model, 0, 2, 3)
    expected = STACKS[name].hvp(phi, x, y, v)
    y = y.astype(np.uint8) if y.dtype.kind == "i" else y
    stored = np.stack([v, phi])  # as a loop keeps them
    assert relative(model.hvp(stored[1], x, y, stored[0]), expected) < 1e-12
    there = model.hvp(on_gpu(phi), on_gpu(x), y, on_gpu(v))
    assert gpu.owns(there)
    assert relative(gpu.read(there), expected) < 1e-12
