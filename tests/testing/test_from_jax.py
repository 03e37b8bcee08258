"""The kit on JAX: custom_vjp right and wrong, what is no gradient at all, and the second
derivative; beside it what check_grads says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import minireptile as mr
from minireptile.testing import (
    GradientError,
    IdentityError,
    check_float32,
    check_gradients,
    check_hvp,
    from_jax,
)

jax = pytest.importorskip("jax", reason="JAX is not installed: make peers-test brings it")

from .jax_ops import CASES, Case, checked, custom, kit, overflows  # noqa: E402

jnp = jax.numpy
X = np.random.default_rng(0).standard_normal((3, 4))


@pytest.fixture(autouse=True)
def _in_float64() -> Iterator[None]:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_right_passes_and_wrong_is_told(case: Case) -> None:
    said = kit(case)
    if case.points_at:
        assert re.search(case.points_at, said, re.DOTALL), said
    else:
        assert not said
    assert (not checked(case)) == (not case.points_at)  # in float64, they agree


def test_what_float32_hides_from_check_grads() -> None:
    """JAX's default: there, one part in 10,000 is within its tolerance."""
    wrong = CASES[1]
    jax.config.update("jax_enable_x64", False)
    assert wrong.points_at
    assert not checked(Case(wrong.name, wrong.function, (wrong.inputs[0].astype(np.float32),)))
    with pytest.raises(mr.InputError, match=r'update\("jax_enable_x64", True\) before') as error:
        check_gradients(from_jax(wrong.function), *wrong.inputs)
    assert "\n" not in str(error.value)
    reference = lambda x: np.log1p(np.exp(x))  # noqa: E731
    with pytest.raises(GradientError, match=r"rounding explains .*\n    ratio 1.000\d+ everywhere"):
        check_float32(from_jax(wrong.function), reference, *wrong.inputs, terms=1)
    assert check_float32(from_jax(CASES[0].function), reference, *wrong.inputs, terms=1).passed


def test_bfloat16() -> None:
    x = jnp.array(X, jnp.bfloat16)
    report = check_float32(from_jax(jnp.tanh), np.tanh, x, terms=1)
    assert report.notes[0].startswith("bfloat16: rounding explains 7.0e-02 ")
    with pytest.raises(GradientError, match="ratio 2"):
        check_float32(lambda dy, x: 2 * dy * (1 - jnp.tanh(x) ** 2), np.tanh, x, terms=1)


def test_settings_integers_and_loops() -> None:
    clip = from_jax(jnp.clip)
    assert check_gradients(clip, X, -0.5, 0.5).errors.keys() == {"darr"}
    assert check_gradients(clip, X, -0.5, 0.5, names=("x", "low", "high")).errors.keys() == {"dx"}
    np.testing.assert_array_equal(clip(X, -0.2, 0.7), np.clip(X, -0.2, 0.7))  # other settings
    take = from_jax(lambda x, rows: x[rows] ** 2)
    assert check_gradients(take, X, [0, 2, 2]).errors["dx"] < 1e-14
    traced: list[int] = []

    def steps(x: Any) -> Any:  # compiled once for each type, not for each call
        traced.append(1)
        return jax.lax.fori_loop(0, 5, lambda i, y: jnp.sin(y) + x, x)

    assert check_gradients(from_jax(steps), X[0]).passed
    assert len(traced) < 10


def test_what_cannot_be_compiled_is_called_as_it_stands() -> None:
    traced: list[bool] = []

    def by_value(x: Any) -> Any:
        traced.append(isinstance(x, jax.core.Tracer))
        return x * x if x[0].real > 0 else -x

    for x in (np.array([0.5, 2.0]), np.array([-0.5, 2.0])):
        assert check_gradients(from_jax(by_value), x).passed
    assert sum(traced) < 30 < len(traced) / 2  # it is not tried again for each call


def no_vjp() -> Any:
    return jax.custom_vjp(lambda x: x * x)


def squares(backward: Any) -> Any:
    return custom(lambda x: x * x, backward, lambda x: x)


WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "None": (lambda: (lambda x: None), mr.InputError, "returns None: it must return its output"),
    "a tuple": (lambda: (lambda x: (x, x)), mr.InputError, "a tuple of 2: check one output at a"),
    "a dict": (lambda: (lambda x: {"y": x}), mr.InputError, "returns a dict of 1: check one"),
    "a number": (lambda: (lambda x: 3.0), mr.InputError, "type float: an array is needed"),
    "booleans": (lambda: (lambda x: x > 0), mr.InputError, "returns bool, which has no gradient"),
    "raises": (lambda: (lambda x: x @ x), mr.InputError, "float64 raises TypeError: dot_general"),
    "needs integers": (lambda: (lambda x: jnp.arange(9)[x]), mr.InputError,
                       "raises TypeError: Indexer must have integer"),
    "detaches": (lambda: jax.lax.stop_gradient, GradientError, "all zeros: .* path to it is cut"),
    "through NumPy": (lambda: (lambda x: jnp.asarray(np.asarray(x))), GradientError,
                      "backward raises TracerArrayConversionError"),
    "no vjp": (no_vjp, mr.InputError, "No VJP defined for custom_vjp function"),
    "no tuple": (lambda: squares(lambda x, dy: 2 * x * dy), GradientError,
                 "must return a tuple with a gradient for each input"),
    "None for a gradient": (lambda: squares(lambda x, dy: (None,)), GradientError, "dx: .*\n.*\n"
                            ".*all zeros: the gradient is never written"),
    "a wrong shape": (lambda: squares(lambda x, dy: (dy[0],)), GradientError,
                      r"gradient 0 that the backward pass returns is float64\[4\], and the input "
                      r"is float64\[3,4\]"),
    "backward raises": (lambda: squares(lambda x, dy: (dy @ dy,)), GradientError,
                        r"backward raises TypeError: dot_general .* \(test_from_jax.py, line \d+"),
    "no function": (lambda: 3, mr.InputError, "from_jax takes a function, not 3"),
    "a class": (lambda: dict, mr.InputError, "from_jax takes a function, not the class dict"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_goes_wrong_is_one_sentence(case: str) -> None:
    make, kind, words = WRONG[case]
    with pytest.raises(kind, match=words) as error:
        check_gradients(from_jax(make()), X)
    lines = str(error.value).split("\n")
    assert len(lines) <= (1 if kind is mr.InputError else 5), lines
    assert error.value.__suppress_context__ or error.value.__cause__ is None


def test_second_derivatives() -> None:
    for case in CASES:
        if not case.points_at:
            assert check_hvp(*from_jax(case.function).hessian(*case.inputs)) < 1e-6
    constant = squares(lambda x, dy: (2 * jax.lax.stop_gradient(x) * dy,))
    with pytest.raises(IdentityError, match="and differences give"):
        check_hvp(*from_jax(constant).hessian(X))
    upstream = squares(lambda x, dy: (2 * x * jax.lax.stop_gradient(dy),))
    with pytest.raises(IdentityError, match=r"u \. H v = .*, and differences give"):
        check_hvp(*from_jax(upstream).hessian(X))
    naive = custom(jax.nn.softplus, overflows, lambda x: x)
    with pytest.raises(IdentityError, match="H v has entries that are NaN"):
        check_hvp(*from_jax(naive).hessian(np.array([1.0, 800.0])))
