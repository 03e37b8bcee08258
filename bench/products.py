"""The matrix products of an inner step, alone: what no implementation can leave out.

For each layer with weights y = x w, dw = x' dy and, but for the first, dx = dy w', at the shapes
that im2col gives them, by `numpy.matmul`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

import minireptile as mr


def products(model: mr.Model, T: int, B: int, seed: int = 0) -> Callable[[], None]:
    """A function that computes the products of one inner step on T tasks, B examples each."""
    rng = np.random.default_rng(seed)
    calls = []
    for step in model.plan.steps:
        if "weight" not in step.slots:
            continue
        *taps, n = step.slots["weight"].param.shape
        k, m = prod(taps), B * prod(step.out_shape[:-1])
        x, w, y = (rng.random((T, *shape), np.float32) for shape in ((m, k), (k, n), (m, n)))
        calls.append((x, w, y))
        calls.append((x.swapaxes(1, 2), y, np.empty_like(w)))
        if step is not model.plan.steps[0]:
            calls.append((y, w.swapaxes(1, 2), np.empty_like(x)))

    def run() -> None:
        for a, b, out in calls:
            np.matmul(a, b, out=out)

    return run
