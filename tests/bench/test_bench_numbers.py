"""Every figure of the suites, computed a second way from times and sizes that are known."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import bench.kernels
import minireptile as mr
from bench import __main__ as command
from bench import inner_loop, machine, memory, results, runs, start
from bench.measure import Timing
from bench.settings import MINIIMAGENET, OMNIGLOT, SINE, Setting
from minireptile import backend
from minireptile.backend import kernels

from .test_bench_measure import Clock

TINY = replace(OMNIGLOT, tasks=2, steps=3, batch=4, size=8, filters=4)


def times(row: results.Row) -> tuple:
    return tuple(row[name] for name in ("seconds", "low", "high", "calls"))


def test_a_row_has_the_figures_of_its_timing() -> None:
    row = results.timed("c", "v", Timing(median=3.0, low=2.0, high=5.0, calls=7), more=1)
    assert row == {
        "case": "c", "variant": "v", "seconds": 3.0, "low": 2.0, "high": 5.0, "calls": 7, "more": 1,
    }  # fmt: skip


# ------------------------------------------------------------------------------------- the machine


def test_the_best_of_several_tries_after_one_that_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(machine, "perf_counter", lambda: clock.now)
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
    monkeypatch.setattr(machine, "_seconds", lambda call: call() or 1e-3)
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


# ------------------------------------------------------------------------------------- the kernels


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
    monkeypatch.setattr(bench.kernels, "cases", lambda quick: [])
    (head,) = bench.kernels.run(3, quick=True)
    assert asked == [("float32", 1, True)]
    assert (head["peak_gflops"], head["blas_gflops"]) == (90, 70)
    assert (head["gbs_L2"], head["gbs_memory"]) == (40, 10)
    assert (head["threads"], head["variant"]) == (1, "threads: 1")


# ---------------------------------------------------------------------------------- the inner loop


def test_a_meta_iteration_over_its_products() -> None:
    timings = {
        "looped": Timing(12.0, 11.0, 14.0, 1), "batched": Timing(6.0, 5.0, 9.0, 2),
        inner_loop.PRODUCTS: Timing(4.0, 3.0, 5.0, 3),
    }  # fmt: skip
    looped, batched, alone = inner_loop._whole(SINE, timings, 3, peak=1e-3)
    assert times(looped) == (12, 11, 14, 1)
    assert [row["ratio"] for row in (looped, batched, alone)] == [2, 1, pytest.approx(2 / 3)]
    assert [row["over_products"] for row in (looped, batched)] == [3, 1.5]
    assert [row["over_cores"] for row in (looped, batched)] == [9, 4.5]
    assert "over_products" not in alone
    assert "share" not in alone
    # Five steps on 10 points: y and dw of three layers, dx of two; a million operations a second.
    work = 5 * 10 * 2 * (2 * 64 + 3 * 64 * 64 + 3 * 64)
    assert looped["flops"] == work
    assert looped["share"] == looped["nominal"] == pytest.approx(work / 12 / 1e6)
    assert batched["share"] == pytest.approx(work / 6 / 1e6)
    assert looped["threads"] == 3
    assert inner_loop.summary([looped, batched, alone]).splitlines() == [
        "sine 1x5x10, looped: 3.00 times its matrix products, on 3 cores 9.00; 0.11 of their peak",
        "sine 1x5x10, batched: 1.50 times its matrix products, on 3 cores 4.50; 0.21 of their peak",
    ]


@pytest.mark.usefixtures("two_backends")
def test_what_is_timed_of_an_inner_loop(
    monkeypatch: pytest.MonkeyPatch, known_times: Callable
) -> None:
    """The whole inner loop for every variant, with the paper's optimizer; as many products."""
    made: list = []

    def products(model: Any, T: int, B: int) -> Callable:
        made.append((T, B))
        return lambda: made.append("step")

    monkeypatch.setattr(inner_loop, "products", products)
    timing = Timing(1.0, 1.0, 1.0, 1)
    names = ("looped", "batched", "other", inner_loop.PRODUCTS)
    asked = known_times(inner_loop, dict.fromkeys(names, timing))
    inner_loop.measure(TINY, 9, 0.5, alone=True)
    ((calls, rounds, least),) = asked
    assert tuple(calls) == names
    assert (rounds, least) == (9, 0.5)
    assert made == [(2, 4), "step", "step", "step"]
    model, (x, y) = TINY.model(), TINY.data()
    theta = model.init(0)
    phi = np.repeat(theta[None], 2, axis=0)
    mr.adapt(model, phi, x, y, mr.Adam(1e-3, beta1=0.0))
    np.testing.assert_array_equal(calls["other"](), theta + 0.5 * (phi.mean(0) - theta))
    inner_loop.measure(TINY, 9, 0.5, alone=False)
    assert inner_loop.PRODUCTS not in asked[1][0]


