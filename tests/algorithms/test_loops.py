"""The outer and the inner loop: what Reptile must be, whatever the tasks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile import SGD, Adam, Dense, InputError, Loops, Model, Snapshot, adapt, joint, reptile
from minireptile.backend import why_not
from minireptile.delegate import begin
from minireptile.loops import check_finite
from minireptile.optim import POLICIES, Optimizer, merge
from minireptile.reptile import adapt_tasks
from minireptile.tasks.base import Tasks
from minireptile.tasks.sine import Sine
from tests.small import (
    OPTIMIZERS,
    assert_same_state,
    random_batch,
    random_phi,
    relative,
    tiny_model,
    tiny_tasks,
)

from .relatives import assert_continues, last

TASKS = tiny_tasks()
every_policy = pytest.mark.parametrize("policy", POLICIES)
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)
algorithms = pytest.mark.parametrize("algorithm", [reptile, joint])


def small_loops(**changes: Any) -> Loops:
    defaults = {"meta_batch": 3, "inner_steps": 2, "inner_batch": 4, "train_shots": 3, "seed": 11}
    return Loops(**{"iterations": 4, **defaults, **changes})


# ---------------------------------------------------------------------- identities of Reptile


@every_policy
@every_optimizer
def test_epsilon_zero_changes_nothing(name: str, policy: str) -> None:
    loops = small_loops(epsilon=0.0, epsilon_final=0.0, state=policy)
    model = tiny_model()
    for run in reptile(model, TASKS, OPTIMIZERS[name], loops):
        assert run.theta.tobytes() == model.init(loops.seed).tobytes()
        assert (run.loss > 0).all()


def test_epsilon_one_goes_all_the_way() -> None:
    """With epsilon = 1 and one task, theta becomes the adapted phi."""
    loops = small_loops(iterations=1, meta_batch=1, epsilon=1.0)
    model, optimizer = tiny_model(), SGD(0.1)
    x, y = loops.sample(TASKS, 0)
    phi = model.init(loops.seed)
    adapt(model, phi, x[:, 0], y[:, 0], optimizer)
    assert relative(last(reptile(model, TASKS, optimizer, loops)).theta, phi) < 1e-14


@every_policy
@pytest.mark.parametrize("alpha", [0.02, 0.3])
@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_one_inner_step_is_joint_training(policy: str, alpha: float, beta: float) -> None:
    """With k = 1, theta + beta (mean(theta - alpha g_t) - theta) = theta - alpha beta mean g_t:
    joint SGD at rate alpha beta, on the same tasks (the paper's section 5.1)."""
    loops = small_loops(iterations=6, inner_steps=1, epsilon=beta, epsilon_final=beta, state=policy)
    meta = reptile(tiny_model(), TASKS, SGD(alpha), loops)
    together = joint(tiny_model(), TASKS, SGD(alpha * beta), loops)
    start = tiny_model().init(loops.seed)
    for one, two in zip(meta, together, strict=True):
        assert relative(one.theta, two.theta) < 1e-13
        np.testing.assert_allclose(one.loss, two.loss, rtol=1e-12)
        assert relative(two.theta, start) > 1e-4
        start = two.theta


def test_more_inner_steps_are_not_joint_training() -> None:
    loops = small_loops(inner_steps=2, epsilon_final=1.0)
    meta = last(reptile(tiny_model(), TASKS, SGD(0.1), loops))
    together = last(joint(tiny_model(), TASKS, SGD(0.1), loops))
    assert relative(meta.theta, together.theta) > 1e-3


class Permuted(Loops):
    """The same tasks in another order."""

    def sample(
        self, tasks: Tasks, iteration: int, which: range | None = None
    ) -> tuple[NDArray, NDArray]:
        x, y = super().sample(tasks, iteration, which)
        order = np.random.default_rng(iteration).permutation(self.meta_batch)
        return x[:, order], y[:, order]


@pytest.mark.parametrize("policy", ["mean", "fresh"])
@every_optimizer
def test_the_order_of_parallel_tasks_does_not_matter(name: str, policy: str) -> None:
    loops = small_loops(iterations=3, meta_batch=5, state=policy)
    one = last(reptile(tiny_model(), TASKS, OPTIMIZERS[name], loops))
    two = last(reptile(tiny_model(), TASKS, OPTIMIZERS[name], Permuted(**vars(loops))))
    assert (one.loss != two.loss).any()
    assert relative(one.theta, two.theta) < 1e-9
    for array_name, array in one.state.items():
        np.testing.assert_allclose(array, two.state[array_name], rtol=1e-6, atol=1e-12)


def test_the_order_of_carried_tasks_does_matter() -> None:
    loops = small_loops(iterations=3, meta_batch=5, state="carry")
    one = last(reptile(tiny_model(), TASKS, Adam(), loops))
    two = last(reptile(tiny_model(), TASKS, Adam(), Permuted(**vars(loops))))
    assert relative(one.theta, two.theta) > 1e-6


@every_policy
@every_optimizer
def test_theta_is_a_moving_average_of_adapted_weights(name: str, policy: str) -> None:
    """theta_n = (1 - e)^n theta_0 + e sum_i (1 - e)^(n - 1 - i) mean_t phi_i, at constant e."""
    e, n = 0.3, 4
    loops = small_loops(iterations=n, epsilon=e, epsilon_final=e, state=policy)
    model, optimizer = tiny_model(), OPTIMIZERS[name]
    run = begin(model, optimizer, loops)
    expected = (1 - e) ** n * run.theta
    for i, after in enumerate(reptile(tiny_model(), TASKS, optimizer, loops)):
        phi = np.repeat(run.theta[None], loops.meta_batch, axis=0)
        loss, state = adapt_tasks(model, phi, *loops.sample(TASKS, i), optimizer, run.state, policy)
        np.testing.assert_array_equal(after.loss, loss)
        assert_same_state(after.state, run.state if policy == "fresh" else merge(state))
        expected += e * (1 - e) ** (n - 1 - i) * phi.mean(0)
        run = after
    assert relative(run.theta, expected) < 1e-13


def test_epsilon_falls_on_a_straight_line() -> None:
    loops = small_loops(iterations=10, epsilon=1.0, epsilon_final=0.2)
    np.testing.assert_allclose(
        [loops.epsilon_at(i) for i in range(10)],
        [1.0, 0.92, 0.84, 0.76, 0.68, 0.6, 0.52, 0.44, 0.36, 0.28],
        rtol=1e-15,
    )
    paper = Loops(100_000)
    assert [paper.epsilon_at(i) for i in (0, 25_000, 99_999)] == pytest.approx([1, 0.75, 1e-5])


def test_each_iteration_has_its_own_epsilon_and_tasks() -> None:
    """Two iterations by hand, annealed from 1 to 0: steps 1 and 1/2."""
    loops = small_loops(iterations=2, state="fresh")
    model, optimizer = tiny_model(), SGD(0.1)
    theta = model.init(loops.seed)
    for i, step in enumerate((1.0, 0.5)):
        phi = np.repeat(theta[None], 3, axis=0)
        adapt(model, phi, *loops.sample(TASKS, i), optimizer)
        theta = theta + step * (phi.mean(0) - theta)
    np.testing.assert_array_equal(last(reptile(tiny_model(), TASKS, optimizer, loops)).theta, theta)


# ------------------------------------------------------------------------------ the inner loop


@every_optimizer
@pytest.mark.parametrize("lead", [(), (3,)])
def test_adapt_is_the_loop_written_out(name: str, lead: tuple[int, ...]) -> None:
    model, optimizer, rng = tiny_model(), OPTIMIZERS[name], np.random.default_rng(1)
    theta, (x, y) = random_phi(model, rng, *lead), random_batch(model, rng, 4, *lead, 5)
    phi, state = theta.copy(), optimizer.init(theta)
    losses = adapt(model, phi, x, y, optimizer, state)
    by_hand, other = theta.copy(), optimizer.init(theta)
    for i in range(4):
        loss, grad = model.loss_and_grad(by_hand, x[i], y[i])
        optimizer.step(by_hand, grad, other)
        np.testing.assert_array_equal(losses[i], loss)
    assert losses.shape == (4, *lead)
    np.testing.assert_array_equal(phi, by_hand)
    assert_same_state(state, other)
    anew = theta.copy()
    np.testing.assert_array_equal(adapt(model, anew, x, y, optimizer), losses)
    np.testing.assert_array_equal(anew, phi)


def test_adapting_lowers_the_loss() -> None:
    loops = small_loops(inner_steps=30)
    x, y = loops.sample(TASKS, 0)
    model = tiny_model()
    phi = np.repeat(model.init(0)[None], 3, axis=0)
    losses = adapt(model, phi, x, y, SGD(0.5))
    assert (losses[-5:].mean(0) < 0.3 * losses[0]).all()


# ------------------------------------------------------------------------------ continuing


@algorithms
@every_policy
@every_optimizer
def test_continuing_is_the_same_bit_for_bit(algorithm: Any, policy: str, name: str) -> None:
    assert_continues(algorithm, OPTIMIZERS[name], small_loops(state=policy))


@algorithms
@every_policy
@every_optimizer
def test_snapshots_stay_as_they_were(algorithm: Any, policy: str, name: str) -> None:
    """What was yielded is not changed by the iterations after it, and never shares memory."""
    kept = []
    runs = []
    for run in algorithm(tiny_model(), TASKS, OPTIMIZERS[name], small_loops(state=policy)):
        runs.append(run)
        kept.append((run.theta.copy(), {n: a.copy() for n, a in run.state.items()}))
    for run, (theta, state) in zip(runs, kept, strict=True):
        np.testing.assert_array_equal(run.theta, theta)
        assert_same_state(run.state, state)


@algorithms
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_and_types_of_a_snapshot(algorithm: Any, dtype: str) -> None:
    model = tiny_model(dtype=dtype)
    run = last(algorithm(model, TASKS, Adam(), small_loops(iterations=2)))
    assert (run.theta.shape, run.theta.dtype) == ((model.size,), np.dtype(dtype))
    assert run.loss.shape == ((2, 3) if algorithm is reptile else (1, 6))
    assert {n: (a.shape, a.dtype) for n, a in run.state.items()} == {
        "m": ((model.size,), np.dtype(dtype)),
        "v": ((model.size,), np.dtype(dtype)),
        "t": ((), np.dtype("int64")),
    }
    assert list(algorithm(model, TASKS, Adam(), small_loops(iterations=0))) == []


def test_joint_is_sgd_on_the_average_gradient() -> None:
    """Two iterations by hand, on k T tasks each, with momentum carried and decay first."""
    loops, optimizer = small_loops(iterations=2), SGD(0.1, 0.9, weight_decay_rate=0.95)
    model = tiny_model()
    theta, velocity = model.init(loops.seed), np.zeros_like(model.init(0))
    pooled = replace(loops, meta_batch=6, inner_steps=1)
    for i, run in enumerate(joint(tiny_model(), TASKS, optimizer, loops)):
        x, y = pooled.sample(TASKS, i)
        theta = theta * 0.95
        grads = [model.loss_and_grad(theta, x[0, t], y[0, t])[1] for t in range(6)]
        velocity = 0.9 * velocity + sum(grads) / 6
        theta = theta - 0.1 * velocity
        assert relative(run.theta, theta) < 1e-13


# ---------------------------------------------------------------------------------- errors


@algorithms
@pytest.mark.parametrize("optimizer", [SGD(100.0), SGD(100.0, momentum=0.9)])
def test_divergence_is_reported(algorithm: Any, optimizer: Optimizer) -> None:
    """Steps far beyond 2 / curvature on a quadratic grow without bound."""
    model = Model([Dense(1)], (1,), "squared_error")
    run = algorithm(model, Sine(), optimizer, small_loops(iterations=50))
    with (
        np.errstate(all="ignore"),
        pytest.raises(InputError, match=r"the run diverged: .* in iteration \d+; lower --inner-lr"),
    ):
        last(run)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_loss_a_parameter_or_a_moment_alone_shows_it(bad: float) -> None:
    good = Snapshot(7, np.ones(2), {"v": np.ones(2), "t": np.array(5)}, np.ones((2, 2)))
    assert check_finite(good) is good
    one_bad = np.array([1.0, bad])
    for change in ({"loss": one_bad[None]}, {"theta": one_bad}, {"state": {"v": one_bad}}):
        with pytest.raises(InputError, match="became NaN or infinite in iteration 7;"):
            check_finite(replace(good, **change))


def test_divergence_names_the_iteration() -> None:
    """A NaN put into theta shows at once, also where epsilon is 0."""
    loops = small_loops(epsilon=0.0, epsilon_final=0.0)
    start = begin(tiny_model(), SGD(0.1), loops)
    broken = replace(start, iteration=2, theta=np.full_like(start.theta, np.nan))
    with pytest.raises(InputError, match="in iteration 3;"):
        next(reptile(tiny_model(), TASKS, SGD(0.1), loops, broken))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"iterations": -1}, "Loops: iterations must be at least 0, not -1"),
        ({"meta_batch": 0}, "meta_batch must be at least 1, not 0"),
        ({"inner_steps": 0}, "inner_steps must be at least 1"),
        ({"inner_batch": 0}, "inner_batch must be at least 1"),
        ({"train_shots": 0}, "train_shots must be at least 1"),
        ({"epsilon": float("nan")}, "epsilon must be a finite number, not nan"),
        ({"epsilon_final": float("inf")}, "epsilon_final must be a finite number"),
        ({"state": "keep"}, "state must be one of carry, mean, fresh, not 'keep'"),
    ],
)
def test_wrong_numbers(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        small_loops(**changes)


@pytest.mark.parametrize("layout", ["every second", "columns first", "one task"])
@pytest.mark.parametrize("backend", [b for b in ("numpy", "numba") if not why_not(b)])
def test_phi_is_updated_in_place_whatever_its_layout(backend: str, layout: str) -> None:
    model, rng = tiny_model(backend=backend), np.random.default_rng(0)
    theta, (x, y) = random_phi(model, rng, 2), random_batch(model, rng, 3, 2, 4)
    wide = np.full((2, 2 * model.size), np.nan)
    phi = {"every second": wide[:, ::2], "columns first": np.asfortranarray(theta)}.get(layout)
    phi = wide[0, ::2] if phi is None else phi
    one = phi.ndim == 1
    phi[...] = theta[0] if one else theta
    wanted, batches = theta.copy(), (x[:, 0], y[:, 0]) if one else (x, y)
    adapt(model, wanted, x, y, SGD(0.1))
    adapt(model, phi, *batches, SGD(0.1))
    np.testing.assert_allclose(phi, wanted[0] if one else wanted, rtol=1e-12, atol=1e-13)
    assert np.isnan(wide[:, 1::2]).all()
