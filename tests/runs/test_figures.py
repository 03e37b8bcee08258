"""Figures of the experiments on updates and gradients, each computed a second way."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev, variance
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile import SGD, Loops, Model, sine_mlp
from minireptile.loops import Snapshot
from minireptile.reproduce import characters, inner_products, outcome, taylor
from minireptile.reproduce import variance as chance
from minireptile.rng import Stream
from minireptile.tasks.base import sample
from minireptile.tasks.sine import Sine
from tests.runs.made_up import replace, snapshots
from tests.small import random_phi, tiny_classes


def test_an_interval_is_that_of_a_mean() -> None:
    values = [1.0, 2.0, 4.0, 9.0]
    half = 1.96 * stdev(values) / 2  # the square root of four values
    found = outcome.interval(np.array(values))
    assert [float(f) for f in found] == pytest.approx([4.0, half])
    along = outcome.interval(np.array([values, [3.0] * 4]), axis=1)
    np.testing.assert_allclose(along, [[4.0, 3.0], [half, 0.0]])


def test_what_is_kept_is_json(tmp_path: Path) -> None:
    data = {"a": np.arange(3), "b": np.float32(0.5), "c": np.bool_(True), "d": (1, 2)}
    unknown = outcome.ratio("a quotient", [2.0], [1.0])
    made = outcome.Outcome("A.", [unknown], "More.", data, lambda a, b: a.plot([1], [1]), 2)
    paths = outcome.keep("some-name", made, tmp_path / "new", quick=False)
    assert [path.name for path in paths] == ["some-name.json", "some-name.png"]
    assert json.loads(paths[0].read_text()) == {
        "experiment": "some-name", "quick": False, "claim": "A.",
        "verdict": "too small to tell", "figures": made.figures(),
        "findings": [{"what": "a quotient", "estimate": 2.0, "low": 0.0, "high": None,
                      "bound": 1.0, "above": True, "needed": False,
                      "verdict": "too small to tell"}],
        "data": {"a": [0, 1, 2], "b": 0.5, "c": True, "d": [1, 2]},
    }  # fmt: skip
    assert '\n  "b": 0.5,\n' in paths[0].read_text()  # a line a figure, to be read by eye too
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [p.name for p in paths]
    with pytest.raises(TypeError, match="set cannot be kept as JSON"):
        outcome.keep("x", outcome.Outcome("", [], "", {"a": {1}}, print), tmp_path, quick=True)


@pytest.mark.parametrize("quick", [True, False])
def test_characters(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def splits(*place: str, **options: Any) -> Any:
        calls.append((place, options))
        return SimpleNamespace(train=tiny_classes(), test=tiny_classes())

    monkeypatch.setattr(characters, "load_omniglot", splits)
    monkeypatch.setattr(characters, "glyph_splits", splits)
    train, test, of = characters.characters(quick)
    assert of == "drawn characters"
    assert (train.n_out, test.n_out) == (5, 5)
    assert characters.characters(quick, "a folder", way=3)[2] == "Omniglot"
    classes = 30 if quick else 1200
    assert calls == [
        ((), {"train_classes": classes, "drawers": 26, "seed": 0, "rotations": not quick}),
        (("a folder",), {"seed": 0, "split": "random", "rotations": not quick}),
    ]


# inner-products


def test_a_cosine_is_that_of_two_mini_batches_of_a_task() -> None:
    model, tasks = sine_mlp(4, dtype="float64"), 5
    theta = model.init(3)
    x, y = sample(Sine(), 1, 0, meta_batch=tasks, steps=2, batch=10, shot=20, stream=Stream.RUNNING)
    products, cosines = [], []
    for t in range(tasks):
        a, b = (model.loss_and_grad(theta, x[i, t], y[i, t])[1] for i in range(2))
        products.append(sum(p * q for p, q in zip(a, b, strict=True)))
        cosines.append(products[-1] / math.sqrt(sum(a**2) * sum(b**2)))
    found = inner_products.looked_at(model, theta, 7, tasks)
    assert found == {
        "iteration": 7,
        "cosine": pytest.approx(mean(cosines), rel=1e-10),
        "ci95": pytest.approx(1.96 * stdev(cosines) / math.sqrt(tasks), rel=1e-10),
        "inner_product": pytest.approx(mean(products), rel=1e-10),
    }


def test_gradients_are_looked_at_at_the_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    def looked_at(model: Model, theta: NDArray, iteration: int, tasks: int) -> Any:
        return iteration, float(theta[0]), tasks

    monkeypatch.setattr(inner_products, "looked_at", looked_at)
    start = float(sine_mlp(4).init(0)[0])
    found = inner_products.along(sine_mlp(4), snapshots(1, 2, 3, 4), [0, 2, 4], 9)
    assert found == [(0, start, 9), (2, 2.0, 9), (4, 4.0, 9)]


# taylor


def test_the_papers_coefficients() -> None:
    """Nichol, Achiam & Schulman, section 5.1, for two mini-batches, and k of them."""
    assert taylor.coefficients(2) == {
        "MAML": (1.0, -2.0), "FOMAML": (1.0, -1.0), "Reptile": (2.0, -1.0)
    }  # fmt: skip
    assert taylor.coefficients(4) == {
        "MAML": (1.0, -6.0), "FOMAML": (1.0, -3.0), "Reptile": (4.0, -6.0)
    }  # fmt: skip


class Quadratics:
    """k losses phi' H_i phi / 2 - b_i phi for each of some tasks."""

    def __init__(self, k: int, tasks: int, P: int, alike: bool = False) -> None:
        rng = np.random.default_rng(k)
        roots = rng.normal(size=(k, 1 if alike else tasks, P, P))
        self.H = np.repeat(roots @ roots.swapaxes(-1, -2), tasks if alike else 1, axis=1)
        offsets = rng.normal(size=(k, 1 if alike else tasks, P))
        self.b = np.repeat(offsets, tasks if alike else 1, axis=1)
        self.theta = rng.normal(size=P)

    def g(self, phi: NDArray, i: int) -> NDArray:
        return np.einsum("tpq,tq->tp", self.H[i], phi) - self.b[i]

    def hv(self, phi: NDArray, i: int, v: NDArray) -> NDArray:
        return np.einsum("tpq,tq->tp", self.H[i], v)


