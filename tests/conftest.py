"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real data sets: $MINIREPTILE_DATA, else ../shared/data; or skip."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("MINIREPTILE_DATA", beside))
    if not root.is_dir():
        pytest.skip(f"no real data: {root} is not a folder (set MINIREPTILE_DATA)")
    return root
