"""The tables of minireptile/testing/versus.md are what the three checkers say."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: make peers-test brings it")
jax = pytest.importorskip("jax", reason="JAX is not installed: make peers-test brings it")

from .versus import TABLES, words  # noqa: E402

PAGE = Path(__file__).parents[2] / "minireptile" / "testing" / "versus.md"


@pytest.fixture(autouse=True)
def _quietly() -> Iterator[None]:
    """JAX logs what a callback raises; and its type is as it was before."""
    before = jax.config.jax_enable_x64
    logging.disable(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("table", TABLES)
def test_the_page_has_the_table(table: str) -> None:
    page = [words(line) for line in PAGE.read_text(encoding="utf-8").splitlines()]
    rows = list(TABLES[table]())
    assert "passes" in str(rows)
    for row in rows:
        if not row.startswith("|---"):
            assert words(row) in page, row
