"""Evaluation against the same protocol done slowly, a task, a step and a query at a time."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from minireptile import (
    SGD,
    Adam,
    Dense,
    InputError,
    Model,
    Protocol,
    evaluate,
    evaluate_regression,
    sine_mlp,
)
from minireptile.evaluate import mean_ci95
from minireptile.optim import Optimizer, State
from minireptile.rng import Stream, generator
from minireptile.tasks.base import Task, Tasks, minibatches
from minireptile.tasks.sine import Sine
from tests.small import OPTIMIZERS, Corners, assert_same_state, tiny_model, tiny_tasks

TASKS = tiny_tasks()
module = import_module("minireptile.evaluate")  # minireptile.evaluate itself is the function


def trained(model: Model, optimizer: Optimizer) -> tuple[NDArray, State]:
    """Parameters, and an optimizer's state that is not fresh; neither can be written to."""
    theta, rng = model.init(5), np.random.default_rng(5)
    state = optimizer.init(theta)
    for g in rng.standard_normal((2, model.size)).astype(theta.dtype):
        optimizer.step(theta, 0.1 * g, state)
    for array in (theta, *state.values()):
        array.setflags(write=False)
    return theta, state


def small_protocol(**changes: Any) -> Protocol:
    defaults = {"tasks": 7, "shot": 2, "query": 2, "marks": (3,), "batch": 4, "seed": 9}
    return Protocol(**{**defaults, **changes})


def slowly(
    model: Model, theta: NDArray, state: State, tasks: Tasks, optimizer: Optimizer, p: Protocol
) -> list[tuple[Task, dict[int, NDArray]]]:
    """Each task with its adapted parameters after each mark."""
    results = []
    for i in range(p.tasks):
        rng = generator(p.seed, p.stream, p.iteration, i)
        task = tasks.draw(rng, p.shot, p.query)
        order = minibatches(rng, len(task.support_x), p.marks[-1], p.batch, p.replacement)
        phi, mine = theta.copy(), {name: array.copy() for name, array in state.items()}
        at = {0: phi.copy()}
        for step, batch in enumerate(order, 1):
            _, grad = model.loss_and_grad(phi, task.support_x[batch], task.support_y[batch])
            optimizer.step(phi, grad, mine)
            at[step] = phi.copy()
        results.append((task, {mark: at[mark] for mark in p.marks}))
    return results


def slow_accuracies(model: Model, phi: NDArray, task: Task) -> tuple[float, float]:
    """Queries one by one, each beside the support set; and all of them as one batch."""
    correct = []
    for x, y in zip(task.query_x, task.query_y, strict=True):
        logits = model.forward(phi, np.concatenate([task.support_x, x[None]]))
        correct.append(logits[-1].argmax() == y)
    together = model.forward(phi, task.query_x).argmax(1) == task.query_y
    return float(np.mean(correct)), float(np.mean(together))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"query": 1, "marks": (1, 4)},
        {"shot": 1, "replacement": True, "batch": 3, "stream": Stream.RUNNING, "iteration": 8},
    ],
)
def test_accuracy_is_that_of_the_slow_way(name: str, changes: dict[str, Any]) -> None:
    model, optimizer, p = tiny_model(), OPTIMIZERS[name], small_protocol(**changes)
    theta, state = trained(model, optimizer)
    found = evaluate(model, theta, state, TASKS, optimizer, p)
    pairs = [
        slow_accuracies(model, phis[p.marks[-1]], task)
        for task, phis in slowly(model, theta, state, TASKS, optimizer, p)
    ]
    plain, transductive = np.array(pairs).T
    assert (found.accuracy, found.accuracy_ci95) == pytest.approx(slow_ci95(plain))
    assert (found.transductive_accuracy, found.transductive_accuracy_ci95) == pytest.approx(
        slow_ci95(transductive)
    )
    assert (found.tasks, found.seed) == (7, 9)


def slow_ci95(values: NDArray) -> tuple[float, float]:
    """1.96 s / sqrt(n), with the unbiased estimate of the variance."""
    n, mean = len(values), sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (n - 1)
    return mean, 1.96 * (variance / n) ** 0.5


