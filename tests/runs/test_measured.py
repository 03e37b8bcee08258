"""What every experiment on sine waves measures, in its quick version and in full, and that its
sentence says it; what it concludes is in test_verdicts.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from minireptile import SGD, Adam, Loops
from minireptile.algorithms import ALGORITHMS
from minireptile.evaluate import Protocol, Regression
from minireptile.loops import Snapshot
from minireptile.reproduce import (
    inner_products,
    k1,
    manifolds,
    sine,
    taylor,
    variance,
)
from minireptile.reproduce.convergence import Sizes
from minireptile.reproduce.outcome import HOLDS, TOO_SMALL
from tests.runs.made_up import both, hidden, replace, says, snapshot

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
