"""The walk between the lines: reptile()'s own loop, however it is cut, and where it must end."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

import numpy as np
import pytest

from minireptile import SGD, Loops, reptile
from minireptile.errors import InputError
from minireptile.explore.answer import compute
from minireptile.explore.figures.manifolds import AHEAD, ENDLESS, MODEL, distance
from minireptile.loops import Snapshot
from minireptile.reproduce.manifolds import LINES, Lines, least

STATE: dict[str, Any] = {
    "theta": [1.25, -0.35], "iteration": 0, "seed": 3, "rate": 0.1, "steps": 15, "batch": 5,
    "epsilon": 0.34, "steep": 2.0,
}  # fmt: skip


def test_the_walk_is_reptiles_and_goes_on_where_the_page_left_off() -> None:
    loops = Loops(
        ENDLESS, meta_batch=5, epsilon=0.34, epsilon_final=0.34, inner_steps=15, inner_batch=1,
        train_shots=15, state="fresh", seed=3,
    )  # fmt: skip
    start = Snapshot(0, np.array(STATE["theta"]), {}, np.empty((0, 0)))
    runs = reptile(MODEL, Lines(steep=(2, 1, 1)), SGD(0.1), loops, start)
    whole = [run.theta.tolist() for run in islice(runs, 2 * AHEAD)]
    first = json.loads(json.dumps(compute("manifolds", STATE)["walk"]))  # as the page gets it
    later = {**STATE, "theta": first[-1], "iteration": AHEAD}
    assert first[1:] == whole[:AHEAD]  # bit for bit
    assert compute("manifolds", later)["walk"][1:] == whole[AHEAD:]


@pytest.mark.parametrize("iteration", range(4))
def test_the_tasks_that_are_shown_are_those_of_the_first_iteration(iteration: int) -> None:
    found = compute("manifolds", {**STATE, "iteration": iteration})
    theta, phi = np.array(STATE["theta"]), found["phi"]
    moved = theta + 0.34 * (phi.mean(0) - theta)
    assert np.allclose(found["walk"][1], moved, rtol=0, atol=1e-7)
    for end, n in zip(phi, found["drawn"], strict=True):
        a, b = np.array(LINES[n][:2]), LINES[n][2]
        before, after = (abs(a @ p - b) / np.hypot(*a) for p in (theta, end))
        steep = 2.0 if n == 0 else 1.0
        assert np.isclose(after / before, (1 - 0.2 * steep**2) ** 15, rtol=0, atol=1e-6)


def test_the_point_of_least_distance_is_the_lowest_of_the_picture() -> None:
    found = compute("line_distance", {})
    assert found["far"].min() >= found["least"] > 0
    assert found["least"] == distance(found["nearest"])
    row, column = np.unravel_index(found["far"].argmin(), found["far"].shape)
    along = np.linspace(-0.6, 1.4, len(found["far"]))
    assert np.allclose(found["nearest"], [along[column], along[row]], rtol=0, atol=0.03)
    for (p, q), (a1, a2, b) in zip(found["lines"], LINES, strict=True):
        assert np.allclose(np.array([p, q]) @ [a1, a2], b, rtol=0, atol=1e-12)


def test_the_point_of_least_loss_has_no_slope() -> None:
    found = compute("manifolds", STATE)["joint"]
    slope = np.zeros(2)
    for (a1, a2, b), steep in zip(LINES, (2, 1, 1), strict=True):
        a = np.array([a1, a2])
        slope += steep**2 * (a @ found - b) * a / (a @ a)
    assert np.allclose(slope, 0, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("steps", "rate"), [(30, 0.1), (1, 0.01)])
def test_many_steps_lead_to_least_distance_and_one_to_least_loss(steps: int, rate: float) -> None:
    """On average: the field of the mean update vanishes at the one point, and not at the other."""
    ends = {}
    for name, place in (("distance", least()), ("loss", least((2.0, 1.0, 1.0)))):
        state = {**STATE, "theta": place.tolist(), "steps": steps, "rate": rate, "batch": 10}
        found = [compute("manifolds", {**state, "seed": s}) for s in range(2)]
        by_line = [
            np.mean([f["phi"][f["drawn"] == n].mean(0) for f in found if n in f["drawn"]], axis=0)
            for n in range(3)
        ]
        ends[name] = float(np.hypot(*(np.mean(by_line, axis=0) - place)))
    least_of = "distance" if steps > 1 else "loss"
    assert ends[least_of] == min(ends.values())
    assert ends[least_of] < 0.05 * max(ends.values())


def test_a_steep_loss_is_the_same_line() -> None:
    plain, steep = (
        Lines(steep=s).draw(np.random.default_rng(5), 2, 1) for s in ((1, 1, 1), (2, 3, 4))
    )
    ratio = steep.support_x / plain.support_x
    assert np.allclose(ratio, ratio[0, 0])
    assert np.isclose(ratio[0, 0], 4) or ratio[0, 0] in (2, 3)
    assert np.allclose(steep.support_y, ratio[0, 0] * plain.support_y)


@pytest.mark.parametrize(
    "wrong",
    [{"rate": 0.3}, {"steep": 3}, {"steps": 0}, {"iteration": -1}, {"seed": 1e3}, {"batch": 11},
     {"theta": [4, 0]}, {"epsilon": 2}],
)  # fmt: skip
def test_a_wrong_argument_is_a_sentence(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"manifolds: {next(iter(wrong))}"):
        compute("manifolds", {**STATE, **wrong})


def test_no_setting_within_bounds_diverges() -> None:
    state = {**STATE, "rate": 0.25, "steep": 2, "epsilon": 1, "steps": 30, "theta": [3, -3]}
    assert np.abs(compute("manifolds", state)["walk"]).max() < 20
