"""iMAML's figures: the landscape with its pull, and the balance that a loop has not reached yet."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile.errors import InputError
from minireptile.explore.answer import answer, compute
from minireptile.explore.figures.near_theta import LONGEST
from minireptile.explore.figures.two_weights import GRID, SPAN

PULLED: dict[str, Any] = {"theta": [0.7, 0.7], "tasks": [[0.5, 0.9], [2.0, 1.6]], "prox": 0.5}
BALANCE: dict[str, Any] = {
    "theta": [0.1, 1.0], "tasks": [[2.0, 1.6]], "prox": 1.5, "rate": 0.05, "steps": 5
}  # fmt: skip


def pulled(w1: Any, w2: Any, task: list[float], prox: float) -> Any:
    off = w2 * np.tanh(task[0] * w1) - task[1]
    return off**2 + prox / 2 * ((w1 - 0.7) ** 2 + (w2 - 0.7) ** 2)


def gradient(phi: NDArray) -> NDArray:
    t = np.tanh(2.0 * phi[0])
    return 2 * (phi[1] * t - 1.6) * np.array([phi[1] * 2.0 * (1 - t * t), t])


@pytest.mark.parametrize("prox", [0.1, 0.5, 30.0])
def test_half_of_lambda_is_added_and_its_minimum_found(prox: float) -> None:
    found = compute("prox_loss", {**PULLED, "prox": prox})
    along = np.linspace(*SPAN, GRID)
    w1, w2 = np.meshgrid(along, along)
    for t, task in enumerate(PULLED["tasks"]):
        want = pulled(w1, w2, task, prox)
        assert np.allclose(found["pulled"][t], want, rtol=1e-12)  # lambda / 2, as the text says
        best = pulled(found["minimum"][t, 0], found["minimum"][t, 1], task, prox)
        assert best <= want.min() + 1e-12
        assert best > want.min() - 0.01
        assert found["left"][t] < 2e-3
    assert np.array_equal(found["path"][0], [[0.7, 0.7]] * 2)
    assert np.array_equal(found["path"][-1], found["minimum"])


def test_a_stronger_spring_holds_phi_nearer() -> None:
    far = [
        np.linalg.norm(compute("prox_loss", {**PULLED, "prox": p})["minimum"] - 0.7, axis=1)
        for p in (0.1, 1.0, 10.0, 100.0)
    ]
    assert (np.diff(far, axis=0) < 0).all()
    assert np.max(far[-1]) < 0.05


@pytest.mark.parametrize("steps", [0, 1, 5, LONGEST])
def test_both_forces_are_computed_and_what_is_left_is_real(steps: int) -> None:
    """The article drew one force as the other turned round, so that they could not but cancel."""
    found = compute("balance", {**BALANCE, "steps": steps})
    phi, theta = np.array(BALANCE["theta"]), np.array(BALANCE["theta"])
    for _ in range(steps):
        phi = phi - 0.05 * (gradient(phi) + 1.5 * (phi - theta))  # imaml.md, eq. 1
    g, pull = gradient(phi), 1.5 * (phi - theta)
    assert np.allclose(found["phi"], phi, rtol=0, atol=1e-12)
    assert np.allclose(found["gradient"], g, rtol=0, atol=1e-12)
    assert np.allclose(found["pull"], pull, rtol=0, atol=1e-12)
    assert np.allclose(found["residual"], g + pull, rtol=0, atol=1e-12)
    assert np.allclose(found["sizes"], [np.hypot(*g), np.hypot(*pull)], rtol=0, atol=1e-12)
    assert np.isclose(found["left"][steps], np.hypot(*(g + pull)), rtol=0, atol=1e-12)
    if steps < LONGEST:
        assert found["left"][steps] > 0.5  # far from balanced


def test_what_is_left_shrinks_with_every_step() -> None:
    found = compute("balance", BALANCE)
    assert found["way"].shape == (LONGEST + 1, 2)
    assert (np.diff(found["left"]) < 0).all()
    assert found["left"][-1] < 1e-3 < found["left"][5]


def test_an_overshooting_loop_is_an_answer_all_the_same() -> None:
    """alpha lambda > 2: kernels/imaml.md."""
    text = answer(json.dumps(["balance", {**BALANCE, "rate": 1.0, "prox": 100.0, "steps": 60}]))
    assert "error" not in json.loads(text)
    assert "NaN" not in text
    assert "Infinity" not in text


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("prox_loss", {"prox": 0}),
        ("prox_loss", {"tasks": []}),
        ("balance", {"steps": 61}),
        ("balance", {"steps": 1.5}),
        ("balance", {"rate": -0.1}),
        ("balance", {"tasks": PULLED["tasks"]}),
    ],
)
def test_a_wrong_argument_is_a_sentence(name: str, wrong: dict[str, Any]) -> None:
    state = PULLED if name == "prox_loss" else BALANCE
    with pytest.raises(InputError, match=f"{name}: {next(iter(wrong))}"):
        compute(name, {**state, **wrong})
