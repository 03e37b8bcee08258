"""The exercises, in the order of the derivations."""

from __future__ import annotations

from importlib import import_module

from .record import Exercise

MODULES = (
    "dense",
    "activations",
    "cross_entropy",
    "two_layers",
    "batchnorm",
    "convolution",
    "maxpool",
    "adam",
    "inner_loop",
    "reptile",
    "hvp",
    "maml",
    "col2im",
    "fast_convolution",
)

COURSE: tuple[Exercise, ...] = tuple(
    import_module(f".exercises.{name}", __package__).EXERCISE for name in MODULES
)
