"""The pictures of registers.md show eq. 4's tiles, and the classes that are computed."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FILE = Path(__file__).parents[2] / "docs" / "figures" / "registers.py"


@pytest.fixture(scope="module")
def figures() -> Any:
    spec = spec_from_file_location("registers_figures", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_limits_of_a_tile(figures: Any) -> None:
    """Those of registers.md's text, on each side of every limit."""
    assert figures.limit_of(5, 2, 16) == figures.limit_of(10, 2, 32) == figures.FITS
    assert figures.limit_of(6, 2, 16) == figures.limit_of(4, 3, 16) == figures.FITS
    assert figures.limit_of(7, 2, 16) == figures.limit_of(5, 3, 16) == figures.SPILLS
    assert figures.limit_of(7, 1, 16) == figures.limit_of(3, 2, 16) == figures.WAITS
    assert figures.limit_of(8, 1, 16) == figures.STARVES


@pytest.mark.parametrize(
    ("n", "classes", "axis"), [(28, 4, 41), (14, 4, 20), (7, 9, 10), (4, 4, 5)]
)
def test_pixels_of_a_class_have_the_same_taps(
    figures: Any, n: int, classes: int, axis: int
) -> None:
    """As many taps as section 4's table says, of an axis, squared."""
    number, taps = figures.class_map(n, 3, 2)
    assert len(np.unique(number)) == classes
    assert taps.sum() == axis**2
    assert all(len(np.unique(taps[number == c])) == 1 for c in range(classes))


def test_the_pictures_are_drawn(figures: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for path in figures.draw(tmp_path):
        assert path.read_bytes().startswith(b"\x89PNG")
        assert (FILE.parent / path.name).exists()
