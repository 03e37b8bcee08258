"""MAML: its meta-gradient is exact, and costs a vector a step."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile import SGD, Dense, Model, Tanh, adapt, maml, omniglot_cnn
from minireptile.maml import meta_grad
from minireptile.optim import POLICIES, Optimizer
from tests.small import (
    assert_same_state,
    random_batch,
    random_phi,
    relative,
    tiny_model,
    tiny_stacks,
)

from .relatives import TASKS, small_loops, traced_peak

STEPS = {
    "sgd": SGD(0.1),
    "momentum": SGD(0.05, 0.9),
    "decay": SGD(0.1, weight_decay_rate=0.95),
    "momentum and decay": SGD(0.05, 0.7, 0.97),
}
every_step = pytest.mark.parametrize("optimizer", STEPS.values(), ids=STEPS)


def networks() -> dict[str, Model]:
    """Every tiny stack, and the paper's network with few filters on small images."""
    small = omniglot_cnn(3, filters=3, input_shape=(9, 9, 1), dtype="float64")
    return {"omniglot": small, **tiny_stacks()}


class Inner:
    """k - 1 mini-batches for T tasks and a tail of another size, where all began, and a velocity
    that is not zero."""

    def __init__(self, model: Model, optimizer: Optimizer, steps: int, T: int = 2) -> None:
        rng = np.random.default_rng(3)
        self.model, self.optimizer = model, optimizer
        self.phi = 0.5 * random_phi(model, rng, T)
        self.x, self.y = random_batch(model, rng, steps, T, 5)
        self.tail = random_batch(model, rng, T, 7)
        self.state = {n: 0.1 * rng.standard_normal(a.shape) for n, a in self.start().items()}

    def start(self) -> dict[str, NDArray]:
        return self.optimizer.init(self.phi)

    def meta_grad(self) -> tuple[NDArray, NDArray]:
        state = {n: a.copy() for n, a in self.state.items()}
        batches = self.x, self.y, *self.tail
        return meta_grad(self.model, self.phi.copy(), *batches, self.optimizer, state)

    def meta_loss(self, t: int, phi: NDArray) -> NDArray:
        """Of task t, from many phi (n, P) at a time."""
        n = len(phi)
        phi = phi.copy()
        state = {name: np.repeat(a[None, t].astype(phi.dtype), n, 0) for name, a in
                 self.state.items()}  # fmt: skip
        x, y = (np.repeat(a[:, None, t], n, 1) for a in (self.x, self.y))
        adapt(self.model, phi, x, y, self.optimizer, state)
        tail_x, tail_y = (np.repeat(a[None, t], n, 0) for a in self.tail)
        return self.model.loss_and_grad(phi, tail_x, tail_y)[0]

    def complex_step(self, t: int) -> NDArray:
        """Every entry of the meta-gradient, through the whole inner loop."""
        h = 1e-20
        steps = 1j * h * np.eye(self.model.size)
        return self.meta_loss(t, self.phi[t] + steps).imag / h


@pytest.mark.parametrize("steps", [5, 1, 0])
@every_step
@pytest.mark.parametrize("name", networks())
def test_the_meta_gradient_is_exact(name: str, optimizer: SGD, steps: int) -> None:
    inner = Inner(networks()[name], optimizer, steps)
    losses, grad = inner.meta_grad()
    assert losses.shape == (steps + 1, 2)
    for t in range(2):
        assert relative(grad[t], inner.complex_step(t)) < 1e-10
        assert losses[-1, t] == pytest.approx(inner.meta_loss(t, inner.phi[t, None])[0], 1e-14)


@every_step
@pytest.mark.parametrize("name", ["omniglot", "tanh first"])
def test_the_meta_gradient_is_a_difference_of_meta_losses(name: str, optimizer: SGD) -> None:
    inner = Inner(networks()[name], optimizer, 5, T=1)
    _, grad = inner.meta_grad()
    along, h = np.random.default_rng(4).standard_normal((3, inner.model.size)), 1e-6
    ahead, behind = (inner.meta_loss(0, inner.phi[0] + s * h * along) for s in (1, -1))
    assert relative(along @ grad[0], (ahead - behind) / (2 * h)) < 1e-6


