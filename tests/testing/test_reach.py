"""How far the kit reaches without PyTorch and JAX: names, kernels in float32, Numba, CuPy by a
stand-in, what a missing framework is called, and what pytest shows of a failure."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import minireptile as mr
from minireptile.errors import MissingPackage
from minireptile.testing import (
    GradientError,
    check_adjoint,
    check_float32,
    check_gradients,
    check_hvp,
    check_same,
    from_jax,
    from_torch,
)
from tests.engine.doors.computing import numbers
from tests.engine.doors.kit import ANY_ARRAY, FUNCTION, GUESS, proving, twice
from tests.engine.doors.trying import try_all
from tests.engine.doors.wrong_values import Door, among
from tests.testing.test_testing import Affine, B, OnDevice, W, X, backward, forward

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)

# ------------------------------------------------------------------------------------- names


def test_names_of_inputs() -> None:
    pair = (lambda *a: forward(*a)), (lambda dy, *a: backward(dy, *a))
    assert check_gradients(pair, X, W, B).errors.keys() == {"dinput0", "dinput1", "dinput2"}
    named = check_gradients(pair, X, W, B, names=("x", "w", "b"))
    assert named.errors.keys() == {"dx", "dw", "db"}
    assert check_gradients(Affine(), X, params=["w"], names=["input"]).errors.keys() == {
        "dinput", "dw"
    }  # fmt: skip
    with pytest.raises(
        GradientError, match=r"\n  dfactor: is wrong .*\n.*\n.*sign.*\n.*x, factor,"
    ):
        check_gradients(
            (forward, lambda *a: (backward(*a)[0], -backward(*a)[1], backward(*a)[2])), X, W, B,
            names=("x", "factor", "b"),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("xwb", r"such as \['x', 'w'\], not 'xwb'"), (3, "not 3"), (("x", "w"), "2 names for 3"),
        (("x", "x", "b"), "each another one"), (("x", 2, "b"), "must be strings"),
    ],
)  # fmt: skip
def test_names_that_are_none(names: Any, words: str) -> None:
    with pytest.raises(mr.InputError, match=words) as error:
        check_gradients((forward, backward), X, W, B, names=names)
    assert "\n" not in str(error.value)
    with pytest.raises(mr.InputError, match="a layer's input is x"):
        check_gradients(mr.ReLU(), X[None], names=("y",))


# ----------------------------------------------------------------------- refusing complex numbers


@pytest.mark.parametrize("kind", [RuntimeError, NotImplementedError, TypeError, AssertionError])
def test_a_refusal_of_complex_numbers_means_differences(kind: type[Exception]) -> None:
    def square(x: NDArray) -> NDArray:
        if np.iscomplexobj(x):
            raise kind("not implemented for 'ComplexDouble'")
        return x**2

    assert check_gradients((square, lambda dy, x: 2 * x * dy), X).method == "differences"


def test_an_error_at_real_numbers_is_the_users() -> None:
    def broken(x: NDArray) -> NDArray:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match=r"^mine$"):
        check_gradients((broken, lambda dy, x: dy), X)


def test_all_floats_are_complex_in_a_complex_step() -> None:
    """Frameworks multiply numbers of one type alone."""
    types: set[tuple[str, str]] = set()

    def product(x: NDArray, w: NDArray) -> NDArray:
        types.add((x.dtype.kind, w.dtype.kind))
        return x @ w

    assert check_gradients((product, lambda dy, x, w: (dy @ w.T, x.T @ dy)), X, W).passed
    assert types == {("f", "f"), ("c", "c")}


# --------------------------------------------------------------------------------- in float32


def layer_norm(x: NDArray, gamma: NDArray, beta: NDArray) -> NDArray:
    centred = x - x.mean(-1, keepdims=True)
    return gamma * centred * ((centred**2).mean(-1, keepdims=True) + 1e-5) ** -0.5 + beta


def layer_norm_backward(
    dy: NDArray, x: NDArray, gamma: NDArray, beta: NDArray, eps: float = 1e-5, more: float = 0.0
) -> tuple[NDArray, ...]:
    """In the type of its inputs."""
    assert dy.dtype == x.dtype == gamma.dtype == np.float32
    centred = x - x.mean(-1, keepdims=True)
    rstd = ((centred**2).mean(-1, keepdims=True) + np.float32(eps)) ** np.float32(-0.5)
    xhat, d = centred * rstd, dy * gamma
    through_variance = xhat * (d * xhat).mean(-1, keepdims=True) * np.float32(1 + more)
    dx = rstd * (d - d.mean(-1, keepdims=True) - through_variance)
    return dx, (dy * xhat).sum(0), dy.sum(0)


GIVEN = RNG.standard_normal((16, 64)), RNG.standard_normal(64), RNG.standard_normal(64)


def test_right_float32_code_passes() -> None:
    for scale in (1e-3, 1.0, 1e3):
        given = scale * GIVEN[0], GIVEN[1], GIVEN[2]
        report = check_float32(layer_norm_backward, layer_norm, *given, terms=64)
        assert report.method == "complex step"
        assert report.errors.keys() == {"dx", "dgamma", "dbeta"}
        assert 1e-9 < max(report.errors.values()) < 8.6e-6
        assert report.notes == ["float32: rounding explains 8.6e-06 of a gradient's largest entry, "
                                "eps 1.2e-07 times 64 terms + 8"]  # fmt: skip


@pytest.mark.parametrize("fault", [{"eps": 1e-4}, {"more": 1e-3}, {"more": 1.0}])
def test_a_wrong_term_fails(fault: dict[str, Any]) -> None:
    wrong = lambda *a: layer_norm_backward(*a, **fault)  # noqa: E731
    with pytest.raises(GradientError, match="dx: is wrong in") as error:
        check_float32(wrong, layer_norm, *GIVEN, terms=64, name="layer norm")
    said = str(error.value)
    assert re.search(r"\n    rounding explains \d.\de-0\d, and the error is \d.\de", said)
    assert said.endswith("again: check_float32(layer norm, x, gamma, beta, seed=0) with "
                         "x (16, 64), gamma (64,), beta (64,)")  # fmt: skip


def test_one_term_of_a_ten_thousandth() -> None:
    square = lambda x: x**2  # noqa: E731
    for off, terms in ((0.0, 1), (1e-4, 1000), (1e-4, 64), (1e-6, 1)):
        wrong = lambda dy, x, off=off: 2 * dy * x * np.float32(1 + off)  # noqa: E731
        if off > 2.0**-23 * (terms + 8):
            with pytest.raises(GradientError, match=r"ratio 1\.0001 everywhere: a constant"):
                check_float32(wrong, square, X, terms=terms)
        else:
            assert check_float32(wrong, square, X, terms=terms).passed


def test_terms_that_cancel_are_no_mistake() -> None:
    """A sum of many terms that leaves next to nothing: its error is a part of the terms."""
    x = RNG.standard_normal(4000).astype(np.float32)
    dy = np.random.default_rng([0, 1]).standard_normal(4000)
    x -= np.float32((x * dy).sum() / (dy * dy).sum()) * dy.astype(np.float32)
    scale = np.float32(0.7)
    report = check_float32(
        lambda dy, x, s: (dy * s, np.cumsum(dy * x)[-1]), lambda x, s: x * s, x, np.array(scale),
        terms=4000,
    )  # fmt: skip
    assert report.errors["ds"] > 2.0**-23 * 4008  # beyond the bound of its entry alone
    with pytest.raises(GradientError, match="ds: is wrong in 1 of 1"):
        check_float32(
            lambda dy, x, s: (dy * s, np.cumsum(np.abs(dy * x))[-1]), lambda x, s: x * s, x,
            np.array(scale), terms=4000,
        )  # fmt: skip


def test_half_precision_and_what_is_rounded() -> None:
    square = lambda x: x**2  # noqa: E731
    seen: list[str] = []

    def half(dy: NDArray, x: NDArray) -> NDArray:
        seen.extend((str(dy.dtype), str(x.dtype)))
        return 2 * dy * x

    report = check_float32(half, square, X.astype(np.float16), terms=1)
    assert set(seen) == {"float16"}
    assert report.notes[0].startswith("float16: rounding explains 8.8e-03 of")
    coarse = check_float32(lambda dy, x: half(dy, x).astype(np.float16), square, X, terms=1)
    assert seen[-1] == "float32"
    assert coarse.notes[0].startswith("float16: rounding explains")  # its gradient's type
    wide = check_float32(lambda dy, x: half(dy, x).astype(np.float64), square, X.tolist(), terms=1)
    assert wide.notes[0].startswith("float32: rounding explains 1.1e-06")


def test_bfloat16_of_numpy() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="NumPy's bfloat16 is in ml_dtypes")
    x = X.astype(ml_dtypes.bfloat16)

    def check(factor: float) -> Any:
        backward = lambda dy, x: (factor * dy * x).astype(x.dtype)  # noqa: E731
        return check_float32(backward, lambda x: x**2, x, terms=1)

    assert check(2).notes[0].startswith("bfloat16: rounding explains 7.0e-02")
    with pytest.raises(GradientError, match=r"ratio 1.2\d+ everywhere"):
        check(2.5)


def test_kinks_integers_and_settings_in_float32() -> None:
    at: dict[str, list[NDArray]] = {"backward": [], "reference": []}

    def relu(x: NDArray) -> NDArray:
        at["reference"].append(np.array(x.real, np.float64))
        return np.where(x.real > 0, x, 0)

    def relu_backward(dy: NDArray, x: NDArray) -> NDArray:
        at["backward"].append(x.astype(np.float64))
        return dy * (x > 0)

    x = np.array([[0.0, 1.0, -1.0, 0.0]])
    report = check_float32(relu_backward, relu, x, terms=1)
    assert any("kink" in note for note in report.notes)
    moved = at["backward"][-1]
    assert not np.array_equal(moved, x)
    assert any(np.array_equal(moved, seen) for seen in at["reference"])  # the same numbers
    rows = np.array([0, 2, 2])

    def add(dy: NDArray, x: NDArray, rows: NDArray, scale: float) -> tuple[NDArray, None, None]:
        assert (rows.dtype, scale) == (np.int64, 2.0)
        dx = np.zeros_like(x)
        np.add.at(dx, rows, np.float32(scale) * dy)
        return dx, None, None

    pick = lambda x, rows, scale: scale * x[rows]  # noqa: E731
    assert check_float32(add, pick, X, rows, 2.0, terms=2).errors.keys() == {"dx"}


WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "zeros would pass": (lambda: check_float32(abs, abs, X.astype(np.float16), terms=2000),
                         mr.InputError, r"explain an error of 2 times the gradient, so that zeros"),
    "no terms": (lambda: check_float32(abs, abs, X, terms=0), mr.InputError, "^terms must be at"),
    "no function": (lambda: check_float32(3, abs, X, terms=1), mr.InputError, "must be a function"),
    "no reference": (lambda: check_float32(abs, None, X, terms=1),  # type: ignore[arg-type]
                     mr.InputError, "reference must be a function"),
    "integers": (lambda: check_float32(abs, abs, [1, 2], terms=1), mr.InputError,
                 "nothing to differentiate"),
    "method": (lambda: check_float32(abs, abs, X, terms=1, method="fast"), mr.InputError,
               "method must be one of auto, complex step"),
    "names": (lambda: check_float32(abs, abs, X, terms=1, names=("a", "b")), mr.InputError,
              "2 names for 1 inputs"),
    "forgotten return": (lambda: check_float32(lambda dy, x: None, lambda x: x**2, X, terms=1),
                         GradientError, "dx: backward returns None"),
    "changes x": (lambda: check_float32(lambda dy, x: 2 * dy * np.multiply(x, 2, out=x),
                                        lambda x: x**2, X, terms=1),
                  GradientError, "backward changes its input x"),
    "changes dy": (lambda: check_float32(lambda dy, x: np.multiply(dy, 2 * x, out=dy),
                                         lambda x: x**2, X, terms=1),
                   GradientError, "changes its input the upstream gradient"),
    "shape": (lambda: check_float32(lambda dy, x: dy[0], lambda x: x**2, X, terms=1),
              GradientError, r"has shape \(3,\), expected \(4, 3\); it broadcasts"),
    "NaN": (lambda: check_float32(lambda dy, x: dy * np.float32(np.nan), lambda x: x**2, X,
                                  terms=1), GradientError, "12 entries are NaN"),
    "zeros": (lambda: check_float32(lambda dy, x: 0 * dy, lambda x: x**2, X, terms=1),
              GradientError, "all zeros: the gradient is never written"),
    "raises": (lambda: check_float32(lambda dy, x: dy @ dy, lambda x: x**2, X, terms=1),
               GradientError, "backward raises ValueError: matmul"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_goes_wrong_in_float32(case: str) -> None:
    check, kind, words = WRONG[case]
    with pytest.raises(kind, match=words) as error:
        check()
    assert kind is GradientError or "\n" not in str(error.value)


DOORS = {
    "check_float32": Door(
        proving(lambda backward, x, **more: check_float32(backward, twice, x, **more)),
        lambda backend: {"backward": lambda dy, x: 2 * dy, "x": numbers(2, 3), "terms": 1,
                         "seed": 0, "method": "auto", "name": None, "names": ("x",)},
        {"backward": FUNCTION, "x": ANY_ARRAY, "terms": GUESS, "seed": GUESS, "name": GUESS,
         "names": GUESS, "method": among("auto", "complex step", "differences")},
    ),
    "check_gradients": Door(
        proving(lambda x, names: check_gradients((twice, twice), x, names=names)),
        lambda backend: {"x": numbers(2, 3), "names": ("x",)}, {"names": GUESS},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DOORS)
def test_whatever_is_passed_is_answered_in_a_sentence(name: str) -> None:
    failures = try_all(name, DOORS[name], ("numpy",), lambda now: None)
    assert not failures, failures


# --------------------------------------------------------------- CuPy by a stand-in, and Numba


def test_float32_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The traffic only: a stand-in for CuPy, since there may be no device here."""
    cupy = types.ModuleType("cupy")
    cupy.array = lambda a, dtype: np.array(a, dtype).view(OnDevice)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    seen: list[bool] = []

    def on_device(dy: Any, x: Any) -> Any:
        seen.append(isinstance(dy, OnDevice) and isinstance(x, OnDevice) and x.dtype == np.float32)
        return 2 * dy * x

    given = X.astype(np.float32).view(OnDevice)
    assert check_float32(on_device, lambda x: x**2, given, terms=1).passed
    assert all(seen)
    with pytest.raises(GradientError, match=r"ratio 0\.5"):
        check_float32(lambda dy, x: dy * x, lambda x: x**2, given, terms=1)


