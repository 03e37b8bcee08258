"""Models: one vector of parameters, gradients through whole stacks, Hessian-vector products."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from minireptile import (
    BatchNorm,
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
from minireptile.testing.strategies import few, seeds
from tests.small import random_batch, random_phi, tiny_model, tiny_stacks

STACKS = tiny_stacks()
every_stack = pytest.mark.parametrize("name", STACKS)


# ------------------------------------------------------------------------------- parameters


def test_the_papers_networks_are_the_defaults() -> None:
    assert omniglot_cnn().layers == omniglot_cnn(5, 64, (28, 28, 1)).layers
    assert miniimagenet_cnn().layers == miniimagenet_cnn(5, 32, (84, 84, 3)).layers
    assert sine_mlp().layers == sine_mlp(64).layers
    inputs = [make().input_shape for make in (omniglot_cnn, miniimagenet_cnn, sine_mlp)]
    assert inputs == [(28, 28, 1), (84, 84, 3), (1,)]


@pytest.mark.parametrize(
    ("make", "name"),
    [(omniglot_cnn, "way"), (omniglot_cnn, "filters"), (miniimagenet_cnn, "way"),
     (miniimagenet_cnn, "filters"), (sine_mlp, "hidden")],
)  # fmt: skip
def test_a_networks_sizes_are_at_least_1(make: Any, name: str) -> None:
    assert make(**{name: 1}).size
    with pytest.raises(InputError, match=f"^{make.__name__}: {name} must be at least 1, not 0$"):
        make(**{name: 0})


def test_sizes_of_the_papers_networks() -> None:
    assert omniglot_cnn(5).size == 113_221
    assert sine_mlp().size == 4_353
    assert [s.out_shape for s in omniglot_cnn(5).plan.steps if s.layer == ReLU()] == [
        (14, 14, 64), (7, 7, 64), (4, 4, 64), (2, 2, 64),
    ]  # fmt: skip
    mini = miniimagenet_cnn(5)
    assert [s.out_shape for s in mini.plan.steps if s.layer == MaxPool(2)] == [
        (42, 42, 32), (21, 21, 32), (11, 11, 32), (6, 6, 32),
    ]  # fmt: skip
    assert mini.plan.steps[-1].in_shape == (1152,)
    convolutions = sum(9 * c * 32 + 32 for c in (3, 32, 32, 32))
    assert mini.size == convolutions + 4 * 2 * 32 + 1152 * 5 + 5
    assert omniglot_cnn(20).size == 113_221 + 15 * 257
    assert omniglot_cnn(20).n_out == 20
    assert omniglot_cnn(5, filters=8).plan.steps[-1].in_shape == (32,)


def test_names_and_shapes() -> None:
    model = omniglot_cnn(5)
    names = [
        f"{layer}{i}.{parameter}"
        for i in range(1, 5)
        for layer, parameters in (("conv", ("weight", "bias")), ("batchnorm", ("gamma", "beta")))
        for parameter in parameters
    ]
    views = model.unflatten(model.init(0))
    assert list(views) == [*names, "dense1.weight", "dense1.bias"]
    assert views["conv1.weight"].shape == (3, 3, 1, 64)
    assert views["batchnorm4.gamma"].shape == (64,)
    assert views["dense1.weight"].shape == (256, 5)
    assert list(Model([Dense(2, bias=False)], (3,)).unflatten(np.zeros(6))) == ["dense1.weight"]


@every_stack
@pytest.mark.parametrize("lead", [(), (1,), (3,)])
def test_unflatten_gives_views_that_cover_phi_once(name: str, lead: tuple[int, ...]) -> None:
    model = STACKS[name]
    phi = np.zeros((*lead, model.size))
    for view in model.unflatten(phi).values():
        assert view.shape[: len(lead)] == lead
        view += 1
    np.testing.assert_array_equal(phi, 1)
    with pytest.raises(InputError, match=f"must end in {model.size} parameters, got shape"):
        model.unflatten(np.zeros((*lead, model.size + 1)))


def test_init_is_reproducible() -> None:
    one, two = tiny_model(), tiny_model()
    np.testing.assert_array_equal(one.init(7), two.init(7))
    assert (one.init(7) != one.init(8)).any()
    assert one.init().dtype == np.float64
    assert tiny_model(dtype="float32").init().dtype == np.float32
    np.testing.assert_array_equal(tiny_model(dtype="float32").init(7), np.float32(one.init(7)))


def test_each_layer_is_initialised_on_its_own() -> None:
    """A layer's values depend on the seed and its position, not on what other layers draw."""

    def weights(*body: Any, shape: tuple[int, ...] = (4,)) -> dict[str, NDArray]:
        model = Model(body, shape, "squared_error", dtype="float64")
        return model.unflatten(model.init(3))

    base = weights(Dense(6), Tanh(), Dense(2))
    longer = weights(Dense(6), Tanh(), Dense(2), Dense(5))
    wider = weights(Dense(6), Tanh(), Dense(2), shape=(9,))
    for name in base:
        np.testing.assert_array_equal(base[name], longer[name])
    np.testing.assert_array_equal(base["dense2.weight"], wider["dense2.weight"])
    same = weights(Dense(4), Dense(4))
    assert (same["dense1.weight"] != same["dense2.weight"]).all()


