"""Hand-made mistakes in backward passes and update rules, for the gradient kit to find."""

from __future__ import annotations

from . import (
    activations,
    batchnorm,
    conv2d,
    dense,
    interface,
    loops,
    losses,
    maxpool,
    optimizers,
    second_order,
)
from .record import Mistake

SUBJECTS = (
    dense,
    conv2d,
    batchnorm,
    activations,
    maxpool,
    losses,
    optimizers,
    loops,
    second_order,
    interface,
)
BY_SUBJECT: dict[str, tuple[Mistake, ...]] = {
    module.__name__.rpartition(".")[2]: module.MISTAKES for module in SUBJECTS
}
MISTAKES: tuple[Mistake, ...] = tuple(m for found in BY_SUBJECT.values() for m in found)
