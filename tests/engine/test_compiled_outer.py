"""Outer iterations in compiled calls: the runs of the loop as it is written, to the last bit."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from minireptile import SGD, Adam, InputError, Loops, Model, Snapshot, reptile, sine_mlp
from minireptile.backend import why_not
from minireptile.delegate import begin
from minireptile.engine import compiled_outer
from minireptile.optim import POLICIES
from minireptile.rng import SEEDS
from minireptile.tasks.base import Tasks
from minireptile.tasks.images import FewShot
from minireptile.tasks.sine import Sine
from tests.small import tiny_model, tiny_tasks

from .inner_loops import OPTIMIZERS, in_threads

if why_not("numba"):
    pytest.skip(why_not("numba"), allow_module_level=True)

as_written: Callable[..., Iterator[Snapshot]] = reptile.__wrapped__  # type: ignore[attr-defined]


def characters(**options: Any) -> tuple[Model, Tasks]:
    return tiny_model(backend="numba", **options), tiny_tasks()


def waves(**options: Any) -> tuple[Model, Tasks]:
    return sine_mlp(8, backend="numba", **options), Sine()


PROBLEMS = {"images": characters, "sine": waves}
PLAIN = SGD(0.1)
LOOPS = Loops(7, 3, inner_steps=2, inner_batch=4, train_shots=5, seed=SEEDS - 4)


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Calls of three iterations, and how many are made."""
    monkeypatch.setattr(compiled_outer, "AHEAD", 3)
    made: list[int] = []
    original = compiled_outer.run

    def counted(*arguments: Any) -> None:
        made.append(1)
        original(*arguments)

    monkeypatch.setattr(compiled_outer, "run", counted)
    return made


