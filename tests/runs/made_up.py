"""Made-up measurements in the place of an experiment's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from minireptile.loops import Snapshot
from minireptile.reproduce.outcome import FAILS, HOLDS, TOO_SMALL, Outcome

both = pytest.mark.parametrize("quick", [True, False], ids=["quick", "full"])


def replace(
    patch: pytest.MonkeyPatch, module: Any, name: str, answer: Callable[..., Any]
) -> list[Any]:
    """Put `answer` in the place of a module's function; returns the list of its calls to be."""
    calls: list[Any] = []

    def called(*arguments: Any, **named: Any) -> Any:
        calls.append((*arguments, named) if named else arguments)
        return answer(*arguments, **named)

    monkey = patch.setitem if isinstance(module, dict) else patch.setattr
    monkey(module, name, called)
    return calls


def snapshots(*iterations: int) -> Iterator[Snapshot]:
    for it in iterations:
        yield Snapshot(it, np.array([float(it)]), {}, np.zeros((0, 0)))


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
