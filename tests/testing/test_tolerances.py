"""Both sides of every tolerance of the kit: an error just above it fails, one just below passes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile.testing import (
    GradientError,
    IdentityError,
    SameError,
    check_adjoint,
    check_gradients,
    check_hvp,
    check_same,
    numeric,
)
from minireptile.testing.diagnosis import diagnose
from minireptile.testing.guesses import what_if

X = np.random.default_rng(0).standard_normal((4, 3))
SQUARES: dict[str, Callable[[NDArray], NDArray]] = {
    "complex step": lambda x: x**2,
    "differences": lambda x: np.float64(x) ** 2,  # refuses complex numbers
}


def bracket(
    check: Callable[[float], Any], limit: float, raises: type[Exception],
    match: str | None = None, close: float = 0.1,
) -> None:  # fmt: skip
    """What is off by so much passes below the limit and fails above it."""
    check(limit * (1 - close))
    with pytest.raises(raises, match=match):
        check(limit * (1 + close))


def off(want: NDArray, error: float) -> NDArray:
    """Linear in `want`: its smallest entry is off by a part of its largest one."""
    got, size = want.copy(), np.abs(want)
    got.flat[size.argmin()] += error * want.flat[size.argmax()]
    return got


@pytest.mark.parametrize(("method", "limit"), [("complex step", 1e-12), ("differences", 1e-7)])
def test_an_entry(method: str, limit: float) -> None:
    """The error is relative to the largest entry of its gradient."""

    def check(error: float, tolerance: float | None = None) -> None:
        pair = SQUARES[method], lambda dy, x: off(dy * 2 * x, error)
        report = check_gradients(pair, X, tolerance=tolerance)
        assert report.method == method
        assert report.errors["dx"] == pytest.approx(error, rel=0.01)

    bracket(check, limit, GradientError, "is wrong in 1 of 12 entries")
    bracket(lambda error: check(error, 1e-4), 1e-4, GradientError, "is wrong in 1 of 12 entries")


@pytest.mark.parametrize(("method", "limit"), [("complex step", 1e-12), ("differences", 1e-7)])
def test_a_large_gradient(method: str, limit: float) -> None:
    """Along directions, errors are summed at random; in doubt, entries decide."""
    x = np.random.default_rng(1).standard_normal(4001)

    def check(error: float) -> None:
        check_gradients((SQUARES[method], lambda dy, x: (1 + error) * dy * 2 * x), x)

    bracket(check, 2 * limit, GradientError, r"is wrong in \d+ of 400", close=0.6)


def test_a_large_gradient_of_zeros() -> None:
    x = np.random.default_rng(1).standard_normal(4001)
    with pytest.raises(GradientError, match=r"is wrong in \d+ of 400"):
        check_gradients((SQUARES["complex step"], lambda dy, x: 0 * x), x)


def test_what_differences_leave_undecided_is_not_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times their own error is theirs; above a thousandth of the scale they decide nothing."""
    want = np.array([2.0, -8.0, 1.0])

    def check(wrong: float, uncertain: float) -> list[str]:
        own = np.array([0.0, 0.0, uncertain])
        monkeypatch.setattr(numeric, "gradient", lambda *_: (want.copy(), own.copy()))
        monkeypatch.setattr(numeric, "slope_between_bends", lambda *_: (want[2], uncertain))
        pair = (
            (lambda x: np.float64(x) * want),
            (lambda dy, x: dy / dy * (want + np.array([0, 0, wrong]))),
        )
        monkeypatch.setattr("minireptile.testing.gradients._check_linearity", lambda *_: None)
        return check_gradients(pair, X[0]).notes

    for uncertain in (0.0, 1e-4, 7.9e-3):
        bracket(lambda wrong, u=uncertain: check(wrong, u), 8e-7 + 10 * uncertain, GradientError,  # type: ignore[misc]
                "is wrong in 1 of 3", close=1e-3)  # fmt: skip
        assert check(0.0, uncertain) == []
    assert check(5.0, 8.1e-3) == ["dx: 1 entries undecided, differences do not settle there"]


class Recalls:
    """2 x dy, and a little that a call leaves to the next one."""

    def __init__(self, grows: tuple[float, ...]) -> None:
        self.extra = iter((0.0, *grows, *[0.0] * 20))

    def __call__(self, dy: NDArray, x: NDArray) -> NDArray:
        return 2 * x * dy + next(self.extra) * np.abs(2 * x * UPSTREAM).max()


