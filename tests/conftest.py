"""Fixtures for all tests, and how hard Hypothesis looks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

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
