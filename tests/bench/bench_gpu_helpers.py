"""A small setting, and what a part of the GPU bench is told, for the tests of several parts."""

from __future__ import annotations

from pathlib import Path

from bench.gpu.part import Context
from bench.settings import Setting

TINY = Setting(tasks=2, steps=2, batch=2, size=8, filters=4)


def context(folder: Path) -> Context:
    """One round of a part that writes to a folder."""
    return Context(quick=True, rounds=1, seconds=60, out=str(folder))