@pytest.mark.parametrize(("quick", "turns"), [(False, [10, 4, 10]), (True, [10, 10])])
def test_growth_changes_one_size_at_a_time(
    monkeypatch: pytest.MonkeyPatch, quick: bool, turns: list[int]
) -> None:
    asked: list = []
    timings = {"looped": Timing(3.0, 2.0, 4.0, 1), "batched": Timing(2.0, 1.0, 3.0, 1),
               inner_loop.PRODUCTS: Timing(1.0, 1.0, 1.0, 1)}  # fmt: skip
    monkeypatch.setattr(inner_loop, "compiled_threads", lambda number: 3)
    monkeypatch.setattr(inner_loop, "memory", lambda *_: [])
    monkeypatch.setattr(inner_loop, "rates", lambda *a: (a == ("float32", 3, quick) and 80.0, 0.0))

    def measure(*arguments: Any, alone: bool) -> dict[str, Timing]:
        asked.append((*arguments, alone))
        return timings

    monkeypatch.setattr(inner_loop, "measure", measure)
    rows = inner_loop.run(10, quick)
    heads = [(setting, rounds) for setting, rounds, _, alone in asked if alone]
    assert [rounds for _, rounds in heads] == turns  # Mini-ImageNet takes long
    assert [s.network for s, _ in heads if not quick] == (
        [] if quick else ["omniglot", "mini-imagenet", "sine"]
    )
    assert {least for _, _, least, _ in asked} == {0.002 if quick else 0.02}
    base = inner_loop.QUICK if quick else OMNIGLOT
    grown = [setting for setting, _, _, alone in asked if not alone]
    lines = [row for row in rows if row.get("axis") and row["variant"] == "looped"]
    for row, setting in zip(lines, grown, strict=True):
        wanted = {**asdict(base), row["axis"]: row["value"]}
        assert asdict(setting) == wanted
        assert row["case"] == f"{row['axis']}={row['value']}"
        assert row["ratio"] == 1.5
        assert row["threads"] == 3
    assert {row.get("peak_gflops") for row in rows} == {80.0, None}
    growth = inner_loop.QUICK_GROWTH if quick else inner_loop.GROWTH
    assert len(lines) == sum(map(len, growth.values()))


def test_memory_of_a_step_is_what_more_of_them_take(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(module: str, network: str, steps: int, backend: str) -> dict:
        assert (module, network, backend) == ("bench.memory", "sine", "numpy")
        return {"of": f"{steps} steps", "resident_bytes": 3e6 + 5e3 * steps,
                "traced_bytes": 1e6 + 7e3 * steps}  # fmt: skip

    monkeypatch.setattr(inner_loop, "ask", ask)
    short, long = inner_loop.memory("sine", "numpy")
    assert [(row["case"], row["steps"]) for row in (short, long)] == [
        ("memory 2 steps", 2), ("memory 20 steps", 20),
    ]  # fmt: skip
    assert short["variant"] == "batched"
    assert (short["resident_mb"], long["resident_mb"]) == (pytest.approx(3.01), pytest.approx(3.1))
    assert (short["traced_mb"], long["traced_mb"]) == (pytest.approx(1.014), pytest.approx(1.14))
    assert long["bytes_per_step"] == pytest.approx(7000)
    assert long["resident_bytes_per_step"] == pytest.approx(5000)
    assert "bytes_per_step" not in short


# -------------------------------------------------------------------------------------- the memory


def test_the_resident_set_now_and_at_its_largest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t    300 kB\nVmRSS:\t    200 kB\n")
    monkeypatch.setattr(memory, "STATUS", status)
    assert memory.resident(peak=True) == 300 * 1024
    assert memory.resident(peak=False) == 200 * 1024
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    assert memory.resident(peak=True) is None


def test_the_largest_so_far_is_forgotten_where_the_system_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "CLEAR", tmp_path / "clear_refs")
    assert memory.forget_peak()
    assert (tmp_path / "clear_refs").read_text() == "5"  # proc(5): resets the peak
    monkeypatch.setattr(memory, "CLEAR", tmp_path)
    assert not memory.forget_peak()


def test_memory_is_what_the_loop_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list = []

    def resident(peak: bool) -> int:
        said.append(peak)
        return 1700 if peak else 1000

    monkeypatch.setattr(memory, "resident", resident)
    monkeypatch.setattr(memory, "forget_peak", lambda: True)
    assert memory.adapt(SINE, "numpy", trace=False) == (700, None)
    assert said == [False, True]
    above, traced = memory.adapt(SINE, "numpy", trace=True)
    assert above is None
    assert traced is not None
    assert traced > 4 * mr.sine_mlp().size
    monkeypatch.setattr(memory.tracemalloc, "get_traced_memory", lambda: (11, 22))  # now, at most
    assert memory.adapt(SINE, "numpy", trace=True) == (None, 22)
    monkeypatch.setattr(memory, "forget_peak", lambda: False)
    assert memory.adapt(SINE, "numpy", trace=False) == (None, None)