def test_initialisers() -> None:
    """Bounds and second moments: 4 standard errors around the formulas."""
    n_in, n_out = 100, 60

    def start(**options: str) -> dict[str, NDArray]:
        model = Model([Dense(n_out, **options)], (n_in,), dtype="float64")  # type: ignore[arg-type]
        return model.unflatten(model.init(0))

    bounds = {"glorot_uniform": np.sqrt(6 / (n_in + n_out)), "fan_in_uniform": 1 / np.sqrt(n_in)}
    for name, a in bounds.items():
        w = start(init=name)["dense1.weight"]
        assert 0.99 * a < np.max(abs(w)) <= a
        assert abs(w.mean()) < 4 * a / np.sqrt(3 * w.size)
    w = start(init="he_normal")["dense1.weight"]
    assert np.square(w).mean() == pytest.approx(2 / n_in, rel=4 * np.sqrt(2 / w.size))
    default = start()
    assert not default["dense1.bias"].any()
    assert np.max(abs(default["dense1.weight"])) <= bounds["glorot_uniform"]
    assert np.any(start(bias_init="fan_in_uniform")["dense1.bias"])
    norm = tiny_model().unflatten(tiny_model().init(1))
    assert (norm["batchnorm1.gamma"] == 1).all()
    assert not norm["batchnorm1.beta"].any()
    # A convolution's fans count its taps: 3 x 3 x 1 in, 3 x 3 x 64 out.
    conv = omniglot_cnn(5).unflatten(omniglot_cnn(5).init(0))["conv1.weight"]
    assert 0.98 < np.max(abs(conv)) / np.sqrt(6 / (9 + 9 * 64)) <= 1


# -------------------------------------------------------------------------------- gradients


@every_stack
@given(B=few, seed=seeds)
def test_gradient_along_a_direction(name: str, B: int, seed: int) -> None:
    """<grad, v> against the complex step, to rounding, and against central differences."""
    model, rng = STACKS[name], np.random.default_rng(seed)
    phi, v = random_phi(model, rng), random_phi(model, rng)
    x, y = random_batch(model, rng, B)
    loss, grad = model.loss_and_grad(phi, x, y)
    along = float(grad @ v)
    # The 1: where softmax is nearly 1, softmax - 1 keeps the rounding error of 1.
    bound = 1e-11 * (abs(grad) @ abs(v) + abs(loss) + 1)
    assert abs(model.loss_and_grad(phi + 1e-20j * v, x, y)[0].imag / 1e-20 - along) <= bound


