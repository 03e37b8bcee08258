"""The exercises, in the order of the derivations."""

from __future__ import annotations

from importlib import import_module

from .record import Exercise

MODULES = (
    "dense",
)  # fmt: skip

COURSE: tuple[Exercise, ...] = tuple(
    import_module(f".exercises.{name}", __package__).EXERCISE for name in MODULES
)
