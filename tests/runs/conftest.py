"""Tiny images in place of drawn characters, which take seconds to draw."""

from __future__ import annotations

from dataclasses import replace

import pytest

from minireptile.runs import pictures
from minireptile.runs.sources import SOURCES
from minireptile.tasks.images import Splits
from tests.small import tiny_classes


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Splits:
    """What `glyphs` gives in this test: 6 x 6 images, 8 classes to train on and others to test."""
    splits = Splits(tiny_classes(8, 10), tiny_classes(7, 7, seed=1), tiny_classes(6, 7, seed=2))
    monkeypatch.setitem(SOURCES, "glyphs", replace(SOURCES["glyphs"], load=lambda: splits))
    return splits


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take longer to draw than a tiny run to train."""
    monkeypatch.setattr(pictures, "draw", lambda experiment, run, folder: None)