@every_stack
def test_gradient_by_central_differences(name: str) -> None:
    """Independent of complex arithmetic. A step of 1e-6 leaves an error near 1e-9; the seed is
    one for which no ReLU or maximum changes sides on the way."""
    model, rng = STACKS[name], np.random.default_rng(5)
    phi, v = random_phi(model, rng), random_phi(model, rng)
    x, y = random_batch(model, rng, 3)
    ahead, behind = (model.loss_and_grad(phi + h * v, x, y)[0] for h in (1e-6, -1e-6))
    _, grad = model.loss_and_grad(phi, x, y)
    assert (ahead - behind) / 2e-6 == pytest.approx(float(grad @ v), rel=1e-6, abs=1e-7)


@every_stack
def test_reductions(name: str) -> None:
    one = STACKS[name]
    rng = np.random.default_rng(0)
    phi, (x, y) = random_phi(one, rng, 2), random_batch(one, rng, 2, 3)
    mean, total = (
        Model(one.layers, one.input_shape, one.loss, r, dtype="float64").loss_and_grad(phi, x, y)
        for r in ("mean", "sum")
    )
    for m, s in zip(mean, total, strict=True):
        np.testing.assert_allclose(3 * m, s, rtol=1e-12, atol=1e-12)


@every_stack
@given(T=st.integers(1, 3), B=few, seed=seeds)
def test_batched_equals_looped(name: str, T: int, B: int, seed: int) -> None:
    """(T, ...) is T single calls; a vector phi (P,) with (B, ...) is T = 1.

    The second equality is bit for bit, for it is the same call. The first is promised to
    rounding, because a library may sum in another order where an array has another shape; with
    NumPy 2.4 and OpenBLAS on x86-64 it was bit for bit in every case tried. Tolerance: 1e-12 of
    the largest entry, some 5,000 eps, for sums of a few hundred terms in a few layers.
    """
    model, rng = STACKS[name], np.random.default_rng(seed)
    phi, (x, y) = random_phi(model, rng, T), random_batch(model, rng, T, B)
    loss, grad = model.loss_and_grad(phi, x, y)
    out = model.forward(phi, x)
    assert (loss.shape, grad.shape, out.shape) == ((T,), (T, model.size), (T, B, model.n_out))
    for t in range(T):
        single = model.loss_and_grad(phi[t], x[t], y[t])
        with_axis = model.loss_and_grad(phi[t : t + 1], x[t : t + 1], y[t : t + 1])
        assert (np.shape(single[0]), single[1].shape) == ((), (model.size,))
        for a, b in zip(single, with_axis, strict=True):
            np.testing.assert_array_equal(a, b[0])
        logits = model.forward(phi[t], x[t])
        np.testing.assert_array_equal(logits, model.forward(phi[t : t + 1], x[t : t + 1])[0])
        for a, b in ((loss[t], single[0]), (grad[t], single[1]), (out[t], logits)):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * max(1, np.max(abs(b))))


@every_stack
def test_nothing_given_is_changed_and_nothing_returned_is_shared(name: str) -> None:
    model, rng = STACKS[name], np.random.default_rng(2)
    phi, (x, y) = random_phi(model, rng, 2), random_batch(model, rng, 2, 3)
    for array in (phi, x, y):
        array.setflags(write=False)
    loss, grad = model.loss_and_grad(phi, x, y)
    out = model.forward(phi, x)
    model.hvp(phi, x, y, phi)
    kept = loss.copy(), grad.copy(), out.copy()
    other, (other_x, other_y) = random_phi(model, rng, 2), random_batch(model, rng, 2, 3)
    model.loss_and_grad(other, other_x, other_y)
    model.forward(other, other_x)
    for was, is_now in zip(kept, (loss, grad, out), strict=True):
        np.testing.assert_array_equal(was, is_now)


