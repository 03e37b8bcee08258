"""Lots of tasks, wherever they are computed: the same bits as all of them at once."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minireptile import (
    SGD,
    Adam,
    FewShot,
    InputError,
    Loops,
    Protocol,
    Sine,
    Snapshot,
    evaluate,
    evaluate_regression,
    fomaml,
    imaml,
    joint,
    maml,
    reptile,
    sine_mlp,
)
from minireptile.lots import Job, Sent, arrived, split
from tests.small import assert_same_state, tiny_classes, tiny_model

ALGORITHMS = (reptile, fomaml, maml, imaml, joint)
T = 5
LOOPS = Loops(3, meta_batch=T, inner_steps=3, prox=20.0, cg_steps=2, outer=Adam(0.01))


class Map:
    """A map over so many workers, which are all here; it notes the lots."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.lots: list[range] = []

    def __call__(self, function: Callable, lots: Iterable[range]) -> Iterator[Any]:
        lots = list(lots)
        self.lots += lots
        return iter([function(lot) for lot in reversed(lots)][::-1])  # in another order


def runs(algorithm: Callable, loops: Loops, map: Any = None) -> list[Snapshot]:
    optimizer = SGD(0.01, 0.5) if algorithm is maml else Adam(0.01)
    return [*algorithm(sine_mlp(6), Sine(), optimizer, loops, map=map)]


def assert_same(some: list[Snapshot], others: list[Snapshot]) -> None:
    for a, b in zip(some, others, strict=True):
        assert a.iteration == b.iteration
        np.testing.assert_array_equal(a.theta, b.theta)
        np.testing.assert_array_equal(a.loss, b.loss)
        assert_same_state(a.state, b.state)


@pytest.mark.parametrize("count", [1, 2, 3, 20])
@pytest.mark.parametrize("tail", ["shared", "separate"])
@pytest.mark.parametrize("policy", ["mean", "fresh"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_any_lots_give_the_same_bits(
    algorithm: Callable, policy: str, tail: str, count: int
) -> None:
    loops = replace(LOOPS, state=policy, tail=tail)
    map = Map(count)
    assert_same(runs(algorithm, loops), runs(algorithm, loops, map))
    whole = T * loops.inner_steps if algorithm is joint else T
    assert len(map.lots) == 3 * min(count, whole)
    assert sum(len(lot) for lot in map.lots) == 3 * whole


def test_lots_are_neighbours_of_nearly_equal_sizes() -> None:
    assert split(range(7), 3) == [range(0, 2), range(2, 4), range(4, 7)]
    assert split(range(2), 5) == [range(0, 1), range(1, 2)]


def test_processes_and_threads_and_the_builtin_map() -> None:
    """A pool's workers are told once what all lots have in common; a resumed run is the same."""
    loops = replace(LOOPS, state="mean")
    with ProcessPoolExecutor(2, get_context("spawn")) as pool, ThreadPoolExecutor(3) as threads:
        for algorithm in (reptile, joint):
            wanted = runs(algorithm, loops)
            for map_ in (pool.map, threads.map, map):
                assert_same(wanted, runs(algorithm, loops, map_))
        model, optimizer = sine_mlp(6), Adam(0.01)
        first, *rest = runs(reptile, loops)
        again = reptile(model, Sine(), optimizer, loops, first, map=pool.map)
        assert_same(rest, [*again])


@pytest.mark.parametrize("map", [Map(3), ThreadPoolExecutor(2).map], ids=["lots", "threads"])
def test_an_evaluation_in_lots(monkeypatch: pytest.MonkeyPatch, map: Any) -> None:
    """With what is measured at a time made small; done is reported in the tasks' order."""
    monkeypatch.setattr(sys.modules["minireptile.evaluate"], "CHUNK_FLOATS", 2 * 3 * 36 * 4)
    model, tasks = tiny_model(), FewShot(tiny_classes(6, 7), 3)
    protocol = Protocol(11, shot=2, marks=(0, 2), batch=3)
    images = partial(evaluate, model, model.init(0), {}, tasks, Adam(0.01), protocol)
    done: list[int] = []
    assert images() == images(report=done.append, map=map)
    assert sum(done) == 11
    assert len(done) > 1
    curve, marks = sine_mlp(6), (0, 1, 3)
    waves = partial(evaluate_regression, curve, curve.init(0), {}, Sine(), SGD(0.01))
    measured = Protocol(40, shot=5, marks=marks)
    assert waves(measured) == waves(measured, map=map)


def test_a_state_that_is_handed_on_needs_one_worker() -> None:
    with pytest.raises(InputError, match=r"state='carry' hands .* choose state='mean'"):
        runs(reptile, replace(LOOPS, state="carry"), map)
    assert_same(*(runs(joint, replace(LOOPS, state="carry"), m) for m in (None, Map(2))))


def test_what_is_no_map() -> None:
    with pytest.raises(InputError, match="map must be a function such as an executor's map"):
        runs(reptile, LOOPS, 4)


def test_each_thread_has_a_model_of_its_own() -> None:
    """A model's arrays are those of what it computes at the moment."""
    sent = Sent((sine_mlp(6), Sine()))
    with ThreadPoolExecutor(1) as thread:
        there, again = (thread.submit(lambda: sent.here).result() for _ in range(2))
    assert sent.here is sent.parts
    assert there is again
    assert there[0] is not sent.parts[0]
    assert there[0].layers == sent.parts[0].layers
    assert there[1] is sent.parts[1]


def test_what_was_sent_is_a_file_of_this_user_and_goes_with_the_run(tmp_path: Path) -> None:
    sent = Sent((print, 1))
    path = Path(sent.key)
    assert path.stat().st_mode & 0o077 == 0
    assert arrived(sent.key).parts == (print, 1)
    assert [*Job(Sent((zip, "ab")), {})(range(5, 7))] == [("a", 5), ("b", 6)]
    del sent
    gc.collect()
    assert not path.exists()
    with pytest.raises(InputError, match=r"a worker on .* cannot read .*No such file"):
        arrived(str(tmp_path / "gone"))
