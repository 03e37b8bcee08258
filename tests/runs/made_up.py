"""Made-up measurements in the place of an experiment's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from minireptile.loops import Snapshot


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
