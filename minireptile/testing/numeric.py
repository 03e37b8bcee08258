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

from ..errors import InputError
from .arguments import doubles, functions

__tracebackhide__ = True
STEP = 1e-20
Arrays = dict[str, NDArray]
Function = Callable[[Arrays], complex]  # of named arrays, with one number as its value

_ComplexWarning: type[Warning] = (
    np.exceptions.ComplexWarning if hasattr(np, "exceptions") else np.ComplexWarning  # type: ignore[attr-defined]
)


def complex_step(f: Callable[[NDArray], NDArray], x: NDArray) -> NDArray:
    """Differentiate a real-valued analytic f at x, entry by entry, exact to rounding.

    Parameters
    ----------
    f : callable
        Takes a complex array of x's shape, returns a complex scalar.
    x : array of float64
        Where to differentiate; of any shape.

    Returns
    -------
    array of float64
        The gradient, of x's shape.

    Raises
    ------
    InputError
        If f returns no number, or x is no array of numbers.

    Notes
    -----
    Source: Squire & Trapp, SIAM Review 1998, eq. 2.

    Examples
    --------
    >>> import numpy as np
    >>> from minireptile.testing import complex_step
    >>> complex_step(lambda x: (x**3).sum(), np.array([1.0, 2.0]))
    array([ 3., 12.])
    """
    functions(f=f)
    x = doubles(x, "x")
    gradient = np.empty_like(x)
    stepped = x.astype(np.complex128)
    for index in np.ndindex(x.shape):
        stepped[index] += 1j * STEP
        value = f(stepped)
        if np.ndim(value):
            raise InputError(f"f must return one number, not an array of shape {np.shape(value)}")
        gradient[index] = np.imag(value) / STEP
        stepped[index] = x[index]
    return gradient


def complex_slope(f: Function, at: Arrays, along: Arrays) -> float:
    """The derivative of an analytic f at `at`, along `along`."""
    return complex(f(stepped(at, along))).imag / STEP


def stepped(at: Arrays, along: Arrays) -> Arrays:
    """`at`, moved along `along` by an imaginary step. All floats are complex then: many a framework
    multiplies numbers of one type alone."""
    floats = {name: a.astype(np.complex128) for name, a in at.items() if a.dtype.kind == "f"}
    return {**at, **floats, **{name: at[name] + 1j * STEP * v for name, v in along.items()}}


def is_analytic(f: Function, at: Arrays, along: Arrays, noise: float = 0.0) -> bool:
    """Whether the complex step can be used on f: whether it gives the difference quotient.

    It cannot where f refuses complex numbers, drops their imaginary part, or takes an absolute
    value or a conjugate on the way. How it refuses them is its own affair: at real numbers, f has
    been called before.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", _ComplexWarning)
            slope = complex_slope(f, at, along)
    except Exception:
        return False
    expected, error = slope_between_bends(f, at, along, noise)
    settled = min(error, 1e-3 * abs(expected) + 100 * noise)  # what settles nothing permits nothing
    return abs(slope - expected) <= 1e-6 * abs(expected) + 100 * settled


def richardson_slope(
    f: Function, at: Arrays, along: Arrays, h: float = 1e-2, one_sided: bool = False,
    noise: float = 0.0,
) -> tuple[float, float]:  # fmt: skip
    """The derivative of a smooth f at `at` along `along`, and an estimate of its error, which is
    never below what `noise` in the values of f makes of the quotient."""
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
            change = max(abs(new[-1] - new[-2]), abs(new[-1] - old), noise / h)
            if change < error:
                best, error = new[-1], change
        if len(row) > 2 and abs(new[-1] - row[-1]) > 10 * error:
            break  # rounding has taken over
        row, h = new, h / shrink
    return best, float(error)


def slope_between_bends(
    f: Function, at: Arrays, along: Arrays, noise: float = 0.0
) -> tuple[float, float]:
    """As `richardson_slope`, where f may bend closer to `at` than its steps reach: then the slopes
    of its two sides differ from it, which counts as an error, and smaller steps are tried."""
    back = {n: -v for n, v in along.items()}
    best, error = 0.0, np.inf
    for h in (1e-2, 1e-4, 1e-6):
        slope, its_error = richardson_slope(f, at, along, h, noise=noise)
        ahead, behind = (richardson_slope(f, at, v, h, one_sided=True)[0] for v in (along, back))
        its_error = max(its_error, abs(ahead - slope), abs(-behind - slope))
        if its_error < error:
            best, error = slope, its_error
        if error <= 1e-6 * abs(best):
            break
    return best, error


def _moved(f: Function, at: Arrays, along: Arrays, step: float) -> float:
    return complex(f({n: a + step * along[n] if n in along else a for n, a in at.items()})).real


def unit(array: NDArray, index: tuple[int, ...]) -> NDArray:
    """Zero but for a one at `index`."""
    direction = np.zeros(array.shape)
    direction[index] = 1
    return direction


def gradient(
    f: Function, at: Arrays, name: str, analytic: bool, entries: Iterable[tuple[int, ...]],
    noise: float = 0.0,
) -> tuple[NDArray, NDArray]:  # fmt: skip
    """The derivatives of f by some entries of at[name], and their errors; NaN elsewhere."""
    values, errors = np.full(at[name].shape, np.nan), np.full(at[name].shape, np.nan)
    for index in entries:
        along = {name: unit(at[name], index)}
        if analytic:
            values[index], errors[index] = complex_slope(f, at, along), 0.0
        else:
            values[index], errors[index] = richardson_slope(f, at, along, noise=noise)
    return values, errors


def noise_of(f: Function, at: Arrays, along: Arrays) -> float:
    """How far rounding moves the values of f near `at`: next to nothing in double precision, and
    what it is where f casts to float32 on the way.

    A fourth difference over small steps leaves nothing of a smooth function (h^4), and of rounding
    up to 16 units, the square root of 70 on average (Hamming, Numerical Methods, chapter 10). The
    steps, relative to each array, lie to one side of `at`, where there may be a kink.
    """
    step = {n: v * max(float(np.abs(at[n]).max()), 1e-2) for n, v in along.items()}
    values = [_moved(f, at, step, 1e-6 * i) for i in range(1, 21)]
    return float(np.abs(np.diff(values, 4)).max()) / np.sqrt(70)


def has_kink(f: Function, at: Arrays, along: Arrays, noise: float = 0.0) -> bool:
    """Whether f bends at `at` along `along`: whether its slope jumps there.

    Over a smooth point the second difference divided by h vanishes with h; over a kink it stays;
    `noise` in the values of f grows with 1/h, so that h must be larger where there is more of it.
    """

    def jump(h: float) -> float:
        left, middle, right = (_moved(f, at, along, step) for step in (-h, 0.0, h))
        return abs(right - 2 * middle + left) / h

    slope = abs(richardson_slope(f, at, along, one_sided=True)[0])
    h = max(1e-6, float(np.sqrt(noise)))
    small = jump(h)
    return small > max(0.1 * jump(100 * h), 1e-6 * max(slope, 1e-3), 20 * noise / h)
