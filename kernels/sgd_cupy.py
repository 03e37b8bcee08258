"""Stochastic gradient descent on a GPU: the launcher for sgd.cu. Formulas: sgd.md."""

from typing import Any

from .launch_cupy import flat


def sgd_step(phi: Any, velocity: Any, grad: Any, lr: float, momentum: float) -> None:
    """Update phi and velocity in place (sgd.md, eq. 1 and 2); arrays (T, P) on the device."""
    flat("sgd", "sgd_step", phi, phi, velocity, grad, float(lr), float(momentum))
