"""The outer optimizer: its step on the negative update is what moves theta."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minireptile import SGD, Adam, Loops, joint, reptile
from minireptile.delegate import begin
from minireptile.optim import OUTER, POLICIES, Optimizer, spread
from tests.small import relative, tiny_model

from .relatives import ALL, OUTERS, TASKS, assert_continues, every_outer, last, small_loops

with_outer = pytest.mark.parametrize("outer", OUTERS.values(), ids=OUTERS)


@pytest.mark.parametrize("name", ["reptile", "fomaml", "maml", "imaml"])
def test_an_outer_sgd_of_rate_1_is_epsilon(name: str) -> None:
    plain, outer = (
        last(ALL[name](tiny_model(), TASKS, SGD(0.1, 0.5), small_loops(outer=outer)))
        for outer in (None, SGD(1.0))
    )
    assert relative(outer.theta, plain.theta) < 1e-14
    for n, array in plain.state.items():
        np.testing.assert_allclose(outer.state[n], array, rtol=1e-9, atol=1e-12)


@with_outer
@pytest.mark.parametrize("policy", POLICIES)
def test_an_outer_optimizer_by_hand(outer: Optimizer, policy: str) -> None:
    """Its gradient is theta - mean phi, and epsilon scales its step; its state is its own."""
    loops = small_loops(epsilon=0.8, epsilon_final=0.4, outer=outer, state=policy)
    model, inner = tiny_model(), Adam(0.01)
    theta = model.init(loops.seed)
    state, alone = outer.init(theta), replace(loops, outer=None, epsilon=1.0, epsilon_final=1.0)
    run = begin(model, inner, loops)
    for it, after in enumerate(reptile(tiny_model(), TASKS, inner, loops)):
        of_inner = {n: a for n, a in run.state.items() if not n.startswith(OUTER)}
        start = replace(run, iteration=it, state=of_inner)
        step = next(reptile(tiny_model(), TASKS, inner, alone, start))
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


@pytest.mark.parametrize("algorithm", [reptile, joint])
def test_an_engine_may_take_the_outer_loop_over(algorithm: Any) -> None:
    """It is asked first, with all that the loop was given."""
    model: Any = tiny_model()
    model.engine = SimpleNamespace(outer=lambda *arguments: iter([arguments]))
    inner, loops = SGD(0.1), small_loops()
    given = TASKS, inner, loops, begin(model, inner, loops)
    name, *there = next(algorithm(model, *given))
    assert name == algorithm.__name__
    assert all(one is two for one, two in zip(there, given, strict=True))
    *_, start = next(algorithm(model, TASKS, inner, loops))
    np.testing.assert_array_equal(start.theta, given[3].theta)


@with_outer
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("algorithm", [reptile, joint])
def test_continuing_is_the_same_bit_for_bit(algorithm: Any, outer: Optimizer, policy: str) -> None:
    assert_continues(algorithm, SGD(0.05, 0.8), small_loops(outer=outer, state=policy))


@every_outer
def test_loops_go_through_json(outer: Optimizer | None) -> None:
    """To other processes, which draw tasks ahead."""
    loops = small_loops(outer=outer, tail="separate")
    assert Loops(**json.loads(json.dumps(asdict(loops)))) == loops
