"""Identities that prove an implementation: adjoints, equal kernels, symmetric Hessians."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import number, whole
from ..errors import InputError
from ..rng import SEEDS
from .arguments import array_of, doubles, functions, text
from .numeric import Arrays, richardson_slope

__tracebackhide__ = True
Operator = Callable[[NDArray], NDArray]


class IdentityError(AssertionError):
    """An identity does not hold; the message says by how much and where."""


class SameError(IdentityError):
    """Two implementations differ by more than rounding explains."""


def check_adjoint(
    L: Operator, L_adjoint: Operator, x: NDArray, y: NDArray, seed: int = 0,
    name: str = "operator",
) -> float:  # fmt: skip
    """Check <L x, y> = <x, L* y>, and that both are linear.

    Parameters
    ----------
    L : callable
        Takes a real array of x's shape to one of y's, and does not change it.
    L_adjoint : callable
        L*, from y's shape to x's.
    x : array of any shape
        An example of the argument of L; only its shape matters.
    y : array of any shape
        An example of the argument of L*.
    seed : int
        Of the arrays drawn.
    name : str
        What to call the operator.

    Returns
    -------
    float
        The largest relative error found.

    Raises
    ------
    IdentityError
        If an identity fails by more than rounding.
    InputError
        If an argument is of another kind.
    """
    functions(L=L, L_adjoint=L_adjoint)
    text(name)
    rng = np.random.default_rng(whole(seed, "seed", 0, SEEDS))
    x, z = (rng.standard_normal(array_of(x, "x").shape) for _ in range(2))
    y, u = (rng.standard_normal(array_of(y, "y").shape) for _ in range(2))
    Lx, Ly = doubles(L(x.copy()), "L x"), doubles(L_adjoint(y.copy()), "L* y")
    for what, result, expected in (("L x", Lx, y.shape), ("L* y", Ly, x.shape)):
        if result.shape != expected:
            raise IdentityError(f"{name}: {what} has shape {result.shape}, expected {expected}")
        if not np.isfinite(result).all():
            raise IdentityError(f"{name}: {what} has entries that are NaN or infinite")
    for what, f, a, b, fa in (("L", L, x, z, Lx), ("L*", L_adjoint, y, u, Ly)):
        both = np.array(f(a - 3 * b))
        apart = fa - 3 * np.array(f(b.copy()))
        if not np.abs(both - apart).max() <= 1e-10 * max(np.abs(apart).max(), 1e-300):
            raise IdentityError(
                f"{name}: {what} is not linear: {what}(a - 3 b) is not {what} a - 3 {what} b; "
                "a constant is added, or something is left from the last call"
            )
    left, right = float((Lx * y).sum()), float((x * Ly).sum())
    bound = float(np.linalg.norm(Lx) * np.linalg.norm(y) + np.linalg.norm(x) * np.linalg.norm(Ly))
    error = abs(left - right) / max(bound, 1e-300)
    if not error <= 1e-13 * np.sqrt(x.size + y.size):
        ratio = right / left if left else np.inf
        raise IdentityError(
            f"{name}: not adjoint: <L x, y> = {left:.9g}, <x, L* y> = {right:.9g}, "
            f"ratio {ratio:.6g}; L* must send each number back along every path that L took, "
            "with the same factor, and add where paths meet"
        )
    return error


def check_same(
    kernel: Callable[..., Any], reference: Callable[..., Any], *inputs: Any, length: int = 1,
    name: str | None = None,
) -> float:  # fmt: skip
    """Check that two implementations give the same numbers, up to rounding.

    The bound is eps (length + 8) max |reference|, where eps is that of the kernel's output: the
    error of a sum of `length` terms of that size in any order, and a few operations around it
    (Higham, Accuracy and Stability of Numerical Algorithms, section 4.2).

    Parameters
    ----------
    kernel : callable
        Takes the inputs, copies for each call; returns an array or a tuple of arrays.
    reference : callable
        Likewise.
    *inputs : arrays or anything else
        What both are called with.
    length : int
        Terms of the longest sum behind an output.
    name : str, optional
        What to call the kernel.

    Returns
    -------
    float
        The largest error as a part of its bound.

    Raises
    ------
    SameError
        Naming the output, the worst index, both values and the bound.
    InputError
        If an argument is of another kind.
    """
    functions(kernel=kernel, reference=reference)
    whole(length, "length")
    text("" if name is None else name)
    name = name or getattr(kernel, "__name__", "kernel")
    results = []
    for f in (kernel, reference):
        out = f(*(a.copy() if isinstance(a, np.ndarray) else a for a in inputs))
        every = out if isinstance(out, tuple | list) else (out,)
        results.append(
            [
                array_of(o, f"output {i} of {name}") if np.size(o) else np.asarray(o)
                for i, o in enumerate(every)
            ]
        )
    if len(results[0]) != len(results[1]):
        raise SameError(
            f"{name}: {len(results[0])} outputs, and the reference has {len(results[1])}"
        )
    worst = 0.0
    for i, (got, want) in enumerate(zip(*results, strict=True)):
        if got.shape != want.shape:
            raise SameError(f"{name}: output {i} has shape {got.shape}, expected {want.shape}")
        finite = np.abs(want[np.isfinite(want)])
        largest = float(finite.max(initial=0))
        floating = got.dtype.kind in "fc"
        bound = float(np.finfo(got.dtype).eps) * (length + 8) * largest if floating else 0.0
        with np.errstate(invalid="ignore"):  # infinity - infinity
            apart = np.abs(np.subtract(got, want, dtype=np.result_type(got, want, np.float64)))
        difference = np.where(got == want, 0, np.maximum(apart, 0 if floating else 1))
        if not (difference <= bound).all():  # NaN is never within a bound
            flat = int(np.argmax(np.where(np.isnan(difference), np.inf, difference)))
            at = tuple(map(int, np.unravel_index(flat, got.shape)))
            wrong = int((~(difference <= bound)).sum())
            with np.errstate(invalid="ignore"):
                ratio = got[at] / want[at] if want[at] else np.inf
            raise SameError(
                f"{name}: output {i} differs from the reference in {wrong} of {got.size} entries; "
                f"worst at {at}: {got[at]:.9g}, expected {want[at]:.9g}, ratio {ratio:.6g}; "
                f"rounding explains {bound:.1e}"
            )
        worst = max(worst, float(np.max(difference, initial=0)) / bound if bound else 0.0)
    return worst


def check_hvp(
    grad: Operator, hvp: Callable[[NDArray, NDArray], NDArray], theta: NDArray, seed: int = 0,
    loss: Callable[[NDArray], float] | None = None, tolerance: float = 1e-6,
    name: str = "hvp",
) -> float:  # fmt: skip
    """Check a Hessian-vector product.

    v . H w = w . H v to rounding; u . H v for random u, and the quadratic form v . H v, against
    Richardson differences of the gradient; and, given the loss, the gradient against the loss.
    Of a function of PyTorch or JAX: ``check_hvp(*from_torch(function).hessian(*inputs))``.

    Parameters
    ----------
    grad : callable
        Takes theta, returns the gradient of the loss in its shape.
    hvp : callable
        Takes theta and v of its shape, returns H v.
    theta : array of float64
        Where to check.
    seed : int
        Of the arrays drawn.
    loss : callable, optional
        Takes theta, returns the loss.
    tolerance : float
        Relative, for the comparisons with differences; these allow ten times their own estimated
        error besides.
    name : str
        What to call the product.

    Returns
    -------
    float
        The largest relative error against differences.

    Raises
    ------
    IdentityError
        Naming the identity that fails.
    InputError
        If an argument is of another kind.
    """
    functions(grad=grad, hvp=hvp, **({} if loss is None else {"loss": loss}))
    number(tolerance, "tolerance", "positive")
    text(name)
    rng = np.random.default_rng(whole(seed, "seed", 0, SEEDS))
    theta = doubles(theta, "theta")
    v, w = (rng.standard_normal(theta.shape) for _ in range(2))
    Hv, Hw = (doubles(hvp(theta.copy(), u.copy()), "H v") for u in (v, w))
    g = doubles(grad(theta.copy()), "grad")
    for what, result in (("H v", Hv), ("H w", Hw), ("grad", g)):
        if result.shape != theta.shape:
            raise IdentityError(f"{name}: {what} has shape {result.shape}, expected {theta.shape}")
        if not np.isfinite(result).all():
            raise IdentityError(f"{name}: {what} has entries that are NaN or infinite")
    size = float(np.linalg.norm(v) * np.linalg.norm(Hw) + np.linalg.norm(w) * np.linalg.norm(Hv))
    wHv, vHw = float((w * Hv).sum()), float((v * Hw).sum())
    if not abs(wHv - vHw) <= 1e-12 * max(size, 1e-300):
        raise IdentityError(
            f"{name}: not symmetric: w . H v = {wHv:.9g}, v . H w = {vHw:.9g}; "
            "a term of the second derivative is missing or counted twice"
        )
    if loss is not None and np.ndim(loss(theta.copy())):
        raise InputError(f"loss must return one number, not {np.shape(loss(theta.copy()))}")
    worst = 0.0
    cases: list[tuple[str, NDArray, Operator | None, NDArray]]
    cases = [("u . H v", w, grad, Hv), ("v . H v", v, grad, Hv)]
    if loss is not None:  # the same identity one order lower: grad . v is the slope of the loss
        cases.append(("grad . v", v, None, g))
    for what, u, f, got_vector in cases:

        def along_v(arrays: Arrays, u: NDArray = u, f: Operator | None = f) -> complex:
            at = arrays["theta"]
            return complex(loss(at) if f is None and loss else (grad(at) * u).sum())

        want, uncertain = richardson_slope(along_v, {"theta": theta}, {"theta": v})
        got = float((got_vector * u).sum())
        error = abs(got - want)
        if not error <= tolerance * abs(want) + 10 * uncertain:
            ratio = got / want if want else np.inf
            raise IdentityError(
                f"{name}: {what} = {got:.9g}, and differences give {want:.9g}, ratio {ratio:.6g}"
            )
        worst = max(worst, error / max(abs(want), 1e-300))
    return worst
