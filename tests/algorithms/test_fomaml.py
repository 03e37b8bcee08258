"""FOMAML: MAML without curvature, and Reptile's last inner step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minireptile import SGD, Adam, Model, adapt, fomaml, joint, maml, reptile
from minireptile.optim import POLICIES, Optimizer
from tests.small import assert_same_state, relative, tiny_model

from .relatives import TASKS, every_tail, last, small_loops


@every_tail
@pytest.mark.parametrize("k", [1, 4])
def test_fomaml_is_maml_without_curvature(
    k: int, tail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loops, optimizer = small_loops(inner_steps=k, tail=tail), SGD(0.1)
    exact = last(maml(tiny_model(), TASKS, optimizer, loops))
    monkeypatch.setattr(Model, "hvp", lambda self, phi, x, y, v: np.zeros_like(v))
    first_order = last(fomaml(tiny_model(), TASKS, optimizer, loops))
    flat = last(maml(tiny_model(), TASKS, optimizer, loops))
    assert relative(first_order.theta, flat.theta) < 1e-13
    np.testing.assert_allclose(first_order.loss, flat.loss, rtol=1e-12)
    assert (relative(first_order.theta, exact.theta) > 1e-4) == (k > 1)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("optimizer", [SGD(0.1, 0.9, 0.95), Adam(0.01), Adam(0.01, beta1=0.0)])
def test_fomaml_is_the_last_inner_step(optimizer: Optimizer, policy: str) -> None:
    """By hand, task after task; with a shared tail, on Reptile's own mini-batches."""
    loops = small_loops(iterations=1, state=policy)
    model = tiny_model()
    theta, (x, y) = model.init(loops.seed), loops.sample(TASKS, 0)
    updates, state = [], optimizer.init(theta)
    for t in range(3):
        state = state if policy == "carry" else optimizer.init(theta)
        phi = theta.copy()
        adapt(model, phi, x[:-1, t], y[:-1, t], optimizer, state)
        before = phi.copy()
        adapt(model, phi, x[-1:, t], y[-1:, t], optimizer, state)
        updates.append(phi - before)
    run = last(fomaml(tiny_model(), TASKS, optimizer, loops))
    assert relative(run.theta, theta + sum(updates) / 3) < 1e-13
    same = last(reptile(tiny_model(), TASKS, optimizer, loops))
    np.testing.assert_array_equal(run.loss, same.loss)
    assert_same_state(run.state, same.state)


@pytest.mark.parametrize("algorithm", [fomaml, maml])
def test_with_one_mini_batch_all_are_joint_training(algorithm: Any) -> None:
    loops = small_loops(inner_steps=1, epsilon_final=1.0)
    together = last(joint(tiny_model(), TASKS, SGD(0.1), loops))
    assert relative(last(algorithm(tiny_model(), TASKS, SGD(0.1), loops)).theta, together.theta) < (
        1e-13
    )
