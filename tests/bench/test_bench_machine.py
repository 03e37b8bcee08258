"""A machine's limits, computed a second way from times and sizes that are known."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import machine, measure
from minireptile import backend

from .test_bench_measure import Clock


def test_the_best_of_several_tries_after_one_that_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(measure, "perf_counter", lambda: clock.now)
    assert machine._best(clock.lasting(1, 4, 3, 5, 2), tries=3) == 3


def test_gflops_are_two_operations_for_each_of_the_products(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []

    def matmul(a: Any, b: Any, out: Any) -> None:
        made.append(sum(2 * a.shape[1] for _ in range(a.shape[0]) for _ in range(b.shape[1])))

    def best(call: Callable, tries: int) -> float:
        call()
        assert tries == 7
        return 0.25

    monkeypatch.setattr(machine.np, "matmul", matmul)
    monkeypatch.setattr(machine, "_best", best)
    assert machine._multiplying(30, "float32", 7) == pytest.approx(made[0] / 0.25 / 1e9)


@pytest.mark.parametrize(("touched", "number"), [(2**21, 1), (2**20, 2), (2**27, 2)])
def test_gigabytes_are_those_read_and_those_written(
    monkeypatch: pytest.MonkeyPatch, touched: int, number: int
) -> None:
    moved, sources = [], set()

    def add(a: Any, b: Any, out: Any) -> None:
        moved.append(a.nbytes + b.nbytes + out.nbytes)
        sources.add(b.ctypes.data)

    monkeypatch.setattr(machine, "usable", lambda: ("numpy",))
    monkeypatch.setattr(machine.np, "add", add)
    monkeypatch.setattr(machine, "_best", once_in_a_quarter)
    found = machine._streaming(touched, number, 3)
    assert found == pytest.approx(sum(moved) / 0.25 / 1e9)
    assert len(sources) == number
    assert sum(moved) == 1.5 * max(2**26, touched)  # long enough to be timed; one is written too
    assert moved[0] * number == 1.5 * touched


def once_in_a_quarter(call: Callable, tries: int) -> float:
    """In the place of `_best`: one call, as if it took 0.25 s."""
    call()
    return 0.25


@pytest.mark.parametrize("size", [4, 4096, 8192, 10_000, 2**20])
def test_what_is_read_does_not_wait_for_what_is_written(size: int) -> None:
    """Two addresses that agree modulo 4096, or nearly, are taken for one at first."""
    one, two = machine._buffers(size)
    assert one.nbytes == two.nbytes == size
    assert not np.shares_memory(one, two)
    first, second = (a.ctypes.data for a in (one, two))
    assert first % 64 == second % 64 == 0
    assert (second - first) % 4096 == 2048
    assert (one.min(), one.max(), two.min(), two.max()) == (1, 1, 1, 1)  # pages of their own


@pytest.mark.parametrize("quick", [False, True])
def test_limits_are_measured_at_the_sizes_of_the_caches(
    monkeypatch: pytest.MonkeyPatch, quick: bool
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 3)
    monkeypatch.setattr(machine, "caches", lambda: {"L1d": 100, "L2": 1000, "L3": 16000})
    monkeypatch.setattr(machine, "blas_threads", lambda number: nullcontext())
    asked: list = []
    rates = iter([90.0, 40.0, 60.0, 15.0])

    def streaming(*arguments: int) -> float:
        asked.append(arguments)
        return next(rates)

    monkeypatch.setattr(machine, "_streaming", streaming)
    monkeypatch.setattr(machine, "rates", lambda *a: (99.0, 77.0) if a == ("f", 3, quick) else None)
    limit = machine.limits("f", 3, quick)
    tries, beyond = (3, 2) if quick else (10, 8)
    assert asked == [
        (50, 1, tries), (500, 1, tries), (8000, 3, tries), (beyond * 16000, 3, tries),
    ]  # fmt: skip
    assert (limit.threads, limit.gflops, limit.blas) == (3, 99, 77)
    # A core has its own L1 and L2.
    assert limit.gbs == {"L1": 270.0, "L2": 120.0, "L3": 60.0, "memory": 15.0}
    assert limit.room == {"L1": 300, "L2": 3000, "L3": 16000, "memory": np.inf}
    found = [limit.level(size) for size in (300, 301, 3000, 3001, 16000, 16001)]
    assert found == ["L1", "L2", "L2", "L3", "L3", "memory"]


def test_a_cache_is_not_slower_than_what_is_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where something else disturbed its measurement, or calls of Python did."""
    measured = iter([20.0, 50.0, 30.0, 40.0])
    monkeypatch.setattr(machine, "_streaming", lambda *_: next(measured))
    monkeypatch.setattr(machine, "rates", lambda *_: (1.0, 1.0))
    monkeypatch.setattr(machine, "caches", lambda: {"L1d": 100, "L2": 1000, "L3": 16000})
    assert machine.limits().gbs == {"L1": 50.0, "L2": 50.0, "L3": 40.0, "memory": 40.0}