UPSTREAM = np.random.default_rng([0, 1]).standard_normal(X.shape)  # what the kit draws for seed 0


def test_a_backward_pass_without_memory() -> None:
    def check(backward: Callable[..., Any]) -> Any:
        return check_gradients((SQUARES["complex step"], backward), X, tolerance=1.0)

    most = np.abs(2 * X * UPSTREAM).max()
    bracket(lambda e: check(Recalls((e, 3 * e))), 1e-9, GradientError, "backward is random")
    bracket(lambda e: check(Recalls((e, 2 * e))), 1e-9, GradientError, "a second call adds")
    bracket(lambda e: check(Recalls((0, 0, e))), 1e-9, GradientError, "is not linear")  # 2 dy
    bracket(lambda e: check(Recalls((0, 0, 0, e))), 1e-9, GradientError, "is not linear")  # - dy
    added = lambda e: check(lambda dy, x: 2 * x * dy + e * most)  # noqa: E731
    bracket(added, 5e-10, GradientError, "is not linear",
            close=1e-3)  # fmt: skip


def test_whether_a_function_is_analytic() -> None:
    """Its complex step is short of its slope by a millionth part, or more."""

    def check(part: float) -> None:
        f = lambda at: (at["x"] + part * at["x"].real).sum()  # noqa: E731
        assert numeric.is_analytic(f, {"x": X}, {"x": np.ones_like(X)})

    bracket(check, 1e-6, AssertionError)


@pytest.mark.parametrize("f", [lambda x: np.sin(x.real), lambda x: np.maximum(x.real, 0)])
def test_what_drops_the_imaginary_part_is_not_analytic(f: Callable[..., Any]) -> None:
    """Nor where bends closer than a step leave differences without an answer."""
    for size in (1.0, 1e-2, 1e-3):
        assert not numeric.is_analytic(lambda at: f(at["x"]).sum(), {"x": size * X}, {"x": X + 2})


def test_a_kink() -> None:
    """A jump of the slope: of a millionth of it, or where 1e-4 away curvature bends ten times as
    much."""

    def bent(jump: float, slope: float, curve: float) -> None:
        f = lambda at: complex(jump / 2 * abs(at["x"]) + slope * at["x"] + curve * at["x"] ** 2)  # noqa: E731
        assert not numeric.has_kink(f, {"x": np.zeros(())}, {"x": np.ones(())})

    bracket(lambda jump: bent(jump, 1.0, 0.0), 1e-6, AssertionError)
    bracket(lambda jump: bent(jump, 0.0, 1.0), 2e-5, AssertionError)
    bracket(lambda jump: bent(jump, 0.0, 0.0), 1e-9, AssertionError)


def test_a_kink_beyond_rounding() -> None:
    """In values with noise, both are looked at over steps of its square root."""
    steps: list[float] = []

    def bends(jump: float, noise: float) -> bool:
        def f(at: dict[str, NDArray]) -> complex:
            steps.append(abs(float(at["x"])))
            return complex(jump / 2 * abs(at["x"]))

        return numeric.has_kink(f, {"x": np.zeros(())}, {"x": np.ones(())}, noise)

    assert bends(0.021, 1e-6)
    assert not bends(0.019, 1e-6)
    assert bends(0.0021, 1e-8)
    assert not bends(0.0019, 1e-8)
    assert max(steps) == pytest.approx(0.1)
    assert pytest.approx(1e-3) in steps


def test_ties_share_to_a_millionth_part() -> None:
    x = np.array([[1.0, 1.0, 0.5]])

    def check(much: float) -> None:
        split = np.array([[0.25, 0.75 + much, 0]])
        with pytest.raises(GradientError) as error:  # where it is moved to, one takes it all
            check_gradients((lambda x: x.max(-1), lambda dy, x: dy[:, None] * split), x)
        assert "kink" not in [f.kind for f in error.value.report.findings]

    bracket(check, 1e-6, AssertionError)


def sine(scale: float, at: dict[str, NDArray]) -> complex:
    return complex(np.sin(at["x"] / scale).sum())