def test_many_shapes_in_turn() -> None:
    """The kept arrays of one (T, B, dtype) never leak into another."""
    model, rng = tiny_model(), np.random.default_rng(4)
    for T, B in [(1, 2), (2, 3), (3, 1), (1, 5), (4, 4), (1, 2), (2, 3)] * 2:
        for dtype in (np.float64, np.float32):
            phi = random_phi(model, rng, T).astype(dtype)
            x, y = random_batch(model, rng, T, B)
            got, fresh = (m.loss_and_grad(phi, x, y) for m in (model, tiny_model()))
            for a, b in zip(got, fresh, strict=True):
                assert a.dtype == dtype
                np.testing.assert_array_equal(a, b)


def test_any_layout_and_integer_type_is_taken() -> None:
    model, rng = tiny_model(), np.random.default_rng(6)
    phi, (x, y) = random_phi(model, rng, 2), random_batch(model, rng, 2, 3)
    expected = model.loss_and_grad(phi, x, y)
    wide = np.repeat(phi, 2, axis=1)[:, ::2]
    for arguments in (
        (np.asfortranarray(phi), np.asfortranarray(x), np.asfortranarray(y)),
        (wide, x[:, :, ::-1][:, :, ::-1], y.astype(np.uint8)),
        (phi, x.tolist(), y.tolist()),
    ):
        for a, b in zip(model.loss_and_grad(*arguments), expected, strict=True):
            np.testing.assert_array_equal(a, b)


# --------------------------------------------------------------------------------------- NaN


@pytest.mark.parametrize("where", [(0, 0), (2, 3), (5, 5)])
@pytest.mark.parametrize("pool", [[], [MaxPool(2)], [MaxPool(3, 1)]])
def test_nan_reaches_the_loss(where: tuple[int, int], pool: list) -> None:
    """A NaN is never swallowed by ReLU or max-pool, so that a broken run is noticed."""
    model = Model([*pool, ReLU(), Flatten(), Dense(2)], (6, 6, 1), dtype="float64")
    x = np.ones((1, 6, 6, 1))
    x[0][where] = np.nan
    loss, _ = model.loss_and_grad(model.init(0), x, np.array([1]))
    assert np.isnan(loss)


# ----------------------------------------------------------------- Hessian-vector products


def quadratic(reduction: str) -> tuple[Model, NDArray, NDArray, NDArray, float]:
    model = Model([Dense(2)], (3,), "squared_error", reduction, dtype="float64")
    rng = np.random.default_rng(1)
    x, y = random_batch(model, rng, 5)
    return model, random_phi(model, rng), x, y, 1 / 5 if reduction == "mean" else 1.0


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_hvp_of_a_quadratic(reduction: str) -> None:
    """For out = Z W with Z = [x, 1], the loss scale ||Z W - y||^2 has H V = 2 scale Z' Z V."""
    model, phi, x, y, scale = quadratic(reduction)
    Z = np.hstack([x, np.ones((5, 1))])
    for V in np.eye(8).reshape(8, 4, 2):
        hv = model.hvp(phi, x, y, V.ravel())
        np.testing.assert_allclose(hv, (2 * scale * Z.T @ Z @ V).ravel(), rtol=0, atol=1e-14)


@every_stack
@given(B=few, seed=seeds)
def test_hvp_is_symmetric(name: str, B: int, seed: int) -> None:
    """v . H w = w . H v."""
    model, rng = STACKS[name], np.random.default_rng(seed)
    phi, v, w = (random_phi(model, rng, 2) for _ in range(3))
    x, y = random_batch(model, rng, 2, B)
    hv, hw = model.hvp(phi, x, y, v), model.hvp(phi, x, y, w)
    bound = 1e-10 * ((abs(v) * abs(hw)).sum(1) + (abs(w) * abs(hv)).sum(1) + 1)
    assert (abs((v * hw).sum(1) - (w * hv).sum(1)) <= bound).all()