def test_updates_are_those_of_three_steps_written_out() -> None:
    q, alpha = Quadratics(3, tasks=2, P=4), 0.01
    theta = np.repeat(q.theta[None], 2, axis=0)
    order = [2, 0, 1]
    found = taylor.updates(q.g, q.hv, theta, order, alpha)
    first = q.g(theta, 2)
    second = q.g(theta - alpha * first, 0)
    third = q.g(theta - alpha * first - alpha * second, 1)
    np.testing.assert_allclose(found["FOMAML"], third, rtol=1e-12)
    np.testing.assert_allclose(found["Reptile"], first + second + third, rtol=1e-12)
    for t in range(2):  # (I - alpha H_2) (I - alpha H_0) g_1: the chain rule, step by step
        through = (np.eye(4) - alpha * q.H[2, t]) @ (np.eye(4) - alpha * q.H[0, t])
        np.testing.assert_allclose(found["MAML"][t], through @ third[t], rtol=1e-12)


def test_an_expansion_is_the_slope_of_the_updates() -> None:
    """Its part in alpha is their derivative by alpha at 0, by the complex step."""
    q = Quadratics(3, tasks=2, P=4)
    theta, order = np.repeat(q.theta[None], 2, axis=0), [1, 2, 0]
    first = [q.g(theta, i) for i in range(3)]
    products = {(i, j): q.hv(theta, i, first[j]) for i in range(3) for j in range(3) if i != j}
    at_zero = taylor.expansion(first, products, order, 0.0)
    at_alpha = taylor.expansion(first, products, order, 0.5)
    stepped = taylor.updates(q.g, q.hv, theta, order, 1e-20j)  # type: ignore[arg-type]
    for name, update in stepped.items():
        np.testing.assert_allclose(at_zero[name], update.real, rtol=1e-12)
        slope = update.imag / 1e-20
        np.testing.assert_allclose(at_alpha[name] - at_zero[name], 0.5 * slope, rtol=1e-9)