@every_step
def test_the_inner_steps_of_maml_are_adapts(optimizer: SGD) -> None:
    inner = Inner(tiny_model(), optimizer, 3)
    phi, state = inner.phi.copy(), {n: a.copy() for n, a in inner.state.items()}
    ours, theirs = inner.phi.copy(), {n: a.copy() for n, a in inner.state.items()}
    wanted = adapt(inner.model, phi, inner.x, inner.y, optimizer, state)
    got, _ = meta_grad(inner.model, ours, inner.x, inner.y, *inner.tail, optimizer, theirs)
    np.testing.assert_array_equal(ours, phi)
    np.testing.assert_array_equal(got[:-1], wanted)
    assert_same_state(theirs, state)


@every_step
def test_tasks_side_by_side_are_tasks_one_by_one(optimizer: SGD) -> None:
    inner = Inner(tiny_model(), optimizer, 3, T=3)
    losses, grad = inner.meta_grad()
    for t in range(3):
        one = slice(t, t + 1)
        state = {n: a[one].copy() for n, a in inner.state.items()}
        loss, alone = meta_grad(
            inner.model, inner.phi[one].copy(), inner.x[:, one], inner.y[:, one],
            inner.tail[0][one], inner.tail[1][one], optimizer, state,
        )  # fmt: skip
        assert relative(alone, grad[one]) < 1e-13
        assert relative(loss, losses[:, one]) < 1e-13


def test_maml_moves_theta_against_the_mean_meta_gradient() -> None:
    model, optimizer = tiny_model(), SGD(0.1)
    loops = small_loops(iterations=2, epsilon=0.5, epsilon_final=0.5, state="fresh")
    theta = model.init(loops.seed)
    for it, run in enumerate(maml(tiny_model(), TASKS, optimizer, loops)):
        phi = np.repeat(theta[None], 3, axis=0)
        loss, grad = meta_grad(model, phi, *loops.sample_tail(TASKS, it), optimizer, {})
        theta = theta - 0.5 * 0.1 * grad.mean(0)
        assert relative(run.theta, theta) < 1e-14
        np.testing.assert_array_equal(run.loss, loss)


@pytest.mark.parametrize("policy", POLICIES)
def test_velocity_goes_from_task_to_task_as_the_policy_says(policy: str) -> None:
    """Two iterations by hand, task after task."""
    model, optimizer = tiny_model(), SGD(0.05, 0.9, 0.97)
    loops = small_loops(iterations=2, epsilon=1.0, epsilon_final=1.0, state=policy)
    theta = model.init(loops.seed)
    shared = np.zeros_like(theta)
    for it, run in enumerate(maml(tiny_model(), TASKS, optimizer, loops)):
        x, y, tail_x, tail_y = loops.sample_tail(TASKS, it)
        grads, ends = [], [shared]
        for t in range(3):
            start = {"carry": ends[-1], "mean": shared, "fresh": 0 * shared}[policy]
            state = {"velocity": start.copy()}
            batches = x[:, t], y[:, t], tail_x[t], tail_y[t]
            grads.append(meta_grad(model, theta.copy(), *batches, optimizer, state)[1])
            ends.append(state["velocity"])
        theta = theta - 0.05 * np.mean(grads, axis=0)
        shared = {"carry": ends[-1], "mean": np.mean(ends[1:], axis=0), "fresh": shared}[policy]
        assert relative(run.theta, theta) < 1e-13
        np.testing.assert_allclose(run.state["velocity"], shared, rtol=1e-9, atol=1e-12)


def test_the_meta_gradient_has_phis_type() -> None:
    inner = Inner(tiny_model(dtype="float32"), STEPS["momentum"], 3)
    inner.phi = inner.phi.astype(np.float32)
    inner.state = {n: a.astype(np.float32) for n, a in inner.state.items()}
    assert {a.dtype for a in inner.meta_grad()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("tasks", [1, 3])
def test_maml_keeps_a_vector_a_step_and_nothing_else(tasks: int) -> None:
    model = Model([Dense(80), Tanh(), Dense(3)], (100,), dtype="float64")

    def peak(steps: int) -> int:
        return traced_peak(Inner(model, SGD(0.1, 0.9), steps, tasks).meta_grad)

    vector = tasks * model.size * 8
    # A call leaves small objects until the garbage is collected, now or some steps later.
    assert peak(24) - peak(4) == pytest.approx(20 * vector, abs=vector / 2)
