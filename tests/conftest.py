"""Fixtures for all tests, and how hard Hypothesis looks."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from minireptile.runs import pictures
from minireptile.runs.sources import SOURCES
from minireptile.tasks.images import Splits

from .small import tiny_classes

# The same examples every time; HYPOTHESIS_PROFILE=thorough looks for new ones, and digs deeper.
# Neither minds a slow machine.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", patient, derandomize=True, max_examples=25)
settings.register_profile("thorough", patient, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real data sets: $MINIREPTILE_DATA, else ../shared/data; or skip."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("MINIREPTILE_DATA", beside))
    if not root.is_dir():
        pytest.skip(f"no real data: {root} is not a folder (set MINIREPTILE_DATA)")
    return root


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Splits:
    """What `glyphs` gives in this test, whose characters take seconds to draw: 6 x 6 images, 8
    classes to train on and others to test."""
    splits = Splits(tiny_classes(8, 10), tiny_classes(7, 7, seed=1), tiny_classes(6, 7, seed=2))
    monkeypatch.setitem(SOURCES, "glyphs", replace(SOURCES["glyphs"], load=lambda: splits))
    return splits


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take longer to draw than a tiny run to train."""
    monkeypatch.setattr(pictures, "draw", lambda experiment, run, folder: None)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list]:
    """Keep a module's figures in place of saving them."""

    def keep(module: Any) -> list:
        figures: list = []

        def save_figure(new: Any, path: Path) -> Path:
            figures.append(new)
            return path

        monkeypatch.setattr(module, "save_figure", save_figure)
        return figures

    return keep
