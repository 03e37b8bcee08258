"""What every experiment concludes from made-up measurements: when its claim holds, when not, and
just on either side of the edge; that its sentence says the figures that decide; and how much is
measured, in its quick version and in full."""

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
    overlap,
    sine,
    taylor,
    variance,
)
from minireptile.reproduce.convergence import Sizes
from minireptile.reproduce.outcome import Outcome
from tests.runs.made_up import replace

both = pytest.mark.parametrize("quick", [True, False], ids=["quick", "full"])


def hidden(model: Any) -> int:
    return model.layers[0].units if hasattr(model.layers[0], "units") else model.layers[0].filters


def says(outcome: Outcome, holds: bool, *words: str) -> None:
    """The verdict, as a bool that JSON can hold, and the figures in its sentence."""
    assert outcome.holds is holds
    first, second = outcome.sentence().split("\n")
    assert first == outcome.claim
    assert second.startswith("It holds: " if holds else "It does not hold: ")
    assert second.endswith(outcome.verdict)
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


@pytest.mark.parametrize(
    ("one", "two", "holds"),
    [
        ([2e-12, 9e-12, 1e-12], [1e-3, 3e-3, 2e-3], True),
        ([2e-12, 1.1e-11, 1e-12], [1e-3, 3e-3, 2e-3], False),  # the worst counts, on the way too
        ([2e-12, 9e-12, 1e-12], [1e-3, 3e-3, 1.1e-11], True),
        ([2e-12, 9e-12, 1e-12], [1e-3, 3e-3, 9e-12], False),  # of k = 2, the last one
    ],
)
def test_k1(
    one: list[float], two: list[float], holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np, "geomspace", lambda start, stop, count: np.array([1.0, 2.0, 3.0]))
    apart(monkeypatch, {1: one, 2: two})
    outcome = k1.run(quick=True)
    says(outcome, holds, f"by {max(one):.1e} of its norm", f"by {two[-1]:.1e} with two inner")
    np.testing.assert_allclose(outcome.data["k = 1"], one, rtol=1e-3)
    np.testing.assert_allclose(outcome.data["k = 2"], two, rtol=1e-3)


