"""Figures of the experiments that train, each computed a second way, and with which numbers."""

from __future__ import annotations

import builtins
import math
from collections.abc import Iterator
from statistics import mean
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile import SGD, Adam, Dense, Loops, Model
from minireptile.evaluate import Accuracy, Protocol
from minireptile.loops import Snapshot
from minireptile.reproduce import (
    characters,
    cost,
    gradient_combinations,
    manifolds,
    meta_batch,
    overlap,
)
from minireptile.tasks.images import FewShot
from tests.runs.made_up import replace
from tests.small import tiny_classes, tiny_model

from .made_up import snapshots

# manifolds


def test_a_lines_task_is_solved_on_its_line_alone() -> None:
    for seed in range(6):
        task = manifolds.Lines().draw(np.random.default_rng(seed), 2, 1)
        x, y = task.support_x[0], float(task.support_y[0, 0])
        assert np.linalg.norm(x) == pytest.approx(1, rel=1e-6)
        a, b, c = manifolds.LINES[np.random.default_rng(seed).integers(3)]
        on = np.array([0.0, c / b])
        assert x @ on == pytest.approx(y, abs=1e-6)
        assert x @ (on + np.array([b, -a])) == pytest.approx(y, abs=1e-6)  # along it
        off = np.array([a, b]) / math.hypot(a, b)
        assert x @ (on + 0.3 * off) - y == pytest.approx(0.3, abs=1e-6)  # its distance
        assert task.support_x.shape == (2, 2)
        assert task.query_x.shape == (1, 2)


def test_in_the_plane(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = replace(monkeypatch, manifolds, "reptile", manifolds.reptile)
    path, nearest = manifolds.in_the_plane(150)
    ((_, tasks, optimizer, loops),) = calls
    assert (tasks, optimizer) == (manifolds.Lines(), SGD(0.3))
    assert loops == Loops(
        150, meta_batch=30, epsilon=0.1, inner_steps=20, inner_batch=1, train_shots=20,
        state="fresh",
    )  # fmt: skip
    assert path.shape == (151, 2)
    model = Model([Dense(1, bias=False)], (2,), "squared_error", dtype="float64")
    np.testing.assert_array_equal(path[0], model.init(0))

    def squares(point: NDArray) -> float:
        """The sum of the squared distances to the lines."""
        return sum((a * point[0] + b * point[1] - c) ** 2 / (a**2 + b**2)
                   for a, b, c in manifolds.LINES)  # fmt: skip

    for step in ([1e-3, 0], [0, 1e-3], [1e-3, 1e-3]):  # least: equal on both sides, and larger
        there, back = squares(nearest + step), squares(nearest - np.array(step))
        assert there > squares(nearest)
        assert there == pytest.approx(back, rel=1e-9)
    assert np.linalg.norm(path[-1] - nearest) < 0.05  # of so few iterations
    assert np.linalg.norm(path[0] - nearest) > 0.2


def test_a_way_ends_where_the_task_is_solved() -> None:
    """Step by step, task by task; looked at every 20 steps, of 60 or fewer."""
    model = Model([Dense(1)], (1,), "squared_error", dtype="float64")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 4, 12, 1))
    targets = np.array([0.7, 1.0, 6.0, 0.2])[None, :, None, None] * x + 0.3
    theta = np.array([0.1, 0.0])
    longest = 60
    found = manifolds.way(model, theta, x, targets, longest)
    always = manifolds.way(model, theta, x, targets, longest, always=True)
    for t in range(4):
        phi, expected = theta.copy(), np.inf
        for step in range(1, longest + 1):
            phi -= 0.02 * model.loss_and_grad(phi, x[0, t], targets[0, t])[1]
            error = mean(((model.forward(phi, x[0, t]) - targets[0, t]) ** 2).ravel().tolist())
            if step % 20 == 0 and error < 0.02 and expected == np.inf:
                expected = math.dist(phi, theta)
        assert found[t] == pytest.approx(expected, rel=1e-9)
        at_end = expected if expected < np.inf else math.dist(phi, theta)
        assert always[t] == pytest.approx(at_end, rel=1e-9)
    assert np.isinf(found).any()
    assert np.isfinite(found).sum() >= 2


