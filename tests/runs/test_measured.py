"""What every experiment measures, in its quick version and in full, and that its sentence says it;
what it concludes is in test_verdicts.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from minireptile import SGD, Adam, Loops
from minireptile.algorithms import ALGORITHMS
from minireptile.evaluate import Accuracy, Protocol, Regression
from minireptile.loops import Snapshot
from minireptile.reproduce import (
    cost,
    gradient_combinations,
    inner_products,
    k1,
    manifolds,
    meta_batch,
    overlap,
    sine,
    taylor,
    variance,
)
from minireptile.reproduce.convergence import Sizes
from minireptile.reproduce.outcome import FAILS, HOLDS, TOO_SMALL, Outcome
from tests.runs.made_up import replace

both = pytest.mark.parametrize("quick", [True, False], ids=["quick", "full"])


def hidden(model: Any) -> int:
    return model.layers[0].units if hasattr(model.layers[0], "units") else model.layers[0].filters


def says(outcome: Outcome, verdict: str, *words: str) -> None:
    """The verdict, and the figures in its sentence."""
    assert outcome.verdict == verdict
    first, second = outcome.sentence().split("\n")
    assert first == outcome.claim
    begins = {HOLDS: "It holds: ", FAILS: "It does not hold: ", TOO_SMALL: "Too small to tell: "}
    assert second == begins[verdict] + outcome.figures()
    for word in words:
        assert word in second, second


def snapshot(iteration: int, theta: Any) -> Snapshot:
    return Snapshot(iteration, np.asarray(theta, float), {}, np.zeros((0, 0)))


# k1: distances of Reptile's theta from that of joint training, for k = 1 and for k = 2.


def apart(patch: pytest.MonkeyPatch, distances: dict[int, list[float]]) -> tuple[list, list]:
    def training(factor: dict[int, list[float]]) -> Callable[..., Iterator[Snapshot]]:
        def run(model: Any, tasks: Any, optimizer: SGD, loops: Loops) -> Iterator[Snapshot]:
            for it, d in enumerate(factor[loops.inner_steps], 1):
                yield snapshot(it, [3 + 3 * d, -4 - 4 * d])

        return run

    still = {k: [0.0] * len(d) for k, d in distances.items()}
    return (
        replace(patch, k1, "reptile", training(distances)),
        replace(patch, k1, "joint", training(still)),
    )


@both
def test_k1_is_measured_so(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    iterations = 200 if quick else 5000
    rising = {k: (k - 1 + 1e-15) * np.arange(1, iterations + 1.0) for k in (1, 2)}
    with_steps, jointly = apart(monkeypatch, {k: list(d) for k, d in rising.items()})
    outcome = k1.run(quick, "numpy")
    common: dict[str, Any] = {
        "meta_batch": 5, "epsilon": 0.5, "epsilon_final": 0.5, "inner_batch": 10,
        "train_shots": 50, "state": "fresh",
    }  # fmt: skip
    for calls, rate in ((with_steps, 0.02), (jointly, 0.01)):
        for (model, tasks, optimizer, loops), k in zip(calls, (1, 2), strict=True):
            assert type(tasks).__name__ == "Sine"
            assert (hidden(model), model.dtype) == (16 if quick else 64, np.float64)
            assert optimizer == SGD(rate)
            assert loops == Loops(iterations, inner_steps=k, **common)
    its = outcome.data["iterations"]
    assert (its[0], its[-1]) == (1, iterations)
    assert len(its) == (100 if quick else 148)
    np.testing.assert_allclose(outcome.data["k = 2"], its, rtol=1e-9)
    assert (outcome.data["alpha"], outcome.data["epsilon"]) == (0.02, 0.5)
    says(
        outcome, HOLDS, f"After {iterations:,} iterations",
        f"by {1e-15 * iterations:.1e} of its norm", f"by {float(iterations):.1e} with two",
    )  # fmt: skip
    assert outcome.data["worst"] == pytest.approx(1e-15 * iterations, rel=0.2)


# sine: the errors after 32 steps.


def sines(
    patch: pytest.MonkeyPatch, ends: dict[str, tuple[float, float | None]], stops: str = ""
) -> tuple[dict[str, Any], list[Any]]:
    def training(name: str) -> Callable[..., Iterator[Snapshot]]:
        def run(*arguments: Any) -> Iterator[Snapshot]:
            yield snapshot(1, [list(ends).index(name)])
            if name == stops:
                raise sine.InputError("it met negative curvature")

        return run

    def found(model: Any, theta: Any, *rest: Any) -> Regression:
        mse, ci95 = list(ends.values())[int(theta[0])]
        better = {"joint": 0.001}.get(list(ends)[int(theta[0])], 9.0)  # before the last mark
        return Regression(sine.MARKS, (*[better] * 7, mse), (*[0.5] * 7, ci95), tasks=50, seed=0)

    calls = {name: replace(patch, sine.ALGORITHMS, name, training(name)) for name in ends}
    return calls, replace(patch, sine, "evaluate_regression", found)


ENDS = {"joint": (0.35, 0.0625), "reptile": (0.125, 0.0625), "fomaml": (0.3, 0.01),
        "maml": (0.2, 0.02), "imaml": (0.1, None)}  # fmt: skip


@both
def test_sine_is_measured_so(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, evaluated = sines(monkeypatch, ENDS, stops="imaml")
    outcome = sine.run(quick)
    iterations, tasks = (1500, 100) if quick else (30_000, 1000)
    plain: dict[str, Any] = {"meta_batch": 1, "train_shots": 50, "state": "fresh"}
    with_adam = {**plain, "epsilon": 1.0, "outer": Adam(0.001)}
    for name, ((model, task, optimizer, loops),) in calls.items():
        assert hidden(model) == 64
        assert type(task).__name__ == "Sine"
        preset = ALGORITHMS["imaml"].defaults["regression"]
        assert optimizer == SGD(preset["inner_lr"] if name == "imaml" else 0.02)
        expected = {
            "joint": Loops(iterations, epsilon=0.1, **plain),
            "reptile": Loops(iterations, epsilon=0.1, **plain),
            "fomaml": Loops(iterations, **with_adam),
            "maml": Loops(iterations, **with_adam),
            "imaml": Loops(
                iterations // (15 if quick else 1),
                **with_adam,
                inner_steps=preset["inner_steps"],
                prox=preset["prox"],
            ),
        }[name]
        assert loops == expected
    for n, (_, theta, state, _, optimizer, protocol) in enumerate(evaluated):
        assert (theta[0], state, optimizer) == (n, {}, SGD(0.02))
        assert protocol == Protocol(
            tasks, shot=10, query=40, marks=(0, 1, 2, 4, 8, 16, 24, 32), batch=10
        )
    fewer = "; imaml had 100 iterations" if quick else ""
    says(
        outcome, HOLDS, f"After {iterations:,} iterations and 32 steps on 10 points",
        *(f"{mse:.3f} +- {ci95 or 0:.3f} ({name})" for name, (mse, ci95) in ENDS.items()),
        f"over {tasks:,} tasks{fewer}; imaml stopped early: iteration 1, it met negative",
    )  # fmt: skip
    assert outcome.data["steps"] == sine.MARKS
    assert (outcome.data["iterations"], outcome.data["tasks"]) == (iterations, tasks)
    assert outcome.data["alpha"] == 0.02


# taylor: coefficients with their intervals, and the powers of alpha.


def regressions(patch: pytest.MonkeyPatch, slope: float) -> tuple[list, list, list]:
    def rows(model: Any, theta: Any, k: int, tasks: int) -> list[dict[str, Any]]:
        base = {"algorithm": "MAML", "k": k, "of": "inner"}
        right = {**base, "expected": -2.0, "found": -2.001, "low": -2.1, "high": -1.9}
        return [right, {**right, "found": -1.96, "low": -1.98, "high": -1.94}]

    slopes = {"MAML": 2.01, "FOMAML": slope, "Reptile": 2.0}
    return (
        replace(patch, taylor, "trained", lambda model, iterations: np.zeros(model.size)),
        replace(patch, taylor, "regressed", rows),
        replace(
            patch,
            taylor,
            "orders",
            lambda *_: (
                slopes,
                {n: [10.0 ** (-s * i / 2) for i in range(4)] for n, s in slopes.items()},
            ),
        ),
    )


@both
def test_taylor_is_measured_so(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, regressed, orders = regressions(monkeypatch, 1.99)
    outcome = taylor.run(quick)
    model, iterations = trained[0]
    assert (hidden(model), model.dtype) == (8 if quick else 40, np.float64)
    assert iterations == (100 if quick else 2000)
    tasks = 60 if quick else 1000
    assert [call[2:] for call in regressed] == [(k, tasks) for k in ((2,) if quick else (2, 3, 4))]
    assert [call[2:] for call in orders] == [(3, 50)]
    assert len(outcome.data["coefficients"]) == 2 * len(regressed)
    says(
        outcome, TOO_SMALL, f"The {2 * len(regressed)} coefficients regressed on {tasks:,} tasks",
        "are off by 2 % at most", "the power 1.99 to 2.01 of alpha",
    )  # fmt: skip
    assert outcome.data["alpha"] == 1e-5
    np.testing.assert_allclose(outcome.data["alphas"], [1e-2, 10**-2.5, 1e-3, 10**-3.5])
    assert outcome.data["tasks"] == tasks


# inner-products: cosines at the start and at the end.


def cosines(
    patch: pytest.MonkeyPatch, ends: dict[str, tuple[float, float]]
) -> tuple[list, list, list]:
    rows = {
        name: [
            {"iteration": i, "cosine": c, "ci95": 0.03125 * (i + 1), "inner_product": 2 * c}
            for i, c in enumerate((values[0], 0.9, values[1]))
        ]
        for name, values in ends.items()
    }
    return (
        replace(patch, inner_products, "along", lambda model, training, *_: rows[training]),
        replace(patch, inner_products, "reptile", lambda *_: "Reptile"),
        replace(patch, inner_products, "joint", lambda *_: "joint training"),
    )


@both
def test_inner_products_are_measured_so(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = {"Reptile": (0.1, 0.2), "joint training": (0.1, 0.2)}
    along, *trainings = cosines(monkeypatch, ends)
    outcome = inner_products.run(quick)
    iterations, tasks = (1500, 200) if quick else (30_000, 1000)
    for ((model, _, optimizer, loops),) in trainings:
        assert hidden(model) == 64
        assert optimizer == SGD(0.02)
        assert loops == Loops(iterations, meta_batch=1, epsilon=0.1, train_shots=50, state="fresh")
    for (_, name, marks, count), expected in zip(along, ends, strict=True):
        assert (name, count) == (expected, tasks)
        assert (marks[:2], marks[-1], len(marks)) == ([0, 10], iterations, 7 if quick else 17)
    assert (outcome.data["iterations"], outcome.data["tasks"]) == (iterations, tasks)
    says(
        outcome, TOO_SMALL, f"goes from 0.100 to 0.200 +- 0.094 over {tasks:,} unseen tasks",
        "after joint training it is 0.200.",
    )  # fmt: skip


# variance: its two halves are in tests/algorithms/test_convergence.py.


@both
def test_variance_is_measured_so(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"algorithm": n, "iteration": 0, "variance": 0.1 * i, "ci95": 0.01}
        for i, n in enumerate(variance.ALGORITHMS)
    ]
    shares = replace(monkeypatch, variance, "shares", lambda *_: rows)
    races = replace(monkeypatch, variance, "race", lambda *_: {})
    monkeypatch.setattr(variance, "sooner", lambda data, unit: [])
    monkeypatch.setattr(variance, "told", lambda found: "So soon.")
    outcome = variance.run(quick, "numpy")
    tasks = 30 if quick else 300
    assert shares == [(quick, "numpy", tasks)]
    assert {hidden(model) for model, _ in races} == {32 if quick else 64}
    full: dict[str, Any] = {"choice": (5, 6, 7), "report": (0, 1, 2, 3, 4), "tasks": 200}
    assert [sizes for _, sizes in races] == (
        [Sizes(200, 5, choice=(1,), report=(0, 1, 2, 3), tasks=40)]
        if quick else [Sizes(6000, 1, **full), Sizes(3000, 5, **full)]
    )  # fmt: skip
    says(
        outcome, HOLDS, "0.000 (Reptile), 0.100 (FOMAML), 0.200 (MAML)", f"over {tasks} tasks",
        *["So soon."] * len(races), "after 0 iterations",
    )  # fmt: skip
    data = outcome.data
    assert (data["alpha"], data["k"], data["sets"], data["tasks"]) == (0.02, 5, 8, tasks)


# manifolds: the ways on sine waves, and the place in the plane.


@both
def test_manifolds_are_measured_so(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    path, nearest = np.zeros((5, 2)), np.zeros(2)
    plane = replace(monkeypatch, manifolds, "in_the_plane", lambda *_: (path, nearest))
    ways = {
        n: i + np.array([0.0, 1, 2]) for i, n in enumerate(("Reptile", "joint training", "random"))
    }
    on_sine = replace(monkeypatch, manifolds, "on_sine", lambda *_: ways)
    outcome = manifolds.run(quick, "numpy")
    says(
        outcome,
        HOLDS,
        "On 3 sine waves",
        "goes 1.00 (Reptile), 2.00 (joint training), 3.00 (random)",
    )
    assert outcome.data["distances"] is ways
    assert outcome.data["off"] == [0.0] * 5
    np.testing.assert_array_equal(outcome.data["path"], path)
    assert plane == [(300 if quick else 3000, seed) for seed in range(5)]
    assert on_sine == [(quick, "numpy")]


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
