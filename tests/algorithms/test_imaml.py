"""iMAML: the implicit gradient in closed form, by hand, and where it has none."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile import SGD, Dense, InputError, Loops, Model, Tanh, fomaml, imaml
from minireptile.imaml import adapt_near, implicit_grad
from tests.small import random_batch, random_phi, relative, tiny_model, tiny_stacks

from .relatives import TASKS, every_tail, last, small_loops, traced_peak


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


def test_two_mini_batches_are_enough() -> None:
    """One to adapt on, and the tail."""
    run = last(imaml(tiny_model(), TASKS, SGD(0.05), small_loops(inner_steps=2, prox=20.0)))
    assert run.loss.shape == (2, 3)


def test_the_losses_of_the_inner_loop_have_phis_type() -> None:
    model, rng = tiny_model(dtype="float32"), np.random.default_rng(0)
    phi = random_phi(model, rng, 2).astype(np.float32)
    x, y = random_batch(model, rng, 3, 2, 4)
    losses = adapt_near(model, phi, x, y, SGD(0.01), {}, 1.0)
    assert (losses.shape, losses.dtype) == ((3, 2), np.dtype(np.float32))


@pytest.mark.parametrize("counts", [(2, 3), (3, 2)])
def test_inputs_without_targets_are_no_step(counts: tuple[int, int]) -> None:
    model, rng = tiny_model(), np.random.default_rng(0)
    (x, _), (_, y) = (random_batch(model, rng, k, 2, 4) for k in counts)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        adapt_near(model, random_phi(model, rng, 2), x, y, SGD(0.01), {}, 1.0)
    phi = random_phi(model, rng)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        implicit_grad(model, phi, x[:, 0], y[:, 0], phi, Loops(1, prox=1e6))


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
        rng = np.random.default_rng(3)
        phi = 0.5 * random_phi(model, rng, 1)
        (x, y), tail = random_batch(model, rng, steps, 1, 5), random_batch(model, rng, 1, 7)

        def once() -> None:
            adapt_near(model, phi, x, y, SGD(1e-3), {}, 100.0)
            g = model.loss_and_grad(phi, *tail)[1]
            implicit_grad(model, phi[0], x[:, 0], y[:, 0], g[0], Loops(1, prox=100.0))

        return traced_peak(once)

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


def test_no_curvature_at_all_is_negative_too() -> None:
    """H = -lambda I, where the step of conjugate gradients would be infinite."""
    saddle: Any = SimpleNamespace(size=3, hvp=lambda phi, x, y, v: -2 * v)
    batches, g = (np.zeros((1, 1)), np.zeros((1, 1))), np.array([1.0, 2.0, 2.0])
    with pytest.raises(InputError, match="raise --prox above 2, or"):
        implicit_grad(saddle, np.zeros(3), *batches, g, Loops(1, prox=2.0))


def test_scipy_before_1_12_is_asked_for_a_tol(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def cg(A: Any, b: Any, x0: Any = None, tol: Any = 0, maxiter: Any = 0, atol: Any = 1) -> Any:
        asked.update(tol=tol, maxiter=maxiter, atol=atol)
        return b, 0

    monkeypatch.setattr("scipy.sparse.linalg.cg", cg)
    q = Quadratic()
    loops = Loops(1, cg_steps=3, cg_tolerance=0.01)
    implicit_grad(q.model, q.theta, q.x, q.y, q.theta, loops)
    assert asked == {"tol": 0.01, "maxiter": 3, "atol": 0.0}


def test_conjugate_gradients_that_do_not_arrive() -> None:
    q = Quadratic()
    loops = Loops(1, prox=1e-3, cg_steps=2, cg_tolerance=1e-6)
    words = "did not reach a relative residual of 1e-06 in 2 steps: raise --cg-steps"
    with pytest.raises(InputError, match=words):
        implicit_grad(q.model, q.theta, q.x, q.y, q.theta, loops)
    implicit_grad(q.model, q.theta, q.x, q.y, q.theta, replace(loops, cg_steps=9))
    nan = np.full_like(q.theta, np.nan)  # of a run that has diverged, which has a sentence already
    np.testing.assert_array_equal(implicit_grad(q.model, q.theta, q.x, q.y, nan, loops), nan)


def test_without_scipy_imaml_says_which_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.sparse.linalg", None)
    words = (
        r"'scipy', which is not installed; bring it with: pip install scipy, .* \"\.\[numba\]\"$"
    )
    with pytest.raises(ImportError, match=words):
        next(imaml(tiny_model(), TASKS, SGD(0.1), small_loops()))
    q = Quadratic()
    with pytest.raises(ImportError, match=words):
        implicit_grad(q.model, q.theta, q.x, q.y, q.theta, Loops(1))


def test_importing_loads_no_scipy() -> None:
    code = "import sys, minireptile as mr; mr.imaml; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
