"""A second backend for the suites that compare backends, which compiles nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import minireptile as mr
from bench import inner_loop, runs
from bench.measure import Timing
from bench.settings import Setting
from minireptile import Model

NAMES = ("numpy", "other")


@pytest.fixture
def two_backends(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """As if NumPy and another backend were all that works here; NumPy computes for both."""
    real = Setting.model

    def model(self: Setting, backend: str = "numpy") -> Model:
        assert backend in NAMES
        return real(self)

    monkeypatch.setattr(Setting, "model", model)
    for suite in (inner_loop, runs):
        monkeypatch.setattr(suite, "usable", lambda: NAMES)
    return NAMES


@pytest.fixture
def known_times(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, dict[str, Timing]], list]:
    """Give a suite these timings in the place of true ones; what it asked for is noted."""

    def give(suite: Any, timings: dict[str, Timing]) -> list:
        asked: list = []

        def in_turns(calls: dict, *numbers: float, **named: float) -> dict[str, Timing]:
            asked.append((calls, *numbers, *named.values()))
            for call in calls.values():
                call()
            return {name: timings[name] for name in calls}

        monkeypatch.setattr(suite, "in_turns", in_turns)
        return asked

    return give


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, mr.Loops]]:
    """The optimizer and the loops of each run of `reptile`."""
    noted: list[tuple[Any, mr.Loops]] = []
    real = mr.reptile

    def reptile(model: Any, tasks: Any, optimizer: Any, loops: mr.Loops) -> Any:
        noted.append((optimizer, loops))
        return real(model, tasks, optimizer, loops)

    monkeypatch.setattr(mr, "reptile", reptile)
    return noted
