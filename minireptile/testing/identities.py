"""Identities that prove an implementation: adjoints, equal kernels, symmetric Hessians."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .numeric import Arrays, richardson_slope

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
    L, L_adjoint : callable
        Operators on real arrays; none may change its argument.
    x, y : array
        Examples of the arguments of L and of L*; only their shapes matter.
    seed : int
        Of the arrays drawn.

    Returns
    -------
    float
        The largest relative error found.

    Raises
    ------
    IdentityError
        If an identity fails by more than rounding.
    """
    rng = np.random.default_rng(seed)
    x, z = (rng.standard_normal(np.shape(x)) for _ in range(2))
    y, u = (rng.standard_normal(np.shape(y)) for _ in range(2))
    Lx, Ly = np.array(L(x.copy())), np.array(L_adjoint(y.copy()))
    for what, result, expected in (("L x", Lx, y.shape), ("L* y", Ly, x.shape)):
        if result.shape != expected:
            raise IdentityError(f"{name}: {what} has shape {result.shape}, expected {expected}")
    for what, f, a, b, fa in (("L", L, x, z, Lx), ("L*", L_adjoint, y, u, Ly)):
        both = np.array(f(a - 3 * b))
        apart = fa - 3 * np.array(f(b.copy()))
        if np.abs(both - apart).max() > 1e-10 * max(np.abs(apart).max(), 1e-300):
            raise IdentityError(
                f"{name}: {what} is not linear: {what}(a - 3 b) is not {what} a - 3 {what} b; "
                "a constant is added, or something is left from the last call"
            )
    left, right = float((Lx * y).sum()), float((x * Ly).sum())
    bound = float(np.linalg.norm(Lx) * np.linalg.norm(y) + np.linalg.norm(x) * np.linalg.norm(Ly))
    error = abs(left - right) / max(bound, 1e-300)
    if error > 1e-13 * np.sqrt(x.size + y.size):
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
    kernel, reference : callable
        Take the inputs (copies for each call), return an array or a tuple of arrays.
    *inputs
        Arrays or anything else.
    length : int
        Terms of the longest sum behind an output.

    Returns
    -------
    float
        The largest error as a part of its bound.

    Raises
    ------
    SameError
        Naming the output, the worst index, both values and the bound.
    """
    name = name or getattr(kernel, "__name__", "kernel")
    results = []
    for f in (kernel, reference):
        out = f(*(a.copy() if isinstance(a, np.ndarray) else a for a in inputs))
        results.append([np.asarray(o) for o in (out if isinstance(out, tuple | list) else (out,))])
    if len(results[0]) != len(results[1]):
        raise SameError(
            f"{name}: {len(results[0])} outputs, and the reference has {len(results[1])}"
        )
    worst = 0.0
    for i, (got, want) in enumerate(zip(*results, strict=True)):
        if got.shape != want.shape:
            raise SameError(f"{name}: output {i} has shape {got.shape}, expected {want.shape}")
        if got.dtype.kind in "iub" or got.size == 0:
            bound = 0.0
        else:
            bound = float(np.finfo(got.dtype).eps * (length + 8) * np.abs(want).max())
        difference = np.abs(got.astype(want.dtype) - want) if got.size else np.zeros(1)
        if not (difference <= bound).all():  # NaN is never within a bound
            flat = int(np.argmax(np.where(np.isnan(difference), np.inf, difference)))
            at = tuple(map(int, np.unravel_index(flat, got.shape)))
            wrong = int((~(difference <= bound)).sum())
            ratio = got[at] / want[at] if want[at] else np.inf
            raise SameError(
                f"{name}: output {i} differs from the reference in {wrong} of {got.size} entries; "
                f"worst at {at}: {got[at]:.9g}, expected {want[at]:.9g}, ratio {ratio:.6g}; "
                f"rounding explains {bound:.1e}"
            )
        worst = max(worst, float(np.max(difference)) / bound if bound else 0.0)
    return worst


def check_hvp(
    grad: Operator, hvp: Callable[[NDArray, NDArray], NDArray], theta: NDArray, seed: int = 0,
    loss: Callable[[NDArray], float] | None = None, tolerance: float = 1e-6,
    name: str = "hvp",
) -> float:  # fmt: skip
    """Check a Hessian-vector product.

    v . H w = w . H v to rounding; u . H v for random u, and the quadratic form v . H v, against
    Richardson differences of the gradient; and, given the loss, the gradient against the loss.

    Parameters
    ----------
    grad : callable
        theta to the gradient of the loss.
    hvp : callable
        (theta, v) to H v.
    theta : array, float64
    loss : callable, optional
        theta to the loss.
    tolerance : float
        Relative, for the comparisons with differences; these allow ten times their own estimated
        error besides.

    Returns
    -------
    float
        The largest relative error against differences.

    Raises
    ------
    IdentityError
        Naming the identity that fails.
    """
    rng = np.random.default_rng(seed)
    theta = np.asarray(theta, np.float64)
    v, w = (rng.standard_normal(theta.shape) for _ in range(2))
    Hv, Hw = np.array(hvp(theta.copy(), v.copy())), np.array(hvp(theta.copy(), w.copy()))
    if Hv.shape != theta.shape:
        raise IdentityError(f"{name}: H v has shape {Hv.shape}, expected {theta.shape}")
    size = float(np.linalg.norm(v) * np.linalg.norm(Hw) + np.linalg.norm(w) * np.linalg.norm(Hv))
    wHv, vHw = float((w * Hv).sum()), float((v * Hw).sum())
    if abs(wHv - vHw) > 1e-12 * max(size, 1e-300):
        raise IdentityError(
            f"{name}: not symmetric: w . H v = {wHv:.9g}, v . H w = {vHw:.9g}; "
            "a term of the second derivative is missing or counted twice"
        )
    worst = 0.0
    cases: list[tuple[str, NDArray, Operator | None, NDArray]]
    cases = [("u . H v", w, grad, Hv), ("v . H v", v, grad, Hv)]
    if loss is not None:  # the same identity one order lower: grad . v is the slope of the loss
        cases.append(("grad . v", v, None, np.array(grad(theta.copy()))))
    for what, u, f, got_vector in cases:

        def along_v(arrays: Arrays, u: NDArray = u, f: Operator | None = f) -> complex:
            at = arrays["theta"]
            return complex(loss(at) if f is None and loss else (grad(at) * u).sum())

        want, uncertain = richardson_slope(along_v, {"theta": theta}, {"theta": v})
        got = float((got_vector * u).sum())
        error = abs(got - want)
        if error > tolerance * abs(want) + 10 * uncertain:
            ratio = got / want if want else np.inf
            raise IdentityError(
                f"{name}: {what} = {got:.9g}, and differences give {want:.9g}, ratio {ratio:.6g}"
            )
        worst = max(worst, error / max(abs(want), 1e-300))
    return worst
