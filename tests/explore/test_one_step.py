"""With one inner step, Reptile's arrow is SGD's, and with more it is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minireptile.explore.answer import compute

from .test_two_weights import TASKS, grad, steps

STATE: dict[str, Any] = {
    "theta": [0.7, 1.9], "tasks": TASKS, "rate": 0.13, "steps": 1, "epsilon": 0.3,
}  # fmt: skip


@pytest.mark.parametrize("theta", [[0.7, 1.9], [-2.0, 0.3], [2.5, -1.0]])
def test_with_one_step_both_arrows_are_one(theta: list[float]) -> None:
    found = compute("one_step", {**STATE, "theta": theta})
    by_hand = -0.13 * 0.3 * np.mean([grad(np.array(theta), task) for task in TASKS], axis=0)
    assert np.allclose(found["sgd"], by_hand, rtol=0, atol=1e-14)
    assert np.allclose(found["reptile"], by_hand, rtol=0, atol=1e-14)
    assert found["angles"][0] < 1e-6
    assert np.allclose(found["lengths"], np.linalg.norm(by_hand), rtol=0, atol=1e-14)


@pytest.mark.parametrize("k", [2, 7, 20])
def test_with_more_they_part(k: int) -> None:
    found = compute("one_step", {**STATE, "steps": k})
    theta = np.array(STATE["theta"])
    mean = np.mean([steps(theta, task, 0.13, k) for task in TASKS], axis=0)
    assert found["path"].shape == (k + 1, len(TASKS), 2)
    assert np.allclose(found["mean"], mean, rtol=0, atol=1e-12)
    assert np.allclose(found["reptile"], 0.3 * (mean - theta), rtol=0, atol=1e-12)
    a, b = found["reptile"], found["sgd"]
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    assert np.allclose(found["lengths"], lengths, rtol=0, atol=1e-14)
    angle = np.degrees(np.arccos(a @ b / np.prod(lengths)))
    assert abs(found["angles"][k - 1] - angle) < 1e-6
    assert angle > 1


def test_sgds_arrow_does_not_know_the_steps() -> None:
    first, *others = (compute("one_step", {**STATE, "steps": k})["sgd"] for k in (1, 5, 20))
    assert all(np.array_equal(first, other) for other in others)