def test_numba_as_it_is() -> None:
    numba = pytest.importorskip("numba", reason="Numba is not installed")

    @numba.njit
    def softplus(x: NDArray) -> NDArray:
        return np.log(1 + np.exp(x))

    @numba.njit
    def softplus_backward(dy: NDArray, x: NDArray) -> NDArray:
        return dy / (1 + np.exp(-x))

    @numba.njit("float64[:](float64[:])")  # refuses complex numbers
    def for_doubles(x: NDArray) -> NDArray:
        return np.log(1 + np.exp(x))

    x = np.array([0.5, -1.0, 2.0])
    assert check_gradients((softplus, softplus_backward), x).method == "complex step"
    assert check_gradients((for_doubles, softplus_backward), x).method == "differences"
    assert check_float32(softplus_backward, softplus, x, terms=1).passed


# ------------------------------------------------------------------------ frameworks that are not


def test_frameworks_are_imported_where_they_are_used() -> None:
    code = ("import sys, minireptile.testing; "
            "print(*{'torch', 'jax', 'numba', 'cupy'} & {*sys.modules})")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          check=True)  # fmt: skip
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(("module", "adapt"), [("torch", from_torch), ("jax", from_jax)])
def test_a_framework_that_is_missing_or_too_old(
    module: str, adapt: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        MissingPackage, match=f"not installed; bring it with: pip install {module}$"
    ):
        adapt(abs)
    old = types.ModuleType(module)
    monkeypatch.setitem(sys.modules, module, old)
    for version in ("0.3.25", None):
        old.__version__ = version or ""  # type: ignore[attr-defined]
        with pytest.raises(mr.InputError, match=f"or newer is needed, and this is .*{module}$"):
            adapt(abs)


