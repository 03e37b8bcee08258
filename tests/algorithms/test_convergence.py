"""How soon algorithms converge, as minireptile/reproduce/convergence.py measures it, and what
variance.py says of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile import SGD, Loops, Model, sine_mlp
from minireptile.reproduce import convergence, variance
from minireptile.reproduce.convergence import ALGORITHMS, Curve, Sizes, curve, marks, race, when
from minireptile.rng import Stream
from minireptile.tasks.sine import Sine

SIZES = Sizes(100, 2, choice=(8, 9), report=(0, 1, 2), tasks=4)


@pytest.mark.parametrize(
    ("mse", "iteration"),
    [
        ([4.0, 4.0, 1.0], 15.0),  # half way from 4 to 1 by the logarithm
        ([4.0, 2.0, 1.0], 10.0),
        ([4.0, 1.0, 4.0], 5.0),  # the first time counts
        ([2.0, 1.0, 1.0], 0.0),
        ([4.0, 3.0, 2.5], np.inf),
        ([4.0, np.inf, np.inf], np.inf),
    ],
)
def test_when_an_error_is_reached(mse: list[float], iteration: float) -> None:
    assert when([0, 10, 20], np.array(mse), 2.0) == pytest.approx(iteration)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_gradients_are_counted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"loss_and_grad": 0, "hvp": 0}

    def counting(method: str) -> Any:
        original = getattr(Model, method)

        def counted(*arguments: Any) -> Any:
            calls[method] += 1
            return original(*arguments)

        return counted

    for method in calls:
        monkeypatch.setattr(Model, method, counting(method))
    loops = Loops(1, inner_steps=convergence.K, train_shots=50)
    list(ALGORITHMS[name](sine_mlp(4), Sine(), SGD(0.02), loops))
    assert convergence.GRADIENTS[name] == (calls["loss_and_grad"] + convergence.HVP * calls["hvp"])


def test_a_curve_begins_untrained_and_ends_where_it_explodes() -> None:
    model = sine_mlp(4)
    calm, wild, other = (
        curve(model, "Reptile", epsilon, 0, SIZES, stream)
        for epsilon, stream in [(0.1, Stream.TEST), (8.0, Stream.TEST), (0.1, Stream.RUNNING)]
    )
    assert calm.mse.shape == (len(marks(100)),)
    assert np.isfinite(calm.mse).all()
    assert (calm.ci95 > 0).all()
    assert wild.mse[0] == calm.mse[0] != other.mse[0]
    assert np.isinf(wild.mse[-1])
    assert (wild.mse[np.isfinite(wild.mse)] < convergence.EXPLODED * wild.mse[0]).all()


def falls(rate: float) -> NDArray:
    """From 8 by a factor e^rate an iteration."""
    return 8 * np.exp(-rate * np.array(marks(100)))


def test_each_algorithm_has_its_own_epsilon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it does not get there. It is chosen on other seeds and tasks than are reported, and
    not for luck; one at the edge of its grid, as 16 is, is marked."""
    best = {"Reptile": 0.25, "FOMAML": 4.0, "MAML": 16.0}
    speed = {"Reptile": 0.02, "FOMAML": 0.01, "MAML": 0.04}
    seen: dict[Stream, set[int]] = {Stream.RUNNING: set(), Stream.TEST: set()}

    def made_up(
        model: Model, name: str, epsilon: float, seed: int, sizes: Sizes, stream: Stream
    ) -> Curve:
        seen[stream].add(seed)
        rate = speed[name] / (1 + abs(np.log2(epsilon / best[name])))
        if epsilon > best[name]:  # luck, with one seed
            rate = 0.1 if seed == 8 else 0.001
        if (seed, stream) == (2, Stream.TEST):  # one of three runs explodes
            return Curve(np.full(len(marks(100)), np.inf), np.zeros(len(marks(100))))
        return Curve(falls(rate), np.zeros(len(marks(100))))

    monkeypatch.setattr(convergence, "curve", made_up)
    found = race(sine_mlp(4), SIZES)
    assert seen == {Stream.RUNNING: {8, 9}, Stream.TEST: {0, 1, 2}}
    end = 8 * np.exp(-0.02 * 100)
    assert found["levels"] == pytest.approx({"half way": np.sqrt(8 * end), "at the end": end})
    for level, part in (("half way", 0.5), ("at the end", 1.0)):
        for name, it in found["reached"][level].items():
            assert it["epsilon"] == best[name]
            assert it["at_edge"] == (name == "MAML")
            iterations = part * 100 * 0.02 / speed[name]
            if iterations <= 100 + 1e-9:
                assert it["iterations"] == pytest.approx(iterations)
                assert it["gradients"] == pytest.approx(
                    iterations * 2 * (5 + 4 * 8 / 3 if name == "MAML" else 5)
                )
                assert it["each_run"] == [pytest.approx(iterations)] * 2 + [None]
            else:
                assert it["iterations"] is it["gradients"] is None


def a_race(reptile: float | None, maml: float | None, end: float) -> dict[str, Any]:
    each = {
        name: {
            "iterations": n,
            "gradients": n and n * convergence.GRADIENTS[name],
            "at_edge": False,
        }
        for name, n in (("Reptile", reptile), ("FOMAML", None), ("MAML", maml))
    }
    levels = {"half way": np.sqrt(4 * end), "at the end": end}
    return {
        "levels": levels, "reached": dict.fromkeys(levels, each), "meta_batch": 1, "start": 4.0,
        "least": {"Reptile": 0.1 if maml is None else end, "FOMAML": 3.9, "MAML": end},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("least", "first_half"), [("Reptile", "holds: the share"), ("MAML", "does not hold: the share")]
)
@pytest.mark.parametrize(
    ("races", "second_half"),
    [
        ([a_race(20, 30, 0.1)], "holds in iterations, and holds in gradients"),
        ([a_race(20, None, 3.9)], "holds in iterations, and holds in gradients"),
        ([a_race(30, 20, 0.1)], "does not hold in iterations, and holds in gradients"),
        ([a_race(90, 20, 0.1)], "does not hold in iterations, and does not hold in gradients"),
        ([a_race(None, 20, 0.1)], "does not hold in iterations, and does not hold in gradients"),
        (
            [a_race(20, 30, 0.1), a_race(30, 20, 0.1)],
            "does not hold in iterations, and holds in gradients",
        ),
        (
            [a_race(20, 30, 3.9)],
            "cannot be seen so soon in iterations, and cannot be seen so soon in gradients",
        ),
        (
            [a_race(20, 30, 3.9), a_race(30, 20, 0.1)],
            "does not hold in iterations, and cannot be seen",
        ),
    ],
)
def test_the_verdict_gives_both_halves(
    least: str, first_half: str, races: list[Any], second_half: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    rows = [
        {"algorithm": name, "iteration": 0, "variance": 0.1 if name == least else chance}
        for name, chance in {"Reptile": 0.4, "MAML": 0.5, "FOMAML": 0.6}.items()
    ]
    given = iter(races)
    monkeypatch.setattr(variance, "shares", lambda quick, backend, tasks: rows)
    monkeypatch.setattr(variance, "race", lambda model, sizes: next(given))
    monkeypatch.setattr(variance, "QUICK", races)
    outcome = variance.run(quick=True)
    assert outcome.verdict.startswith(f"the first half {first_half}")
    assert f"The second half {second_half}" in outcome.verdict
    assert outcome.holds == (first_half[:5] == second_half[:5] == "holds")
    assert list(given) == []