def test_noise_is_that_of_the_values() -> None:
    """A unit of rounding of float32 and of float64, and nothing of curvature, at any scale."""
    rng = np.random.default_rng(0)
    for scale in (1e-2, 1.0, 1e3):
        x, v = scale * rng.standard_normal((2, 50))
        at, along = {"x": x}, {"x": v / scale}
        for dtype in (np.float32, np.float64):
            f = lambda at, d=dtype: complex(at["x"].astype(d).sum(dtype=np.float64))  # noqa: E731
            ulp = np.finfo(dtype).eps * scale * np.sqrt(50)
            assert 0.02 * ulp < numeric.noise_of(f, at, along) < 2 * ulp
        smooth = numeric.noise_of(partial(sine, scale), at, along)
        assert smooth < 1e-14


@pytest.mark.parametrize("shape", [(3,), (4, 5)])
@pytest.mark.parametrize("size", [1e-2, 1.0, 100.0])
@pytest.mark.parametrize(
    ("f", "df"),
    [
        (lambda x: np.float32(x) ** 2, lambda dy, x: dy * 2 * x),
        (lambda x: (np.float32(x) ** 2).sum(-1), lambda dy, x: dy[..., None] * 2 * x),
        (lambda x: np.tanh(np.float32(x)).astype(float), lambda dy, x: dy / np.cosh(x) ** 2),
        (lambda x: np.maximum(np.float32(x), 0), lambda dy, x: dy * (x > 0)),
    ],
)
def test_float32_on_the_way_is_no_kink_and_no_mistake(
    f: Callable[..., Any], df: Callable[..., Any], size: float, shape: tuple[int, ...]
) -> None:
    x = size * (0.5 + np.random.default_rng(0).random(shape))
    x.flat[::2] *= -1
    report = check_gradients((f, df), x)
    assert report.method == "differences"
    assert not any("kink" in note for note in report.notes), report
    if size == 1.0:
        with pytest.raises(GradientError, match="dx: is wrong in"):
            check_gradients((f, lambda dy, x: 1.01 * df(dy, x)), x)


def test_a_kink_in_float32_is_one() -> None:
    x = np.array([[0.0, 1.0, -1.0, 0.0]])
    relu = lambda x: np.maximum(np.float32(x), 0)  # noqa: E731
    report = check_gradients((relu, lambda dy, x: dy * (x > 0)), x)
    assert any("forward has a kink" in note for note in report.notes)


@pytest.mark.parametrize("size", [0.1, 1e-2, 1e-3])
def test_bends_within_a_step_are_no_mistakes(size: float) -> None:
    """Inputs closer to the bend of a ReLU than differences step."""
    for seed in range(5):
        x = size * np.random.default_rng(seed).standard_normal((5, 3))
        check_gradients((lambda x: np.maximum(np.float64(x), 0), lambda dy, x: dy * (x > 0)), x)


# Identities