# ---------------------------------------------------------------------------- what pytest shows

FAILING = """
import numpy as np
from minireptile.testing import (check_adjoint, check_float32, check_gradients, check_hvp,
                                 check_same)

X = np.array([1.0, 2.0, 3.0])

def test_gradients():
    check_gradients((lambda x: x**2, lambda dy, x: x * dy), X)

def test_float32():
    check_float32(lambda dy, x: x * dy, lambda x: x**2, X, terms=1)

def test_hvp():
    check_hvp(lambda t: t, lambda t, v: 3 * v, X)

def test_adjoint():
    check_adjoint(lambda x: x, lambda y: 2 * y, X, X)

def test_same():
    check_same(lambda x: x, lambda x: 2 * x, X)

def test_input():
    check_gradients((lambda x: x**2, lambda dy, x: x * dy), "x")

def mine(x):
    raise RuntimeError("my own")

def test_mine():
    check_gradients((mine, mine), X)
"""


def test_pytest_shows_the_report_and_not_the_way_to_it(tmp_path: Path) -> None:
    (tmp_path / "test_failing.py").write_text(FAILING)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "test_failing.py"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": ""},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert "7 failed" in done.stdout, done.stdout + done.stderr
    parts = re.split(r"^_+ (test_\w+) _+$", done.stdout.split("short test summary")[0],
                     flags=re.MULTILINE)  # fmt: skip
    shown = dict(zip(parts[1::2], parts[2::2], strict=True))
    for name, text in shown.items():
        assert "minireptile/testing" not in text, text
        assert len(text.strip().splitlines()) <= 16, text
        assert f"def {name}" in text
    assert "ratio 0.5 everywhere" in shown["test_gradients"]
    assert "raise RuntimeError" in shown["test_mine"]  # the user's own line stays


def test_no_check_leaves_its_frames() -> None:
    for check in (check_adjoint, check_float32, check_gradients, check_hvp, check_same):
        assert sys.modules[check.__module__].__tracebackhide__