@pytest.mark.parametrize("quick", [True, False])
def test_ways_of_the_tasks_that_all_solve(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    inf, trainings, walks = np.inf, {}, []
    ways = {
        "Reptile": np.array([1, 2, 3, 4, inf, 6, 7.0]),
        "joint training": np.array([2, inf, 4, 5, 6, 7, 8.0]),
        "random": np.array([3, 4, 5, 6, 7, 8, 9.0]),
    }

    def training(name: str, end: int) -> Any:
        def run(*call: Any) -> Iterator[Snapshot]:
            trainings[name] = call
            return snapshots(1, end)

        return run

    def way(
        model: Model, theta: NDArray, x: NDArray, y: NDArray, longest: int, always: bool = False
    ) -> NDArray:
        walks.append((x.shape, y.shape, longest, always))
        name = {10: "Reptile", 20: "joint training"}.get(int(theta[0]), "random")
        if name == "random":
            np.testing.assert_array_equal(theta, model.init(1))
        return ways[name] + 100 * always

    monkeypatch.setattr(manifolds, "reptile", training("reptile", 10))
    monkeypatch.setattr(manifolds, "joint", training("joint", 20))
    monkeypatch.setattr(manifolds, "way", way)
    found = manifolds.on_sine(quick, "numpy")
    assert {name: d.tolist() for name, d in found.items()} == {
        "Reptile": [1, 3, 4, 6, 7], "joint training": [2, 4, 5, 7, 8], "random": [3, 5, 6, 8, 9]
    }  # fmt: skip
    iterations, tasks, longest = (1500, 60, 600) if quick else (30_000, 300, 4000)
    for model, _, optimizer, loops in trainings.values():
        assert model.layers[0].units == 64
        assert optimizer == SGD(0.02)
        assert loops == Loops(iterations, meta_batch=1, epsilon=0.1, train_shots=50, state="fresh")
    assert walks == [((1, tasks, 50, 1), (1, tasks, 50, 1), longest, False)] * 3
    ways["random"][0] = inf  # four are left, too few to compare
    found = manifolds.on_sine(quick, "numpy")
    assert found["Reptile"].tolist() == [101, 102, 103, 104, inf, 106, 107]


# cost


def test_a_peak_is_what_a_call_holds_at_once() -> None:
    held = [np.ones(300_000, np.uint8)]  # before: not counted

    def allocates() -> None:
        for _ in range(3):  # one after another
            block = np.ones(1_000_000, np.uint8)
            del block
        held.append(np.ones(200_000, np.uint8))

    assert 1_000_000 <= cost.peak(allocates) < 1_100_000


def test_what_cost_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, done = [], []

    def algorithm(*call: Any) -> Iterator[Snapshot]:
        calls.append(call)
        for run in snapshots(1, 2, 3):
            done.append(run.iteration)
            yield run

    for name in cost.ALGORITHMS:
        monkeypatch.setitem(cost.ALGORITHMS, name, algorithm)
    cost.whole("maml", "a model", "tasks", 7)  # type: ignore[arg-type]
    assert done == [1, 2, 3]  # to its end
    loops = Loops(4, meta_batch=5, epsilon=0.1, inner_steps=7, inner_batch=10)
    assert calls == [("a model", "tasks", SGD(0.01), loops)]


# gradient-combinations


def test_runs_side_by_side_are_those_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """theta - epsilon_it factor lr (sum of the chosen gradients), written out for each sum."""
    model, iterations = tiny_model(reduction="sum"), 4
    train = FewShot(tiny_classes(each=12), 3)
    names = ["g1 + g2", "(g1 + g2) / 2", "g2"]
    seen: list[NDArray] = []

    def accuracy(
        model: Model, theta: NDArray, state: Any, test: Any, tasks: int, optimizer: Any,
        workers: None,
    ) -> dict[str, float]:  # fmt: skip
        assert (state, test, optimizer) == ({}, "test", SGD(0.003))
        seen.append(theta)
        return {"accuracy": tasks, "ci95": 0.0}

    monkeypatch.setattr(gradient_combinations, "accuracy", accuracy)
    rows = gradient_combinations.trained(
        model,
        train,
        "test",  # type: ignore[arg-type]
        names,
        iterations,
        {0: 8, 2: 9, 4: 10},
    )
    loops = Loops(
        iterations, meta_batch=1, epsilon=0.25, inner_steps=2, inner_batch=25, train_shots=10
    )
    for n, (name, chosen, factor) in enumerate(
        zip(names, ([0, 1], [0, 1], [1]), (1, 0.5, 1), strict=True)
    ):
        assert rows[name] == [
            {"iteration": it, "accuracy": it // 2 + 8, "ci95": 0.0} for it in (0, 2, 4)
        ]
        theta = model.init(0)
        for it in range(iterations + 1):
            if it % 2 == 0:
                np.testing.assert_allclose(seen[3 * (it // 2) + n], theta, rtol=1e-10, atol=1e-14)
            if it == iterations:
                break
            x, y = loops.sample(train, it)
            phi, gradients = theta, []
            for i in range(2):
                gradients.append(model.loss_and_grad(phi, x[i, 0], y[i, 0])[1])
                phi = phi - 0.003 * gradients[-1]
            epsilon = 0.25 * (1 - it / iterations)
            theta = theta - epsilon * factor * 0.003 * sum(gradients[i] for i in chosen)


def test_names_of_sums_say_what_is_summed() -> None:
    for name, (chosen, factor) in gradient_combinations.RUNS.items():
        top, _, count = name.strip("(").partition(") / ")
        terms = [int(g[1:]) for g in top.split(" + ") if g != "..."]
        full = list(range(1, terms[-1] + 1)) if "..." in name else terms
        assert (list(chosen), factor) == (full, 1 / int(count or 1))


def protocols(patch: pytest.MonkeyPatch, module: Any, ci95: float | None) -> list[tuple[Any, ...]]:
    calls = []

    def evaluate(*call: Any, map: Any) -> Accuracy:
        assert map is builtins.map  # no workers
        calls.append(call)
        return Accuracy(0.1, 0.2, 0.7, ci95, 9, 0)

    patch.setattr(module, "evaluate", evaluate)
    return calls


@pytest.mark.parametrize("ci95", [0.03, None])
def test_accuracy_along_training(ci95: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = protocols(monkeypatch, characters, ci95)
    found = characters.accuracy("model", "theta", {}, "test", 9, SGD(0.003))  # type: ignore[arg-type]
    assert found == {"accuracy": 0.7, "ci95": ci95 or 0.0}
    protocol = Protocol(9, shot=5, marks=(5,), batch=25)
    assert calls == [("model", "theta", {}, "test", SGD(0.003), protocol)]


# overlap


@pytest.mark.parametrize("curve", overlap.CURVES)
def test_a_point_of_a_curve(curve: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, evaluated = [], protocols(monkeypatch, overlap, 0.03)
    algorithm, options = overlap.CURVES[curve]

    def run(*call: Any) -> Iterator[Snapshot]:
        calls.append(call)
        return snapshots(1, 2)

    monkeypatch.setitem(overlap.CURVES, curve, (run, options))
    values: dict[str, Any] = {"inner_steps": 4, "inner_batch": 50, "epsilon": 0.5}
    found = overlap.accuracy("model", "train", "test", curve, 2, 9, values)  # type: ignore[arg-type]
    assert found.transductive_accuracy == 0.7
    tail, _, dealt = curve.partition(" tail, ")
    expected = Loops(
        2, meta_batch=1, **values, tail_shots=5, replacement=dealt == "replacement",
        train_shots=20 if tail == "separate" else 15,
        tail="separate" if tail == "separate" else "shared",
    )  # fmt: skip
    adam = Adam(0.001, beta1=0.0)
    assert calls == [("model", "train", adam, expected)]
    assert algorithm.__name__ == ("reptile" if curve.startswith("Reptile") else "fomaml")
    protocol = Protocol(9, shot=5, marks=(10,), batch=25)
    ((model, theta, state, test, optimizer, asked),) = evaluated
    assert (model, theta[0], state, test, optimizer) == ("model", 2.0, {}, "test", adam)
    assert asked == protocol


# meta-batch


def test_runs_of_a_meta_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """With epsilon for its rate, or the outer Adam's; what is kept of them."""
    calls = []

    def run(*call: Any, map: None) -> Iterator[Snapshot]:
        calls.append(call)
        return snapshots(*range(1, 41))

    monkeypatch.setattr(meta_batch, "reptile", run)
    for outer, rate in (("no outer optimizer", 0.5), ("outer Adam", 0.01)):
        kept = meta_batch.trained("model", "train", outer, rate, 20, 40)  # type: ignore[arg-type]
        assert [each.iteration for each in kept] == [2, 10, 20, 40]
    plain, with_adam = Loops(40, 20, epsilon=0.5), Loops(40, 20, outer=Adam(0.01))
    inner = Adam(0.001, beta1=0.0)
    assert calls == [("model", "train", inner, plain), ("model", "train", inner, with_adam)]
    few = meta_batch.trained("model", "train", "", 1.0, 1, 3)  # type: ignore[arg-type]
    assert [each.iteration for each in few] == [1, 3]


def test_the_best_rate_is_chosen_on_training_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def trained(*call: Any) -> list[Snapshot]:
        return [Snapshot(it, np.array([call[3]]), {"it": it}, np.zeros((0, 0))) for it in (1, 7)]  # type: ignore[dict-item]

    def accuracy(
        model: Any, theta: NDArray, state: Any, tasks: Any, count: int, optimizer: Any,
        workers: None,
    ) -> dict[str, float]:  # fmt: skip
        assert optimizer == Adam(0.001, beta1=0.0)
        measured.append((float(theta[0]), state["it"], tasks, count))
        return {"accuracy": 0.5 + (theta[0] == 1.0) / 8, "ci95": 0.25}

    monkeypatch.setattr(meta_batch, "trained", trained)
    monkeypatch.setattr(meta_batch, "accuracy", accuracy)
    rows = meta_batch.learned("model", "train", "test", "no outer optimizer", 5, 7, 9)  # type: ignore[arg-type]
    assert measured[:3] == [(rate, 7, "train", 9) for rate in (0.5, 1.0, 2.0)]
    assert measured[3:] == [(1.0, it, "test", 9) for it in (1, 7)]
    assert rows == [
        {"iteration": it, "rate": 1.0, "accuracy": 0.625, "ci95": 0.25} for it in (1, 7)
    ]  # fmt: skip
