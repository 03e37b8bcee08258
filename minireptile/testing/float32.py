"""`check_float32`: backward passes that exist in single or half precision only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import choice, whole
from ..errors import InputError
from ..rng import SEEDS
from .adapter import Adapter
from .arguments import array_of, functions, given_names, text
from .foreign import EPS, dtype_of, host, is_array, like
from .gradients import METHODS, prove
from .numeric import Arrays
from .report import Report
from .subject import UPSTREAM, Subject, by_name, named, names_of, signature_of

__tracebackhide__ = True


def check_float32(
    backward: Any, reference: Callable[..., Any], *inputs: Any, terms: int, seed: int = 0,
    method: str = "auto", name: str | None = None, names: Sequence[str] | None = None,
) -> Report:  # fmt: skip
    """Check a backward pass in float32, bfloat16 or float16 against a forward pass in float64.

    Its gradients, of inputs that are rounded to its type first, are compared with the derivative of
    <dy, reference(inputs)> in double precision, by the complex step where reference is analytic.
    An error may reach eps (terms + 8) times the largest entry of the gradient, where eps is that
    of the coarsest type among the inputs and the gradient: as in `check_same`, what sums of so many
    terms lose in any order. Where terms cancel, the sum of their sizes takes the entry's place.

    Parameters
    ----------
    backward : callable, or what `from_torch` or `from_jax` makes
        Takes dy and the inputs, in the arrays of the framework that the inputs are given in, and
        returns the gradient of the input, or a tuple with one for each (None for one that has
        none); anything that NumPy can read.
    reference : callable
        The forward pass; takes the inputs as arrays of float64, or complex128, and returns y.
    *inputs : arrays
        Of NumPy, PyTorch, JAX or CuPy. In a type of less than double precision they are what they
        are; any other floats are rounded to float32. Integers are not differentiated.
    terms : int
        Of the longest sum in the backward pass that is rounded to that type. Where bfloat16 is
        summed in float32 and rounded once, 1.
    seed : int
        Of the upstream gradient.
    method : {"auto", "complex step", "differences"}
        As of `check_gradients`, for the reference.
    name : str, optional
        What to call the backward pass.
    names : sequence of str, optional
        What to call the inputs in the report: as reference's arguments, unless given.

    Returns
    -------
    Report
        Of what was compared; a note says which eps explains which error.

    Raises
    ------
    GradientError
        If something is wrong, as of `check_gradients`.
    InputError
        If an argument is of another kind, or `terms` so many that zeros would pass.

    Notes
    -----
    Source: Higham, Accuracy and Stability of Numerical Algorithms, section 4.2.

    Examples
    --------
    >>> import numpy as np
    >>> from minireptile.testing import check_float32
    >>> x = np.array([0.1, 0.2, 0.3], np.float32)
    >>> check_float32(lambda dy, x: 2 * x * dy, lambda x: x**2, x, terms=1).passed
    True
    """
    functions(backward=backward, reference=reference)
    whole(terms, "terms")
    choice(method, "method", METHODS)
    text("" if name is None else name)
    given_as = given_names(names, len(inputs))
    if isinstance(backward, Adapter):
        name, run = name or backward.name, backward.backward
        given = named(backward, inputs, given_as)
    else:
        name, run = name or str(getattr(backward, "__name__", "backward")), backward
        order = given_as or names_of(signature_of(reference), len(inputs))
        given = dict(zip(order, inputs, strict=True))
    arrays = {n: array_of(host(x), n) for n, x in given.items() if is_array(x)}
    types = {n: _type(given[n]) for n, a in arrays.items() if a.dtype.kind == "f"}
    if not types:
        raise InputError("there is nothing to differentiate: no input is an array of floats")
    coarsest = max(types.values(), key=lambda dtype: EPS[dtype])
    if EPS[coarsest] * (terms + 8) >= 1:
        raise InputError(
            f"terms={terms} of {coarsest} explain an error of {EPS[coarsest] * (terms + 8):.2g} "
            "times the gradient, so that zeros would pass: count the terms that are rounded to "
            f"{coarsest}; 1 where sums are in float32"
        )
    counted = dict.fromkeys(types, coarsest)  # whose eps

    def lent(n: str, array: NDArray) -> Any:
        """As backward takes it; the upstream gradient as the first input."""
        n = next(iter(types)) if n == UPSTREAM else n
        return like(given[n], array, types.get(n, dtype_of(given[n])))

    def forward(at: Arrays) -> NDArray:
        return np.asarray(host(reference(*(at.get(n, x) for n, x in given.items()))))

    def gradients(dy: NDArray, at: Arrays) -> dict[str, Any]:
        args = {n: lent(n, at[n]) if n in at else x for n, x in given.items()}
        # A framework's function takes it in NumPy, and makes it what the output is.
        upstream = dy.astype(np.float32) if isinstance(backward, Adapter) else lent(UPSTREAM, dy)
        found = by_name(run(upstream, *args.values()), list(given))
        for n in at:  # what was done to them
            at[n][...] = host(args[n])
        dy[...] = host(upstream)
        for n in types:
            counted[n] = max(coarsest, dtype_of(found[n]), key=lambda t: EPS.get(t, 0.0))
        return {n: None if g is None else _wide(host(g)) for n, g in found.items()}

    subject = Subject(
        name,
        {n: _wide(host(lent(n, a))) if n in types else a for n, a in arrays.items()},
        forward,
        gradients,
        "check_float32",
        lambda n, array: _wide(host(lent(n, array))),
        lambda n: EPS[counted[n]] * (terms + 8),
        lambda: "; ".join(_explained(dtype, terms) for dtype in dict.fromkeys(counted.values())),
    )
    return prove(subject, whole(seed, "seed", 0, SEEDS), method, None)


def _explained(dtype: str, terms: int) -> str:
    return (
        f"{dtype}: rounding explains {EPS[dtype] * (terms + 8):.1e} of a gradient's largest entry, "
        f"eps {EPS[dtype]:.1e} times {terms} terms + 8"
    )


def _type(value: Any) -> str:
    """What an array of floats is taken in."""
    dtype = dtype_of(value)
    return dtype if dtype in ("float16", "bfloat16") else "float32"


def _wide(array: Any) -> NDArray:
    """Floats in double precision; anything else as it is, to be told."""
    array = np.array(array)
    return array.astype(np.float64) if array.dtype.kind == "f" else array
