"""Functions of JAX, with custom_vjp or without. JAX is imported when one is adapted."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import shown
from ..errors import InputError
from .adapter import Adapter, all_complex, framework, name_of, no_output, said, told
from .foreign import host
from .report import Fault
from .subject import signature_of

__tracebackhide__ = True
OLDEST = (0, 4)
X64 = (
    "JAX computes in float32 until it is told otherwise, and this check is in float64: "
    'jax.config.update("jax_enable_x64", True) before anything is computed, or JAX_ENABLE_X64=1 in '
    "the environment; for what exists in float32 only, there is check_float32"
)


def from_jax(function: Callable[..., Any]) -> Adapter:
    """A function of JAX, as `check_gradients` takes it.

    Parameters
    ----------
    function : callable
        Takes arrays, and anything else as it stands; returns an array. With a ``custom_vjp``,
        compiled by ``jit`` or not, or a function that is made of such.

    Returns
    -------
    Adapter
        For `check_gradients`, `check_float32` and, by its method ``hessian``, `check_hvp`.

    Raises
    ------
    InputError
        If that is no function, or JAX too old. What the function does wrong, and that JAX is not in
        float64, the checks tell.
    MissingPackage
        If there is no JAX.

    Examples
    --------
    >>> from minireptile.testing import check_gradients, from_jax
    >>> check_gradients(from_jax(jax.numpy.tanh), [0.5, -1.0]).passed  # doctest: +SKIP
    True
    """
    jax = framework("jax", "JAX", OLDEST)
    jnp = jax.numpy
    if not callable(function) or isinstance(function, type):
        raise InputError(f"from_jax takes a function, not {shown(function)}")
    name = name_of(function)

    def lent(args: tuple[Any, ...]) -> list[Any]:
        args = all_complex(args)
        arrays = [x for x in args if isinstance(x, np.ndarray)]
        wide = any(x.dtype in (np.float64, np.complex128) for x in arrays)
        if wide and not jax.config.jax_enable_x64:
            raise InputError(X64)
        return [jnp.array(x) if isinstance(x, np.ndarray) else x for x in args]

    def called(args: list[Any]) -> Any:
        y = function(*args)
        if not isinstance(y, jax.Array | np.ndarray):
            raise no_output(y, name, "an array")
        if not jnp.issubdtype(y.dtype, jnp.inexact):
            raise InputError(f"{name} returns {y.dtype}, which has no gradient")
        return y

    def of_floats(args: list[Any]) -> tuple[Callable[..., Any], list[Any]]:
        """The output as a function of the inputs that take a gradient, and those."""
        at = [i for i, x in enumerate(args) if _is_float(jnp, x)]

        def f(*floats: Any) -> Any:
            now = dict(zip(at, floats, strict=True))
            return called([now.get(i, x) for i, x in enumerate(args)])

        return f, [args[i] for i in at]

    def gradients(args: list[Any], dy: Any) -> Any:
        f, floats = of_floats(args)
        y, pull = jax.vjp(f, *floats)
        return pull(dy.astype(y.dtype))

    def of_loss(args: list[Any], c: Any) -> tuple[Callable[..., Any], list[Any]]:
        f, floats = of_floats(args)

        def loss(*floats: Any) -> Any:
            y = f(*floats)
            return (c.astype(y.dtype) * (y + y * y / 2)).sum()

        return jax.grad(loss, tuple(range(len(floats)))), floats

    def first(args: list[Any], c: Any) -> Any:
        grad, floats = of_loss(args, c)
        return grad(*floats)

    def second(args: list[Any], c: Any, *v: Any) -> Any:
        grad, floats = of_loss(args, c)
        return jax.vjp(grad, *floats)[1](v)  # backwards again: a custom_vjp has no forward mode

    run = _compiled(jax)

    def forward(*args: Any) -> NDArray:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # casts of complex numbers, which is_analytic sees
                return host(run(called, lent(args)))
        except InputError:
            raise
        except Exception as error:
            kinds = dict.fromkeys(str(x.dtype) for x in args if isinstance(x, np.ndarray))
            raise InputError(f"{name} of {', '.join(kinds)} raises {told(error)}") from None

    def backward(dy: NDArray, *args: Any) -> list[Any]:
        inputs = lent(args)
        try:
            found = iter(run(gradients, inputs, jnp.array(dy)))
        except InputError as error:
            raise Fault(f"forward, as it is differentiated: {error}") from None
        except Exception as error:
            raise Fault(said(error, FAILURES)) from None
        return [host(next(found)) if _is_float(jnp, x) else None for x in inputs]

    def twice(c: NDArray, v: list[NDArray] | None, *args: Any) -> list[NDArray]:
        more = map(jnp.array, [c] if v is None else [c, *v])
        try:
            return list(map(host, run(first if v is None else second, lent(args), *more)))
        except Exception as error:
            raise Fault(f"the second derivative raises {told(error)}") from None

    return Adapter(name, signature_of(function), {}, forward, backward, twice)


def _compiled(jax: Any) -> Callable[..., Any]:
    """Calls `job(args, *arrays)`, compiled: else a loop in a function is compiled anew each time.
    What cannot be compiled, such as a choice by the value of an input, is called as it stands."""
    made: dict[Any, Any] = {}
    plain: set[Any] = set()

    def run(job: Callable[..., Any], args: list[Any], *more: Any) -> Any:
        arrays = [x if isinstance(x, jax.Array) else None for x in args]
        if job not in plain:
            settings = tuple(None if isinstance(x, jax.Array) else x for x in args)
            key = job, repr(settings)
            if key not in made:
                made[key] = jax.jit(
                    lambda arrays, *more: job(
                        [s if a is None else a for a, s in zip(arrays, settings, strict=True)],
                        *more,
                    )
                )
            try:
                return made[key](arrays, *more)
            except Exception:  # whatever it is, it comes again if it is not the compiling
                found = job(args, *more)
                plain.add(job)
                return found
        return job(args, *more)

    return run


FAILURES = (
    (r"bwd rule must produce .* same container", "the backward pass must return a tuple with a "
     "gradient for each input, None for one without"),
    (r"at output\[(\d+)\] the bwd rule produced an output of type (\w+\[[\d,]*\]) corresponding to "
     r"an input of type (\w+\[[\d,]*\])",
     r"gradient \1 that the backward pass returns is \2, and the input is \3"),
)  # fmt: skip


def _is_float(jnp: Any, x: Any) -> bool:
    return hasattr(x, "dtype") and hasattr(x, "shape") and jnp.issubdtype(x.dtype, jnp.floating)
