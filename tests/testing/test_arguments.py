"""The kit's doors: whatever a person passes, the answer is one sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minireptile as mr
from minireptile.testing import (
    check_adjoint,
    check_gradients,
    check_hvp,
    check_layers,
    check_same,
    complex_step,
    table,
)
from minireptile.testing.strategies import layers
from tests.testing.test_testing import Affine, B, W, X, backward, forward

BOTH = (forward, backward)
SAME: Callable[[Any], Any] = lambda x: x  # noqa: E731
HVP: Callable[..., Any] = lambda t, v: v  # noqa: E731


class Kept(Affine):
    """With attributes that are no parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.steps, self.name = np.arange(3), 7, "w"
        self.forward(X)


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "no such parameter": (lambda: check_gradients(Kept(), X, params=["v"]),
                          r"^Kept has no parameter 'v': it has w, fault$"),
    "one parameter of two": (lambda: check_gradients(Kept(), X, params=["w", "v"]), "'v'"),
    "not of floats": (lambda: check_gradients(Kept(), X, params=["count"]), "it has w, fault$"),
    "an input": (lambda: check_gradients(Kept(), X, params=["x"]), "it has w, fault$"),
    "a string for params": (lambda: check_gradients(Kept(), X, params="w"), r"such as \['w'\]"),
    "a number for params": (lambda: check_gradients(Kept(), X, params=3), "not 3"),  # type: ignore[arg-type]
    "params of a pair": (lambda: check_gradients(BOTH, X, W, B, params=["w"]), "it has none"),
    "params of a layer": (lambda: check_gradients(mr.Dense(2), X[None], params=["w"]),
                          "it has weight, bias"),
    "a class": (lambda: check_gradients(Affine, X), "Affine is a class: give an instance"),
    "a layer's class": (lambda: check_gradients(mr.ReLU, X), "ReLU is a class: give an instance"),
    "a string": (lambda: check_gradients("Dense", X), "or a layer, not str"),
    "a layer and nothing": (lambda: check_gradients(mr.ReLU()), "takes one input, x .* not 0"),
    "a layer and two": (lambda: check_gradients(mr.ReLU(), X, X), "takes one input, x .* not 2"),
    "a layer without B": (lambda: check_gradients(mr.ReLU(), B), r"array of shape \(2,\)"),
    "too few inputs": (lambda: check_gradients(BOTH, X, W), r"and 2 inputs: missing .* 'b'"),
    "too many inputs": (lambda: check_gradients(BOTH, X, W, B, B), "and 4 inputs: too many"),
    "ragged": (lambda: check_gradients(BOTH, [[1.0, 2.0], [3.0]], W, B), "x is no array: its rows"),
    "objects": (lambda: check_gradients(BOTH, X, W.astype(object), B), "w must be .* type object"),
    "masked": (lambda: check_gradients(BOTH, np.ma.array(X), W, B), "x is a masked array: fill"),
    "text": (lambda: check_gradients(BOTH, X, W, "b"), "b must be an array of numbers, not str"),
    "empty": (lambda: check_gradients(BOTH, X[:0], W, B), r"x is empty, shape \(0, 3\)"),
    "integers": (lambda: check_gradients((SAME, SAME), np.arange(3)), "nothing to differentiate"),
    "negative seed": (lambda: check_gradients(BOTH, X, W, B, seed=-1), "between 0 and .*, not -1"),
    "half a seed": (lambda: check_gradients(BOTH, X, W, B, seed=0.5), "whole number, not 0.5"),  # type: ignore[arg-type]
    "true seed": (lambda: check_gradients(BOTH, X, W, B, seed=True), "whole number, not True"),
    "method": (lambda: check_gradients(BOTH, X, W, B, method="complex"),
               "no method 'complex': choose one of auto, complex step, differences"),
    "tolerance 0": (lambda: check_gradients(BOTH, X, W, B, tolerance=0), "^tolerance must be pos"),
    "negative tolerance": (lambda: check_gradients(BOTH, X, W, B, tolerance=-1e-9), "be positive"),
    "infinite tolerance": (lambda: check_gradients(BOTH, X, W, B, tolerance=np.inf), "not inf"),
    "text for tolerance": (lambda: check_gradients(BOTH, X, W, B, tolerance="1"), "not '1'"),  # type: ignore[arg-type]
    "true tolerance": (lambda: check_gradients(BOTH, X, W, B, tolerance=True), "not True"),
    "a number for a name": (lambda: check_gradients(BOTH, X, W, B, name=3), "a string, not 3"),  # type: ignore[arg-type]
    "backend": (lambda: check_gradients(mr.ReLU(), X[None], backend="torch"), "no backend 'torch'"),
    "forgotten return": (lambda: check_gradients((lambda x: None, SAME), X),
                         "what forward returns must be an array of numbers"),
    "adjoint of no function": (lambda: check_adjoint(3, SAME, X, X), "L must be a function"),  # type: ignore[arg-type]
    "no adjoint": (lambda: check_adjoint(SAME, None, X, X), "L_adjoint must be a function"),  # type: ignore[arg-type]
    "adjoint, ragged": (lambda: check_adjoint(SAME, SAME, [[1], [1, 2]], X), "x is no array"),  # type: ignore[arg-type]
    "adjoint, empty": (lambda: check_adjoint(SAME, SAME, X, X[:0]), "y is empty"),
    "adjoint, seed": (lambda: check_adjoint(SAME, SAME, X, X, seed=-1), "^seed must be between 0"),
    "adjoint, None": (lambda: check_adjoint(lambda x: None, SAME, X, X), "L x must be"),  # type: ignore[arg-type,return-value]
    "adjoint, complex": (lambda: check_adjoint(SAME, lambda y: 1j * y, X, X), "L. y must be real"),
    "same as no function": (lambda: check_same(SAME, X, X), "reference must be a function"),  # type: ignore[arg-type]
    "length 0": (lambda: check_same(SAME, SAME, X, length=0), "^length must be at least 1, not 0"),
    "half a length": (lambda: check_same(SAME, SAME, X, length=1.5), "whole number, not 1.5"),  # type: ignore[arg-type]
    "same, None": (lambda: check_same(lambda x: None, SAME, X), "output 0 of <lambda> must be"),
    "hvp of no function": (lambda: check_hvp(SAME, 3, B), "hvp must be a function"),  # type: ignore[arg-type]
    "no gradient": (lambda: check_hvp(3, HVP, B), "grad must be a function"),  # type: ignore[arg-type]
    "no loss": (lambda: check_hvp(SAME, HVP, B, loss=3), "loss must be a function"),  # type: ignore[arg-type]
    "two losses": (lambda: check_hvp(SAME, HVP, B, loss=SAME), r"one number, not \(2,\)"),
    "hvp, text": (lambda: check_hvp(SAME, HVP, "theta"), "theta must be an array of numbers"),  # type: ignore[arg-type]
    "hvp, tolerance": (lambda: check_hvp(SAME, HVP, B, tolerance=-1), "^tolerance must be pos"),
    "hvp, seed": (lambda: check_hvp(SAME, HVP, B, seed=-1), "^seed must be between 0"),
    "layer": (lambda: check_layers("GRU"), "no layer 'GRU' to check: choose one of BatchNorm"),
    "layers": (lambda: check_layers(["Dense"]), r"no layer \['Dense'\] to check"),  # type: ignore[arg-type]
    "layers' backend": (lambda: check_layers("Dense", backend="torch"), "no backend 'torch'"),
    "no rows": (lambda: table("Dense"), "rows must be those that check_layers returns"),  # type: ignore[arg-type]
    "a number for rows": (lambda: table(3), "rows must be"),  # type: ignore[arg-type]
    "step of no function": (lambda: complex_step(3, X), "f must be a function"),  # type: ignore[arg-type]
    "step at text": (lambda: complex_step(SAME, "x"), "x must be an array of numbers"),  # type: ignore[arg-type]
    "step of an array": (lambda: complex_step(SAME, X), r"one number, not an array of shape \(4,"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_one_sentence(case: str) -> None:
    call, words = WRONG[case]
    with pytest.raises(mr.InputError, match=words) as error:
        call()
    assert "\n" not in str(error.value)


def test_what_is_as_good_is_taken() -> None:
    """NumPy's numbers, any order of bytes, lists, float16; a layer's own parameters by name."""
    report = check_gradients(
        BOTH, X.tolist(), W.astype(">f8"), B.astype(np.float16), seed=np.int64(3),
        tolerance=np.float64(1e-9), name="mine",
    )  # fmt: skip
    assert report.errors.keys() == {"dx", "dw", "db"}
    assert report.name == "mine"
    assert check_gradients(mr.Dense(2), X[None], params=["bias"]).passed
    assert check_same(lambda x: x, lambda x: x, X, length=np.int64(2)) == 0
    np.testing.assert_array_equal(complex_step(lambda z: (z**2).sum(), np.arange(3)), [0, 2, 4])


def test_a_parameter_may_be_a_property() -> None:
    class Behind(Affine):
        @property
        def weight(self) -> np.ndarray:
            return self.w

        @weight.setter
        def weight(self, value: np.ndarray) -> None:
            self.w = value

        @property
        def dweight(self) -> np.ndarray:
            return self.dw

    assert check_gradients(Behind(), X, params=["weight"]).errors.keys() == {"dx", "dweight"}


@given(data=st.data())
def test_kinds_of_layers(data: st.DataObject) -> None:
    assert isinstance(data.draw(layers(mr.ReLU))[0], mr.ReLU)
    assert isinstance(data.draw(layers([mr.ReLU, mr.Tanh]))[0], mr.ReLU | mr.Tanh)
    for wrong in ((), (mr.ReLU, int), "ReLU"):
        with pytest.raises(mr.InputError, match="kinds must be of Conv2D, Dense"):
            data.draw(layers(wrong))