@pytest.mark.parametrize("alike", [True, False])
def test_coefficients_are_those_of_the_normal_equations(
    alike: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    k, tasks = 3, 20
    q = Quadratics(k, tasks, P=6, alike=alike)
    monkeypatch.setattr(taylor, "at_tasks", lambda model, k, tasks: (q.g, q.hv))
    rows = taylor.regressed(sine_mlp(2), q.theta, k, tasks)
    theta = np.repeat(q.theta[None], tasks, axis=0)
    first = [q.g(theta, i) for i in range(k)]
    grad: Any = sum(first) / k
    pairs = [q.hv(theta, i, first[j]) for i in range(k) for j in range(k) if i != j]
    inner: Any = 1e-5 * sum(pairs) / len(pairs)
    draws = np.random.default_rng(0)
    for name, expected in taylor.coefficients(k).items():
        update = sum(
            taylor.updates(q.g, q.hv, theta, order, 1e-5)[name]
            for order in ([0, 1, 2], [1, 2, 0], [2, 0, 1])
        ) / k  # fmt: skip

        def solved(on: Any, update: Any = update) -> NDArray:
            A = np.stack([grad[on].mean(0), inner[on].mean(0)], axis=1)
            return np.linalg.solve(A.T @ A, A.T @ update[on].mean(0))

        whole = solved(slice(None))
        again = [solved(on) for on in draws.integers(0, tasks, (100, tasks))]
        for n, of in enumerate(("grad", "inner")):
            (row,) = (r for r in rows if (r["algorithm"], r["of"]) == (name, of))
            half = 3 * np.std([a[n] for a in again]) + 1e-3 * abs(expected[n])
            assert (row["k"], row["expected"]) == (k, expected[n])
            assert row["found"] == pytest.approx(whole[n], rel=1e-6)
            if name != "Reptile":  # whose pairs of mini-batches are not all met equally often
                assert row["found"] == pytest.approx(expected[n], rel=3e-3)
            assert row["high"] - row["found"] == pytest.approx(half, rel=1e-3)
            assert row["found"] - row["low"] == pytest.approx(half, rel=1e-3)
            if alike:  # nothing to resample
                assert half == pytest.approx(1e-3 * abs(expected[n]), rel=1e-3)
    assert len(rows) == 6


def test_the_order_of_a_remainder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of quadratics, FOMAML's and Reptile's for k = 2 is rounding; for k = 3 all are of second
    order; the numbers are the distances of update and expansion."""
    q = Quadratics(3, tasks=2, P=4)
    calls = replace(monkeypatch, taylor, "at_tasks", lambda *_: (q.g, q.hv))
    slopes, remainders = taylor.orders(sine_mlp(2), q.theta, 3, 2)
    assert [call[1:] for call in calls] == [(3, 2)]
    theta = np.repeat(q.theta[None], 2, axis=0)
    first = [q.g(theta, i) for i in range(3)]
    products = {(i, j): q.hv(theta, i, first[j]) for i in range(3) for j in range(3)}
    for name, values in remainders.items():
        expected = []
        for alpha in taylor.ALPHAS:
            left = taylor.updates(q.g, q.hv, theta, [0, 1, 2], alpha)[name]
            left = left - taylor.expansion(first, products, [0, 1, 2], alpha)[name]
            expected.append(math.sqrt((left**2).sum()))
        assert values == pytest.approx(expected, rel=1e-9)
        logs = [(math.log(a), math.log(v)) for a, v in zip(taylor.ALPHAS, values, strict=True)]
        x, y = (mean(column) for column in zip(*logs, strict=True))
        slope = sum((a - x) * (b - y) for a, b in logs) / sum((a - x) ** 2 for a, _ in logs)
        assert slopes[name] == pytest.approx(slope, rel=1e-9)
        assert 1.9 < slope < 2.1


def test_mini_batches_that_updates_are_made_of() -> None:
    model = sine_mlp(3, dtype="float64")
    for k, shot in ((2, 20), (8, 50)):
        g, hv = taylor.at_tasks(model, k, 4)
        x, y = sample(Sine(), 5, 0, meta_batch=4, steps=k, batch=10, shot=shot)
        phi, v = (random_phi(model, np.random.default_rng(n), 4) for n in (0, 1))
        want = model.loss_and_grad(phi, x[1].astype(float), y[1].astype(float))[1]
        np.testing.assert_array_equal(g(phi, 1), want)
        want = model.hvp(phi, x[k - 1].astype(float), y[k - 1].astype(float), v)
        np.testing.assert_array_equal(hv(phi, k - 1, v), want)


def test_the_initialisation_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def reptile(*call: Any) -> Iterator[Snapshot]:
        calls.append(call)
        return snapshots(1, 2, 3)

    monkeypatch.setattr(taylor, "reptile", reptile)
    assert taylor.trained(sine_mlp(2), 3) == [3.0]
    ((_, _, optimizer, loops),) = calls
    assert optimizer == SGD(0.02)
    assert loops == Loops(3, epsilon=0.1, epsilon_final=0.1, train_shots=50, state="fresh")


# variance


def test_relative_variance_is_trace_of_covariance_over_mean_square() -> None:
    update = np.random.default_rng(0).normal(1.0, 2.0, (4, 2, 3))  # sets, tasks, P
    found = chance.relative_variance(update)
    for t in range(2):
        trace = sum(variance(update[:, t, p].tolist()) for p in range(3))
        square = mean(sum(float(u) ** 2 for u in update[s, t]) for s in range(4))
        assert found[t] == pytest.approx(trace / square)


def test_a_row_of_shares_is_an_interval_over_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each set takes K mini-batches of its own."""
    tasks, K, SETS = 3, chance.K, chance.SETS
    q = Quadratics(K * SETS, tasks, P=4)
    calls = replace(monkeypatch, chance, "at_tasks", lambda *_: (q.g, q.hv))
    rows = chance.looked_at(sine_mlp(2), q.theta, 30, tasks)
    assert [call[1:] for call in calls] == [(K * SETS, tasks)]
    theta = np.repeat(q.theta[None], tasks, axis=0)
    sets = [
        taylor.updates(q.g, q.hv, theta, [s * K + i for i in range(K)], 0.02) for s in range(SETS)
    ]
    assert [row["algorithm"] for row in rows] == ["MAML", "FOMAML", "Reptile"]
    for row in rows:
        shares = chance.relative_variance(np.array([one[row["algorithm"]] for one in sets]))
        assert row["variance"] == pytest.approx(mean(shares.tolist()))
        assert row["ci95"] == pytest.approx(1.96 * stdev(shares.tolist()) / math.sqrt(tasks))
        assert row["iteration"] == 30


@pytest.mark.parametrize("quick", [True, False])
def test_shares_are_taken_at_the_start_a_tenth_and_the_end(
    quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    last, calls = 300 if quick else 20_000, []

    def reptile(*call: Any) -> Iterator[Snapshot]:
        calls.append(call)
        return snapshots(*range(1, last + 1))

    monkeypatch.setattr(chance, "reptile", reptile)
    monkeypatch.setattr(
        chance, "looked_at", lambda model, theta, it, tasks: [(float(theta[0]), it, tasks)]
    )
    found = chance.shares(quick, "numpy", 7)
    ((model, _, optimizer, loops),) = calls
    assert found[0] == (float(model.init(0)[0]), 0, 7)
    assert found[1:] == [(it, it, 7) for it in (last // 10, last)]
    assert (model.layers[0].units, model.dtype) == (16 if quick else 64, np.float64)
    assert optimizer == SGD(0.02)
    assert loops == Loops(last, meta_batch=5, epsilon=0.1, train_shots=50, state="fresh")
