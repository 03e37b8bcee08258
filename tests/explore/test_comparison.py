"""The arrows of all algorithms, against one iteration of minireptile's own loops."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import minireptile as mr
from minireptile.explore.answer import FIGURES, answer, compute, tables
from minireptile.explore.figures.comparison import METHODS, implicit
from minireptile.explore.figures.two_weights import MODEL, examples, minibatches, places
from minireptile.imaml import adapt_near, implicit_grad
from minireptile.tasks.base import Task

from .test_meta_loss import slope
from .test_two_weights import loss, steps

tables()
TASKS = [[0.5, 1.25], [2.0, 2.5], [1.0, 0.75]]  # exact in float32, as the loops' examples are
STATE: dict[str, Any] = {
    "theta": [0.5, 1.0], "tasks": TASKS, "rate": 0.125, "steps": 4, "epsilon": 0.75, "prox": 1.5,
}  # fmt: skip


class InTurn:
    """The tasks, one after the other."""

    input_shape, n_out = (1,), 1

    def __init__(self, tasks: list[Any]) -> None:
        x, y = examples(tasks)
        self.turn = cycle(zip(x.astype(np.float32), y.astype(np.float32), strict=True))

    def draw(self, rng: np.random.Generator, shot: int, query: int) -> Task:
        x, y = next(self.turn)
        return Task(x, y, x, y)


def by_the_loops(name: str, state: dict[str, Any]) -> NDArray:
    """What one outer iteration adds to theta."""
    loops = mr.Loops(
        1, meta_batch=len(state["tasks"]), epsilon=state["epsilon"], inner_steps=state["steps"],
        inner_batch=1, train_shots=1, state="fresh", prox=state["prox"],
    )  # fmt: skip
    rate = state["rate"] * (state["epsilon"] if name == "joint" else 1)
    if name == "joint":
        loops = mr.Loops(
            1, meta_batch=len(state["tasks"]), inner_steps=1, inner_batch=1, train_shots=1
        )
    theta = np.array(state["theta"])
    start = mr.Snapshot(0, theta, {}, np.empty((0, 0)))
    (run,) = getattr(mr, name)(MODEL, InTurn(state["tasks"]), mr.SGD(rate), loops, start)
    return np.asarray(run.theta - theta)


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("name", METHODS)
def test_each_arrow_is_what_the_loop_adds(name: str, k: int) -> None:
    state = {**STATE, "steps": k}
    found = compute("comparison", state)["updates"][METHODS.index(name)]
    if name == "imaml":
        pytest.importorskip("scipy")
        if k == 1:
            assert np.isnan(found).all()
            return
    assert np.allclose(found, by_the_loops(name, state), rtol=0, atol=1e-9)


def test_with_one_step_all_are_joint_training() -> None:
    updates = compute("comparison", {**STATE, "steps": 1})["updates"]
    assert np.allclose(updates[:4], updates[0], rtol=0, atol=1e-14)


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_mamls_arrow_is_the_gradient_of_the_landscape(k: int) -> None:
    """Seed 1's ignored the Hessians between, and its landscape the sliders."""
    theta, rate = np.array(STATE["theta"]), 0.125

    def after(at: NDArray) -> Any:
        return np.mean([loss(steps(at, task, rate, k - 1), task) for task in TASKS], axis=0)

    found = compute("comparison", {**STATE, "steps": k})["updates"][METHODS.index("maml")]
    assert np.allclose(found, -0.75 * rate * slope(after, theta), rtol=0, atol=1e-9)
    plane = compute("comparison_plane", {"tasks": TASKS, "rate": rate, "steps": k})["after"]
    assert np.allclose(plane.ravel(), after(places(48)), rtol=1e-7, atol=1e-12)


def test_lengths_and_angles_are_those_of_the_arrows() -> None:
    found = compute("comparison", STATE)
    u = found["updates"]
    assert np.allclose(found["lengths"], np.linalg.norm(u, axis=1), rtol=0, atol=1e-14)
    cosines = u @ u[2] / np.linalg.norm(u, axis=1) / np.linalg.norm(u[2])
    assert np.allclose(np.cos(np.radians(found["angles"])), cosines, rtol=0, atol=1e-12)


@pytest.mark.parametrize("prox", [0.5, 4.0])
def test_the_implicit_gradient_is_that_of_conjugate_gradients(prox: float) -> None:
    pytest.importorskip("scipy")
    x, y = minibatches(TASKS, 30)
    phi = np.tile([1.5, 1.5], (3, 1))
    adapt_near(MODEL, phi, x, y, mr.SGD(0.1), {}, prox)
    found, (x_1, y_1) = implicit(phi, TASKS, prox), examples(TASKS)
    _, g = MODEL.loss_and_grad(phi, x_1, y_1)
    for t in range(3):
        loops = mr.Loops(1, prox=prox, cg_steps=20)
        expected = implicit_grad(MODEL, phi[t], x[:1, t], y[:1, t], g[t], loops)
        assert np.allclose(found[t], expected, rtol=0, atol=1e-10)


def test_steps_and_lambda_are_not_mixed_up() -> None:
    """Seed 1 gave its iMAML the steps for lambda, and lambda for the steps."""
    a = compute("comparison", {**STATE, "steps": 2, "prox": 4.0})["updates"]
    b = compute("comparison", {**STATE, "steps": 4, "prox": 2.0})["updates"]
    more = compute("comparison", {**STATE, "steps": 2, "prox": 2.0})["updates"]
    assert not np.allclose(a[4], b[4], rtol=0, atol=1e-3)
    assert np.array_equal(a[:4], more[:4])  # lambda is iMAML's alone
    assert not np.allclose(a[4], more[4], rtol=0, atol=1e-3)


def test_every_task_counts_and_none_more_than_another() -> None:
    whole = compute("comparison", STATE)["updates"]
    alone = [compute("comparison", {**STATE, "tasks": [task]})["updates"] for task in TASKS]
    assert np.allclose(whole, np.mean(alone, axis=0), rtol=0, atol=1e-14)
    turned = compute("comparison", {**STATE, "tasks": TASKS[::-1]})["updates"]
    assert np.allclose(whole, turned, rtol=0, atol=1e-14)


def test_the_landscape_follows_its_sliders() -> None:
    given = {n: STATE[n] for n in ("tasks", "rate", "steps")}
    whole = compute("comparison_plane", given)["after"]
    for patch in ({"rate": 0.25}, {"steps": 5}, {"tasks": TASKS[:2]}):
        assert np.abs(compute("comparison_plane", given | patch)["after"] - whole).max() > 0.01


def test_where_the_theorem_does_not_hold_is_a_gap() -> None:
    steep = {**STATE, "tasks": [[1.0, 3.0]], "theta": [0.1, 0.1], "steps": 2, "prox": 0.1}
    found = compute("comparison", {**steep, "rate": 0.01})["updates"]
    assert np.isnan(found[4]).all()
    assert np.isfinite(found[:4]).all()
    assert "NaN" not in answer('["comparison", {}]'.replace("{}", str(steep).replace("'", '"')))


def test_the_first_picture_shows_five_ways() -> None:
    u = compute("comparison", dict(FIGURES["comparison"].first))["updates"]
    angles = np.sort(np.degrees(np.arctan2(u[:, 1], u[:, 0])))
    assert np.diff(angles).min() > 8
