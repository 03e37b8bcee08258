"""The plane of two weights, and Reptile's step in it, against the network written out by hand."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile.explore.answer import answer, compute
from minireptile.explore.figures.two_weights import between, losses_after, off, places, square, ways

TASKS = [[0.5, 0.9], [2.0, 1.6], [-1.3, 0.4]]
STATE: dict[str, Any] = {
    "theta": [0.7, 1.9], "tasks": TASKS, "rate": 0.13, "steps": 4, "epsilon": 0.3,
}  # fmt: skip


def loss(phi: Any, task: list[float]) -> Any:
    """(w2 tanh(w1 x) - y)^2, for phi (..., 2)."""
    x, y = task
    return (phi[..., 1] * np.tanh(phi[..., 0] * x) - y) ** 2


def grad(phi: NDArray, task: list[float]) -> NDArray:
    """Its gradient, (..., 2)."""
    x, y = task
    t = np.tanh(phi[..., 0] * x)
    r = 2 * (phi[..., 1] * t - y)
    return np.stack([r * phi[..., 1] * x * (1 - t * t), r * t], -1)


def steps(phi: Any, task: list[float], rate: float, k: int) -> NDArray:
    """k steps of gradient descent."""
    phi = np.array(phi, float)
    for _ in range(k):
        phi = phi - rate * grad(phi, task)
    return phi


def test_places_go_row_by_row_from_the_lowest_w2() -> None:
    at = places(5, (0.0, 2.0), (1.0, 3.0))
    grid = square(at.T)
    assert np.array_equal(grid[0], np.tile(np.linspace(0, 2, 5), (5, 1)))
    assert np.array_equal(grid[1].T, np.tile(np.linspace(1, 3, 5), (5, 1)))


def test_the_landscape_is_the_mean_loss() -> None:
    found, at = compute("plane_loss", {"tasks": TASKS}), places()
    each = np.array([loss(at, task) for task in TASKS])
    assert np.allclose(found["loss"].ravel(), each.mean(0), rtol=0, atol=1e-12)
    assert np.allclose(found["off"].reshape(3, -1) ** 2, each, rtol=0, atol=1e-12)


def test_a_tasks_solutions_are_where_it_is_not_off() -> None:
    w1 = np.linspace(0.5, 2.5, 7)
    for x, y in TASKS:
        curve = np.stack([w1, y / np.tanh(w1 * x)], -1)
        assert np.allclose(off(curve, [[x, y]]), 0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("k", [0, 1, 3])
def test_losses_after_steps_from_every_place(k: int) -> None:
    at = places(9)
    by_hand = [loss(steps(at, task, 0.13, k), task) for task in TASKS]
    assert np.allclose(losses_after(at, TASKS, 0.13, k), by_hand, rtol=1e-9, atol=1e-12)


def test_the_ways_of_the_tasks() -> None:
    path = ways([0.7, 1.9], TASKS, 0.13, 4)
    by_hand = [[steps([0.7, 1.9], task, 0.13, k) for task in TASKS] for k in range(5)]
    assert np.allclose(path, by_hand, rtol=0, atol=1e-12)


def test_outputs_before_and_after() -> None:
    given = {n: STATE[n] for n in ("theta", "tasks", "rate", "steps")}
    found, x = compute("plane_outputs", given)["outputs"], np.linspace(-3, 3, 61)
    phis = [np.array(STATE["theta"]), *(steps(STATE["theta"], task, 0.13, 4) for task in TASKS)]
    assert np.allclose(found, [w2 * np.tanh(w1 * x) for w1, w2 in phis], rtol=0, atol=1e-12)


def test_reptiles_step_goes_to_the_mean_of_the_ends() -> None:
    theta, found = np.array(STATE["theta"]), compute("reptile_step", STATE)
    mean = np.mean([steps(theta, task, 0.13, 4) for task in TASKS], axis=0)
    assert np.allclose(found["mean"], mean, rtol=0, atol=1e-12)
    assert np.allclose(found["next"], theta + 0.3 * (mean - theta), rtol=0, atol=1e-12)


def test_no_task_weighs_more_for_coming_last() -> None:
    """Seed 1's figure moved theta task after task, so that the last one weighed most."""
    theta, found = np.array(STATE["theta"]), compute("reptile_step", STATE)["next"]
    one_by_one = theta
    for task in TASKS:
        one_by_one = one_by_one + 0.3 * (steps(one_by_one, task, 0.13, 4) - one_by_one)
    assert np.linalg.norm(found - one_by_one) > 0.05
    for order in permutations(TASKS):
        again = compute("reptile_step", {**STATE, "tasks": [*order]})["next"]
        assert np.allclose(again, found, rtol=0, atol=1e-14)


def test_angles_between_vectors() -> None:
    a = np.array([[1.0, 0.0], [1.0, 1.0], [-2.0, 0.0], [0.0, -3.0], [np.nan, 1.0]])
    found = between(a, np.array([2.0, 0.0]))
    assert np.allclose(found[:4], [0, 45, 180, 90], rtol=0, atol=1e-12)
    assert np.isnan(found[4])


@pytest.mark.parametrize(
    ("name", "patch", "says"),
    [
        ("reptile_step", {"rate": 0}, "between 0.001 and 2"),
        ("reptile_step", {"steps": 21}, "between 1 and 20"),
        ("reptile_step", {"steps": 2.0}, "a whole number"),
        ("reptile_step", {"epsilon": 1.01}, "between 0 and 1"),
        ("reptile_step", {"theta": [1, 2, 3]}, "a list of 2"),
        ("reptile_step", {"tasks": TASKS + TASKS}, "a list of 1 to 4"),
    ],
)
def test_wrong_arguments_are_answered_with_a_sentence(
    name: str, patch: dict[str, Any], says: str
) -> None:
    found = json.loads(answer(json.dumps([name, {**STATE, **patch}])))
    assert says in found["error"]


def test_what_diverges_is_answered_all_the_same() -> None:
    far = {"theta": [20, 20], "tasks": [[5, -5]], "rate": 2, "steps": 20, "epsilon": 1}
    text = answer(json.dumps(["reptile_step", far]))
    assert "ok" in json.loads(text, parse_constant=lambda constant: pytest.fail(constant))
