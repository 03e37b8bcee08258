"""Numerical derivatives: the complex step where it can be used, and Richardson differences.

For an analytic f, Im f(x + i h v) / h is the derivative of f along v with an error of order h^2 and
no subtraction, so h = 1e-20 leaves rounding alone (Squire & Trapp, SIAM Review 1998). For any other
smooth f, central differences at shrinking steps are extrapolated to h = 0, with an estimate of the
remaining error (Ridders, Advances in Engineering Software 1982).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

STEP = 1e-20
Arrays = dict[str, NDArray]
Function = Callable[[Arrays], complex]  # of named arrays, with one number as its value

_ComplexWarning: type[Warning] = (
    np.exceptions.ComplexWarning if hasattr(np, "exceptions") else np.ComplexWarning  # type: ignore[attr-defined]
)


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


def complex_slope(f: Function, at: Arrays, along: Arrays) -> float:
    """The derivative of an analytic f at `at`, along `along`."""
    stepped = {name: a + 1j * STEP * along[name] if name in along else a for name, a in at.items()}
    return complex(f(stepped)).imag / STEP


def is_analytic(f: Function, at: Arrays, along: Arrays) -> bool:
    """Whether the complex step can be used on f: whether it gives the difference quotient.

    It cannot where f refuses complex numbers, drops their imaginary part, or takes an absolute
    value or a conjugate on the way.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", _ComplexWarning)
            slope = complex_slope(f, at, along)
    except (TypeError, ValueError, AttributeError, NotImplementedError, Warning):
        return False
    expected, error = richardson_slope(f, at, along)
    return abs(slope - expected) <= 1e-6 * abs(expected) + 100 * error


def richardson_slope(
    f: Function, at: Arrays, along: Arrays, h: float = 1e-2, one_sided: bool = False
) -> tuple[float, float]:
    """The derivative of a smooth f at `at` along `along`, and an estimate of its error."""
    here = _moved(f, at, along, 0.0) if one_sided else 0.0
    best, error = 0.0, np.inf
    row: list[float] = []
    shrink = 2.0
    for _ in range(12):
        ahead, behind = _moved(f, at, along, h), here if one_sided else _moved(f, at, along, -h)
        quotient = (ahead - behind) / (h if one_sided else 2 * h)
        new, power = [quotient], 1.0
        for old in row:  # Neville's table: each column removes one more power of h
            power *= shrink if one_sided else shrink**2
            new.append((power * new[-1] - old) / (power - 1))
            change = max(abs(new[-1] - new[-2]), abs(new[-1] - old))
            if change < error:
                best, error = new[-1], change
        if len(row) > 2 and abs(new[-1] - row[-1]) > 10 * error:
            break  # rounding has taken over
        row, h = new, h / shrink
    return best, float(error)


def _moved(f: Function, at: Arrays, along: Arrays, step: float) -> float:
    return complex(f({n: a + step * along[n] if n in along else a for n, a in at.items()})).real


def unit(array: NDArray, index: tuple[int, ...]) -> NDArray:
    """Zero but for a one at `index`."""
    direction = np.zeros(array.shape)
    direction[index] = 1
    return direction


def gradient(
    f: Function, at: Arrays, name: str, analytic: bool, entries: Iterable[tuple[int, ...]]
) -> tuple[NDArray, NDArray]:
    """The derivatives of f by some entries of at[name], and their errors; NaN elsewhere."""
    values, errors = np.full(at[name].shape, np.nan), np.full(at[name].shape, np.nan)
    for index in entries:
        along = {name: unit(at[name], index)}
        if analytic:
            values[index], errors[index] = complex_slope(f, at, along), 0.0
        else:
            values[index], errors[index] = richardson_slope(f, at, along)
    return values, errors


def has_kink(f: Function, at: Arrays, along: Arrays) -> bool:
    """Whether f bends at `at` along `along`: whether its slope jumps there.

    Over a smooth point the second difference divided by h vanishes with h; over a kink it stays.
    """

    def jump(h: float) -> float:
        left, middle, right = (_moved(f, at, along, step) for step in (-h, 0.0, h))
        return abs(right - 2 * middle + left) / h

    slope = abs(richardson_slope(f, at, along, one_sided=True)[0])
    small = jump(1e-6)
    return small > 0.1 * jump(1e-4) and small > 1e-6 * max(slope, 1e-3)
