"""Adam on a GPU: launchers for adam.cu. Formulas: adam.md."""

from typing import Any

import numpy as np

from .launch_cupy import THREADS, elements, launch

NUMBERS = 4  # of a thread: every block works out its task's rate, which is worth some of them


def adam_step(
    phi: Any, m: Any, v: Any, t: Any, grad: Any, lr: float, beta1: float, beta2: float, eps: float
) -> None:
    """Update phi, m, v (T, P) and t (T,) in place (adam.md, eq. 1 to 4)."""
    adam_ahead(phi, m, v, t, grad, lr, beta1, beta2, eps, 1)
    count_steps(t, 1, phi.dtype)


def adam_ahead(
    phi: Any, m: Any, v: Any, t: Any, grad: Any, lr: float, beta1: float, beta2: float, eps: float,
    ahead: int,
) -> None:  # fmt: skip
    """The update of step t + ahead; t stays, so that a captured loop advances it once."""
    numbers = np.float64(lr), np.float64(beta1), np.float64(beta2), float(eps)
    P = phi.shape[1]
    arguments = phi, m, v, t, grad, *numbers, ahead, np.int64(P)
    elements("adam", "adam_step", phi, -(-P // NUMBERS), *arguments)


def count_steps(t: Any, steps: int, dtype: np.dtype) -> None:
    """Count the steps: t (T,) += steps. `dtype` names the module and nothing else."""
    launch("adam", "count_steps", dtype, (1, 1, 1), (THREADS, 1, 1), t, steps, len(t))