def check_same_runs(got: list[Snapshot], wanted: list[Snapshot]) -> None:
    assert len(got) == len(wanted)
    for g, w in zip(got, wanted, strict=True):
        assert g.iteration == w.iteration
        assert list(g.state) == list(w.state)
        pairs = [(g.theta, w.theta), (g.loss, w.loss), *((g.state[n], w.state[n]) for n in w.state)]
        for a, b in pairs:
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_run_outlives_the_model_it_was_given(problem: str) -> None:
    model, tasks = PROBLEMS[problem]()
    engine: Any = model.engine
    tables = weakref.ref(engine._layout(LOOPS.inner_batch).tables)  # which the calls read
    wanted = list(reptile(model, tasks, PLAIN, LOOPS))
    runs = reptile(model, tasks, PLAIN, LOOPS)
    del model, engine
    gc.collect()
    assert tables() is not None
    check_same_runs(list(runs), wanted)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_is_the_loop_written_out(
    problem: str, policy: str, optimizer: str, calls: list[int]
) -> None:
    dtype = "float32" if optimizer in ("sgd", "adam") else "float64"
    model, tasks = PROBLEMS[problem](dtype=dtype)
    loops = replace(LOOPS, state=policy, replacement=optimizer == "momentum")
    chosen = OPTIMIZERS[optimizer]
    start = begin(model, chosen, loops)
    wanted = list(as_written(model, tasks, chosen, loops, start))
    assert not calls
    check_same_runs(list(reptile(model, tasks, chosen, loops)), wanted)
    assert len(calls) == 3
    check_same_runs(list(reptile(model, tasks, chosen, loops, wanted[1])), wanted[2:])


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("policy", POLICIES)
def test_threads_change_nothing(problem: str, policy: str) -> None:
    def run() -> list[Snapshot]:
        model, tasks = PROBLEMS[problem]()
        loops = replace(LOOPS, meta_batch=5, state=policy)
        return list(reptile(model, tasks, Adam(0.01), loops))

    one, *others = in_threads((1, 2, 3, 4, 7), run)
    for runs in others:
        check_same_runs(runs, one)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_many_examples_have_room(problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn of a task lies side by side in its thread's memory, and not beyond."""
    rooms, original = [], compiled_outer.memory

    def with_a_fence(l: Any, threads: int, *sizes: Any) -> Any:
        rooms.append(original(l, threads + 1, *sizes))
        return rooms[-1]

    monkeypatch.setattr(compiled_outer, "memory", with_a_fence)
    model, tasks = PROBLEMS[problem]()
    loops = Loops(2, 1, inner_steps=45, inner_batch=10, train_shots=5, seed=1)
    wanted = list(as_written(model, tasks, PLAIN, loops, begin(model, PLAIN, loops)))
    check_same_runs(list(reptile(model, tasks, PLAIN, loops)), wanted)
    assert len(rooms) == 1
    assert rooms[0].rows[0].any()
    assert not rooms[0].rows[-1].any()


def test_a_run_that_diverges_ends_where_the_loop_would() -> None:
    model, tasks = waves()
    wild, said = SGD(10.0), []
    for loop in (as_written, reptile):
        runs = loop(model, tasks, wild, LOOPS, begin(model, wild, LOOPS))
        with pytest.raises(InputError, match="diverged") as error:
            list(runs)
        said.append(str(error.value))
    assert said[0] == said[1]
    assert "iteration 1;" not in said[0]


class OtherWaves(Sine):
    """Tasks of one's own."""


def declined(model: Model, tasks: Tasks, loops: Loops = LOOPS, algorithm: str = "reptile") -> bool:
    start = begin(model, PLAIN, loops)
    return model.engine.outer(algorithm, tasks, PLAIN, loops, start) is NotImplemented


def test_what_cannot_be_drawn_inside_is_walked(calls: list[int]) -> None:
    model, tasks = waves()
    images, characters_ = characters()
    assert not declined(model, tasks)
    assert not declined(images, characters_)
    assert declined(model, tasks, algorithm="maml")
    assert declined(model, OtherWaves())
    assert declined(model, tasks, replace(LOOPS, outer=Adam()))
    wanted = list(as_written(model, tasks, PLAIN, LOOPS, begin(model, PLAIN, LOOPS)))
    check_same_runs(list(reptile(model, OtherWaves(), PLAIN, LOOPS)), wanted)
    assert not calls


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ({"train_shots": 500}, "shots"),
        ({"replacement": True, "inner_batch": 51}, "with replacement"),
    ],
)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_is_wrong_is_said_as_ever(problem: str, numbers: dict, says: str) -> None:
    model, tasks = PROBLEMS[problem]()
    with pytest.raises(InputError, match=says):
        next(reptile(model, tasks, PLAIN, replace(LOOPS, **numbers)))


def test_tasks_of_another_model_are_refused_as_ever() -> None:
    model, _ = waves()
    _, tasks = characters()
    with pytest.raises(InputError, match="x must be"):
        next(reptile(model, tasks, PLAIN, LOOPS))
    assert isinstance(tasks, FewShot)
    many = FewShot(tasks.data, 4)
    with pytest.raises(InputError, match="label"):
        list(reptile(tiny_model(backend="numba"), many, PLAIN, LOOPS))


def test_if_numpy_draws_otherwise_the_loop_is_walked(
    monkeypatch: pytest.MonkeyPatch, calls: list[int]
) -> None:
    model, tasks = waves()
    wanted = list(reptile(model, tasks, PLAIN, LOOPS))
    drawn = compiled_outer.OuterLoop.drawn

    def other(self: Any, iteration: int, task: int) -> Any:
        x, y = drawn(self, iteration, task)
        return x, np.nextafter(y, y + 1) if task == 2 else y

    monkeypatch.setattr(compiled_outer.OuterLoop, "drawn", other)
    made = len(calls)
    with pytest.warns(UserWarning, match="NumPy .* draws tasks otherwise"):
        got = list(reptile(model, tasks, PLAIN, LOOPS))
    assert len(calls) == made
    check_same_runs(got, wanted)
