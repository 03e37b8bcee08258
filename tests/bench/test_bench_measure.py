"""How benchmarks take turns and are checked, on a clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

import bench.kernels
import bench.measure
from bench import results
from bench.measure import Mismatch, Timing, close, in_turns
from minireptile.errors import InputError


class Clock:
    """A clock that goes on only when a fake call says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def lasting(self, *seconds: float) -> Callable[[], None]:
        """A call that takes these times in turn, the last one ever after."""
        left = list(seconds)

        def call() -> None:
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call


def times(row: results.Row) -> tuple:
    return tuple(row[name] for name in ("seconds", "low", "high", "calls"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    new = Clock()
    monkeypatch.setattr(bench.measure, "perf_counter", lambda: new.now)
    return new


def test_in_turns_takes_median_and_quartiles_after_warming_up(clock: Clock) -> None:
    # 100 s to warm up, 1 s to find how many calls fill a turn, and then the five rounds.
    found = in_turns({"a": clock.lasting(100, 1, 15, 1, 2, 4, 3)}, rounds=5, least=0.5)
    assert found["a"] == bench.measure.Timing(median=3, low=2, high=4, calls=1)


@pytest.mark.usefixtures("clock")
def test_in_turns_goes_round() -> None:
    order: list[str] = []

    in_turns({name: partial(order.append, name) for name in ("a", "b")}, rounds=3, least=0)
    assert order[-6:] == ["a", "b"] * 3


def test_in_turns_repeats_a_short_call_and_divides(clock: Clock) -> None:
    found = in_turns({"short": clock.lasting(0.25), "long": clock.lasting(8.0)}, 3, least=4)
    assert found["short"].calls == 18  # 4.5 s, a tenth more than 4 and a whole number
    assert found["short"].median == 0.25
    assert found["long"].calls == 1


def test_in_turns_ends_though_the_clock_stands_still(clock: Clock) -> None:
    assert in_turns({"a": clock.lasting(0.0)}, 1, 1.0)["a"].calls == bench.measure.MOST


@pytest.mark.parametrize(("rounds", "least"), [(0, 0.1), (3, -1.0), (3, float("nan"))])
def test_in_turns_refuses(rounds: int, least: float) -> None:
    with pytest.raises(InputError, match="must"):
        in_turns({"a": lambda: None}, rounds, least)


def test_close_names_the_variant_and_the_worst_entry() -> None:
    wanted = np.ones((2, 3))
    close("same", wanted + 1e-7, wanted, 1e-6, 0)
    close("near nothing", np.full(2, 1e-9), np.zeros(2), 0, 1e-8)
    got = wanted.copy()
    got[0, 1], got[1, 2] = 1.1, 3
    with pytest.raises(Mismatch, match=r"fast v9: 2 of 6 .*\[1, 2\]: 3.0 where 1.0"):
        close("fast v9", got, wanted, 1e-6, 0)
    with pytest.raises(Mismatch, match="1 of 2 "):  # the other one is just at the bound
        close("exact", np.array([1.5, 1.75]), np.ones(2), 0.25, 0.25)
    with pytest.raises(Mismatch, match="nan where"):
        close("lost", np.full((2, 3), np.nan), wanted, 1, 1)
    with pytest.raises(Mismatch, match=r"\(3, 2\) where \(2, 3\)"):
        close("turned", got.T, wanted, 1, 1)


def test_a_row_has_the_figures_of_its_timing() -> None:
    row = results.timed("c", "v", Timing(median=3.0, low=2.0, high=5.0, calls=7), more=1)
    assert row == {
        "case": "c", "variant": "v", "seconds": 3.0, "low": 2.0, "high": 5.0, "calls": 7, "more": 1,
    }  # fmt: skip