def test_batch_norm_tells_the_two_accuracies_apart() -> None:
    """In a fixed case, so that a mix-up of the two cannot pass unseen."""
    model, optimizer = tiny_model(), SGD(0.3)
    theta, state = trained(model, optimizer)
    found = evaluate(model, theta, state, TASKS, optimizer, small_protocol(tasks=40, marks=(2,)))
    assert found.accuracy != found.transductive_accuracy
    assert found.accuracy_ci95 != found.transductive_accuracy_ci95


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_regression_is_that_of_the_slow_way(name: str) -> None:
    model, optimizer = sine_mlp(5, dtype="float64"), OPTIMIZERS[name]
    p = small_protocol(shot=10, query=1, marks=(0, 1, 3), batch=5)
    theta, state = trained(model, optimizer)
    found = evaluate_regression(model, theta, state, Sine(), optimizer, p)
    assert (found.steps, found.tasks, found.seed) == ((0, 1, 3), 7, 9)
    adapted = slowly(model, theta, state, Sine(), optimizer, p)
    for mark, mse, ci95 in zip(found.steps, found.mse, found.mse_ci95, strict=True):
        errors = [
            np.square(model.forward(phis[mark], task.query_x) - task.query_y).mean()
            for task, phis in adapted
        ]
        assert (mse, ci95) == pytest.approx(slow_ci95(np.array(errors)), rel=1e-10)


def test_marks_do_not_disturb_each_other() -> None:
    """Measuring on the way changes nothing of what is measured at the end."""
    model, optimizer = sine_mlp(5, dtype="float64"), Adam(0.02)
    theta, state = trained(model, optimizer)

    def at(*marks: int) -> tuple[float, ...]:
        p = small_protocol(shot=10, query=1, marks=marks)
        return evaluate_regression(model, theta, state, Sine(), optimizer, p).mse

    every = at(0, 2, 5, 6)
    assert len(set(every)) == 4
    assert every[-1] == at(6)[0]
    # Mini-batches do not depend on how many follow, so that mark 2 is the run of 2 steps.
    assert every[1] == pytest.approx(at(2)[0], rel=1e-12)


@pytest.mark.parametrize("name", ["sgd", "adam"])
@given(floats=st.integers(1, 3000))
def test_chunking_does_not_matter(name: str, floats: int) -> None:
    """However many tasks are held at a time. Accuracies are equal; errors to rounding."""
    optimizer, small = OPTIMIZERS[name], sine_mlp(4, dtype="float64")
    p = small_protocol(marks=(0, 2))
    waves = small_protocol(shot=10, marks=(0, 2))

    def both() -> tuple:
        model = tiny_model()
        images = evaluate(model, *trained(model, optimizer), TASKS, optimizer, p)
        sines = evaluate_regression(small, *trained(small, optimizer), Sine(), optimizer, waves)
        return images, sines

    images, sines = both()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_FLOATS", floats)
        images_chunked, sines_chunked = both()
    assert images_chunked == images
    assert sines_chunked.mse == pytest.approx(sines.mse, rel=1e-12)
    assert sines_chunked.mse_ci95 == pytest.approx(sines.mse_ci95, rel=1e-12)


