"""The gradient kit itself: right code passes, and everything wrong is named as what it is.

The mistakes that people make in the mathematics are in tests/mistakes.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import minireptile as mr
from minireptile.testing import (
    GradientError,
    IdentityError,
    SameError,
    check_adjoint,
    check_gradients,
    check_hvp,
    check_same,
)

RNG = np.random.default_rng(0)
X, W, B = RNG.standard_normal((4, 3)), RNG.standard_normal((3, 2)), RNG.standard_normal(2)


def forward(x: NDArray, w: NDArray, b: NDArray) -> NDArray:
    return x @ w + b


def backward(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> tuple[Any, Any, Any]:
    return dy @ w.T, x.T @ dy, dy.sum(0)


def kinds(error: pytest.ExceptionInfo[GradientError]) -> list[tuple[str, str]]:
    return [(f.kind, f.gradient) for f in error.value.report.findings]


def test_a_right_pair_of_functions_passes_to_machine_precision() -> None:
    report = check_gradients((forward, backward), X, W, B)
    assert report.method == "complex step"
    assert report.errors.keys() == {"dx", "dw", "db"}
    assert max(report.errors.values()) < 1e-14


class Affine:
    """An object that keeps what it needs, with a parameter and its gradient as attributes."""

    def __init__(self, fault: float = 1.0) -> None:
        self.w, self.dw, self.fault = W.copy(), np.zeros_like(W), fault

    def forward(self, x: NDArray) -> NDArray:
        self.x = x
        return x @ self.w

    def backward(self, dy: NDArray) -> NDArray:
        self.dw = self.fault * self.x.T @ dy
        return dy @ self.w.T


def test_an_object_passes_and_keeps_its_parameters() -> None:
    layer = Affine()
    assert check_gradients(layer, X, params=["w"]).errors.keys() == {"dx", "dw"}
    np.testing.assert_array_equal(layer.w, W)
    assert layer.w.dtype == np.float64
    with pytest.raises(GradientError, match="Affine: 1 wrong") as error:
        check_gradients(Affine(fault=3), X, params=["w"])
    assert kinds(error) == [("value", "dw")]
    assert "ratio 3 everywhere: 3, and 3 is the size of axis 0 of this gradient" in str(error.value)


def test_integer_inputs_are_not_differentiated() -> None:
    labels = np.array([2, 0, 1])

    def pick(x: NDArray, labels: NDArray) -> NDArray:
        return x[np.arange(3), labels]

    def unpick(dy: NDArray, x: NDArray, labels: NDArray) -> tuple[NDArray, None]:
        dx = np.zeros_like(x)
        dx[np.arange(3), labels] = dy
        return dx, None

    assert check_gradients((pick, unpick), X[:3], labels).errors.keys() == {"dx"}


@pytest.mark.parametrize(
    ("f", "df"),
    [
        (lambda x: np.abs(x) ** 3, lambda dy, x: dy * 3 * x * np.abs(x)),  # no conjugate needed
        (lambda x: np.exp(x.real), lambda dy, x: dy * np.exp(x)),  # drops the imaginary part
        (lambda x: np.float64(x) ** 2, lambda dy, x: dy * 2 * x),  # refuses complex numbers
    ],
)
def test_where_the_complex_step_cannot_go_differences_do(
    f: Callable[..., Any], df: Callable[..., Any]
) -> None:
    report = check_gradients((f, df), X)
    assert report.method == "differences"
    assert report.errors["dx"] < 1e-9
    with pytest.raises(GradientError):
        check_gradients((f, lambda dy, x: df(dy, x) * (1 + 1e-5)), X)


def test_differences_are_not_blamed_for_their_own_step() -> None:
    """A function on a very small scale: a fixed step would jump over it."""
    report = check_gradients(
        (lambda x: np.sin(x.real * 300), lambda dy, x: dy * 300 * np.cos(x * 300)), X
    )
    assert report.method == "differences"


def test_a_large_subject_is_checked_along_directions() -> None:
    x = RNG.standard_normal((1, 3, 1400))  # 4200 entries; of the weights too
    report = check_gradients(mr.Dense(3), x)
    assert max(report.errors.values()) < 1e-13
    big = RNG.standard_normal(4001)
    with pytest.raises(GradientError, match="is wrong in"):
        check_gradients((lambda x: x**2, lambda dy, x: dy * x), big)


def test_kinks_are_stepped_around_and_told() -> None:
    x = np.array([[0.0, 1.0, -1.0, 0.0]])
    relu = lambda x: np.where(x.real > 0, x, 0)  # noqa: E731
    report = check_gradients((relu, lambda dy, x: dy * (x > 0)), x)
    assert any("kink" in note for note in report.notes)
    assert check_gradients((relu, lambda dy, x: dy * (x >= 0)), x).passed  # as good a choice
    with pytest.raises(GradientError, match="should be 0 and are not"):
        check_gradients((relu, lambda dy, x: dy * (x > -2)), x)


def test_ties_share_or_choose_but_do_not_multiply() -> None:
    x = np.array([[1.0, 1.0, 0.5], [0.0, 2.0, 1.0]])
    top = lambda x: x.max(-1)  # noqa: E731

    def first(dy: NDArray, x: NDArray) -> NDArray:
        dx = np.zeros_like(x)
        dx[np.arange(2), x.argmax(-1)] = dy
        return dx

    def each(dy: NDArray, x: NDArray) -> NDArray:
        return dy[:, None] * (x == x.max(-1, keepdims=True))

    def share(dy: NDArray, x: NDArray) -> NDArray:
        hit = x == x.max(-1, keepdims=True)
        return dy[:, None] * hit / hit.sum(-1, keepdims=True)

    assert check_gradients((top, first), x).passed
    assert check_gradients((top, share), x).passed
    for tied in (x, np.zeros((2, 3))):  # in pairs, and all three
        assert check_gradients((top, first), tied).passed
        with pytest.raises(GradientError, match="tie in a max") as error:
            check_gradients((top, each), tied)
        assert kinds(error) == [("kink", "dx")]


STALE = np.zeros_like(W)


def adds(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> tuple[Any, Any, Any]:
    STALE.__iadd__(x.T @ dy)
    return dy @ w.T, STALE, dy.sum(0)


def spoils(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> tuple[Any, Any, Any]:
    gradients = backward(dy, x, w, b)
    dy *= 0
    return gradients


def spoils_x(dy: NDArray, x: NDArray, w: NDArray, b: NDArray) -> tuple[Any, Any, Any]:
    x += 1
    return backward(dy, x, w, b)


WRONG: dict[str, tuple[Callable[..., Any], str, str, str]] = {
    "shape": (lambda dy, x, w, b: (dy @ w.T, x.T @ dy, dy.sum(0, keepdims=True)),
              "shape", "db", "has shape (1, 2), expected (2,)"),
    "broadcasting shape": (lambda dy, x, w, b: (dy @ w.T, (x.T @ dy)[:, :1], dy.sum(0)),
                           "shape", "dw", "has shape (3, 1), expected (3, 2); it broadcasts, so "
                           "that an update with it raises no error and is wrong"),
    "dtype": (lambda dy, x, w, b: (dy @ w.T, x.T @ dy, dy.sum(0).astype(np.float32)),
              "dtype", "db", "is float32 for float64 inputs: a conversion on the way loses "
              "digits"),
    "none": (lambda dy, x, w, b: (dy @ w.T, None, dy.sum(0)), "none", "dw",
             "backward returns None, and the input is a float array"),
    "nan": (lambda dy, x, w, b: (dy @ w.T * np.nan, x.T @ dy, dy.sum(0)), "nan", "dx",
            "12 entries are NaN or infinite, the first at (0, 0): never written, or divided by "
            "zero"),
    "mutates dy": (spoils, "mutates input", "the upstream gradient",
                   "backward changes its input the upstream gradient: work on a copy"),
    "mutates x": (spoils_x, "mutates input", "x",
                  "backward changes its input x: work on a copy"),
    "ignores dy": (lambda dy, x, w, b: (dy @ w.T, x.T @ dy, np.full(2, 4.0)),
                   "ignores upstream", "db",
                   "does not change with the upstream gradient: multiply by dy"),
    "not linear": (lambda dy, x, w, b: (dy @ w.T, x.T @ dy, np.maximum(dy.sum(0), 0)),
                   "not linear", "db", "is not linear in the upstream gradient: backward may "
                   "multiply dy or select from it by the inputs, and never by dy's own sign or "
                   "size"),
    "accumulates": (adds, "accumulates", "dw", "a second call adds to what the first left: "
                    "overwrite the gradient, do not add to a stale buffer"),
    "zeros": (lambda dy, x, w, b: (dy @ w.T, np.zeros_like(w), dy.sum(0)),
              "value", "dw",
              "all zeros: the gradient is never written, or the path to it is cut"),
}  # fmt: skip


def test_a_backward_pass_that_raises_or_returns_nothing() -> None:
    with pytest.raises(GradientError, match="backward raises ValueError: matmul") as error:
        check_gradients((forward, lambda dy, x, w, b: (x @ dy, w, b)), X, W, B)
    assert kinds(error) == [("raises", "")]
    with pytest.raises(GradientError, match="dx: backward returns None") as error:
        check_gradients((forward, lambda dy, x, w, b: None), X, W, B)
    assert kinds(error) == [("none", "dx"), ("none", "dw"), ("none", "db")]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda dy, x, w, b: (dy @ w.T, x[:1].T @ dy[:1], dy.sum(0)), "of the first along axis 0"),
        (lambda dy, x, w, b: (dy @ w[:, ::-1].T, x.T @ dy, dy.sum(0)), "if w were flipped along"),
        (lambda dy, x, w, b: (dy @ w.T + dy, x.T @ dy, dy.sum(0)), "too much: a path around"),
        (lambda dy, x, w, b: (dy @ w.T, x.T @ dy, dy.sum(1)), "summed over axis 1, the wrong one"),
        (lambda dy, x, w, b: (x.T @ dy, dy @ w.T, dy.sum(0)), "it is the gradient of w: returned"),
        (lambda dy, x, w, b: (dy @ w.T, x[::-1].T @ dy, dy.sum(0)), "if x were flipped along"),
    ],
)
def test_guesses_at_the_cause(wrong: Callable[..., Any], words: str) -> None:
    x, w, b = (RNG.standard_normal(shape) for shape in ((3, 3), (3, 3), 3))
    with pytest.raises(GradientError, match=words):
        check_gradients((forward, wrong), x, w, b)


@pytest.mark.parametrize("case", WRONG)
def test_a_fault_is_named_as_what_it_is(case: str) -> None:
    wrong, kind, gradient, words = WRONG[case]
    with pytest.raises(GradientError) as error:
        check_gradients((forward, wrong), X, W, B)
    found = [(f.kind, f.gradient, f.message.split("\n")[-1]) for f in error.value.report.findings]
    assert (kind, gradient, words) in found
    assert all(g == gradient for _, g in kinds(error))
    assert str(error.value).endswith(
        "  note: again: check_gradients(forward, x, w, b, seed=0) with x (4, 3), w (3, 2), b (2,)"
    )


def test_forward_is_checked_too() -> None:
    def double(dy: NDArray, x: NDArray) -> NDArray:
        return 2 * dy

    noise = np.random.default_rng(0)
    for f, kind, words in (
        (lambda x: 2 * x + noise.standard_normal(), "random", "forward is random: called twice, it "
         "gives two answers; fix its generator's seed inside forward"),
        (lambda x: np.log(x - x), "nan",
         "forward gives NaN or infinity at this point: choose other inputs"),
        (lambda x: np.multiply(x, 2, out=x), "mutates input",
         "forward changes its input x: work on a copy"),
    ):  # fmt: skip
        with pytest.raises(GradientError) as error, np.errstate(all="ignore"):
            check_gradients((f, double), X)
        assert [(f.kind, f.message) for f in error.value.report.findings] == [(kind, words)]


def test_a_backward_pass_that_draws_is_told_from_one_that_adds() -> None:
    noise = np.random.default_rng(0)
    with pytest.raises(GradientError) as error:
        check_gradients((lambda x: 2 * x, lambda dy, x: 2 * dy * noise.random()), X)
    (finding,) = error.value.report.findings
    assert (finding.kind, finding.gradient, finding.message) == (
        "random", "dx", "backward is random, or remembers its last call: "
        "keep what forward drew, such as a mask",
    )  # fmt: skip


def test_what_cannot_be_checked_is_refused_in_a_sentence() -> None:
    with pytest.raises(mr.InputError, match="give a pair of functions"):
        check_gradients(forward, X)
    with pytest.raises(mr.InputError, match="returned 2 gradients for 3 inputs"):
        check_gradients((forward, lambda dy, x, w, b: (dy, dy)), X, W, B)


def test_adjoints() -> None:
    a = RNG.standard_normal((5, 4))
    x, y = np.zeros(4), np.zeros(5)
    assert check_adjoint(lambda v: a @ v, lambda u: a.T @ u, x, y) < 1e-14
    for wrong, words in (
        (lambda u: 2 * a.T @ u, "ratio 2"),
        (lambda u: a.T @ u + 1, "not linear"),
        (lambda u: a @ a.T @ u, "has shape"),
        (lambda u: a.T @ u[::-1], "not adjoint"),
    ):
        with pytest.raises(IdentityError, match=words):
            check_adjoint(lambda v: a @ v, wrong, x, y)


def test_same_within_rounding_and_no_more() -> None:
    x = RNG.standard_normal(1000).astype(np.float32)
    total = lambda x: x.sum(dtype=np.float64)  # noqa: E731
    assert check_same(lambda x: x.sum(), total, x, length=1000) < 1
    with pytest.raises(SameError, match="differs from the reference in 1 of 1"):
        check_same(lambda x: x.sum() * np.float32(1.001), total, x)
    with pytest.raises(SameError, match=r"worst at \(3,\): nan"):
        check_same(lambda x: np.where(np.arange(5) == 3, np.nan, x[:5]), lambda x: x[:5], x)
    with pytest.raises(SameError, match="output 1 has shape"):
        check_same(lambda x: (x, x[1:]), lambda x: (x, x), x)
    with pytest.raises(SameError, match="1 outputs, and the reference has 2"):
        check_same(lambda x: x, lambda x: (x, x), x)


def test_hessian_vector_products() -> None:
    h = RNG.standard_normal((4, 4))
    h = h + h.T
    grad, loss = (lambda t: h @ t + t**3), (lambda t: t @ h @ t / 2 + (t**4).sum() / 4)
    right = lambda t, v: h @ v + 3 * t**2 * v  # noqa: E731
    theta = RNG.standard_normal(4)
    assert check_hvp(grad, right, theta, loss=loss) < 1e-8
    for wrong, words in (
        (lambda t, v: np.triu(h) @ v, "not symmetric"),
        (lambda t, v: 2 * right(t, v), "ratio 2"),
        (lambda t, v: h @ v, "differences give"),
        (lambda t, v: right(t, v)[:3], "has shape"),
    ):
        with pytest.raises(IdentityError, match=words):
            check_hvp(grad, wrong, theta)
    with pytest.raises(IdentityError, match=r"grad \. v"):
        check_hvp(grad, right, theta, loss=lambda t: 3 * loss(t))


def test_the_models_own_hvp_passes() -> None:
    layers = [mr.Conv2D(3, 3, stride=2), mr.BatchNorm(), mr.Tanh(), mr.Flatten(), mr.Dense(3)]
    model = mr.Model(layers, (6, 6, 1), dtype="float64")
    x, y = RNG.random((4, 6, 6, 1)), RNG.integers(0, 3, 4)
    check_hvp(
        lambda t: model.loss_and_grad(t, x, y)[1],
        lambda t, v: model.hvp(t, x, y, v),
        model.init(0),
        loss=lambda t: float(model.loss_and_grad(t, x, y)[0]),
    )


class OnDevice(np.ndarray):
    """Stands in for a CuPy array: one that `get` brings back."""

    __cuda_array_interface__ = None

    def get(self) -> NDArray:
        return self.view(np.ndarray).copy()


def test_arrays_on_a_device_go_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The traffic only: a stand-in for CuPy, since there may be no device here."""
    cupy = types.ModuleType("cupy")
    cupy.asarray = lambda a: np.array(a).view(OnDevice)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    x, w, b = (a.view(OnDevice) for a in (X, W, B))
    seen = []

    def watched(x: NDArray, w: NDArray, b: NDArray) -> NDArray:
        seen.append(all(isinstance(a, OnDevice) for a in (x, w, b)))
        return forward(x, w, b)

    report = check_gradients((watched, backward), x, w, b)
    assert report.passed
    assert all(seen)
    with pytest.raises(GradientError, match="ratio -1"):
        check_gradients((watched, lambda dy, x, w, b: (-dy @ w.T, x.T @ dy, dy.sum(0))), x, w, b)
    with pytest.raises(GradientError, match="changes its input x"):
        check_gradients((watched, spoils_x), x, w, b)
    layer = Affine()
    layer.w = W.view(OnDevice)
    assert check_gradients(layer, x, params=["w"]).errors.keys() == {"dx", "dw"}
    assert isinstance(layer.w, OnDevice)