def test_memory_is_measured_after_a_small_loop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list = []

    def adapt(setting: Setting, backend: str, trace: bool) -> tuple:
        asked.append((setting, backend, trace))
        return (None, 22) if trace else (11 if setting.steps > 1 else 99, None)

    monkeypatch.setattr(memory, "adapt", adapt)
    memory.main(["mini-imagenet", "6", "numpy"])
    one = replace(MINIIMAGENET, tasks=1, steps=6)
    small = replace(one, tasks=2, batch=2, steps=1)
    assert asked == [(small, "numpy", False), (one, "numpy", False), (one, "numpy", True)]
    assert json.loads(capsys.readouterr().out) == {
        "of": "mini-imagenet 1x6x10", "resident_bytes": 11, "traced_bytes": 22,
    }  # fmt: skip


# --------------------------------------------------------------------------------------- whole runs


@pytest.mark.usefixtures("two_backends")
def test_the_figures_of_a_run(monkeypatch: pytest.MonkeyPatch, known_times: Callable) -> None:
    timings = {
        "numpy": Timing(0.5, 0.4, 0.7, 3), "other": Timing(0.25, 0.2, 0.3, 5),
        runs.SAMPLING: Timing(0.1, 0.05, 0.2, 9),
    }  # fmt: skip
    asked = known_times(runs, timings)
    given: list = []
    real = mr.reptile

    def reptile(model: Any, tasks: Any, optimizer: Any, loops: mr.Loops) -> Any:
        given.append((optimizer, loops))
        return real(model, tasks, optimizer, loops)

    monkeypatch.setattr(mr, "reptile", reptile)
    tasks = runs.images(6, 10, (8, 8), bool)
    numpy, other, alone = runs.measure(TINY, tasks, 7, 11, 0.5, 3)
    assert asked[0][1:] == (11, 0.5)
    assert [(r["variant"], times(r)) for r in (numpy, other, alone)] == [
        ("numpy", (0.5, 0.4, 0.7, 3)), ("other", (0.25, 0.2, 0.3, 5)),
        (runs.SAMPLING, (0.1, 0.05, 0.2, 9)),
    ]  # fmt: skip
    assert [r["per_second"] for r in (numpy, other, alone)] == [2, 4, 10]
    assert [r["ratio"] for r in (numpy, other, alone)] == [1, 0.5, 0.2]
    assert [r.get("sampling") for r in (numpy, other, alone)] == [0.2, 0.4, None]
    assert {r["threads"] for r in (numpy, other, alone)} == {3}
    assert numpy["case"] == "run omniglot 2x3x4"
    optimizer, loops = given[-1]
    assert optimizer == mr.Adam(1e-3, beta1=0.0)
    assert (loops.meta_batch, loops.inner_steps, loops.inner_batch) == (2, 3, 4)
    assert (loops.train_shots, loops.epsilon) == (7, 0.1)


def test_random_images_have_as_many_of_each_class() -> None:
    ink, colours = runs.images(7, 3, (4, 5), bool), runs.images(7, 3, (4, 5, 3), np.uint8)
    for found in (ink, colours):
        assert found.n_out == 5
        assert found.data.counts.tolist() == [3] * 7
    assert (ink.data.images.max(), colours.data.images.max() > 1) == (1, True)
    settings = {s.network: (s, shots) for s, _, shots in runs.cases(quick=True)}
    assert settings["sine"] == (SINE, 50)
    assert settings["omniglot"] == (runs.QUICK, 10)


@pytest.mark.parametrize(("each", "text"), [(1234.5, "1,234"), (999.6, "1e+03"), (12.345, "12.3")])
def test_iterations_a_second_in_three_digits(each: float, text: str) -> None:
    assert runs.rate({"per_second": each}) == text


def test_a_second_start_finds_what_the_first_one_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list = []

    def ask(module: str, *arguments: str, NUMBA_CACHE_DIR: str) -> dict:
        assert (module, *arguments) == ("bench.start", "sine", "numpy")
        path = Path(NUMBA_CACHE_DIR, "compiled")
        folders.append((NUMBA_CACHE_DIR, path.exists()))
        path.touch()
        return {"first_seconds": 10.0 - len(folders), "next_seconds": 1.0, "import_seconds": 2.0}

    monkeypatch.setattr(runs, "ask", ask)
    first, second = runs.starts("sine", "numpy")
    assert [there for _, there in folders] == [False, True]
    assert folders[0][0] == folders[1][0]
    assert not Path(folders[0][0]).exists()
    assert (first["case"], first["first_seconds"]) == ("first start, sine", 9)
    assert (second["case"], second["first_seconds"]) == ("second start, sine", 8)
    assert first["variant"] == "numpy"