@every_stack
def test_hvp_by_central_differences_of_gradients(name: str) -> None:
    model, rng = STACKS[name], np.random.default_rng(5)
    phi, v = random_phi(model, rng), random_phi(model, rng)
    x, y = random_batch(model, rng, 3)
    ahead, behind = (model.loss_and_grad(phi + h * v, x, y)[1] for h in (1e-6, -1e-6))
    hv = model.hvp(phi, x, y, v)
    np.testing.assert_allclose((ahead - behind) / 2e-6, hv, rtol=0, atol=1e-6 * np.max(abs(hv)))


def test_the_complex_step_of_single_precision_is_computed_in_double() -> None:
    """A complex64 step would round h v first."""
    model, rng = tiny_model(dtype="float32"), np.random.default_rng(3)
    phi, v = (random_phi(model, rng, 2).astype(np.float32) for _ in range(2))
    x, y = random_batch(model, rng, 2, 3)
    hv = model.hvp(phi, x, y, v, method="complex")
    exact = tiny_model().hvp(phi.astype(np.float64), x, y, v.astype(np.float64), method="complex")
    assert hv.dtype == np.float32
    np.testing.assert_array_equal(hv, exact.astype(np.float32))
    single = model.hvp(phi[0], x[0], y[0], v[0], method="complex")
    np.testing.assert_allclose(single, hv[0], rtol=0, atol=1e-6 * np.max(abs(hv)))
    with pytest.raises(InputError, match="v must have phi's shape"):
        model.hvp(phi, x, y, v[0])


