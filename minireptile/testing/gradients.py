"""`check_gradients`: every entry of every gradient, and what a backward pass may not do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import number, shown, whole
from ..errors import InputError
from ..rng import SEEDS
from . import numeric
from .arguments import array_of
from .diagnosis import CLOSE, diagnose
from .guesses import what_if
from .numeric import Arrays, Function
from .report import Fault, GradientError, Report
from .subject import UPSTREAM, Subject, subject_of

__tracebackhide__ = True  # pytest shows the report, not the way to it

COMPLEX_TOLERANCE, DIFFERENCE_TOLERANCE = 1e-12, 1e-7
MANY = 4000  # entries: above, a few random directions stand for all of them
DIRECTIONS = 5
METHODS = ("auto", "complex step", "differences")
FEW = 400  # entries: up to here, guesses at the cause are tried out


def check_gradients(
    subject: Any, *inputs: Any, params: Sequence[str] = (), seed: int = 0, method: str = "auto",
    tolerance: float | None = None, name: str | None = None, backend: str = "numpy",
    names: Sequence[str] | None = None,
) -> Report:  # fmt: skip
    """Prove a backward pass right, or say how it is wrong.

    Every entry of the gradient of every floating-point input and parameter is compared with a
    numerical derivative of <dy, forward(inputs)>, for a random upstream gradient dy. The derivative
    is a complex step where forward is analytic (compare by ``.real``; no ``abs``, no ``conj``, no
    real buffers), exact to rounding; otherwise Richardson differences, which know their own error.
    Large subjects are checked along random directions.

    Parameters
    ----------
    subject : (forward, backward), object, layer, or what `from_torch` or `from_jax` makes
        A pair of functions: ``forward(*inputs)`` returns y; ``backward(dy, *inputs)`` returns the
        gradient of the input, or a tuple with one for each (None for one that has none).
        An object: ``forward(*inputs)`` and ``backward(dy)``; its parameters are the attributes
        named in `params`, and their gradients the attributes of that name after a "d".
        A layer of minireptile: the input is x (T, B, ...); parameters are drawn.
        A function of PyTorch or JAX: its gradients are what its framework makes of them.
    *inputs : arrays
        Floats are taken in double precision; integers are not differentiated.
    params : sequence of str
        Names of an object's parameters. A module of PyTorch is checked in all that it learns,
        unless some are named.
    seed : int
        Of the upstream gradient and of all directions.
    method : {"auto", "complex step", "differences"}
        Which derivative to compare with; "auto" is as above.
    tolerance : float, optional
        Largest error allowed, relative to the largest entry of a gradient: 1e-12 for the complex
        step, 1e-7 (and ten times the estimated error) for differences.
    name : str, optional
        What to call the subject.
    backend : str
        Whose kernels a layer of minireptile uses.
    names : sequence of str, optional
        What to call the inputs in the report: as forward's arguments, unless given.

    Returns
    -------
    Report
        Of what was compared, and how close it is.

    Raises
    ------
    GradientError
        If something is wrong. Its message names the worst entry, the ratio, the pattern of the
        error, and the call that shows it again.
    InputError
        If there is nothing to differentiate, or an argument is of another kind.

    Notes
    -----
    Source: Squire & Trapp, "Using complex variables to estimate derivatives of real functions",
    SIAM Review 1998.

    Examples
    --------
    >>> import numpy as np
    >>> from minireptile.testing import check_gradients
    >>> square = (lambda x: x**2, lambda dy, x: 2 * x * dy)
    >>> check_gradients(square, np.array([1.0, 2.0, 3.0])).passed
    True
    """
    seed = whole(seed, "seed", 0, SEEDS)
    if not isinstance(method, str) or method not in METHODS:
        raise InputError(f"there is no method {shown(method)}: choose one of {', '.join(METHODS)}")
    if tolerance is not None:
        tolerance = number(tolerance, "tolerance", "positive")
    s = subject_of(subject, inputs, params, name, seed, backend, names)
    return prove(s, seed, method, tolerance)


def prove(s: Subject, seed: int, method: str, tolerance: float | None) -> Report:
    """The check itself, of what has passed the door."""
    if not any(a.dtype.kind == "f" for a in s.arrays.values()):
        raise InputError("there is nothing to differentiate: no input is an array of floats")
    report = Report(s.name)
    _check(s, report, np.random.default_rng([seed, 1]), method, tolerance)
    if explained := s.explained():
        report.notes.insert(0, explained)
    if not report.passed:
        call = f"{s.check}({s.name}, {', '.join(s.arrays)}, seed={seed})"
        shapes = ", ".join(f"{n} {a.shape}" for n, a in s.arrays.items())
        report.notes.append(f"again: {call} with {shapes}")
        raise GradientError(report)
    return report


def _check(
    s: Subject, report: Report, rng: np.random.Generator, method: str, tolerance: float | None
) -> None:
    arrays = {n: a.copy() for n, a in s.arrays.items()}
    y = _forward(s, report, arrays)
    if y is None:
        return
    dy = s.rounded(UPSTREAM, rng.standard_normal(y.shape))
    floats = [n for n, a in arrays.items() if a.dtype.kind == "f"]
    got = _backward(s, report, dy, arrays, floats)

    def value(at: Arrays) -> complex:
        return complex((s.forward(at) * dy).sum())

    along = {n: rng.standard_normal(arrays[n].shape) for n in floats}
    noise = numeric.noise_of(value, arrays, along)
    arrays, got = _around_kinks(s, report, rng, dy, value, arrays, got, floats, noise)
    analytic = method != "differences" and numeric.is_analytic(value, arrays, along, noise)
    report.method = "complex step" if analytic else "differences"
    limit = tolerance or (COMPLEX_TOLERANCE if analytic else DIFFERENCE_TOLERANCE)
    for n in floats:
        if n in got:
            allowed = s.limit(n) or limit
            _compare(s, report, rng, value, arrays, n, got[n], analytic, allowed, dy, noise)


def _forward(s: Subject, report: Report, arrays: Arrays) -> NDArray | None:
    """The output, if forward is a function at all: finite, repeatable, leaving its inputs alone."""
    before = {n: a.copy() for n, a in arrays.items()}
    y = array_of(s.forward(arrays), "what forward returns")
    again = array_of(s.forward(arrays), "what forward returns")
    for n in arrays:
        if not np.array_equal(arrays[n], before[n], equal_nan=True):
            report.add("mutates input", n, f"forward changes its input {n}: work on a copy")
            return None
    if y.shape != again.shape or not np.array_equal(y, again, equal_nan=True):
        report.add("random", "", "forward is random: called twice, it gives two answers; fix its "
                   "generator's seed inside forward")  # fmt: skip
        return None
    if not np.isfinite(y).all():
        report.add("nan", "", "forward gives NaN or infinity at this point: choose other inputs")
        return None
    return y


def _backward(
    s: Subject, report: Report, dy: NDArray, arrays: Arrays, floats: list[str]
) -> dict[str, NDArray]:
    """The gradients that can be compared; all that is wrong with the others is noted."""
    before = {n: a.copy() for n, a in arrays.items()}
    upstream = dy.copy()
    try:
        raw = _copies(s.backward(upstream, arrays))
    except InputError:
        raise
    except Fault as fault:
        report.add("raises", "", str(fault))
        return {}
    except Exception as error:  # whatever the code under test may raise
        report.add("raises", "", f"backward raises {type(error).__name__}: {error}")
        return {}
    changed = [n for n in arrays if not np.array_equal(arrays[n], before[n], equal_nan=True)]
    if not np.array_equal(upstream, dy):
        changed.append("the upstream gradient")
    for n in changed:
        report.add("mutates input", n, f"backward changes its input {n}: work on a copy")
    if changed:
        return {}  # what it computed after the change means nothing
    got: dict[str, NDArray] = {}
    for n in floats:
        gradient, want = raw.get(n), arrays[n]
        if gradient is None:
            report.add("none", f"d{n}", "backward returns None, and the input is a float array")
        elif gradient.shape != want.shape:
            hint = ""
            if _broadcasts_to(gradient.shape, want.shape):
                hint = "; it broadcasts, so that an update with it raises no error and is wrong"
            report.add("shape", f"d{n}", f"has shape {gradient.shape}, expected {want.shape}{hint}")
        elif gradient.dtype != np.float64:
            report.add("dtype", f"d{n}", f"is {gradient.dtype} for float64 inputs: a conversion "
                       "on the way loses digits")  # fmt: skip
        elif not np.isfinite(gradient).all():
            bad = np.argwhere(~np.isfinite(gradient))
            where = tuple(map(int, bad[0]))
            report.add("nan", f"d{n}", f"{len(bad)} entries are NaN or infinite, the first at "
                       f"{where}: never written, or divided by zero")  # fmt: skip
        else:
            got[n] = gradient
    if got:
        _check_linearity(s, report, dy, arrays, got)
    return got


def _check_linearity(
    s: Subject, report: Report, dy: NDArray, arrays: Arrays, got: dict[str, NDArray]
) -> None:
    """A backward pass is linear in dy and remembers nothing of its last call."""
    again, third, double, negative = (_copies(s.backward(c * dy, arrays)) for c in (1, 1, 2, -1))
    for n in list(got):
        g = got[n]
        scale = max(float(np.abs(g).max()), 1e-300)
        near = max(1e-9, s.limit(n) or 0.0) * scale

        def same(a: NDArray | None, b: NDArray, near: float = near) -> bool:
            return a is not None and bool(np.abs(a - b).max() <= near)

        if not same(again[n], g):
            one, two = again[n], third[n]
            if one is not None and two is not None and same(two - one, one - g):
                report.add("accumulates", f"d{n}", "a second call adds to what the first left: "
                           "overwrite the gradient, do not add to a stale buffer")  # fmt: skip
            else:
                report.add("random", f"d{n}", "backward is random, or remembers its last call: "
                           "keep what forward drew, such as a mask")  # fmt: skip
            del got[n]
        elif np.any(g) and same(double[n], g) and same(negative[n], g):
            report.add("ignores upstream", f"d{n}", "does not change with the upstream gradient: "
                       "multiply by dy")  # fmt: skip
        elif not (same(double[n], 2 * g) and same(negative[n], -g)):
            report.add("not linear", f"d{n}", "is not linear in the upstream gradient: backward "
                       "may multiply dy or select from it by the inputs, and never by dy's own "
                       "sign or size")  # fmt: skip


def _around_kinks(
    s: Subject, report: Report, rng: np.random.Generator, dy: NDArray, value: Function,
    arrays: Arrays, got: dict[str, NDArray], floats: list[str], noise: float,
) -> tuple[Arrays, dict[str, NDArray]]:  # fmt: skip
    """Where forward bends at the inputs, look at the ties, then step away from the bend."""
    for attempt in range(5):
        directions = [
            {n: rng.standard_normal(arrays[n].shape) for n in floats} for _ in range(DIRECTIONS)
        ]
        if not any(numeric.has_kink(value, arrays, v, noise) for v in directions):
            break
        if attempt == 0 and len(got) == len(floats):
            _check_ties(s, report, value, arrays, got, noise)
        size = {n: 0.01 * max(float(np.abs(arrays[n]).max()), 1e-2) for n in floats}
        moved = {n: arrays[n] + size[n] * rng.standard_normal(arrays[n].shape) for n in floats}
        arrays = {**arrays, **{n: s.rounded(n, a) for n, a in moved.items()}}
        raw = _copies(s.backward(dy.copy(), {n: a.copy() for n, a in arrays.items()}))
        got = {n: g for n in got if (g := raw[n]) is not None}
        if attempt == 0:
            report.notes.append(
                "forward has a kink at the inputs (a ReLU at 0, a tie in a max), so every entry "
                "was compared at inputs moved by about 1 %"
            )
    return arrays, got


def _check_ties(
    s: Subject, report: Report, value: Function, arrays: Arrays, got: dict[str, NDArray],
    noise: float,
) -> None:  # fmt: skip
    """At a tie in a max, moving all tied inputs together meets no bend, so that the slope must fit.

    Along a single input there is no telling which side's slope the gradient should be.
    """
    for n, g in got.items():
        entries = np.ndindex(g.shape) if g.size <= MANY else iter(())
        units = [numeric.unit(g, index) for index in entries]
        bent = [u for u in units if numeric.has_kink(value, arrays, {n: u}, noise)][:200]
        pairs = [u + w for u, w in combinations(bent[:20], 2)]
        at_value = [float((arrays[n] * u).sum()) for u in bent]
        groups = [sum(u for u, a in zip(bent, at_value, strict=True) if a == value_of)
                  for value_of in sorted(set(at_value))]  # fmt: skip
        for direction in [*groups, *pairs]:
            v = {n: np.asarray(direction)}
            if numeric.has_kink(value, arrays, v, noise):
                continue
            want, error = numeric.richardson_slope(value, arrays, v, 1e-3, noise=noise)
            slope = float((g * v[n]).sum())
            near = max(1e-6, s.limit(n) or 0.0)
            if abs(slope - want) > near * abs(want) + 100 * error + 1e-12:
                at = [tuple(map(int, index)) for index in np.argwhere(v[n])]
                shown = " and ".join(map(str, at[:2])) + (" and others" if len(at) > 2 else "")
                report.add(
                    "kink", f"d{n}", f"inputs {shown} tie in a max: moved together, "
                    f"the slope is {want:.6g}, and the gradient says {slope:.6g}: a tie must share "
                    "its gradient or give it to one, not to each",
                )  # fmt: skip
                return


def _compare(
    s: Subject, report: Report, rng: np.random.Generator, value: Function, arrays: Arrays, n: str,
    got: NDArray, analytic: bool, limit: float, dy: NDArray, noise: float,
) -> None:  # fmt: skip
    report.shapes[f"d{n}"] = got.shape
    if got.size > MANY:
        error, excess = _along_directions(rng, value, arrays, n, got, analytic, noise)
        report.errors[f"d{n}"] = error
        if excess <= limit:
            return
        chosen = rng.choice(got.size, MANY // 10, replace=False)
        entries = [tuple(map(int, np.unravel_index(i, got.shape))) for i in chosen]
    else:
        entries = list(np.ndindex(got.shape))
    want, uncertain = numeric.gradient(value, arrays, n, analytic, entries, noise)
    known = np.isfinite(want)
    scale = max(float((np.abs(want) - uncertain)[known].max()), 1e-300)
    if scale < 1e-14 and not np.any(np.abs(got[known]) > max(1e-12, s.limit(n) or 0.0)):
        scale = 1.0  # nothing depends on this input, up to rounding
    if not analytic:
        off = known & ~(np.abs(got - want) - 10 * uncertain <= limit * scale)
        for index in map(tuple, np.argwhere(off | (uncertain > 1e-3 * scale))):
            along = {n: numeric.unit(got, index)}
            want[index], uncertain[index] = numeric.slope_between_bends(value, arrays, along, noise)
    decided = known & (uncertain <= 1e-3 * scale)
    if not decided.all() and got.size <= MANY:
        undecided = int((~decided).sum())
        report.notes.append(f"d{n}: {undecided} entries undecided, differences do not settle there")
    if not decided.any():
        return
    difference = np.where(decided, np.abs(got - want), 0.0)
    beyond = difference - np.where(decided, 10 * uncertain, 0.0)
    report.errors[f"d{n}"] = float(difference.max() / scale)
    allowed = limit * scale
    if s.limit(n) and beyond.max() > allowed:  # terms that cancel are larger than what they leave
        allowed = limit * max(scale, _size_of_terms(s, arrays, n, dy, analytic, entries))
    if beyond.max() <= allowed:
        return
    worst = tuple(map(int, np.unravel_index(int(np.argmax(difference)), got.shape)))
    wrong = int((beyond > allowed).sum())
    ratio = f", ratio {got[worst] / want[worst]:.6g}" if want[worst] and got[worst] else ""
    lines = [
        f"is wrong in {wrong} of {int(decided.sum())} entries, shape {got.shape}",
        f"worst at {worst}: analytic {got[worst]:.9g}, numeric {want[worst]:.9g}{ratio}",
    ]
    if s.limit(n):
        lines.append(f"rounding explains {allowed:.1e}, and the error is {difference[worst]:.1e}")
    if decided.all():
        close = max(CLOSE, allowed / scale)
        causes = diagnose(n, got, want, arrays, dy.shape, close)
        if not causes and got.size <= FEW:
            causes = what_if(s.forward, arrays, dy, n, got, want, analytic, close)
        lines += causes
    report.add("value", f"d{n}", "\n".join(lines))


def _size_of_terms(
    s: Subject, arrays: Arrays, n: str, dy: NDArray, analytic: bool,
    entries: Iterable[tuple[int, ...]],
) -> float:  # fmt: skip
    """The largest sum |dy_j dy_j/dx_i| over the outputs j: what a gradient's rounding errors are a
    part of, however its terms cancel."""
    largest = 0.0
    for index in entries:
        along = numeric.unit(arrays[n], index)
        if analytic:
            slopes = s.forward(numeric.stepped(arrays, {n: along})).imag / numeric.STEP
        else:
            ahead, behind = (s.forward({**arrays, n: arrays[n] + h * along}) for h in (1e-6, -1e-6))
            slopes = (ahead - behind) / 2e-6
        largest = max(largest, float(np.abs(slopes * dy).sum()))
    return largest


def _along_directions(
    rng: np.random.Generator, value: Function, arrays: Arrays, n: str, got: NDArray,
    analytic: bool, noise: float,
) -> tuple[float, float]:  # fmt: skip
    """The largest relative error of <gradient, v> over a few random directions v, and how much of
    it differences do not explain by their own."""
    size = max(float(np.linalg.norm(got)), 1e-300)
    errors, excess = [], []
    for _ in range(DIRECTIONS):
        v = {n: rng.standard_normal(got.shape)}
        if analytic:
            slope, uncertain = numeric.complex_slope(value, arrays, v), 0.0
        else:
            h = 1e-2 / np.sqrt(got.size)
            slope, uncertain = numeric.richardson_slope(value, arrays, v, h, noise=noise)
        apart = abs(slope - float((got * v[n]).sum()))
        errors.append(apart / size)
        excess.append((apart - 10 * uncertain) / size)
    return float(np.max(errors)), float(np.max(excess))


def _copies(gradients: dict[str, Any]) -> dict[str, NDArray | None]:
    return {n: None if g is None else np.array(g) for n, g in gradients.items()}


def _broadcasts_to(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, target) == target
    except ValueError:
        return False
