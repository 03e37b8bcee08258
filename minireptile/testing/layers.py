"""The product's own layers and losses through the kit: what ``minireptile check`` runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..backend import kernels
from ..errors import InputError
from ..layers import BatchNorm, Conv2D, Dense, Flatten, Layer, MaxPool, ReLU, Tanh
from ..model import LOSSES
from .gradients import check_gradients
from .report import GradientError, Report

T, B = 2, 3


class Row(NamedTuple):
    """One gradient of one case: a line of the table."""

    layer: str
    gradient: str
    shape: tuple[int, ...]
    method: str
    error: float
    report: Report


def examples() -> Iterator[tuple[Layer, tuple[int, ...]]]:
    """A few small cases of every layer: the layer, and the shape of one example."""
    yield Conv2D(3, 3, stride=2), (6, 5, 2)
    yield Conv2D(2, (2, 3), padding="valid"), (4, 5, 2)
    yield Conv2D(2, 5, bias=False), (3, 3, 2)
    yield Dense(4), (5,)
    yield Dense(3, bias=False), (2,)
    yield BatchNorm(), (3, 2, 4)
    yield BatchNorm(), (5,)
    yield ReLU(), (3, 3, 2)
    yield Tanh(), (7,)
    yield MaxPool(2), (5, 4, 3)
    yield MaxPool(3, stride=2, padding="valid"), (7, 5, 2)
    yield Flatten(), (2, 3, 2)


def check_layers(name: str | None = None, backend: str = "numpy") -> list[Row]:
    """Check every layer and loss, or the one of that name.

    Parameters
    ----------
    name : str, optional
        Such as "Conv2D" or "squared_error".
    backend : str
        Whose kernels.

    Raises
    ------
    InputError
        If there is no such layer or backend.
    """
    kernels(backend)
    rng = np.random.default_rng(0)
    rows = []
    for layer, shape in examples():
        kind = type(layer).__name__
        if name in (None, kind):
            x = rng.standard_normal((T, B, *shape))
            rows += _rows(kind, layer, x, backend=backend, name=repr(layer))
    for loss in LOSSES:
        if name in (None, loss):
            out = rng.standard_normal((T, B, 4))
            targets = rng.integers(0, 4, (T, B)) if "cross" in loss else rng.random((T, B, 4))
            rows += _rows(loss, loss_functions(loss, targets, backend), out, name=loss)
    if not rows:
        known = sorted({type(layer).__name__ for layer, _ in examples()}) + list(LOSSES)
        raise InputError(f"there is no layer {name!r} to check: choose one of {', '.join(known)}")
    return rows


def _rows(kind: str, subject: Any, *inputs: NDArray, **options: Any) -> list[Row]:
    try:
        report = check_gradients(subject, *inputs, **options)
    except GradientError as error:
        report = error.report
    known = dict(report.errors)
    known |= {f.gradient: np.inf for f in report.findings if f.gradient not in known}
    return [
        Row(kind, n, report.shapes.get(n, ()), report.method, error, report)
        for n, error in known.items()
    ]


def loss_functions(loss: str, targets: NDArray, backend: str = "numpy") -> tuple[Any, Any]:
    """A loss kernel, as a mean over the mini-batch: the pair of functions that the kit takes."""

    def run(out: NDArray) -> tuple[NDArray, NDArray]:
        k = kernels(backend if out.dtype.kind == "f" else "numpy")
        value, gradient = np.empty(out.shape[0], out.dtype), np.empty_like(out)
        getattr(k, loss)(value, gradient, out, targets, 1 / out.shape[1])
        return value, gradient

    def forward(out: NDArray) -> NDArray:
        return run(out)[0]

    def backward(dloss: NDArray, out: NDArray) -> NDArray:
        return dloss[:, None, None] * run(out)[1]

    return forward, backward


def table(rows: list[Row]) -> str:
    """Rows of layer, gradient, shape, method, relative error, verdict; then what is wrong."""
    cells = [("layer", "gradient", "shape", "by", "error", "")]
    for row in rows:
        bad = any(f.gradient in (row.gradient, "") for f in row.report.findings)
        verdict = "WRONG" if bad else "ok"
        shape = "x".join(map(str, row.shape))
        cells.append((row.layer, row.gradient, shape, row.method, f"{row.error:.1e}", verdict))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    failures = dict.fromkeys(str(row.report) for row in rows if not row.report.passed)
    return "\n".join([*lines, *failures])