def test_a_last_cache_that_is_no_larger_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "caches", lambda: {"L2": 1000, "L3": 1000})
    monkeypatch.setattr(machine, "_streaming", lambda *_: 1.0)
    monkeypatch.setattr(machine, "rates", lambda *_: (1.0, 1.0))
    assert list(machine.limits(number=1).gbs) == ["L1", "L2", "memory"]


@pytest.mark.parametrize(("loop", "fastest"), [(50.0, 77.0), (99.0, 99.0)])
def test_the_limit_is_the_fastest_loop_or_blas(
    monkeypatch: pytest.MonkeyPatch, loop: float, fastest: float
) -> None:
    monkeypatch.setattr(machine, "blas_threads", lambda number: nullcontext())
    monkeypatch.setattr(machine, "_multiplying", lambda *a: a == (512, "f", 3) and 77.0)
    monkeypatch.setattr(machine, "_loops", lambda *a: a == ("f", 2, 3) and iter([0.0, loop, 20.0]))
    assert machine.rates("f", 2, quick=True) == (fastest, 77.0)


@pytest.mark.parametrize("number", [1, 3])
def test_the_rate_of_a_loop_is_that_of_all_threads(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """1 us a turn in a first trial, so 10 ms hold 10,000 turns."""
    pytest.importorskip("numba")
    peak = importlib.import_module("bench.peak")
    made: list = []
    monkeypatch.setattr(peak, "SHAPES", ((16, 2), (32, 5)))
    monkeypatch.setattr(
        peak, "multiply_adds", lambda *a: (lambda turns, *_: made.append(turns), a[1] * a[2])
    )
    monkeypatch.setattr(machine, "usable", lambda: ("numpy", "numba"))
    monkeypatch.setattr(machine, "clocked", lambda call: call() or 1e-3)
    monkeypatch.setattr(machine, "_best", once_in_a_quarter)
    none, narrow, wide = machine._loops("float32", number, 4)
    assert made == 2 * [1, 1000, *[10_001] * number]
    assert none == 0
    assert narrow == pytest.approx(32 * 10_001 * number / 0.25 / 1e9)
    assert wide == pytest.approx(5 * narrow)
    monkeypatch.setattr(machine, "usable", lambda: ("numpy",))
    assert list(machine._loops("float32", number, 4)) == [0]


@pytest.mark.parametrize(("dtype", "width", "sums"), [("float32", 16, 3), ("float64", 32, 2)])
def test_a_loop_makes_every_multiply_add(dtype: str, width: int, sums: int) -> None:
    """s = s / 2 + 3 on sums that start at 1, 2, ..., once more in Python, in whole eighths."""
    if backend.why_not("numba"):
        pytest.skip(backend.why_not("numba"))
    peak = importlib.import_module("bench.peak")
    loop, flops = peak.multiply_adds(dtype, width, sums)
    lanes = width // np.dtype(dtype).itemsize
    assert flops == 2 * lanes * sums
    for turns in (0, 1, 3):
        kept = [float(i + 1) for i in range(sums)]
        for _ in range(turns):
            kept = [s / 2 + 3 for s in kept]
        assert loop(turns, 0.5, 3.0) == lanes * sum(kept)


def test_an_update_reads_two_numbers_and_writes_one() -> None:
    if backend.why_not("numba"):
        pytest.skip(backend.why_not("numba"))
    target, source = np.full(5, 8, np.float32), np.arange(5, dtype=np.float32)
    importlib.import_module("bench.peak").update(target, source, 2)
    np.testing.assert_array_equal(target, 2 + 1.5 * source)
    machine._update(target, source, 2)
    np.testing.assert_array_equal(target, 2 + 3.5 * source)


def test_caches_are_read_by_their_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, (level, kind, size) in enumerate(
        ((1, "Data", "48K"), (1, "Instruction", "32K"), (2, "Unified", "2048K"))
    ):
        folder = tmp_path / f"index{i}"
        folder.mkdir()
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{text}\n")
    monkeypatch.setattr(machine, "CACHES", tmp_path)
    assert machine.caches() == {"L1d": 48 * 1024, "L2": 2048 * 1024}
