"""Means over a few runs, with intervals."""

import numpy as np
from numpy.typing import NDArray

# Student's t, 97.5 %, for 1 to 10 degrees of freedom; beyond, 1.96 + 2.6 / n is as good.
STUDENT = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def student(values: NDArray) -> tuple[float, float]:
    """The mean and half its 95 % interval, by Student's distribution; of one value, infinite."""
    n = len(values)
    if n < 2:
        return float(np.mean(values)), np.inf
    t = STUDENT[n - 2] if n - 2 < len(STUDENT) else 1.96 + 2.6 / (n - 1)
    return float(np.mean(values)), float(t * np.std(values, ddof=1) / np.sqrt(n))
