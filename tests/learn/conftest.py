"""No test of the course waits for a clock, or depends on one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from learn.exercises import fast_convolution


@pytest.fixture(autouse=True)
def _times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is timed beside numpy v1 is twice as fast."""

    def seconds(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
        return {name: 2e-3 if name == "numpy v1" else 1e-3 for name in calls}

    monkeypatch.setattr(fast_convolution, "seconds", seconds)