# ------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Model([], (3,)), "at least one layer"),
        (lambda: Model([Dense(2)], (3,), loss="hinge"), "loss must be one of softmax_cross"),
        (lambda: Model([Dense(2)], (3,), reduction="max"), "reduction must be one of mean, sum"),
        (lambda: Model([Dense(2)], (3,), dtype="float16"), "float32 or float64, not 'float16'"),
        (lambda: Model([Dense(2)], (3,), backend="abacus"), "no backend 'abacus'"),
        (lambda: Model([Conv2D(2, 3)], (6, 6, 1)), r"conv1: .* not \(6, 6, 2\): end with Flatten"),
        (
            lambda: Model([Conv2D(2, 3), ReLU(), Dense(2)], (6, 6, 1)),
            r"dense1: expected a flat input \(n,\), got \(6, 6, 2\): put Flatten",
        ),
        (
            lambda: Model([Flatten(), Conv2D(2, 3)], (6, 6, 1)),
            r"conv1: expected an image input \(H, W, C\), got \(36,\)",
        ),
        (
            lambda: Model([MaxPool(2), MaxPool(4, padding="valid")], (6, 6, 1)),
            r"maxpool2: a window of \(4, 4\) does not fit an image of \(3, 3\)",
        ),
    ],
)
def test_models_that_cannot_be(make: Callable[[], Model], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize(
    ("phi", "x", "y", "words"),
    [
        ((7,), (2, 6, 6, 1), [0, 1], r"phi must be \(T, 120\) or \(120,\), got"),
        ((1, 2, 120), (2, 6, 6, 1), [0, 1], r"phi must be \(T, 120\)"),
        ((120,), (2, 6, 5, 1), [0, 1], r"x must be \(B, 6, 6, 1\), got \(2, 6, 5, 1\)"),
        ((120,), (6, 6, 1), [0, 1], r"x must be \(B, 6, 6, 1\), got \(6, 6, 1\)"),
        ((120,), (0, 6, 6, 1), [], r"x must be \(B, 6, 6, 1\), got \(0, 6, 6, 1\)"),
        ((2, 120), (3, 2, 6, 6, 1), [0, 1], r"x must be \(2, B, 6, 6, 1\), got \(3, 2, 6, 6, 1\)"),
        ((120,), (2, 6, 6, 1), [0, 1, 2], r"y must be \(2,\) beside this x, got \(3,\)"),
        ((120,), (2, 6, 6, 1), [0, 3], r"labels must lie in \[0, 3\), and these go from 0 to 3"),
        ((120,), (2, 6, 6, 1), [-1, 0], r"labels must lie in \[0, 3\), and these go from -1"),
        ((120,), (2, 6, 6, 1), [0.0, 1.0], "labels must be integers, not float64"),
    ],
)
def test_wrong_arguments(phi: tuple, x: tuple, y: list, words: str) -> None:
    model = tiny_model()
    assert model.size == 120
    with pytest.raises(InputError, match=words):
        model.loss_and_grad(np.zeros(phi), np.zeros(x), np.array(y))


def test_wrong_types_and_targets() -> None:
    with pytest.raises(InputError, match="phi must hold floating-point numbers, not int64"):
        tiny_model().forward(np.zeros(120, int), np.zeros((1, 6, 6, 1)))
    model = Model([Dense(2)], (3,), "squared_error")
    with pytest.raises(InputError, match=r"y must be \(4, 2\) beside this x, got \(4,\)"):
        model.loss_and_grad(model.init(), np.zeros((4, 3)), np.zeros(4))


def test_labels_of_a_single_task_may_be_a_list() -> None:
    """x may be a list, and with a task axis so may y."""
    model, x = tiny_model(), np.ones((2, 6, 6, 1))
    loss, _ = model.loss_and_grad(model.init(), x.tolist(), [0, 1])  # type: ignore[arg-type]
    assert loss == model.loss_and_grad(model.init(), x, np.array([0, 1]))[0]


def test_repr_shows_the_shapes() -> None:
    lines = repr(tiny_model()).splitlines()
    assert lines[0] == "Model of 120 parameters, softmax_cross_entropy"
    assert lines[1] == "  conv1: (6, 6, 1) -> (3, 3, 3)"
    assert lines[-1] == "  dense1: (27,) -> (3,)"


@pytest.mark.parametrize(
    ("usable", "images", "rows"),
    [
        (("numpy",), "numpy", "numpy"),
        (("numpy", "numba"), "numba", "numba"),
        (("numpy", "numba", "cupy", "numba-cuda"), "cupy", "numba"),
        (("numpy", "cupy"), "cupy", "numpy"),
    ],
)
def test_auto_is_the_fastest_that_can_be_used(
    usable: tuple[str, ...], images: str, rows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on the command line: a GPU for images alone."""
    monkeypatch.setattr(
        "minireptile.backend.why_not", lambda name: "" if name in usable else f"no {name}"
    )
    for part in ("kernels", "engine_for"):  # which would look for the GPU
        monkeypatch.setattr(f"minireptile.model.{part}", lambda *arguments: None)
    assert omniglot_cnn(filters=1, backend="auto").backend == images
    assert sine_mlp(hidden=1, backend="auto").backend == rows


def test_auto_computes() -> None:
    model = Model([Dense(2)], (3,), backend="auto")
    assert model.backend in ("numpy", "numba")
    assert model.on("auto").backend == model.backend
    x = np.ones((4, 3), np.float32)
    reference = model.on("numpy").forward(model.init(0), x)
    assert np.allclose(model.forward(model.init(0), x), reference, atol=1e-6)


# ------------------------------------------------------------------------------------ import


def test_import_needs_numpy_alone() -> None:
    """`import minireptile` loads no package but NumPy and the standard library."""
    code = "import json, sys, minireptile; print(json.dumps(sorted(sys.modules)))"
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", code]
    loaded = json.loads(subprocess.run(command, cwd=root, check=True, capture_output=True).stdout)
    packages = {name.partition(".")[0] for name in loaded}
    assert {"numpy", "minireptile"} <= packages
    heavy = {"numba", "scipy", "matplotlib", "PIL", "rich", "safetensors", "pooch", "requests"}
    assert not packages & heavy
    assert BatchNorm.__module__ in loaded
