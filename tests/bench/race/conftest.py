"""Files of kernels, and a race of few small cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

import minireptile as mr
from bench import race_check, race_turns, results
from bench.calls import Call, calls_of
from bench.measure import Timing
from bench.race_file import Racer, load
from minireptile.backend import versions

from .racing import LIMITS


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A file with this text."""

    def written(text: str, name: str = "mine.py") -> Path:
        (tmp_path / name).write_text(dedent(text))
        return tmp_path / name

    return written


@pytest.fixture
def yours(write: Callable[..., Path]) -> Callable[[str], Racer]:
    """The kernels of a file with this text."""
    return lambda text: load("yours", write(text), lambda doing: None)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A race of few small cases, with these limits, whose turns are of no time; what was timed."""
    turns: list[str] = []

    def of_training(quick: bool, wanted: set[str]) -> Iterator[tuple[Call, results.Row]]:
        for call in calls_of(mr.omniglot_cnn(3, 4, (8, 8, 1)), mr.SGD(0.1), 2, 3, wanted):
            case = f"omniglot {call.operation} {call.shapes}"
            yield call, {"case": case, "group": "omniglot", "times": call.times}

    def in_turns(
        variants: dict, rounds: int, least: float, wait: Callable[[], None]
    ) -> dict[str, Timing]:
        for _ in range(1 + rounds):
            for call in variants.values():
                call()
                wait()
        turns.extend(variants)
        return {name: Timing(0.02 + 0.01 * i, 0.01, 0.05, 1) for i, name in enumerate(variants)}

    def ladder(operation: str) -> dict[str, tuple]:
        return {f"numpy {v}": ("numpy", v, k) for v, k in versions(operation, "numpy").items()}

    fakes = {"of_training": of_training, "in_turns": in_turns, "ladder": ladder}
    for name, fake in {**fakes, "limits": lambda *_: LIMITS}.items():
        monkeypatch.setattr(race_turns, name, fake)
    monkeypatch.setattr(race_check, "SMALL", 3)
    monkeypatch.setattr(race_turns, "LATE", 0.0)
    return turns
