"""Checking hand-derived gradients by the complex step, at machine precision.

For an analytic f, Im f(x + i h v) / h is the derivative of f along v with an error of order h^2 and
no subtraction, so h = 1e-20 leaves rounding alone (Squire & Trapp, SIAM Review 1998).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from .backend import kernels
from .errors import InputError
from .layers import BatchNorm, Conv2D, Dense, Flatten, Layer, MaxPool, ReLU, Tanh

STEP = 1e-20
TOLERANCE = 1e-12


@dataclass(frozen=True)
class Check:
    """One gradient against the complex step, over every entry.

    `error` is the largest absolute error, divided by the largest entry of the gradient.
    """

    layer: str
    gradient: str
    shape: tuple[int, ...]
    error: float

    @property
    def passed(self) -> bool:
        return self.error <= TOLERANCE


def complex_step(f: Callable[[NDArray], NDArray], x: NDArray) -> NDArray:
    """The gradient of a real-valued analytic f at x, entry by entry.

    Parameters
    ----------
    f : callable
        Takes a complex array of x's shape, returns a complex scalar.
    x : array of float64

    Returns
    -------
    array of x's shape, float64
    """
    gradient = np.empty_like(x)
    stepped = x.astype(np.complex128)
    for index in np.ndindex(x.shape):
        stepped[index] += 1j * STEP
        gradient[index] = f(stepped).imag / STEP
        stepped[index] = x[index]
    return gradient


def check_layer(
    layer: Layer, input_shape: tuple[int, ...], tasks: int = 2, batch: int = 3, seed: int = 0
) -> list[Check]:
    """Compare every entry of a layer's input and parameter gradients with the complex step.

    Parameters
    ----------
    layer : Layer
    input_shape : tuple of int
        Of one example.
    tasks, batch : int
        T and B of the data drawn.
    seed : int
        Of inputs, parameters and the upstream gradient, all standard normal.
    """
    rng = np.random.default_rng(seed)
    k = kernels("numpy")
    x = rng.standard_normal((tasks, batch, *input_shape))
    params = layer.params(input_shape)
    p = {name: rng.standard_normal((tasks, *param.shape)) for name, param in params.items()}
    y = np.full((tasks, batch, *layer.out_shape(input_shape)), np.nan)
    dy = rng.standard_normal(y.shape)
    saved = layer.saved(tasks, batch, input_shape, np.float64)
    dx, dp = np.full_like(x, np.nan), {name: np.full_like(a, np.nan) for name, a in p.items()}
    layer.forward(k, y, x, p, saved)
    layer.backward(k, dx, dp, dy, x, y, p, saved)

    def upstream(changed: str, value: NDArray) -> NDArray:
        """<dy, layer output> with one input or parameter replaced: its gradient is checked."""
        inputs = {"x": x, **p, changed: value}
        arrays = {name: array.astype(np.complex128) for name, array in inputs.items()}
        out = np.empty(y.shape, np.complex128)
        scratch = layer.saved(tasks, batch, input_shape, np.complex128)
        layer.forward(k, out, arrays.pop("x"), arrays, scratch)
        return (out * dy).sum()

    checks = []
    for name, gradient in {"x": dx, **dp}.items():
        at = x if name == "x" else p[name]
        exact = complex_step(partial(upstream, name), at)
        scale = max(float(np.abs(exact).max()), 1e-300)
        error = float(np.abs(gradient - exact).max()) / scale
        checks.append(Check(type(layer).__name__, f"d{name}", gradient.shape, error))
    return checks


def examples() -> Iterator[tuple[Layer, tuple[int, ...]]]:
    """A few small cases of every layer."""
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


def check_layers(name: str | None = None) -> list[Check]:
    """Check every layer, or the one of that name; `InputError` if there is none."""
    cases = [case for case in examples() if name is None or type(case[0]).__name__ == name]
    if not cases:
        known = ", ".join(sorted({type(layer).__name__ for layer, _ in examples()}))
        raise InputError(f"there is no layer {name!r} to check: choose one of {known}")
    return [check for layer, shape in cases for check in check_layer(layer, shape)]


def table(checks: list[Check]) -> str:
    """The checks as rows: layer, gradient, shape, relative error, verdict."""
    rows = [("layer", "gradient", "shape", "error", "")]
    for c in checks:
        verdict = "ok" if c.passed else "WRONG"
        rows.append((c.layer, c.gradient, str(c.shape), f"{c.error:.1e}", verdict))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
