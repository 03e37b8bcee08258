"""The built site in Chromium, as `make site-test` has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.explore.conftest import browser as browser
from tests.explore.conftest import missing

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built site."""
    found = ROOT / "build" / "site"
    if not (found / "searchindex.js").is_file():
        missing("there is no build/site")
    return found
