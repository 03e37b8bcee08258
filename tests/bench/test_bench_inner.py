"""The figures of an inner loop and of its memory, computed a second way."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minireptile as mr
from bench import inner_loop, memory
from bench.measure import Timing
from bench.settings import MINIIMAGENET, OMNIGLOT, SINE, Setting

from .test_bench_measure import times

TINY = replace(OMNIGLOT, tasks=2, steps=3, batch=4, size=8, filters=4)


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
