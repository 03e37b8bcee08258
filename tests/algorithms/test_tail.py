"""The tail, by which FOMAML, MAML and iMAML judge theta: shared or held out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from minireptile import SGD
from minireptile.loops import held_out
from minireptile.tasks.sine import Sine
from tests.small import Corners, tiny_model

from .relatives import TASKS, every_relative, every_tail, last, small_loops


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


def test_a_shared_tail_has_no_shots_of_its_own() -> None:
    assert small_loops(tail="shared", tail_shots=100).tail == "shared"


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


@pytest.mark.parametrize("replacement", [False, True])
def test_mini_batches_beside_a_separate_tail_are_dealt_out_unless_drawn_anew(
    replacement: bool,
) -> None:
    """16 places for 12 examples: the first 12 are all of them, or some twice."""
    sizes = {"train_shots": 6, "tail_shots": 2, "inner_steps": 5, "inner_batch": 4}
    apart = small_loops(tail="separate", replacement=replacement, **sizes).sample_tail(TASKS, 1)
    for t in range(3):
        first = {row.tobytes() for row in apart.x[:3, t].reshape(12, -1)}
        assert (len(first) < 12) == replacement


def test_a_tail_of_either_kind_is_of_the_same_tasks() -> None:
    """Reptile's: with as many mini-batches, the same examples."""
    sizes = {"train_shots": 6, "tail_shots": 2, "inner_steps": 5, "inner_batch": 4}
    apart = small_loops(tail="separate", **sizes).sample_tail(TASKS, 1)
    x, _ = small_loops(**sizes).sample(TASKS, 1)
    for t in range(3):
        rows = [apart.x[:, t].reshape(16, -1), apart.tail_x[t].reshape(6, -1)]
        separate = {row.tobytes() for row in np.concatenate(rows)}
        assert separate == {row.tobytes() for row in x[:, t].reshape(20, -1)}


def test_examples_held_out_are_the_last_of_each_class() -> None:
    held = held_out(np.array([2, 0, 2, 0, 2, 0]), 1)
    np.testing.assert_array_equal(held, [False, False, False, False, True, True])
    np.testing.assert_array_equal(held_out(np.zeros((4, 1)), 3), [False, True, True, True])
