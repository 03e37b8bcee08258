"""What is raced: files of kernels, a machine, a job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import minireptile as mr
from bench import race_check, results
from bench.calls import Call, calls_of
from bench.machine import Limits
from bench.measure import Timing
from bench.race_check import small
from bench.race_turns import Job

RELU = """
    import numpy as np

    def relu_forward(y, x):
        np.maximum(x, 0, out=y)
"""
# Patches as a view, then Einstein's sum.
CONVOLUTION = """
    import numpy as np
    from numpy.lib.stride_tricks import as_strided

    def conv2d_forward(y, cols, x, w, b, stride, pad):
        (kh, kw), (H, W) = w.shape[1:3], y.shape[2:4]
        below = max((H - 1) * stride[0] + kh - pad[0] - x.shape[2], 0)
        right = max((W - 1) * stride[1] + kw - pad[1] - x.shape[3], 0)
        x = np.pad(x, ((0, 0), (0, 0), (pad[0], below), (pad[1], right), (0, 0)))
        t, i, r, q, c = x.strides
        shape = (*x.shape[:2], H, W, *w.shape[1:4])
        patches = as_strided(x, shape, (t, i, r * stride[0], q * stride[1], r, q, c))
        np.einsum("tbopijc,tijcn->tbopn", patches, w, out=y)
        if b is not None:
            y += b[:, None, None, None]
"""
DENSE = """
    def dense_backward(dx, dw, db, dy, x, w):
        if dx is not None:
            dx[...] = dy @ w.swapaxes(1, 2)
        if dw is not None:
            dw[...] = x.swapaxes(1, 2) @ dy
        if db is not None:
            db[...] = dy.sum(1)
"""
LIMITS = Limits(1, 100.0, {"memory": 10.0}, {"memory": np.inf})


def job(*paths: Path, only: str = "") -> Job:
    return Job(dict(zip(("yours", "theirs"), map(str, paths), strict=False)), 2, True, only)


def nothing(doing: str) -> None:
    """Nobody wants to know."""


def small_call(operation: str) -> Call:
    return next(small({operation}, race_check.SMALL))


def convolution(seconds: float, ladder: float) -> tuple[Call, dict[str, tuple[Timing, float]]]:
    """A convolution without padding, of dense arithmetic, and how long it took."""
    layers: list[mr.Layer] = [mr.Conv2D(8, 3, 1, "valid"), mr.Flatten(), mr.Dense(2)]
    model = mr.Model(layers, (12, 12, 8))
    call = calls_of(model, mr.SGD(0.1), 2, 4, {"conv2d_forward"})[0]
    times = {"numpy v1": ladder, "yours": seconds}
    return call, {name: (Timing(t, t, t, 1), 1.0) for name, t in times.items()}


def row(variant: str, seconds: float, case: str = "a", **more: Any) -> results.Row:
    times = {"seconds": seconds, "low": 0.9 * seconds, "high": 1.1 * seconds}
    place = {"case": f"omniglot {case}", "group": "omniglot", "operation": "conv2d_forward"}
    return {**place, "variant": variant, "times": 1, "share": 0.5, **times, **more}
