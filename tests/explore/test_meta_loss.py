"""The landscape that MAML descends, and its gradient, against the loss of the steps themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile.explore.answer import FIGURES, compute, tables
from minireptile.explore.figures.two_weights import places

from .test_two_weights import grad, loss, steps

tables()
TASKS = [[1.0, 1.5], [1.0, -1.5], [0.6, 0.7]]
WIDE = (-2.5, 2.5)


def meta(theta: NDArray, rate: float, m: int) -> Any:
    """The mean loss after m steps."""
    return np.mean([loss(steps(theta, task, rate, m), task) for task in TASKS], axis=0)


def slope(f: Any, theta: NDArray, h: float = 1e-5) -> NDArray:
    """A gradient by central differences."""
    return np.array([(f(theta + e) - f(theta - e)) / (2 * h) for e in h * np.eye(len(theta))])


@pytest.mark.parametrize("m", [0, 1, 4])
def test_the_landscape_is_the_loss_after_the_steps(m: int) -> None:
    found = compute("meta_loss", {"tasks": TASKS, "rate": 0.1, "steps": m})["after"]
    by_hand = meta(places(48, WIDE, WIDE), 0.1, m)
    assert found.shape == (48, 48)
    assert np.allclose(found.ravel(), by_hand, rtol=1e-8, atol=1e-12)


def test_with_no_step_it_is_the_loss_of_joint_training() -> None:
    plain = compute("task_losses", {"tasks": TASKS})
    found = compute("meta_loss", {"tasks": TASKS, "rate": 0.1, "steps": 0})["after"]
    assert np.allclose(found, plain["loss"], rtol=0, atol=1e-14)
    assert np.allclose(plain["losses"].mean(0), plain["loss"], rtol=0, atol=1e-14)
    assert np.allclose(plain["off"] ** 2, plain["losses"], rtol=0, atol=1e-14)


@pytest.mark.parametrize("m", [0, 1, 2, 5])
def test_the_gradients_are_those_of_the_losses(m: int) -> None:
    theta = np.array([0.8, 0.5])
    found = compute("meta_ways", {"theta": theta.tolist(), "tasks": TASKS, "rate": 0.1, "steps": m})
    assert np.allclose(found["path"][-1], [steps(theta, t, 0.1, m) for t in TASKS], atol=1e-12)
    assert np.allclose(found["loss_before"], [loss(theta, t) for t in TASKS], atol=1e-12)
    after = [loss(steps(theta, t, 0.1, m), t) for t in TASKS]
    assert np.allclose(found["loss_after"], after, rtol=0, atol=1e-12)
    assert np.allclose(found["grads"], [grad(theta, t) for t in TASKS], rtol=0, atol=1e-12)
    for t, task in enumerate(TASKS):
        by_hand = slope(lambda at, task=task: loss(steps(at, task, 0.1, m), task), theta)
        assert np.allclose(found["meta_grads"][t], by_hand, rtol=0, atol=1e-8)
    assert np.allclose(
        found["mean_meta_grad"], slope(lambda at: meta(at, 0.1, m), theta), atol=1e-8
    )
    assert np.allclose(found["mean_grad"], slope(lambda at: meta(at, 0.1, 0), theta), atol=1e-8)


def test_every_hessian_on_the_way_counts() -> None:
    """Seed 1's arrow knew the Hessian at theta alone, which is MAML for one step only."""
    theta, rate = np.array([0.8, 0.5]), 0.1

    def first_alone(m: int) -> NDArray:
        found = []
        for task in TASKS:
            H = np.array([slope(lambda at, i=i, t=task: grad(at, t)[i], theta) for i in (0, 1)])
            found.append((np.eye(2) - rate * H) @ grad(steps(theta, task, rate, m), task))
        return np.mean(found, axis=0)

    def shown(m: int) -> Any:
        given = {"theta": theta.tolist(), "tasks": TASKS, "rate": rate, "steps": m}
        return compute("meta_ways", given)["mean_meta_grad"]

    assert np.allclose(shown(1), first_alone(1), rtol=0, atol=1e-8)
    assert np.linalg.norm(shown(3) - first_alone(3)) > 0.1


def test_the_pictures_begin_where_they_say() -> None:
    """The two opposite tasks: joint training goes to the cross, MAML away from its middle."""
    first = FIGURES["meta_loss"].first
    middle = compute("meta_loss", {n: first[n] for n in ("tasks", "rate", "steps")})["after"]
    assert middle[23:25, 23:25].min() > 0.999 * middle.max()
    found = compute("meta_ways", dict(first))
    theta = np.array(first["theta"])
    assert theta @ -found["mean_grad"] < 0 < theta @ -found["mean_meta_grad"]
    found = compute("meta_ways", dict(FIGURES["two_losses"].first))
    a, b = -found["grads"]
    assert a @ b < -0.9 * np.linalg.norm(a) * np.linalg.norm(b)
    assert (-found["meta_grads"][:, 0] > 0).all()
