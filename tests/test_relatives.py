"""Reptile's relatives: FOMAML, MAML, iMAML, and an outer optimizer for all of them."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile import (
    SGD,
    Adam,
    Dense,
    InputError,
    Loops,
    Model,
    Protocol,
    Snapshot,
    Tanh,
    adapt,
    evaluate_regression,
    fomaml,
    imaml,
    joint,
    maml,
    omniglot_cnn,
    reptile,
    sine_mlp,
)  # fmt: skip
from minireptile.imaml import adapt_near, implicit_grad
from minireptile.loops import begin, held_out
from minireptile.maml import meta_grad
from minireptile.optim import POLICIES, Optimizer, spread
from minireptile.tasks.base import Tasks
from minireptile.tasks.sine import Sine

from .cuda_on_cpu_build import COMPILER, SUPPORTED
from .gpu_stand_in import stand_in
from .small import (
    Corners,
    assert_same_state,
    random_batch,
    random_phi,
    tiny_model,
    tiny_stacks,
    tiny_tasks,
)  # fmt: skip

TASKS = tiny_tasks()
ALL: dict[str, Callable[..., Any]] = {
    "reptile": reptile, "joint": joint, "fomaml": fomaml, "maml": maml, "imaml": imaml,
}  # fmt: skip
RELATIVES = {name: ALL[name] for name in ("fomaml", "maml", "imaml")}
OUTERS = {"plain": None, "sgd": SGD(0.7, 0.5, 0.99), "adam": Adam(0.01)}
STEPS = {
    "sgd": SGD(0.1),
    "momentum": SGD(0.05, 0.9),
    "decay": SGD(0.1, weight_decay_rate=0.95),
    "momentum and decay": SGD(0.05, 0.7, 0.97),
}

every_relative = pytest.mark.parametrize("algorithm", RELATIVES.values(), ids=RELATIVES)
every_algorithm = pytest.mark.parametrize("algorithm", ALL.values(), ids=ALL)
every_outer = pytest.mark.parametrize("outer", OUTERS.values(), ids=OUTERS)
every_step = pytest.mark.parametrize("optimizer", STEPS.values(), ids=STEPS)
every_tail = pytest.mark.parametrize("tail", ["shared", "separate"])


def small_loops(**changes: Any) -> Loops:
    defaults = {"meta_batch": 3, "inner_steps": 3, "inner_batch": 4, "train_shots": 4, "seed": 11}
    return Loops(**{"iterations": 4, "tail_shots": 1, "prox": 5.0, **defaults, **changes})


def last(run: Any) -> Snapshot:
    *_, end = run
    return end


def relative(one: NDArray, two: NDArray) -> float:
    return float(np.max(abs(one - two)) / np.max(abs(two)))


# ------------------------------------------------------------------- MAML: exact meta-gradients


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


@pytest.mark.parametrize("tasks", [1, 3])
def test_maml_keeps_a_vector_a_step_and_nothing_else(tasks: int) -> None:
    model = Model([Dense(80), Tanh(), Dense(3)], (100,), dtype="float64")

    def peak(steps: int) -> int:
        inner = Inner(model, SGD(0.1, 0.9), steps, tasks)
        state = {n: a.copy() for n, a in inner.state.items()}
        meta_grad(model, inner.phi.copy(), inner.x, inner.y, *inner.tail, SGD(0.1, 0.9), state)
        tracemalloc.start()
        meta_grad(model, inner.phi.copy(), inner.x, inner.y, *inner.tail, SGD(0.1, 0.9), state)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    vector = tasks * model.size * 8
    assert peak(24) - peak(4) == pytest.approx(20 * vector, rel=0.02)


# ------------------------------------------------------------------------------------- FOMAML


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


# ------------------------------------------------------------------------------ iMAML, quadratic


class Quadratic:
    """Linear regression: the Hessian is constant, so everything has a closed form."""

    def __init__(self, features: int = 6, steps: int = 3) -> None:
        rng = np.random.default_rng(5)
        self.model = Model([Dense(1, bias=False)], (features,), "squared_error", dtype="float64")
        self.x, self.y = random_batch(self.model, rng, steps, 8)
        self.tail = random_batch(self.model, rng, 8)
        self.theta = random_phi(self.model, rng)
        self.H = self.hessian(*zip(self.x, self.y, strict=True))

    def hessian(self, *batches: Any) -> NDArray:
        basis = np.eye(self.model.size)
        rows = [[self.model.hvp(self.theta, x, y, e) for e in basis] for x, y in batches]
        return np.mean(rows, axis=0)

    def grad(self, phi: NDArray) -> NDArray:
        batches = zip(self.x, self.y, strict=True)
        return np.mean([self.model.loss_and_grad(phi, x, y)[1] for x, y in batches], axis=0)

    def minimum(self, theta: NDArray, prox: float) -> NDArray:
        """grad(0) + H phi + lambda (phi - theta) = 0."""
        system = self.H + prox * np.eye(len(theta))
        return np.linalg.solve(system, prox * theta - self.grad(np.zeros_like(theta)))

    def meta_loss(self, theta: NDArray, prox: float) -> float:
        return float(self.model.loss_and_grad(self.minimum(theta, prox), *self.tail)[0])


@pytest.mark.parametrize("prox", [0.1, 1.0, 30.0])
def test_the_implicit_gradient_in_closed_form(prox: float) -> None:
    q = Quadratic()
    phi = q.minimum(q.theta, prox)
    g = q.model.loss_and_grad(phi, *q.tail)[1]
    z = implicit_grad(q.model, phi, q.x, q.y, g, Loops(1, prox=prox, cg_steps=50))
    assert relative(z, np.linalg.solve(np.eye(q.model.size) + q.H / prox, g)) < 1e-12
    for e, z_e in zip(np.eye(q.model.size), z, strict=True):
        ahead, behind = (q.meta_loss(q.theta + s * e, prox) for s in (1, -1))
        assert z_e == pytest.approx((ahead - behind) / 2, rel=1e-10)  # exact: M is quadratic


def test_more_steps_of_conjugate_gradients_err_less() -> None:
    q = Quadratic()
    g = q.model.loss_and_grad(q.theta, *q.tail)[1]
    system = np.eye(q.model.size) + q.H / 0.05
    exact = np.linalg.solve(system, g)
    errors = []
    for steps in range(1, 7):
        loops = Loops(1, prox=0.05, cg_steps=steps)
        e = implicit_grad(q.model, q.theta, q.x, q.y, g, loops) - exact
        errors.append(float(e @ system @ e))
    assert all(after < 0.7 * before for before, after in pairwise(errors))
    assert errors[-1] < 1e-20 * errors[0]


@pytest.mark.parametrize("optimizer", [SGD(0.02), SGD(0.02, 0.5)], ids=["sgd", "momentum"])
def test_the_inner_loop_goes_to_the_proximal_minimum(optimizer: SGD) -> None:
    q = Quadratic(steps=1)
    phi, k = q.theta[None].copy(), 4000
    x, y = (np.repeat(a[:, None], k, 0) for a in (q.x[0][None], q.y[0][None]))
    x, y = x.reshape(k, 1, 8, -1), y.reshape(k, 1, 8, -1)
    loss = adapt_near(q.model, phi, x, y, optimizer, optimizer.init(phi), prox=0.7)
    assert relative(phi[0], q.minimum(q.theta, 0.7)) < 1e-9
    assert loss[-1, 0] == pytest.approx(q.model.loss_and_grad(phi[0], q.x[0], q.y[0])[0], 1e-9)
    assert loss[0, 0] == q.model.loss_and_grad(q.theta, q.x[0], q.y[0])[0]


@every_tail
def test_imaml_by_hand(tail: str) -> None:
    model, optimizer = tiny_model(), SGD(0.1)
    loops = small_loops(iterations=1, epsilon=0.5, tail=tail, cg_steps=30, cg_tolerance=1e-10)
    theta, (x, y, tail_x, tail_y) = model.init(loops.seed), loops.sample_tail(TASKS, 0)
    mean = np.zeros_like(theta)
    for t in range(3):
        phi = theta.copy()
        for j in range(2):
            phi = phi - 0.1 * (model.loss_and_grad(phi, x[j, t], y[j, t])[1] + 5 * (phi - theta))
        basis = np.eye(model.size)
        rows = [[model.hvp(phi, x[j, t], y[j, t], e) for e in basis] for j in range(2)]
        g = model.loss_and_grad(phi, tail_x[t], tail_y[t])[1]
        mean += np.linalg.solve(basis + np.mean(rows, axis=0) / 5, g) / 3
    run = last(imaml(tiny_model(), TASKS, optimizer, loops))
    assert relative(run.theta, theta - 0.5 * 0.1 * mean) < 1e-10


def test_imaml_near_theta_is_the_gradient_at_theta() -> None:
    """lambda without bound: no way to go, and nothing to pull back."""
    loops = small_loops(iterations=1, prox=1e12)
    held = last(imaml(tiny_model(), TASKS, SGD(1e-13), loops))
    alone = last(fomaml(tiny_model(), TASKS, SGD(1e-13), loops))
    start = tiny_model().init(11)
    np.testing.assert_allclose(held.theta - start, alone.theta - start, rtol=0, atol=1e-15)
    assert held.theta.tobytes() != start.tobytes()


def test_imamls_memory_does_not_grow_with_the_steps() -> None:
    model = Model([Dense(80), Tanh(), Dense(3)], (100,), dtype="float64")

    def peak(steps: int) -> int:
        inner = Inner(model, SGD(1e-3), steps, 1)
        loops, phi = Loops(1, prox=100.0), inner.phi.copy()

        def once() -> None:
            adapt_near(model, phi, inner.x, inner.y, inner.optimizer, {}, 100.0)
            g = model.loss_and_grad(phi, *inner.tail)[1]
            implicit_grad(model, phi[0], inner.x[:, 0], inner.y[:, 0], g[0], loops)

        once()
        tracemalloc.start()
        once()
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert abs(peak(24) - peak(4)) < model.size * 8


def test_negative_curvature_is_named() -> None:
    """Far from a minimum, a network's loss curves down somewhere."""
    model, rng = tiny_stacks()["relu first"], np.random.default_rng(0)
    phi = random_phi(model, rng)
    x, y = random_batch(model, rng, 1, 6)
    basis = np.eye(model.size)
    values, vectors = np.linalg.eigh([model.hvp(phi, x[0], y[0], e) for e in basis])
    assert values[0] < -0.1
    b = vectors[:, 0]
    with pytest.raises(InputError, match=r"curvature, .*: raise --prox above .*, or") as error:
        implicit_grad(model, phi, x, y, b, Loops(1, prox=-values[0] / 2))
    needed = float(str(error.value).split("above ")[1].split(",")[0])
    assert needed == pytest.approx(-values[0], rel=1e-2)
    z = implicit_grad(model, phi, x, y, b, Loops(1, prox=2 * needed))
    assert relative(z, b / (1 + values[0] / (2 * needed))) < 1e-8


