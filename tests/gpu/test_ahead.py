"""Tasks drawn in other processes are the tasks drawn here."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from minireptile.engine import ahead
from minireptile.loops import Loops
from tests.small import tiny_tasks

LOOPS = Loops(iterations=23, meta_batch=2, inner_steps=3, inner_batch=4, train_shots=5)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen]]:
    """Three workers however few iterations there are, and the processes in a list."""
    processes: list[subprocess.Popen] = []
    start = ahead._start

    def noted(order: ahead.Order) -> subprocess.Popen:
        processes.append(start(order))
        return processes[-1]

    monkeypatch.setattr(ahead, "WORTH", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr(ahead, "_start", noted)
    yield processes
    for process in processes:
        assert process.poll() is not None, "a worker is left behind"


def check(chunks: Iterator[ahead.Chunk], first: int) -> int:
    """Compare with the mini-batches themselves; returns how many there were."""
    tasks, it = tiny_tasks(), first
    for indices, labels in chunks:
        for i, y in zip(indices, labels, strict=True):
            wanted_x, wanted_y = LOOPS.sample(tasks, it)
            x = np.multiply(tasks.data.images[i], tasks.data.scale, dtype=np.float32)
            np.testing.assert_array_equal(x, wanted_x)
            np.testing.assert_array_equal(y, wanted_y)
            it += 1
    return it - first


def test_in_this_process(started: list[subprocess.Popen], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "WORTH", 1000)
    assert check(ahead.chunks(tiny_tasks(), LOOPS, 0, 4), 0) == 23
    assert not started


def test_in_three_others(started: list[subprocess.Popen]) -> None:
    assert check(ahead.chunks(tiny_tasks(), LOOPS, 2, 4), 2) == 21
    assert len(started) == 3


@pytest.mark.long
def test_drawing_with_replacement(started: list[subprocess.Popen]) -> None:
    loops = Loops(**{**vars(LOOPS), "replacement": True})
    there = [i for i, _ in ahead.chunks(tiny_tasks(), loops, 0, 8)]
    here = [ahead.draw(tiny_tasks(), loops, at, len(i))[0] for at, i in zip((0, 8, 16), there)]  # noqa: B905
    for one, other in zip(there, here, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.long
def test_a_worker_that_dies_is_done_without(started: list[subprocess.Popen]) -> None:
    drawn = ahead.chunks(tiny_tasks(), LOOPS, 0, 4)
    first: Any = next(drawn)
    for process in started:
        process.kill()
        process.wait()
    assert check(iter([first, *drawn]), 0) == 23


def test_workers_end_with_whoever_asked(started: list[subprocess.Popen]) -> None:
    drawn: Any = ahead.chunks(tiny_tasks(), LOOPS, 0, 1)
    next(drawn)
    drawn.close()
    assert len(started) == 3
