"""The figure of what FOMAML leaves out, against differences of the loss written out by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile.errors import InputError
from minireptile.explore.answer import answer, compute
from minireptile.explore.figures.curvature import LENGTHS

STATE: dict[str, Any] = {"theta": [0.4, 1.2], "tasks": [[1.5, 1.5]], "rate": 0.15, "curved": True}


def loss(theta: NDArray) -> Any:
    return (theta[1] * np.tanh(1.5 * theta[0]) - 1.5) ** 2


def grad(theta: NDArray) -> NDArray:
    t = np.tanh(1.5 * theta[0])
    return 2 * (theta[1] * t - 1.5) * np.array([theta[1] * 1.5 * (1 - t * t), t])


def test_the_step_and_both_gradients() -> None:
    theta, found = np.array(STATE["theta"]), compute("curvature", STATE)
    phi = theta - 0.15 * grad(theta)
    assert np.allclose(found["phi"], phi, rtol=0, atol=1e-12)
    assert np.allclose(found["fomaml"], grad(phi), rtol=0, atol=1e-12)

    def after(theta: NDArray) -> Any:
        return loss(theta - 0.15 * grad(theta))

    e = 1e-5 * np.eye(2)
    meta = [(after(theta + d) - after(theta - d)) / 2e-5 for d in e]
    assert np.allclose(found["maml"], meta, rtol=0, atol=1e-8)
    lengths = [np.linalg.norm(found[name]) for name in ("fomaml", "maml")]
    cosine = found["fomaml"] @ found["maml"] / np.prod(lengths)
    assert np.isclose(found["angle"], np.degrees(np.arccos(cosine)), rtol=0, atol=1e-6)
    assert found["angle"] > 30  # the picture that the figure begins with


def test_the_cut_is_the_loss_and_its_two_models() -> None:
    theta, found = np.array(STATE["theta"]), compute("curvature", STATE)
    g, d = grad(theta), 1e-4
    true, tangent, parabola = found["cut"]
    assert np.allclose(true, [loss(theta - a * g) for a in LENGTHS], rtol=0, atol=1e-12)
    assert np.allclose(tangent, loss(theta) - LENGTHS * (g @ g), rtol=0, atol=1e-12)
    bend = (loss(theta + d * g) - 2 * loss(theta) + loss(theta - d * g)) / d**2
    assert np.allclose(parabola - tangent, LENGTHS**2 / 2 * bend, rtol=0, atol=1e-5)
    assert np.isclose(found["bend"] * (g @ g), bend, rtol=0, atol=1e-5)
    assert np.allclose(found["at"], found["cut"][:, 15], rtol=0, atol=1e-12)  # LENGTHS[15] = rate


def test_without_curvature_maml_is_fomaml_and_the_parabola_its_tangent() -> None:
    found = compute("curvature", {**STATE, "curved": False})
    assert np.array_equal(found["maml"], found["fomaml"])
    assert np.array_equal(found["cut"][1], found["cut"][2])
    assert found["bend"] == found["angle"] == 0
    assert np.array_equal(found["cut"][0], compute("curvature", STATE)["cut"][0])


@pytest.mark.parametrize(
    "wrong",
    [{"rate": 1.1}, {"curved": 1}, {"tasks": []}, {"tasks": [[1, 1], [2, 2]]}, {"theta": [0, 21]}],
)
def test_a_wrong_argument_is_a_sentence(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"curvature: {next(iter(wrong))}"):
        compute("curvature", {**STATE, **wrong})


@pytest.mark.parametrize("theta", [[0, 0], [20, -20], [-20, 20], [1e-9, 20]])
def test_an_answer_stands_wherever_theta_is(theta: list[float]) -> None:
    text = answer(json.dumps(["curvature", {**STATE, "theta": theta, "tasks": [[5, -5]]}]))
    assert "error" not in json.loads(text)
    assert "NaN" not in text
    assert "Infinity" not in text