@both
def test_k1_is_measured_so(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    iterations = 200 if quick else 5000
    rising = {k: (k - 1 + 1e-13) * np.arange(1, iterations + 1.0) for k in (1, 2)}
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
    assert f"after {iterations:,} iterations" in outcome.verdict


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


ENDS = {"joint": (0.25, 0.0625), "reptile": (0.125, 0.0625), "fomaml": (0.3, 0.01),
        "maml": (0.2, 0.02), "imaml": (0.1, None)}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "holds"),
    [
        ({"joint": (0.2501, 0.0625)}, True),
        ({}, False),  # the intervals touch
        ({"reptile": (0.1249, 0.0625)}, True),
        ({"reptile": (0.125, 0.0626)}, False),
        ({"joint": (0.25, 0.0624)}, True),
        ({"joint": (0.25, None), "reptile": (0.2499, None)}, True),
        ({"joint": (0.125, 0.01), "reptile": (0.25, 0.01)}, False),
    ],
)
def test_sine(
    changed: dict[str, tuple[float, float | None]], holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = {**ENDS, **changed}
    sines(monkeypatch, ends)
    words = [f"{mse:.3f} +- {ci95 or 0:.3f} ({name})" for name, (mse, ci95) in ends.items()]
    outcome = sine.run(quick=True)
    says(outcome, holds, *words)
    assert "stopped" not in outcome.verdict
    assert {name: mse[-1] for name, mse in outcome.data["mse"].items()} == {
        name: mse for name, (mse, _) in ends.items()
    }
    assert {name: ci[-1] for name, ci in outcome.data["mse_ci95"].items()} == {
        name: ci for name, (_, ci) in ends.items()
    }


@both
def test_sine_is_measured_so(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, evaluated = sines(monkeypatch, ENDS, stops="imaml")
    outcome = sine.run(quick)
    iterations, tasks = (300, 50) if quick else (30_000, 1000)
    plain: dict[str, Any] = {"meta_batch": 1, "train_shots": 50, "state": "fresh"}
    with_adam = {**plain, "epsilon": 1.0, "outer": Adam(0.001)}
    for name, ((model, task, optimizer, loops),) in calls.items():
        assert hidden(model) == (16 if quick else 64)
        assert type(task).__name__ == "Sine"
        preset = ALGORITHMS["imaml"].defaults["regression"]
        assert optimizer == SGD(preset["inner_lr"] if name == "imaml" else 0.02)
        expected = {
            "joint": Loops(iterations, epsilon=0.1, **plain),
            "reptile": Loops(iterations, epsilon=0.1, **plain),
            "fomaml": Loops(iterations, **with_adam),
            "maml": Loops(iterations, **with_adam),
            "imaml": Loops(
                iterations, **with_adam, inner_steps=preset["inner_steps"], prox=preset["prox"]
            ),
        }[name]
        assert loops == expected
    for n, (_, theta, state, _, optimizer, protocol) in enumerate(evaluated):
        assert (theta[0], state, optimizer) == (n, {}, SGD(0.02))
        assert protocol == Protocol(
            tasks, shot=10, query=40, marks=(0, 1, 2, 4, 8, 16, 24, 32), batch=10
        )
    words = f"over {tasks:,} tasks; imaml stopped early: iteration 1, it met negative curvature."
    says(outcome, False, f"after {iterations:,} iterations and 32 steps on 10 points", words)
    assert outcome.data["steps"] == sine.MARKS
    assert (outcome.data["iterations"], outcome.data["tasks"]) == (iterations, tasks)
    assert outcome.data["alpha"] == 0.02


# taylor: coefficients with their intervals, and the powers of alpha.


def regressions(
    patch: pytest.MonkeyPatch, row: dict[str, float], slope: float
) -> tuple[list, list, list]:
    def rows(model: Any, theta: Any, k: int, tasks: int) -> list[dict[str, Any]]:
        base = {"algorithm": "MAML", "k": k, "of": "inner"}
        right = {**base, "expected": -2.0, "found": -2.001, "low": -2.1, "high": -1.9}
        return [right, {**right, **row}]

    slopes = {"MAML": 2.01, "FOMAML": slope, "Reptile": 2.0}
    return (
        replace(patch, taylor, "trained", lambda model, iterations: np.zeros(model.size)),
        replace(patch, taylor, "regressed", rows),
        replace(patch, taylor, "orders", lambda *_: (slopes, dict.fromkeys(slopes, [1.0] * 4))),
    )


@pytest.mark.parametrize(
    ("row", "slope", "holds"),
    [
        ({"found": -1.96}, 1.99, True),
        ({"low": -2.0}, 1.99, True),
        ({"low": -1.9999}, 1.99, False),
        ({"high": -2.0}, 1.99, True),
        ({"high": -2.0001}, 1.99, False),
        ({}, 1.8501, True),
        ({}, 1.8499, False),
        ({}, 2.1499, True),
        ({}, 2.1501, False),
    ],
)
def test_taylor(
    row: dict[str, float], slope: float, holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    regressions(monkeypatch, row, slope)
    all_in = "not all" if {"low", "high"} & row.keys() and not holds else "all"
    off = "2 %" if "found" in row else "0.05 %"
    low, high = min(slope, 2.0), max(slope, 2.01)
    says(
        taylor.run(quick=True), holds, "2 coefficients regressed on 60 tasks", f"off by {off}",
        f"most, {all_in} within", f"the power {low:.2f} to {high:.2f} of alpha",
    )  # fmt: skip


@both
def test_taylor_is_measured_so(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, regressed, orders = regressions(monkeypatch, {}, 2.0)
    outcome = taylor.run(quick)
    model, iterations = trained[0]
    assert (hidden(model), model.dtype) == (8 if quick else 40, np.float64)
    assert iterations == (100 if quick else 2000)
    tasks = 60 if quick else 1000
    assert [call[2:] for call in regressed] == [(k, tasks) for k in ((2,) if quick else (2, 3, 4))]
    assert [call[2:] for call in orders] == [(3, 50)]
    assert len(outcome.data["coefficients"]) == 2 * len(regressed)
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


@pytest.mark.parametrize(
    ("reptile", "joint", "holds"),
    [
        ((0.25, 0.5), (0.75, 0.25), True),
        ((0.25, 0.34375), (0.1, 0.2), False),  # the end less its interval is the start
        ((0.25, 0.3438), (0.1, 0.2), True),
        ((0.1, 0.34375), (0.1, 0.25), False),
        ((0.1, 0.3438), (0.1, 0.25), True),
        ((0.5, 0.25), (0.1, 0.2), False),
    ],
)
def test_inner_products(
    reptile: tuple[float, float], joint: tuple[float, float], holds: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    cosines(monkeypatch, {"Reptile": reptile, "joint training": joint})
    outcome = inner_products.run(quick=True)
    says(
        outcome, holds, f"goes from {reptile[0]:.3f} to {reptile[1]:.3f} +- 0.094 over 200 unseen",
        f"after joint training it is {joint[1]:.3f}.",
    )  # fmt: skip
    assert [row["cosine"] for row in outcome.data["Reptile"]] == [reptile[0], 0.9, reptile[1]]
    assert [row["cosine"] for row in outcome.data["joint training"]] == [joint[0], 0.9, joint[1]]


@both
def test_inner_products_are_measured_so(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = {"Reptile": (0.1, 0.2), "joint training": (0.1, 0.2)}
    along, *trainings = cosines(monkeypatch, ends)
    outcome = inner_products.run(quick)
    iterations, tasks = (2000, 200) if quick else (30_000, 1000)
    for ((model, _, optimizer, loops),) in trainings:
        assert hidden(model) == (16 if quick else 64)
        assert optimizer == SGD(0.02)
        assert loops == Loops(iterations, meta_batch=1, epsilon=0.1, train_shots=50, state="fresh")
    for (_, name, marks, count), expected in zip(along, ends, strict=True):
        assert (name, count) == (expected, tasks)
        assert (marks[:2], marks[-1], len(marks)) == ([0, 10], iterations, 7 if quick else 17)
    assert (outcome.data["iterations"], outcome.data["tasks"]) == (iterations, tasks)


# variance: its two halves are in tests/algorithms/test_convergence.py.


@pytest.mark.parametrize(
    ("reptile", "holds"), [((0.1, 0.1), True), ((0.1, 0.5), False), ((0.6, 0.1), False)]
)
def test_variance_is_compared_at_every_point(
    reptile: tuple[float, float], holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"algorithm": name, "iteration": mark, "variance": share, "ci95": 0.0}
        for name, shares in (("Reptile", reptile), ("FOMAML", (0.9, 0.6)), ("MAML", (0.6, 0.5)))
        for mark, share in zip((0, 4000), shares, strict=True)
    ]
    monkeypatch.setattr(variance, "shares", lambda *_: rows)
    monkeypatch.setattr(variance, "QUICK", [])
    outcome = variance.run(quick=True)
    assert outcome.data["variance_is_lower"] is holds
    says(
        outcome, holds, f"Reptile at {(reptile[0] < 0.6) + (reptile[1] < 0.5)} of 2 points",
        f"after 4,000 iterations it is {reptile[1]:.3f} (Reptile), 0.600 (FOMAML), 0.500 (MAML)",
        "over 30 tasks",
    )  # fmt: skip


@both
def test_variance_is_measured_so(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"algorithm": n, "iteration": 0, "variance": 0.1, "ci95": 0} for n in variance.ALGORITHMS
    ]
    shares = replace(monkeypatch, variance, "shares", lambda *_: rows)
    races = replace(monkeypatch, variance, "race", lambda *_: {})
    monkeypatch.setattr(variance, "decided", lambda races, unit: None)
    monkeypatch.setattr(variance, "told", lambda found: "so soon")
    outcome = variance.run(quick, "numpy")
    tasks = 30 if quick else 300
    assert shares == [(quick, "numpy", tasks)]
    assert {hidden(model) for model, _ in races} == {16 if quick else 64}
    full: dict[str, Any] = {"choice": (5, 6, 7), "report": (0, 1, 2, 3, 4), "tasks": 200}
    assert [sizes for _, sizes in races] == (
        [Sizes(40, 1, choice=(1,), report=(0,), tasks=10)]
        if quick else [Sizes(6000, 1, **full), Sizes(3000, 5, **full)]
    )  # fmt: skip
    data = outcome.data
    assert (data["alpha"], data["k"], data["sets"], data["tasks"]) == (0.02, 5, 8, tasks)


# manifolds: the ways on sine waves, and the place in the plane.


@pytest.mark.parametrize(
    ("joint", "random", "end", "holds"),
    [
        ([3.0, 3.5, 4.0], [5.0, 6.0, 7.5], 1.0199, True),
        ([3.0, 3.5, 4.0], [5.0, 6.0, 7.5], 1.0201, False),
        ([0.0, 4.0, 3.0], [5.0, 6.0, 7.5], 1.0, False),  # nearer than its interval
        ([3.0, 3.5, 4.0], [0.0, 4.0, 3.0], 1.0, False),
        ([0.5, 1.0, 1.5], [5.0, 6.0, 7.5], 1.0, False),
    ],
)
def test_manifolds(
    joint: list[float], random: list[float], end: float, holds: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    ways = {
        "Reptile": np.array([1.0, 1.5, 2.0]), "joint training": np.array(joint),
        "random": np.array(random),
    }  # fmt: skip
    path = np.array([[0.0, 0.0], [0.5, 2.0], [end, 2.0]])
    monkeypatch.setattr(manifolds, "in_the_plane", lambda _: (path, np.array([1.0, 2.0])))
    monkeypatch.setattr(manifolds, "on_sine", lambda *_: ways)
    gains = []
    for other in (joint, random):
        gain = [o - r for o, r in zip(other, (1.0, 1.5, 2.0), strict=True)]
        mean = sum(gain) / 3
        spread = (sum((g - mean) ** 2 for g in gain) / 2 / 3) ** 0.5
        gains.append(f"{mean:.2f} +- {1.96 * spread:.2f}")
    outcome = manifolds.run(quick=True)
    says(
        outcome, holds, "on 3 sine waves", "goes 1.50 (Reptile)",
        f"{sum(joint) / 3:.2f} (joint training), {sum(random) / 3:.2f} (random) before",
        f"theta {' and '.join(gains)} less", f"theta ends {abs(end - 1):.4f} from the point",
    )  # fmt: skip
    assert outcome.data["distances"] is ways
    np.testing.assert_array_equal(outcome.data["path"], path)


@both
def test_manifolds_are_measured_so(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    path, nearest = np.zeros((5, 2)), np.zeros(2)
    plane = replace(monkeypatch, manifolds, "in_the_plane", lambda _: (path, nearest))
    ways = dict.fromkeys(("Reptile", "joint training", "random"), np.ones(3))
    on_sine = replace(monkeypatch, manifolds, "on_sine", lambda *_: ways)
    manifolds.run(quick, "numpy")
    assert plane == [(300 if quick else 3000,)]
    assert on_sine == [(quick, "numpy")]


# cost: seconds and bytes.


class Made:
    """Iterations that take a time on a made-up clock, the first longer than all others."""

    def __init__(self, clock: list[float], seconds: float, held: int) -> None:
        self.clock, self.seconds, self.held, self.rounds = clock, seconds, held, 0

    def __next__(self) -> None:
        self.clock[0] += self.seconds * (5 if self.rounds == 3 else 1)
        self.rounds += 1


def costs(
    patch: pytest.MonkeyPatch, maml: Callable[[int], float], parameters: float
) -> tuple[list[Made], list, list]:
    clock, made = [0.0], []

    def started(name: str, model: Any, tasks: Any, k: int) -> Made:
        seconds = {"reptile": 1.0 * k, "fomaml": 0.8 * k, "maml": maml(k) * k}[name]
        vector = cost.T * model.size * 4
        held = 100 + (int(parameters * k * vector) + 7 if name == "maml" else 0)
        made.append(Made(clock, seconds, held))
        return made[-1]

    splits = replace(patch, cost, "glyph_splits", lambda **_: type("S", (), {"train": "classes"}))
    calls = replace(patch, cost, "started", started)
    patch.setattr(cost, "FewShot", lambda classes, way: (classes, way))
    patch.setattr(cost, "perf_counter", lambda: clock[0])
    patch.setattr(cost, "peak", lambda iterations: iterations.held)
    return made, calls, splits


@pytest.mark.parametrize(
    ("two", "more", "parameters", "holds"),
    [
        (1.5, 2.0, 1.0, True),
        (1.5, 1.5, 1.0, False),  # no more so with a larger k
        (1.5, 1.51, 1.0, True),
        (1.0, 2.0, 1.0, False),
        (1.01, 2.0, 1.0, True),
        (1.5, 2.0, 0.51, True),
        (1.5, 2.0, 0.49, False),
    ],
)
def test_cost(
    two: float, more: float, parameters: float, holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs(monkeypatch, lambda k: two if k == 2 else more, parameters)
    outcome = cost.run(quick=True)
    says(
        outcome, holds, f"with numpy, MAML takes {two:.1f} times as long as Reptile for k = 2",
        f"and {more:.1f} times for k = 4", f"at most {max(two, more) / 0.8:.1f} times as",
        f"it holds {parameters:.2f} times the",
    )  # fmt: skip


@both
def test_cost_is_measured_so(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    made, calls, splits = costs(monkeypatch, lambda k: 1 + k / 10, 1.0)
    outcome = cost.run(quick, "numpy")
    steps = (2, 4) if quick else (2, 5, 10, 20)
    assert [(call[0], call[3]) for call in calls] == [
        (name, k) for k in steps for name in ("reptile", "fomaml", "maml")
    ]
    assert {it.rounds for it in made} == {2 if quick else 9}
    assert {hidden(call[1]) for call in calls} == {8 if quick else 64}
    assert {call[2] for call in calls} == {("classes", 5)}
    assert splits == [({"train_classes": 30, "drawers": 20, "seed": 0, "rotations": False},)]
    data = outcome.data
    assert (data["steps"], data["tasks"], data["backend"]) == (steps, 5, "numpy")
    assert data["parameters"] == calls[0][1].size
    assert data["seconds"] == {  # the median: one long iteration makes no difference
        "reptile": pytest.approx([1.0 * k for k in steps]),
        "fomaml": pytest.approx([0.8 * k for k in steps]),
        "maml": pytest.approx([(1 + k / 10) * k for k in steps]),
    }
    assert data["maml_over_fomaml"] == pytest.approx([(1 + k / 10) / 0.8 for k in steps])
    assert data["peak_bytes"]["reptile"] == [100] * len(steps)
    vector = 5 * data["parameters"] * 4
    assert data["peak_bytes"]["maml"] == [100 + k * vector + 7 for k in steps]


# gradient-combinations: the accuracies at the end.


def sums(patch: pytest.MonkeyPatch, ends: dict[str, float], ci95: float = 0.01) -> list:
    def trained(
        model: Any, train: Any, test: Any, names: list[str], iterations: int, tasks: dict[int, int]
    ) -> dict[str, Any]:
        def curve(end: float) -> list[dict[str, float]]:
            low = {"iteration": 0, "accuracy": 0.2, "ci95": 0.5}
            return [low, {"iteration": iterations, "accuracy": end, "ci95": ci95 if end else 0.0}]

        return {name: curve(ends.get(name, 0.6)) for name in reversed(names)}

    patch.setattr(gradient_combinations, "characters", lambda *_: ("train", "test", "made-up ones"))
    return replace(patch, gradient_combinations, "trained", trained)


@pytest.mark.parametrize(
    ("changed", "holds"),
    [
        ({}, True),
        ({"g1": 0.589}, True),
        ({"g1": 0.591}, False),  # within the interval of g2
        ({"g1 + g2": 0.709}, True),  # no rise to the sum of four, and no fall beyond the interval
        ({"g1 + g2": 0.711}, False),
        ({"g2": 0.2}, False),
        ({"g2": 0.99}, True),  # single gradients are not among those that rise
    ],
)
def test_gradient_combinations(
    changed: dict[str, float], holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = {"g1": 0.3, "g1 + g2": 0.65, "g2": 0.6, "g1 + g2 + g3 + g4": 0.7, **changed}
    sums(monkeypatch, ends)
    outcome = gradient_combinations.run(quick=True)
    text = ", ".join(f"{name} {100 * end:.1f}" for name, end in ends.items())
    says(
        outcome, holds, "after 40 iterations on made-up ones the accuracy is, in %: " + text,
        "(+- 1.0 or less, 20 tasks)",
    )  # fmt: skip
    assert list(outcome.data["curves"]) == list(ends)


def test_means_of_gradients_are_not_among_the_sums_that_rise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends = {"g1": 0.2, "g1 + g2": 0.6, "g1 + g2 + g3": 0.65, "g1 + g2 + g3 + g4": 0.7}
    sums(monkeypatch, {**ends, "(g1 + g2) / 2": 0.9, "(g1 + ... + g4) / 4": 0.3})
    says(gradient_combinations.run(quick=False), True)
    sums(monkeypatch, {**ends, "g1 + g2 + g3": 0.5})
    says(gradient_combinations.run(quick=False), False)


@both
def test_gradient_combinations_are_measured_so(
    quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = sums(monkeypatch, {})
    outcome = gradient_combinations.run(quick)
    iterations = 40 if quick else 10_000
    by_k = {
        True: [["g1"], ["g1 + g2", "g2"], ["g1 + g2 + g3 + g4"]],
        False: [
            ["g1"], ["g1 + g2", "(g1 + g2) / 2", "g2"],
            ["g1 + g2 + g3", "(g1 + g2 + g3) / 3", "g3"],
            ["g1 + g2 + g3 + g4", "(g1 + ... + g4) / 4", "g4"],
        ],
    }  # fmt: skip
    assert [call[3] for call in calls] == by_k[quick]
    for model, train, test, _, count, tasks in calls:
        assert (hidden(model), model.reduction) == (8 if quick else 64, "sum")
        assert (train, test, count) == ("train", "test", iterations)
        assert list(tasks) == list(range(0, iterations + 1, 20 if quick else 500))
        assert set(tasks.values()) == ({10, 20} if quick else {100, 1000})
        assert tasks[iterations] == max(tasks.values())
    assert outcome.data["iterations"] == iterations
    assert outcome.data["characters"] == "made-up ones"


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


@pytest.mark.parametrize(
    ("last", "holds"),
    [
        (FALL, True),
        ({"shared tail, cycling": 0.46875}, False),  # by both intervals and no more
        ({"shared tail, cycling": 0.4687}, True),
        ({**FALL, "shared tail, replacement": 0.1}, True),  # nothing is said of it
        ({**FALL, "separate tail, cycling": 0.46}, False),
        ({**FALL, "separate tail, replacement": 0.46}, False),
        ({**FALL, "Reptile, cycling": 0.46}, False),
        ({**FALL, "Reptile, cycling": 0.9}, True),
    ],
)
def test_overlap(last: dict[str, float], holds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    tails(monkeypatch, {}, last, "inner_batch")
    outcome = overlap.run(quick=True)
    text = ", ".join(f"{c}: 50.0 to {100 * last.get(c, 0.5):.1f}" for c in overlap.CURVES)
    says(
        outcome, holds, "in %, +- 1.6 or less: from 5 to 10 in inner batch, " + text,
        "(10 iterations, 5 tasks, made-up ones)",
    )  # fmt: skip
    points = outcome.data["accuracy"]["inner_batch"]["shared tail, cycling"]
    assert [p["transductive_accuracy"] for p in points] == [0.5, last["shared tail, cycling"]]


def test_overlap_needs_the_fall_in_every_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    def falls_with(panels: tuple[str, ...]) -> Callable[..., Accuracy]:
        def made_up(*arguments: Any) -> Accuracy:
            curve, values = arguments[3], arguments[6]
            low = any(values[p] == overlap.PANELS[p][-1] for p in panels)
            return Accuracy(0, 0, 0.2 if low and curve.startswith("shared") else 0.5, 0.01, 5, 0)

        return made_up

    monkeypatch.setattr(overlap, "characters", lambda *_: ("train", "test", "made-up ones"))
    for panels, holds in (
        (("inner_steps", "inner_batch"), True),
        (("inner_steps",), False),
        (("inner_batch", "epsilon"), False),
    ):
        calls = replace(monkeypatch, overlap, "accuracy", falls_with(panels))
        says(overlap.run(quick=False), holds, "from 2 to 10 in inner steps", "2,000 iterations")
    base = {"inner_steps": 4, "inner_batch": 25, "epsilon": 0.25}
    points = [{**base, panel: v} for panel, values in overlap.PANELS.items() for v in values]
    assert [values for *_, curve, _, _, values in calls if curve == "Reptile, cycling"] == [
        p for n, p in enumerate(points) if p not in points[:n]
    ]  # every point once
    model, train, test, _, iterations, tasks, _ = calls[0]
    assert (hidden(model), train, test, iterations, tasks) == (16, "train", "test", 2000, 200)


def test_overlap_is_measured_so(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = tails(monkeypatch, {}, FALL, "inner_batch", ci95=None)
    says(overlap.run(quick=True), True, "+- 0.0 or less")
    assert [call[4:] for call in calls[:2]] == [
        (10, 5, {"inner_steps": 4, "inner_batch": n, "epsilon": 0.25}) for n in (5, 10)
    ]
    assert [call[3] for call in calls[::2]] == list(overlap.CURVES)
    assert hidden(calls[0][0]) == 4
    assert overlap.PANELS == {
        "inner_steps": (2, 4, 6, 10), "inner_batch": (10, 25, 50, 75), "epsilon": (0.05, 0.25, 1.0)
    }  # fmt: skip
