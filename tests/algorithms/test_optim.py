"""Optimizers against textbook formulas on plain numbers, and what becomes of their state."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from minireptile import SGD, Adam, InputError, Loops, Model, Snapshot
from minireptile.lots import join
from minireptile.optim import Optimizer, State, merge, spread
from minireptile.reptile import adapt, adapt_tasks
from minireptile.testing.strategies import seeds
from tests.small import OPTIMIZERS, assert_same_state, random_batch, random_phi, tiny_model

every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)
rates = st.floats(1e-3, 1.0)
fractions = st.one_of(st.just(0.0), st.floats(0.01, 0.999))


def textbook_sgd(phi: float, gradients: list[float], lr: float, momentum: float) -> float:
    """A ball with velocity: Polyak's momentum as TensorFlow and PyTorch write it."""
    velocity = 0.0
    for g in gradients:
        velocity = momentum * velocity + g
        phi = phi - lr * velocity
    return phi


def textbook_adam(
    phi: float, gradients: list[float], lr: float, beta1: float, beta2: float, eps: float
) -> float:
    """Algorithm 1 of Kingma & Ba with corrected moments; epsilon is scaled at each step so that
    it stands beside the square root of the uncorrected v, as in their section 2."""
    m = v = 0.0
    for t, g in enumerate(gradients, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        phi = phi - lr * m_hat / (sqrt(v_hat) + eps / sqrt(1 - beta2**t))
    return phi


def trajectory(optimizer: Optimizer, phi: NDArray, gradients: NDArray) -> tuple[NDArray, dict]:
    phi, state = phi.copy(), optimizer.init(phi)
    for g in gradients:
        g.setflags(write=False)
        optimizer.step(phi, g, state)
    return phi, state


@given(lr=rates, momentum=fractions, seed=seeds, steps=st.integers(1, 6))
def test_sgd_is_the_textbooks(lr: float, momentum: float, seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    phi, gradients = rng.standard_normal((2, 3)), rng.standard_normal((steps, 2, 3))
    got, state = trajectory(SGD(lr, momentum), phi, gradients)
    for i in np.ndindex(phi.shape):
        column = gradients[:, i[0], i[1]].tolist()
        assert got[i] == pytest.approx(textbook_sgd(phi[i], column, lr, momentum), rel=1e-12)
    assert set(state) == ({"velocity"} if momentum else set())


@given(
    lr=rates, beta1=fractions, beta2=st.floats(0.5, 0.9999), eps=st.sampled_from((1e-8, 1e-2)),
    seed=seeds, steps=st.integers(1, 6),
)  # fmt: skip
def test_adam_is_the_textbooks(
    lr: float, beta1: float, beta2: float, eps: float, seed: int, steps: int
) -> None:
    rng = np.random.default_rng(seed)
    phi, gradients = rng.standard_normal((2, 3)), rng.standard_normal((steps, 2, 3))
    got, state = trajectory(Adam(lr, beta1, beta2, eps), phi, gradients)
    for i in np.ndindex(phi.shape):
        expected = textbook_adam(phi[i], gradients[:, i[0], i[1]].tolist(), lr, beta1, beta2, eps)
        assert got[i] == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert set(state) == ({"m", "v", "t"} if beta1 else {"v", "t"})
    np.testing.assert_array_equal(state["t"], [steps, steps])


def test_the_first_step_of_adam_is_lr_in_size() -> None:
    phi = np.zeros(3)
    Adam(0.01).step(phi, np.array([5.0, -0.1, 1e3]), Adam(0.01).init(phi))
    np.testing.assert_allclose(phi, [-0.01, 0.01, -0.01], rtol=1e-4)


@every_optimizer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_vector_is_one_task(name: str, dtype: type) -> None:
    """phi (P,) is T = 1, the state's own arrays are updated, and no type changes."""
    optimizer, rng = OPTIMIZERS[name], np.random.default_rng(0)
    phi: NDArray = rng.standard_normal(5).astype(dtype)
    batched = phi[None].copy()
    single_state, state = optimizer.init(phi), optimizer.init(batched)
    kept = dict(single_state)
    for g in rng.standard_normal((4, 5)).astype(dtype):
        optimizer.step(phi, g, single_state)
        optimizer.step(batched, g[None], state)
    np.testing.assert_array_equal(phi, batched[0])
    assert phi.dtype == batched.dtype == dtype
    assert_same_state(single_state, {n: np.asarray(a[0]) for n, a in state.items()})
    for array_name, array in kept.items():
        assert single_state[array_name] is array
        assert array.any()
        assert array.dtype == (np.int64 if array_name == "t" else dtype)


def test_adam_without_beta1_keeps_no_first_moment_and_is_the_same() -> None:
    """With beta1 = 0 the first moment would equal the gradient."""
    rng = np.random.default_rng(1)
    phi, gradients = rng.standard_normal((2, 4)), rng.standard_normal((5, 2, 4))
    without, state = trajectory(Adam(0.1, beta1=0.0), phi, gradients)
    almost, _ = trajectory(Adam(0.1, beta1=1e-300), phi, gradients)
    assert "m" not in state
    np.testing.assert_allclose(without, almost, rtol=1e-14)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SGD(0.0), "SGD: lr must be positive, not 0.0"),
        (lambda: SGD(float("nan")), "SGD: lr must be positive, not nan"),
        (lambda: SGD(float("inf")), "SGD: lr must be positive"),
        (lambda: SGD(0.1, momentum=1.0), r"momentum must lie in \[0, 1\), not 1.0"),
        (lambda: SGD(0.1, weight_decay_rate=0.0), r"weight_decay_rate must lie in \(0, 1\]"),
        (lambda: Adam(-1.0), "Adam: lr must be positive"),
        (lambda: Adam(beta1=-0.1), r"beta1 must lie in \[0, 1\)"),
        (lambda: Adam(beta2=1.0), r"beta2 must lie in \[0, 1\)"),
        (lambda: Adam(eps=0.0), "eps must be positive"),
        (lambda: Adam(weight_decay_rate=1.1), r"weight_decay_rate must lie in \(0, 1\], not 1.1"),
    ],
)
def test_wrong_numbers(make: Callable[[], Optimizer], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


# --------------------------------------------------------------------------- weight decay


@every_optimizer
def test_weight_decay_comes_before_the_gradient(name: str) -> None:
    """phi is multiplied first, and the gradient is that of the smaller phi."""
    plain, rng = OPTIMIZERS[name], np.random.default_rng(2)
    decaying = type(plain)(**{**vars(plain), "weight_decay_rate": 0.9})
    model = tiny_model()
    theta, (x, y) = random_phi(model, rng, 2), random_batch(model, rng, 3, 2, 4)
    phi, by_hand, state = theta.copy(), theta.copy(), plain.init(theta)
    losses = adapt(model, phi, x, y, decaying)
    for i in range(3):
        by_hand = 0.9 * by_hand
        loss, grad = model.loss_and_grad(by_hand, x[i], y[i])
        plain.step(by_hand, grad, state)
        np.testing.assert_array_equal(losses[i], loss)
    np.testing.assert_array_equal(phi, by_hand)
    assert (phi != theta).all()


# ------------------------------------------------------------------------- state policies


K, T, B = 3, 4, 5  # inner steps, tasks, examples


def started(name: str) -> tuple:
    """A model, a batch of T tasks, and an optimizer whose shared state is not fresh."""
    model, optimizer, rng = tiny_model(), OPTIMIZERS[name], np.random.default_rng(3)
    theta = random_phi(model, rng)
    shared = optimizer.init(theta)
    for g in rng.standard_normal((2, model.size)):
        optimizer.step(theta, g, shared)
    x, y = random_batch(model, rng, K, T, B)
    for array in (theta, x, y, *shared.values()):
        array.setflags(write=False)
    return model, optimizer, theta, shared, x, y


def adapted(
    model: Model, phi: NDArray, x: NDArray, y: NDArray, optimizer: Optimizer, shared: State,
    policy: str,
) -> tuple[NDArray, State]:  # fmt: skip
    """The losses of all tasks as one lot, and the state to share after them."""
    loss, state = adapt_tasks(model, phi, x, y, optimizer, shared, policy)
    run = Snapshot(0, phi[0], shared, loss)
    loss, _, after = join([(loss, phi, state)], run, Loops(1, state=policy))
    return loss, after


@every_optimizer
def test_carry_hands_the_state_from_task_to_task(name: str) -> None:
    model, optimizer, theta, shared, x, y = started(name)
    phi = np.repeat(theta[None], T, axis=0)
    loss, after = adapted(model, phi, x, y, optimizer, shared, "carry")
    state = {n: a.copy() for n, a in shared.items()}
    for t in range(T):
        alone = theta.copy()
        for i in range(K):
            value, grad = model.loss_and_grad(alone, x[i, t], y[i, t])
            optimizer.step(alone, grad, state)
            assert loss[i, t] == value
        np.testing.assert_array_equal(phi[t], alone)
    assert_same_state(after, state)
    if "t" in shared:
        assert after["t"] == shared["t"] + K * T


@every_optimizer
def test_mean_starts_all_tasks_from_the_shared_state_and_averages(name: str) -> None:
    model, optimizer, theta, shared, x, y = started(name)
    phi = np.repeat(theta[None], T, axis=0)
    loss, after = adapted(model, phi, x, y, optimizer, shared, "mean")
    assert loss.shape == (K, T)
    states = []
    for t in range(T):
        alone, state = theta.copy(), {n: a.copy() for n, a in shared.items()}
        adapt(model, alone, x[:, t], y[:, t], optimizer, state)
        np.testing.assert_allclose(phi[t], alone, rtol=1e-10, atol=1e-12)
        states.append(state)
    assert after.keys() == shared.keys()
    for n, array in after.items():
        assert (array.dtype, array.shape) == (shared[n].dtype, shared[n].shape)
        average = sum(state[n] for state in states) / T
        np.testing.assert_allclose(array, average, rtol=1e-10, atol=1e-12)
    if "t" in shared:
        assert after["t"] == shared["t"] + K


@every_optimizer
def test_fresh_starts_every_task_from_nothing(name: str) -> None:
    model, optimizer, theta, shared, x, y = started(name)
    phi = np.repeat(theta[None], T, axis=0)
    _, after = adapted(model, phi, x, y, optimizer, shared, "fresh")
    assert_same_state(after, started(name)[3])
    for t in range(T):
        alone = theta.copy()
        adapt(model, alone, x[:, t], y[:, t], optimizer)
        np.testing.assert_allclose(phi[t], alone, rtol=1e-10, atol=1e-12)


@every_optimizer
def test_spread_copies_and_merge_undoes_it(name: str) -> None:
    shared = started(name)[3]
    states = spread(shared, 3)
    for n, array in states.items():
        assert array.shape == (3, *shared[n].shape)
        assert not np.shares_memory(array, shared[n])
    merged = merge(states)
    for n, array in shared.items():
        assert (merged[n].dtype, merged[n].shape) == (array.dtype, array.shape)
        np.testing.assert_allclose(merged[n], array, rtol=1e-15)