def test_conjugate_gradients_that_do_not_arrive() -> None:
    q = Quadratic()
    loops = Loops(1, prox=1e-3, cg_steps=2, cg_tolerance=1e-6)
    words = "did not reach a relative residual of 1e-06 in 2 steps: raise --cg-steps"
    with pytest.raises(InputError, match=words):
        implicit_grad(q.model, q.theta, q.x, q.y, q.theta, loops)
    implicit_grad(q.model, q.theta, q.x, q.y, q.theta, replace(loops, cg_steps=9))
    nan = np.full_like(q.theta, np.nan)  # of a run that has diverged, which has a sentence already
    np.testing.assert_array_equal(implicit_grad(q.model, q.theta, q.x, q.y, nan, loops), nan)


# --------------------------------------------------------------------------------------- the tail


@every_relative
@every_tail
def test_a_tail_in_every_iteration(algorithm: Any, tail: str) -> None:
    run = last(algorithm(tiny_model(), TASKS, SGD(0.1), small_loops(tail=tail)))
    assert run.loss.shape == (3, 3)
    assert (run.loss > 0).all()


def test_a_shared_tail_is_reptiles_last_mini_batch() -> None:
    loops = small_loops()
    (x, y), apart = loops.sample(TASKS, 2), loops.sample_tail(TASKS, 2)
    for whole, rest, tail in ((x, apart.x, apart.tail_x), (y, apart.y, apart.tail_y)):
        np.testing.assert_array_equal(rest, whole[:-1])
        np.testing.assert_array_equal(tail, whole[-1])


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("tasks", [TASKS, Corners(3), Sine()], ids=["images", "rows", "sine"])
def test_a_separate_tail_is_held_out(tasks: Any, replacement: bool) -> None:
    sizes = {"train_shots": 6, "tail_shots": 2, "inner_steps": 5, "inner_batch": 4}
    loops = small_loops(tail="separate", replacement=replacement, **sizes)
    classes = 1 if isinstance(tasks, Sine) else 3
    apart, again = loops.sample_tail(tasks, 1), loops.sample_tail(tasks, 1)
    for one, two in zip(apart, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert apart.x.shape[:3] == (4, 3, 4)
    assert apart.tail_x.shape[:2] == (3, 2 * classes)
    for t in range(3):
        inner = {row.tobytes() for row in apart.x[:, t].reshape(16, -1)}
        tail = {row.tobytes() for row in apart.tail_x[t].reshape(2 * classes, -1)}
        assert not inner & tail
        assert len(tail) == 2 * classes
        if not replacement:  # 16 places for 4 examples of each class: all are dealt out
            assert len(inner) == 4 * classes
        if classes > 1:
            np.testing.assert_array_equal(np.bincount(apart.tail_y[t]), [2] * classes)
    fewer = replace(loops, meta_batch=1).sample_tail(tasks, 1)
    np.testing.assert_array_equal(fewer.x[:, 0], apart.x[:, 0])
    if not isinstance(tasks, Corners):  # which has one task only
        others = [apart.tail_x[1], loops.sample_tail(tasks, 2).tail_x[0]]
        others += [replace(loops, seed=12).sample_tail(tasks, 1).tail_x[0]]
        assert all((other != apart.tail_x[0]).any() for other in others)


def test_examples_held_out_are_the_last_of_each_class() -> None:
    held = held_out(np.array([2, 0, 2, 0, 2, 0]), 1)
    np.testing.assert_array_equal(held, [False, False, False, False, True, True])
    np.testing.assert_array_equal(held_out(np.zeros((4, 1)), 3), [False, True, True, True])


# ---------------------------------------------------------------------------- the outer optimizer


@every_relative
@every_outer
@pytest.mark.parametrize("policy", POLICIES)
def test_epsilon_zero_changes_nothing(algorithm: Any, outer: Optimizer | None, policy: str) -> None:
    loops = small_loops(epsilon=0.0, epsilon_final=0.0, outer=outer, state=policy)
    model = tiny_model()
    for run in algorithm(model, TASKS, SGD(0.1, 0.5), loops):
        assert run.theta.tobytes() == model.init(loops.seed).tobytes()


@pytest.mark.parametrize("name", ["reptile", "fomaml", "maml", "imaml"])
def test_an_outer_sgd_of_rate_1_is_epsilon(name: str) -> None:
    plain, outer = (
        last(ALL[name](tiny_model(), TASKS, SGD(0.1, 0.5), small_loops(outer=outer)))
        for outer in (None, SGD(1.0))
    )
    assert relative(outer.theta, plain.theta) < 1e-14
    for n, array in plain.state.items():
        np.testing.assert_allclose(outer.state[n], array, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("outer", [SGD(0.7, 0.5, 0.99), Adam(0.01)], ids=["sgd", "adam"])
@pytest.mark.parametrize("policy", POLICIES)
def test_an_outer_optimizer_by_hand(outer: Optimizer, policy: str) -> None:
    """Its gradient is theta - mean phi, and epsilon scales its step; its state is its own."""
    loops = small_loops(epsilon=0.8, epsilon_final=0.4, outer=outer, state=policy)
    model, inner = tiny_model(), Adam(0.01)
    theta = model.init(loops.seed)
    state, alone = outer.init(theta), replace(loops, outer=None, epsilon=1.0, epsilon_final=1.0)
    run = begin(model, inner, loops)
    for it, after in enumerate(reptile(tiny_model(), TASKS, inner, loops)):
        step = next(reptile(tiny_model(), TASKS, inner, alone, replace(run, iteration=it)))
        there = run.theta * outer.weight_decay_rate
        outer.step(there, run.theta - step.theta, state)
        theta = run.theta + (0.8 - 0.1 * it) * (there - run.theta)
        assert relative(after.theta, theta) < 1e-13
        for name, array in state.items():
            np.testing.assert_allclose(after.state[f"outer.{name}"], array, rtol=1e-9)
        for name in inner.init(theta):
            np.testing.assert_array_equal(after.state[name], step.state[name])
        run = after


def test_tasks_start_without_the_outer_optimizers_state() -> None:
    """A GPU's inner loop, for one, has no arrays for it."""
    run = begin(tiny_model(), SGD(0.1, 0.5), small_loops(outer=Adam()))
    assert run.state.keys() == {"velocity", "outer.m", "outer.v", "outer.t"}
    assert spread(run.state, 2).keys() == {"velocity"}
    assert begin(tiny_model(), SGD(0.1), small_loops()).state == {}


def test_joint_training_needs_no_outer_optimizer() -> None:
    plain, outer = (
        last(joint(tiny_model(), TASKS, SGD(0.1), small_loops(outer=outer)))
        for outer in (None, Adam())
    )
    assert plain.theta.tobytes() == outer.theta.tobytes()


def test_a_gpu_takes_over_only_without_an_outer_optimizer() -> None:
    model: Any = tiny_model()
    model.gpu = SimpleNamespace(reptile=lambda *arguments: iter(["there"]))
    assert next(iter(reptile(model, TASKS, SGD(0.1), small_loops()))) == "there"
    assert next(reptile(model, TASKS, SGD(0.1), small_loops(outer=SGD(1.0)))).iteration == 1


@every_outer
def test_loops_go_through_json(outer: Optimizer | None) -> None:
    """To other processes, which draw tasks ahead."""
    loops = small_loops(outer=outer, tail="separate")
    assert Loops(**json.loads(json.dumps(asdict(loops)))) == loops


@pytest.mark.skipif(not (COMPILER and SUPPORTED), reason="needs g++ on Linux")
@every_outer
@pytest.mark.parametrize("name", ALL)
def test_on_a_gpu_the_same_comes_out(name: str, outer: Optimizer | None) -> None:
    """One that the CPU stands in for."""
    inner, loops = SGD(0.1, 0.5), small_loops(iterations=2, outer=outer)
    wanted = last(ALL[name](tiny_model(), TASKS, inner, loops))
    with stand_in():
        got = last(ALL[name](tiny_model(backend="cupy"), TASKS, inner, loops))
        assert relative(got.theta, wanted.theta) < 1e-10
        assert relative(got.loss, wanted.loss) < 1e-10
        assert got.state.keys() == wanted.state.keys()


# --------------------------------------------------------------------------- as for Reptile itself


@every_algorithm
@every_outer
@every_tail
@pytest.mark.parametrize("policy", POLICIES)
def test_continuing_is_the_same_bit_for_bit(
    algorithm: Any, outer: Optimizer | None, tail: str, policy: str
) -> None:
    loops, inner = small_loops(outer=outer, state=policy, tail=tail), SGD(0.05, 0.8)
    whole = list(algorithm(tiny_model(), TASKS, inner, loops))
    assert [run.iteration for run in whole] == [1, 2, 3, 4]
    for cut in range(4):
        start = whole[cut - 1] if cut else begin(tiny_model(), inner, loops)
        for array in (start.theta, *start.state.values()):
            array.setflags(write=False)
        rest = list(algorithm(tiny_model(), TASKS, inner, loops, start))
        for one, two in zip(whole[cut:], rest, strict=True):
            assert one.iteration == two.iteration
            assert one.theta.tobytes() == two.theta.tobytes()
            assert one.loss.tobytes() == two.loss.tobytes()
            assert_same_state(one.state, two.state)


@every_relative
def test_without_a_state_it_does_not_matter_who_runs_beside_whom(algorithm: Any) -> None:
    runs = [
        last(algorithm(tiny_model(), TASKS, SGD(0.1), small_loops(state=policy)))
        for policy in POLICIES
    ]
    for run in runs[1:]:
        assert relative(run.theta, runs[0].theta) < 1e-12
        assert relative(run.loss, runs[0].loss) < 1e-12


@every_relative
def test_fresh_leaves_the_shared_state_alone(algorithm: Any) -> None:
    inner, loops = SGD(0.1, 0.9), small_loops(state="fresh")
    run = last(algorithm(tiny_model(), TASKS, inner, loops))
    assert_same_state(run.state, begin(tiny_model(), inner, loops).state)


@every_relative
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_and_types_of_a_snapshot(algorithm: Any, dtype: str) -> None:
    model = tiny_model(dtype=dtype)
    inner = SGD(0.1, 0.9)
    run = last(algorithm(model, TASKS, inner, small_loops(outer=Adam())))
    assert (run.theta.shape, run.theta.dtype) == ((model.size,), np.dtype(dtype))
    assert (run.loss.shape, run.loss.dtype) == ((3, 3), np.dtype(dtype))
    fresh = begin(model, inner, small_loops(outer=Adam()))
    for name in ("velocity", "outer.m", "outer.v", "outer.t"):
        assert run.state[name].shape == fresh.state[name].shape
        assert run.state[name].dtype == fresh.state[name].dtype
    assert run.state.keys() == fresh.state.keys()
    assert int(run.state["outer.t"]) == 4
    assert list(algorithm(model, TASKS, inner, small_loops(iterations=0))) == []


@every_relative
def test_float32_is_float64_rounded(algorithm: Any) -> None:
    runs = [
        last(algorithm(tiny_model(dtype=dtype), TASKS, SGD(0.1), small_loops(iterations=1)))
        for dtype in ("float32", "float64")
    ]
    assert relative(runs[0].theta, runs[1].theta) < 1e-5


@pytest.mark.parametrize("algorithm", [fomaml, imaml])
def test_adam_inside(algorithm: Any) -> None:
    run = last(algorithm(tiny_model(), TASKS, Adam(0.001), small_loops(prox=100.0)))
    assert int(run.state["t"]) == 4 * (3 if algorithm is fomaml else 2)


@every_relative
def test_divergence_is_reported(algorithm: Any) -> None:
    model = Model([Dense(1)], (1,), "squared_error")
    loops = small_loops(iterations=50, cg_tolerance=0.5)  # curvature 17, and prox 5
    with (
        np.errstate(all="ignore"),
        pytest.raises(InputError, match=r"the run diverged: .* in iteration \d+; lower --inner-lr"),
    ):
        last(algorithm(model, Sine(), SGD(0.35), loops))


@every_relative
def test_sine_waves_are_learned_to_be_learned(algorithm: Any) -> None:
    """After training, five steps on an unseen wave lead further."""
    model, inner = sine_mlp(), SGD(0.02)
    loops = Loops(
        800, meta_batch=1, train_shots=50, tail="separate", tail_shots=10, prox=90.0,
        epsilon_final=0.5, outer=Adam(0.002),
    )  # fmt: skip
    protocol = Protocol(tasks=50, shot=10, marks=(0, 5), batch=10)
    start = begin(model, inner, loops)
    before, after = (
        evaluate_regression(model, run.theta, run.state, Sine(), inner, protocol).mse
        for run in (start, last(algorithm(model, Sine(), inner, loops)))
    )
    assert after[1] < 0.75 * before[1]


# ---------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inner_steps": 0}, "inner_steps must be at least 1, not 0"),
        ({"tail": "own"}, "tail must be one of shared, separate, not 'own'"),
        ({"tail_shots": 0}, "tail_shots must be at least 1, not 0"),
        ({"tail": "separate", "tail_shots": 4}, "of 4 examples a class leaves none of 4 to adapt"),
        ({"prox": 0.0}, "prox, iMAML's lambda, must be positive, not 0.0"),
        ({"prox": -1.0}, "must be positive, not -1.0"),
        ({"prox": float("nan")}, "must be positive, not nan"),
        ({"prox": float("inf")}, "must be positive, not inf"),
        ({"cg_steps": 0}, "cg_steps must be at least 1, not 0"),
        ({"cg_tolerance": -0.1}, r"cg_tolerance must lie in \[0, 1\), not -0.1"),
        ({"cg_tolerance": 1.0}, r"cg_tolerance must lie in \[0, 1\), not 1.0"),
        ({"outer": "adam"}, r"outer must be SGD\(...\), Adam\(...\) or None, not 'adam'"),
    ],
)
def test_wrong_numbers(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        small_loops(**changes)


def test_a_shared_tail_has_no_shots_of_its_own() -> None:
    assert small_loops(tail="shared", tail_shots=100).tail == "shared"


@pytest.mark.parametrize(
    ("algorithm", "optimizer", "changes", "words"),
    [
        (maml, Adam(), {}, "and not of Adam: choose --optimizer sgd, or --algorithm fomaml or"),
        (imaml, SGD(0.1), {"inner_steps": 1}, "imaml needs inner_steps of at least 2"),
        (imaml, SGD(0.5), {}, "steps of rate 0.5 overshoot theta when a prox of 5.0 pulls"),
        (imaml, SGD(0.5, 0.3), {"prox": 5.2}, "until their product is under 2.6"),
        (imaml, SGD(0.1, 0.0, 0.9), {}, "a weight_decay_rate of 0.9 towards zero: leave it at 1"),
    ],
)
def test_what_cannot_be_done_is_said_first(
    algorithm: Any, optimizer: Optimizer, changes: dict[str, Any], words: str
) -> None:
    class Untouched:
        def draw(self, *arguments: Any) -> Any:
            raise AssertionError("a task was drawn")

    tasks: Tasks = Untouched()  # type: ignore[assignment]
    with pytest.raises(InputError, match=words):
        next(algorithm(tiny_model(), tasks, optimizer, small_loops(**changes)))


def test_without_scipy_imaml_says_which_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.sparse.linalg", None)
    with pytest.raises(ImportError, match=r"'scipy', which is not installed; .* pip install"):
        next(imaml(tiny_model(), TASKS, SGD(0.1), small_loops()))


def test_importing_loads_no_scipy() -> None:
    code = "import sys, minireptile as mr; mr.imaml; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