def drawn(n: int, count: int) -> list[NDArray]:
    """What the identities draw for seed 0."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal(n) for _ in range(count)]


def test_adjoints() -> None:
    n = 50
    x, z, y, _ = drawn(n, 4)
    still = np.zeros(n)
    size = 2 * np.linalg.norm(x) * np.linalg.norm(y)
    limit = 1e-13 * np.sqrt(2 * n) * size / abs(x @ y)
    bracket(lambda e: check_adjoint(lambda v: v, lambda u: (1 + e) * u, still, still), limit,
            IdentityError, "not adjoint", close=0.02)  # fmt: skip
    assert check_adjoint(lambda v: v, lambda u: (1 + limit / 2) * u, still, still) == (
        pytest.approx(limit / 2 * abs(x @ y) / size, rel=0.05)
    )

    def with_constant(c: float) -> None:
        with pytest.raises(IdentityError, match="not adjoint"):
            check_adjoint(lambda v: v + c, lambda u: u, still, still)

    bracket(with_constant, 1e-10 * np.abs(x - 3 * z).max() / 3, AssertionError, close=0.01)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("length", [1, 40])
def test_the_same_up_to_rounding(dtype: type, length: int) -> None:
    want = np.array([[0.5, -4.0], [1.0, 0.0]])
    bound = np.finfo(dtype).eps * (length + 8) * 4

    def check(error: float) -> float:
        kernel = lambda: (want + np.array([[0, 0], [0, error]])).astype(dtype)  # noqa: E731
        return check_same(kernel, lambda: want, length=length)

    bracket(check, bound, SameError, r"in 1 of 4 entries; worst at \(1, 1\)", close=1e-3)
    assert check(bound / 4) == pytest.approx(0.25, rel=1e-3)


def test_the_same_where_nothing_rounds() -> None:
    """Integers and booleans, infinities, no entries at all; and no type hides a difference."""
    i, empty, inf = np.array([3, 4]), np.zeros((0, 2)), np.array([1.0, np.inf])
    for value in (i, i > 3, empty, inf, i.astype(np.uint8)):
        assert check_same(lambda value=value: value, lambda value=value: value) == 0
    for got, want in (
        (i, i + np.array([0, 1])), (i > 3, i > 2), (i + 0.4, i), (i, i + 1e-9),
        (inf, inf + np.array([0.1, 0])),
        (inf, -inf), (inf * [1, 0.5], np.array([1.0, 2.0])), (np.array([1, np.nan]), i),
        (i.astype(np.uint8), i.astype(np.uint8) + np.uint8(1)),
        (np.array([2**60]), np.array([2**60 + 1])),
    ):  # fmt: skip
        with pytest.raises(SameError, match="output 0 differs"):
            check_same(lambda got=got: got, lambda want=want: want)


def test_hessian_vector_products() -> None:
    n = 5
    theta = np.ones(n)
    v, w = drawn(n, 2)
    root = np.random.default_rng(9).standard_normal((n, n))
    H, K = root @ root.T, np.triu(np.ones((n, n)), 1) - np.tril(np.ones((n, n)), -1)
    size = np.linalg.norm(v) * np.linalg.norm(H @ w) + np.linalg.norm(w) * np.linalg.norm(H @ v)

    def check(hvp: Callable[..., Any], **options: Any) -> float:
        return check_hvp(lambda t: H @ t, hvp, theta, **options)

    limit = 1e-12 * size / abs(2 * w @ K @ v)
    bracket(lambda e: check(lambda t, u: H @ u + e * (K @ u)), limit, IdentityError,
            "not symmetric", close=0.02)  # fmt: skip
    for tolerance in (1e-6, 1e-3):
        given = {} if tolerance == 1e-6 else {"tolerance": tolerance}
        bracket(lambda e, g=given: check(lambda t, u: (1 + e) * (H @ u), **g), tolerance,  # type: ignore[misc]
                IdentityError, "u . H v = ", close=1e-3)  # fmt: skip
        bracket(lambda e, g=given: check(lambda t, u: H @ u, loss=lambda t: t @ H @ t / 2 / (1 + e),  # type: ignore[misc]
                **g), tolerance, IdentityError, "grad . v = ", close=1e-3)  # fmt: skip
    assert check(lambda t, u: (1 + 3e-7) * (H @ u)) == pytest.approx(3e-7, rel=1e-3)


def test_a_loss_without_curvature_has_no_error() -> None:
    assert check_hvp(np.zeros_like, lambda t, v: 0 * v, np.ones(3), loss=lambda t: 0.0) == 0


def test_nothing_passes_that_is_no_number() -> None:
    nan = lambda *a: a[-1] * np.nan  # noqa: E731
    same = lambda *a: a[-1]  # noqa: E731
    still = np.zeros(3)
    for what, check in {
        "L x": lambda: check_adjoint(nan, same, still, still),
        r"L\* y": lambda: check_adjoint(same, nan, still, still),
        "H v": lambda: check_hvp(same, nan, still),
        "grad": lambda: check_hvp(nan, same, still),
    }.items():
        with pytest.raises(IdentityError, match=f"{what} has entries that are NaN or infinite"):
            check()
    with pytest.raises(IdentityError, match=r"grad has shape \(3, 1\), expected \(3,\)"):
        check_hvp(lambda t: t[:, None], same, still)


# Causes


def test_a_ratio_is_one_to_a_millionth_part() -> None:
    want = np.random.default_rng(0).standard_normal((3, 7))

    def check(error: float) -> None:
        got = off(3.25 * want, error)
        assert any("ratio 3.25 everywhere" in c for c in diagnose("x", got, want, {"x": want}, ()))

    bracket(check, 1e-6, AssertionError, close=0.3)  # the fit gives way a little


def test_a_guess_fits_to_a_millionth_part() -> None:
    x, w = np.random.default_rng(1).standard_normal((2, 3, 3))
    dy = np.random.default_rng(2).standard_normal((3, 3))
    want = dy @ w.T

    def check(error: float) -> None:
        got = off(want + dy, error)
        forward = lambda at: at["x"] @ at["w"]  # noqa: E731
        (cause,) = what_if(forward, {"x": x, "w": w}, dy, "x", got, want, True)
        assert "which is too much: a path around" in cause

    bracket(check, 1e-6, Exception, close=0.01)