def test_a_start_is_timed_in_three_parts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A clock that goes on when something is done: a model in 100 s, each adaptation in 7 s."""
    now = [20.0]

    def model(self: Setting, backend: str) -> mr.Model:
        now[0] += 100
        return mr.sine_mlp(4)

    def adapt(model: Any, phi: Any, x: Any, y: Any, optimizer: Any) -> None:
        now[0] += 7
        assert (phi.shape[0], x.shape[:3], optimizer) == (1, (5, 1, 10), mr.SGD(0.02))

    monkeypatch.setattr(start, "perf_counter", lambda: now[0])
    monkeypatch.setattr(start, "BEGIN", 17.0)
    monkeypatch.setattr(Setting, "model", model)
    monkeypatch.setattr(mr, "adapt", adapt)
    start.main(["sine", "numpy"])
    assert json.loads(capsys.readouterr().out) == {
        "import_seconds": 3, "first_seconds": 107, "next_seconds": 7,
    }  # fmt: skip


# ------------------------------------------------------------------------------------- the settings


@pytest.mark.parametrize(
    ("setting", "x", "y"),
    [
        (TINY, (3, 2, 4, 8, 8, 1), (3, 2, 4)),
        (replace(MINIIMAGENET, tasks=2, steps=1, batch=3), (1, 2, 3, 84, 84, 3), (1, 2, 3)),
        (replace(SINE, tasks=2, steps=4), (4, 2, 10, 1), (4, 2, 10, 1)),
    ],
    ids=str,
)
def test_a_setting_has_the_network_and_the_data_it_names(
    setting: Setting, x: tuple, y: tuple
) -> None:
    found = setting.data()
    assert [a.shape for a in found] == [x, y]
    assert found[0].dtype == np.float32
    model, sine = setting.model(), setting.network == "sine"
    assert model.input_shape == x[3:]
    assert str(setting) == f"{setting.network} {x[1]}x{x[0]}x{x[2]}"
    assert setting.optimizer == (mr.SGD(0.02) if sine else mr.Adam(1e-3, beta1=0.0))
    assert model.n_out == (1 if sine else 5)
    if not sine:
        assert set(found[1].ravel().tolist()) <= set(range(5))
    assert not np.array_equal(setting.data(1)[0], found[0])


def test_the_papers_settings() -> None:
    assert [str(s) for s in (OMNIGLOT, MINIIMAGENET, SINE)] == [
        "omniglot 5x5x10", "mini-imagenet 5x8x10", "sine 1x5x10",
    ]  # fmt: skip


# -------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ([], (15, False, None)),
        (["--quick"], (3, True, None)),
        (["--rounds", "7", "--threads", "1"], (7, False, 1)),
    ],
    ids=["as it is", "quick", "as asked"],
)
def test_a_suite_is_run_saved_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    options: list[str], wanted: tuple,
) -> None:  # fmt: skip
    asked: list = []
    rows: list[results.Row] = [
        {"case": "a", "variant": "v", "seconds": 0.25, "ratio": 2.0, "hidden": 1, "note": ""},
        {"case": "b", "variant": "w", "hidden": 2},
    ]

    def run(*arguments: Any) -> list[results.Row]:
        asked.append(arguments)
        return rows

    fake = SimpleNamespace(
        run=run, COLUMNS={key: (key, f"what {key} is") for key in ("seconds", "ratio", "none")},
        summary=lambda rows: f"of {len(rows)}", draw=lambda rows, folder, where: [folder / "p.png"],
    )  # fmt: skip
    monkeypatch.setattr(command, "import_module", lambda name: fake)
    monkeypatch.setattr(command, "BACKENDS", ())
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    assert command.main(["runs", *options, "--out", str(tmp_path)]) == 0
    assert asked == [wanted]
    assert results.load(tmp_path / "runs.json")["rows"] == rows
    assert capsys.readouterr().out.splitlines() == [
        "## runs",
        "",
        "| case, variant | seconds | ratio |",
        "| ------------- | ------: | ----: |",
        "| a                               |",
        "|   v           |  250 ms |     2 |",
        "",
        "- seconds: what seconds is",
        "- ratio: what ratio is",
        "",
        "of 2",
        "",
        f"wrote {tmp_path / 'runs.json'}",
        f"wrote {tmp_path / 'p.png'}",
    ]