@pytest.mark.parametrize(
    ("marks", "floats", "sizes"),
    [
        ((3,), 1, [1] * 7),
        ((3,), 3 * 4 * 36 * 3, [3, 3, 1]),
        ((1,), 4 * 36 * 3, [3, 3, 1]),
        ((0,), 4 * 36 * 3, [3, 3, 1]),  # without a step, one is counted
    ],
)
def test_chunks_and_their_reports(
    marks: tuple[int, ...], floats: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk holds as many tasks as its mini-batches, marks x batch x 36 floats, fit in."""
    monkeypatch.setattr(module, "CHUNK_FLOATS", floats)
    done: list[int] = []
    model = tiny_model()
    p = small_protocol(marks=marks)
    evaluate(model, *trained(model, SGD(0.1)), TASKS, SGD(0.1), p, done.append)
    assert done == sizes
    mlp = sine_mlp(4)
    reported: list[int] = []
    p = small_protocol(shot=5, tasks=70, marks=(0, 1))
    monkeypatch.setattr(module, "CHUNK_FLOATS", 2**25)
    evaluate_regression(mlp, mlp.init(), {}, Sine(), SGD(0.1), p, reported.append)
    assert reported == [32, 32, 6]


# -------------------------------------------------------------------------- known answers


def corners(sign: int, marks: tuple[int, ...], lr: float = 1e-9, query: int = 1) -> Any:
    """The identity, or its negative, as a linear classifier of unit vectors."""
    model = Model([Dense(2)], (2,), dtype="float64")
    theta = np.concatenate([sign * np.eye(2).ravel(), np.zeros(2)])
    p = small_protocol(marks=marks, tasks=3, query=query)
    return evaluate(model, theta, {}, Corners(2), SGD(lr), p)


@pytest.mark.parametrize("marks", [(1,), (0, 2), (0,)])
@pytest.mark.parametrize("query", [1, 3])
def test_a_theta_that_solves_the_task(marks: tuple[int, ...], query: int) -> None:
    """It stays solved under tiny steps, and its opposite gets everything wrong. Mark 0 alone is
    an evaluation without adapting."""
    right, wrong = corners(1, marks, query=query), corners(-1, marks, query=query)
    assert (right.accuracy, right.transductive_accuracy, right.accuracy_ci95) == (1, 1, 0)
    assert (wrong.accuracy, wrong.transductive_accuracy) == (0, 0)


def test_adapting_solves_it_from_the_opposite() -> None:
    assert corners(-1, (60,), lr=1.0).accuracy == 1


def test_regression_of_a_perfect_theta() -> None:
    """y = 0 for all x is right up to the waves' own mean square, about a^2 / 2."""
    model = Model([Dense(1)], (1,), "squared_error", dtype="float64")
    p = small_protocol(tasks=200, marks=(0, 1), shot=1, query=1)
    found = evaluate_regression(model, np.zeros(2), {}, Sine(), SGD(1e-12), p)
    mean_square = (5**3 - 0.1**3) / (3 * 4.9) / 2  # E a^2 / 2 for a from U[0.1, 5]
    assert found.mse_ci95[0] is not None
    assert abs(found.mse[0] - mean_square) < 2 * found.mse_ci95[0]
    assert found.mse[1] == pytest.approx(found.mse[0], rel=1e-6)


def test_ci95_by_hand() -> None:
    mean, half = mean_ci95(np.array([0.0, 1.0, 1.0, 0.0]))
    assert (mean, half) == (0.5, pytest.approx(1.96 * (1 / 3) ** 0.5 / 2))
    assert mean_ci95(np.array([0.25])) == (0.25, None)
    model = tiny_model()
    alone = evaluate(model, model.init(), {}, TASKS, SGD(0.1), small_protocol(tasks=1))
    assert alone.accuracy_ci95 is None
    assert alone.transductive_accuracy_ci95 is None


# ------------------------------------------------------------------------- what it touches


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_theta_and_state_are_left_alone(name: str) -> None:
    model, optimizer = tiny_model(), OPTIMIZERS[name]
    theta, state = trained(model, optimizer)
    before = theta.copy(), {n: a.copy() for n, a in state.items()}
    first = evaluate(model, theta, state, TASKS, optimizer, small_protocol())
    np.testing.assert_array_equal(theta, before[0])
    assert_same_state(state, before[1])
    assert evaluate(model, theta, state, TASKS, optimizer, small_protocol()) == first


def test_an_empty_state_is_a_fresh_one() -> None:
    model, optimizer = sine_mlp(4, dtype="float64"), Adam(0.02)
    theta, used = trained(model, optimizer)
    p = small_protocol(shot=10, query=1)

    def mse(state: State) -> tuple[float, ...]:
        return evaluate_regression(model, theta, state, Sine(), optimizer, p).mse

    assert mse({}) == mse(optimizer.init(theta))
    assert mse({}) != mse(used)


@pytest.mark.parametrize(
    "change", [{"seed": 10}, {"stream": Stream.RUNNING}, {"iteration": 1}, {"replacement": True}]
)
def test_the_protocol_decides_the_tasks(change: dict[str, Any]) -> None:
    model = sine_mlp(4, dtype="float64")
    theta = model.init(0)
    results = [
        evaluate_regression(model, theta, {}, Sine(), SGD(0.02), small_protocol(shot=10, **c)).mse
        for c in ({}, change)
    ]
    assert results[0] != results[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": 0}, "Protocol: tasks must be at least 1, not 0"),
        ({"shot": 0}, "Protocol: shot must be at least 1"),
        ({"query": 0}, "Protocol: query must be at least 1"),
        ({"batch": -1}, "Protocol: batch must be at least 1, not -1"),
        ({"marks": ()}, r"some numbers of steps, rising, not \(\)"),
        ({"marks": (-1, 2)}, "whole numbers, none negative"),
        ({"marks": (2, 1)}, "rising, not"),
        ({"marks": (1, 1)}, "rising, not"),
        ({"replacement": 1}, "Protocol: replacement must be True or False"),
        ({"seed": -1}, r"Protocol: seed must be between 0 and 2\*\*64 - 1, not -1"),
        ({"iteration": -1}, r"Protocol: iteration must be between 0 and 2\*\*64 - 1, not -1"),
        ({"stream": -1}, "Protocol: stream must be between 0 and 6, not -1"),
        ({"stream": 7}, "Protocol: stream must be between 0 and 6, not 7"),
    ],
)
def test_protocols_that_cannot_be(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        small_protocol(**changes)


def test_the_first_of_all_protocols() -> None:
    """The least there is of each; a stream's number is the stream."""
    least = {"tasks": 1, "shot": 1, "query": 1, "marks": (0,), "batch": 1, "seed": 0, "stream": 0}
    assert Protocol(**least, iteration=0).stream is Stream.TRAIN  # type: ignore[arg-type]


NO_STATE = "the optimizer's state must be a dictionary of arrays, as optimizer.init(phi) gives, not"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"protocol": 3}, "protocol must be Protocol(...), not 3"),
        ({"report": 3}, "report must be a function of the tasks done, not 3"),
        ({"theta": np.zeros(3)}, "theta must be (T, 120) or (120,), got (3,)"),
        ({"theta": np.zeros((1, 120))}, "theta must be (120,), one for all tasks, got (1, 120)"),
        ({"state": 3}, f"{NO_STATE} 3"),
        ({"state": None}, f"{NO_STATE} None"),
        ({"state": []}, f"{NO_STATE} []"),
    ],
)
def test_what_evaluate_refuses(changes: dict[str, Any], words: str) -> None:
    model = tiny_model()
    arguments = {"theta": model.init(0), "state": {}, "tasks": TASKS, "optimizer": SGD(0.1),
                 "protocol": small_protocol(), "report": lambda done: None}  # fmt: skip
    theta, *others = {**arguments, **changes}.values()
    with pytest.raises(InputError) as error:
        evaluate(model, theta, *others)
    assert str(error.value) == words


def test_labels_and_targets_are_told_apart() -> None:
    model, optimizer, p = sine_mlp(), SGD(0.1), small_protocol()
    with pytest.raises(InputError) as error:
        evaluate(model, model.init(0), {}, Sine(), optimizer, p)
    assert str(error.value) == (
        "evaluate is for tasks with labels (T, m), and these have (7, 50, 1): "
        "use evaluate_regression"
    )
    model = tiny_model()
    with pytest.raises(InputError) as error:
        evaluate_regression(model, model.init(0), {}, TASKS, optimizer, p)
    assert str(error.value) == (
        "evaluate_regression is for tasks with targets (7, 6, 3), and these have (7, 6): "
        "use evaluate"
    )


def test_replacement_needs_enough_support() -> None:
    model = tiny_model()
    p = small_protocol(replacement=True, batch=7)
    with pytest.raises(InputError, match="mini-batches of 7 drawn with replacement need 7"):
        evaluate(model, model.init(), {}, TASKS, SGD(0.1), p)
