"""The figures of a kernel, computed a second way from times and sizes that are known."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import bench.kernels
import minireptile as mr
from bench import machine, results
from bench.measure import Timing
from minireptile.backend import kernels

from .test_bench_measure import times


@pytest.fixture
def kernel_rows(monkeypatch: pytest.MonkeyPatch, known_times: Callable) -> Callable:
    """The rows of a dense layer's forward pass: NumPy's only version, and that of another
    backend, with these timings."""

    def rows(numpy: Timing, other: Timing, room: float = np.inf) -> list[results.Row]:
        right = kernels("numpy").dense_forward
        monkeypatch.setattr(bench.kernels, "usable", lambda: ("numpy", "other"))
        monkeypatch.setattr(
            bench.kernels, "kernels", lambda _: SimpleNamespace(dense_forward=right)
        )
        monkeypatch.setattr(bench.kernels, "versions", lambda *_: {"v1": right})
        known_times(bench.kernels, {"numpy v1": numpy, "other v1": other})
        call = next(
            c for c in bench.kernels.calls_of(mr.sine_mlp(8), mr.SGD(0.1), 2, 5)
            if c.shapes == "8" and c.operation == "dense_forward"
        )  # fmt: skip
        levels = {"L2": 40.0, "memory": 10.0}, {"L2": room, "memory": np.inf}
        limit = machine.Limits(3, 100.0, *levels)
        return bench.kernels.measure(call, {"case": "c", "group": "g", "times": 2}, 4, limit, 0.5)

    return rows


def test_the_figures_of_a_kernel(kernel_rows: Callable) -> None:
    """y (2, 5, 8) = x (2, 5, 8) w (2, 8, 8) + b (2, 8), in 2 us and in 1 us."""
    ours, other = Timing(2e-6, 1.9e-6, 2.2e-6, 7), Timing(1e-6, 0.9e-6, 1.3e-6, 5)
    numpy, fast = kernel_rows(ours, other)
    work, moved = 2 * 2 * 5 * 8 * 8, 4 * (80 + 80 + 128 + 16)
    assert times(numpy) == (2e-6, 1.9e-6, 2.2e-6, 7)
    assert times(fast) == (1e-6, 0.9e-6, 1.3e-6, 5)
    for row, seconds, ratio in ((numpy, 2e-6, 1.0), (fast, 1e-6, 0.5)):
        assert (row["flops"], row["bytes"]) == (work, moved)
        assert row["gflops"] == pytest.approx(work / seconds / 1e9)
        assert row["gbs"] == pytest.approx(moved / seconds / 1e9)
        assert row["intensity"] == pytest.approx(work / moved)
        assert row["level"] == "L2"
        # 40 GB/s at 1.05 operations a byte allow 42 GFLOP/s.
        assert row["share"] == pytest.approx(work / seconds / 1e9 / (40 * work / moved))
        assert row["nominal"] == row["share"]
        assert row["ratio"] == pytest.approx(ratio)
        assert (row["threads"], row["times"], row["group"]) == (3, 2, "g")
    assert [(r["variant"], r["backend"], r["version"]) for r in (numpy, fast)] == [
        ("numpy v1", "numpy", "v1"), ("other v1", "other", "v1"),
    ]  # fmt: skip
    assert (numpy["in_use"], numpy["note"], fast["note"]) == (True, "", "")


def test_taps_on_the_padding_are_nominal_work_alone(
    monkeypatch: pytest.MonkeyPatch, known_times: Callable
) -> None:
    """28 x 28 images with stride 2: a row of taps of the last output is on the padding."""
    known_times(bench.kernels, {"numpy v1": Timing(1e-3, 1e-3, 1e-3, 1)})
    monkeypatch.setattr(bench.kernels, "usable", lambda: ("numpy",))
    right = kernels("numpy").conv2d_forward
    monkeypatch.setattr(bench.kernels, "versions", lambda *_: {"v1": right})
    call = next(c for c in bench.kernels.calls_of(mr.omniglot_cnn(5, 4), mr.SGD(0.1), 2, 3)
                if c.operation == "conv2d_forward" and c.shapes == "28x28x1->14x14x4")  # fmt: skip
    limit = machine.Limits(1, 2.0, {"memory": 1e9}, {"memory": np.inf})
    (row,) = bench.kernels.measure(call, {"case": "c"}, 1, limit, 0.0)
    nominal, done = 2 * 6 * (14 * 3) ** 2 * 4, 2 * 6 * (14 * 3 - 1) ** 2 * 4
    assert (row["flops"], row["flops_done"]) == (nominal, pytest.approx(done))
    assert row["gflops"] == pytest.approx(nominal / 1e6)
    assert row["nominal"] == pytest.approx(nominal / 2e6)
    assert row["share"] == pytest.approx(done / 2e6)


def test_a_call_beyond_the_cache_is_held_to_memory(kernel_rows: Callable) -> None:
    one = Timing(1e-6, 1e-6, 1e-6, 1)
    row, _ = kernel_rows(one, one, room=1215)
    assert row["level"] == "memory"
    assert row["share"] == pytest.approx(row["gflops"] / (10 * row["intensity"]))
    row, _ = kernel_rows(one, one, room=1216)  # 304 numbers of 4 bytes
    assert row["level"] == "L2"
    assert row["share"] == pytest.approx(row["gflops"] / (40 * row["intensity"]))


@pytest.mark.parametrize(
    ("median", "low", "loses"),
    [(1.06, 1.04, True), (1.04, 1.035, False), (1.06, 1.02, False)],
    ids=["clearly", "by less than 5 %", "quartiles overlap"],
)
def test_a_backend_loses_where_it_is_clear(
    kernel_rows: Callable, median: float, low: float, loses: bool
) -> None:
    _, row = kernel_rows(Timing(1.0, 0.9, 1.03, 1), Timing(median, low, 1.2, 1))
    assert row["note"] == ("slower than NumPy" if loses else "")


def test_the_kernels_in_a_sentence() -> None:
    rows: list[results.Row] = [
        {"case": "limits", "variant": "threads: 2", "threads": 2, "peak_gflops": 99.6,
         "blas_gflops": 70.4, "gbs_L2": 41.2, "gbs_memory": 7.7},
        {"in_use": True, "backend": "numpy", "note": ""},
        {"in_use": True, "backend": "a", "note": "slower than NumPy"},
        {"in_use": False, "backend": "a", "note": "slower than NumPy"},
        {"in_use": True, "backend": "a", "note": ""},
        {"in_use": True, "backend": "b", "note": ""},
    ]  # fmt: skip
    assert bench.kernels.summary(rows) == (
        "Limits of the machine (threads: 2): 100 GFLOP/s, 41 GB/s L2, 8 GB/s memory; "
        "BLAS reaches 70 GFLOP/s.\n"
        "Slower than NumPy's version in use: 1 of 3 cases."
    )


def test_the_limits_head_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = machine.Limits(
        1, 90.0, {"L2": 40.0, "memory": 10.0}, {"L2": 1.0, "memory": np.inf}, 70.0
    )
    asked: list = []

    def limits(*arguments: Any) -> machine.Limits:
        asked.append(arguments)
        return limit

    monkeypatch.setattr(bench.kernels, "limits", limits)
    monkeypatch.setattr(bench.kernels, "cases", lambda quick, wanted: [])
    (head,) = bench.kernels.run(3, quick=True)
    assert asked == [("float32", 1, True)]
    assert (head["peak_gflops"], head["blas_gflops"]) == (90, 70)
    assert (head["gbs_L2"], head["gbs_memory"]) == (40, 10)
    assert (head["threads"], head["variant"]) == (1, "threads: 1")
