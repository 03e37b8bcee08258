"""What every experiment on characters measures, in its quick version and in full, and that its
sentence says it; what it concludes is in test_verdicts.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minireptile.evaluate import Accuracy
from minireptile.reproduce import (
    cost,
    gradient_combinations,
    meta_batch,
    overlap,
)
from minireptile.reproduce.outcome import FAILS, HOLDS, TOO_SMALL
from tests.runs.made_up import both, hidden, replace, says

# cost: seconds and bytes.


def costs(
    patch: pytest.MonkeyPatch, maml: Callable[[int], float], parameters: float
) -> tuple[list, list]:
    """Runs that take a time on a made-up clock, the first longest and the third longer."""
    clock, vector = [0.0], [0.0]
    rounds: dict[tuple[str, int], int] = {}

    def whole(name: str, model: Any, tasks: Any, k: int) -> None:
        n = rounds[name, k] = rounds.get((name, k), -1) + 1
        each = {"reptile": 1.0 * k, "fomaml": 0.8 * k, "maml": maml(k) * k}[name]
        clock[0] += cost.ITERATIONS * each * {0: 1000, 2: 5}.get(n, 1)
        more = int(parameters * k * cost.T * model.size * 4) + 7 if name == "maml" else 0
        vector[0] = 100 + more

    def peak(call: Callable[[], None]) -> float:
        call()
        return vector[0]

    splits = replace(patch, cost, "glyph_splits", lambda **_: type("S", (), {"train": "classes"}))
    calls = replace(patch, cost, "whole", whole)
    patch.setattr(cost, "FewShot", lambda classes, way: (classes, way))
    patch.setattr(cost, "perf_counter", lambda: clock[0])
    patch.setattr(cost, "peak", peak)
    return calls, splits


@both
def test_cost_is_measured_so(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, splits = costs(monkeypatch, lambda k: 1 + k / 10, 1.0)
    outcome = cost.run(quick, "numpy")
    steps, rounds = ((2, 5, 10), 15) if quick else ((2, 5, 10, 20), 9)
    names = ("reptile", "fomaml", "maml")
    assert [(call[0], call[3]) for call in calls] == [
        (name, k) for k in steps for name in (*names * (1 + rounds), *names)
    ]
    assert {len(call[1].layers) for call in calls} == {5 if quick else 14}
    tasks = {type(call[2]).__name__ if quick else call[2] for call in calls}
    assert tasks == ({"Sine"} if quick else {("classes", 5)})
    classes = {"train_classes": 30, "drawers": 20, "seed": 0, "rotations": False}
    assert splits == ([] if quick else [(classes,)])
    data = outcome.data
    assert (data["steps"], data["tasks"], data["backend"]) == (steps, 5, "numpy")
    assert data["parameters"] == calls[0][1].size
    assert data["seconds"] == {  # the median: one long iteration makes no difference
        "reptile": pytest.approx([1.0 * k for k in steps]),
        "fomaml": pytest.approx([0.8 * k for k in steps]),
        "maml": pytest.approx([(1 + k / 10) * k for k in steps]),
    }
    assert {len(each) for by in data["rounds"].values() for each in by} == {rounds}
    assert data["peak_bytes"]["reptile"] == [100] * len(steps)
    vector = 5 * data["parameters"] * 4
    assert data["peak_bytes"]["maml"] == [100 + k * vector + 7 for k in steps]
    text = ", ".join(f"{1 + k / 10:.1f} and {(1 + k / 10) / 0.8:.1f} for k = {k}" for k in steps)
    kind = "two hidden layers on sine waves" if quick else "the paper's network on drawn characters"
    says(
        outcome,
        HOLDS,
        kind,
        f"medians with numpy, in multiples of Reptile's time and FOMAML's: {text}",
    )


# gradient-combinations: the accuracies at the end.


def sums(patch: pytest.MonkeyPatch, ends: dict[str, float], ci95: float = 0.01) -> list:
    def trained(
        model: Any, train: Any, test: Any, names: list[str], iterations: int,
        tasks: dict[int, int], workers: None,
    ) -> dict[str, Any]:  # fmt: skip
        def curve(end: float) -> list[dict[str, float]]:
            low = {"iteration": 0, "accuracy": 0.2, "ci95": 0.5}
            return [low, {"iteration": iterations, "accuracy": end, "ci95": ci95 if end else 0.0}]

        return {name: curve(ends.get(name, 0.6)) for name in reversed(names)}

    patch.setattr(gradient_combinations, "characters", lambda *_: ("train", "test", "made-up ones"))
    return replace(patch, gradient_combinations, "trained", trained)


@both
def test_gradient_combinations_are_measured_so(
    quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = sums(monkeypatch, {})
    outcome = gradient_combinations.run(quick)
    iterations = 300 if quick else 10_000
    by_k = {
        True: [["g1"], ["g1 + g2", "g2"], ["g1 + g2 + g3 + g4"]],
        False: [
            ["g1"], ["g1 + g2", "(g1 + g2) / 2", "g2"],
            ["g1 + g2 + g3", "(g1 + g2 + g3) / 3", "g3"],
            ["g1 + g2 + g3 + g4", "(g1 + ... + g4) / 4", "g4"],
        ],
    }  # fmt: skip
    assert [call[3] for call in calls] == by_k[quick]
    for model, train, test, _, count, tasks, _ in calls:
        assert (hidden(model), model.reduction) == (8 if quick else 64, "sum")
        assert (train, test, count) == ("train", "test", iterations)
        assert list(tasks) == list(range(0, iterations + 1, 150 if quick else 500))
        assert set(tasks.values()) == ({100, 200} if quick else {100, 1000})
        assert tasks[iterations] == max(tasks.values())
    assert outcome.data["iterations"] == iterations
    assert outcome.data["characters"] == "made-up ones"
    says(outcome, TOO_SMALL, f"After {iterations:,} iterations on made-up ones the accuracy is, in "
         "%: g1 60.0",
         f"(+- 1.0 or less, {max(tasks.values()):,} tasks)")  # fmt: skip
    assert list(outcome.data["curves"]) == [
        n for n in gradient_combinations.RUNS if n in outcome.data["curves"]
    ]


# overlap: whether accuracy falls from the first value of a panel to the last.


def tails(
    patch: pytest.MonkeyPatch, first: dict[str, float], last: dict[str, float], panel: str,
    ci95: float | None = 0.015625,
) -> list:  # fmt: skip
    def made_up(*arguments: Any) -> Accuracy:
        curve, values = arguments[3], arguments[6]
        end = last if values[panel] == PANELS[panel][-1] else first
        return Accuracy(0.9, 0.0, end.get(curve, 0.5), ci95, 5, 0)

    patch.setattr(overlap, "characters", lambda *_: ("train", "test", "made-up ones"))
    return replace(patch, overlap, "accuracy", made_up)


PANELS = {"inner_batch": (5, 10), "inner_steps": (2, 4, 6, 10)}
FALL = {"shared tail, cycling": 0.25}


def test_overlap_is_measured_so_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = tails(monkeypatch, {}, FALL, "inner_batch")
    says(overlap.run(quick=False), FAILS, "from 2 to 10 in inner steps", "2,000 iterations")
    base = {"inner_steps": 4, "inner_batch": 25, "epsilon": 0.25}
    points = [{**base, panel: v} for panel, values in overlap.PANELS.items() for v in values]
    assert [values for *_, curve, _, _, values, _ in calls if curve == "Reptile, cycling"] == [
        p for n, p in enumerate(points) if p not in points[:n]
    ]  # every point once
    model, train, test, _, iterations, tasks, _, _ = calls[0]
    assert (hidden(model), train, test, iterations, tasks) == (16, "train", "test", 2000, 200)


def test_overlap_is_measured_so(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = tails(monkeypatch, {}, FALL, "inner_batch", ci95=None)
    says(
        overlap.run(quick=True), HOLDS, "in %, +- 0.0 or less: from 5 to 10 in inner batch, ",
        "shared tail, cycling: 50.0 to 25.0", "Reptile, cycling: 50.0 to 50.0",
        "(10 iterations, 5 tasks, made-up ones)",
    )  # fmt: skip
    assert [call[4:7] for call in calls[:2]] == [
        (10, 5, {"inner_steps": 4, "inner_batch": n, "epsilon": 0.25}) for n in (5, 10)
    ]
    assert [call[3] for call in calls[::2]] == list(overlap.CURVES)
    assert hidden(calls[0][0]) == 4
    assert overlap.PANELS == {
        "inner_steps": (2, 4, 6, 10), "inner_batch": (10, 25, 50, 75), "epsilon": (0.05, 0.25, 1.0)
    }  # fmt: skip


# meta-batch: accuracies at the ends of two comparisons.


def sizes(patch: pytest.MonkeyPatch, end: Callable[[str, int, int], float]) -> list:
    def learned(*arguments: Any) -> list[dict[str, Any]]:
        *_, outer, size, count, _, _ = arguments
        row = {"rate": 0.5, "ci95": 0.0078125}
        return [{"iteration": 1, "accuracy": 0.125, **row},
                {"iteration": count, "accuracy": end(outer, size, count), **row}]  # fmt: skip

    patch.setattr(meta_batch, "characters", lambda *_: ("train", "test", "made-up ones"))
    patch.setattr(meta_batch, "accuracy", lambda *_: {"accuracy": 0.25, "ci95": 0.0})
    return replace(patch, meta_batch, "learned", learned)


def by_size(outer: str, size: int, count: int) -> float:
    """More with size, less and less; but few iterations of the largest are worse."""
    return {1: 0.5, 5: 0.625, 20: 0.6875, 100: 0.71875}[size] - 0.25 * (count in (4, 60))


@both
def test_meta_batch_is_measured_so(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = sizes(monkeypatch, by_size)
    outcome = meta_batch.run(quick)
    total, iterations, tasks = (400, 20, 100) if quick else (6000, 300, 500)
    assert {call[3:] for call in calls} == {
        (outer, size, count, tasks, None)
        for outer in ("no outer optimizer", "outer Adam")
        for size in (1, 5, 20, 100)
        for count in (total // size, iterations)
    }
    assert len(calls) == 2 * (4 + 4 - 1)  # the one where they meet is made once
    model, train, test, *_ = calls[0]
    assert (hidden(model), train, test) == (8 if quick else 16, "train", "test")
    says(
        outcome, HOLDS, "less that with T = 1, in points, is 21.9",
        "the gain from T = 1 to 5 less that from 20 to 100, in points, is 9.38",
        "with T = 5 less that with T = 100, in points, is 15.6",
        "25.0 before training, +- 0.8 or less: "
        f"after {total:,} tasks, no outer optimizer: 50.0 (T = 1), 62.5 (T = 5), 68.8 (T = 20), "
        "46.9 (T = 100); ",
        f"after {iterations} iterations, outer Adam: 50.0 (T = 1), 62.5 (T = 5), 68.8 (T = 20), "
        f"71.9 (T = 100) ({tasks} unseen tasks, made-up ones)",
    )  # fmt: skip


def test_either_kind_decides_for_meta_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(outer: str, size: int, count: int) -> float:
        return by_size(outer, size, count) + 0.5 * ("Adam" in outer and count == 4)

    sizes(monkeypatch, end)
    says(meta_batch.run(quick=True), FAILS, "on equal tasks, outer Adam, ", "is -34.4")
