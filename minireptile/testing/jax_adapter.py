"""Functions of JAX, with custom_vjp or without. JAX is imported when one is adapted."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import shown
from ..errors import InputError
from .adapter import Adapter, all_complex, framework, name_of, no_output, told
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

    def forward(*args: Any) -> NDArray:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # casts of complex numbers, which is_analytic sees
                return host(called(lent(args)))
        except InputError:
            raise
        except Exception as error:
            kinds = dict.fromkeys(str(x.dtype) for x in args if isinstance(x, np.ndarray))
            raise InputError(f"{name} of {', '.join(kinds)} raises {told(error)}") from None

    def of_floats(args: list[Any]) -> tuple[list[int], Callable[..., Any]]:
        """Which inputs take a gradient, and the output as a function of them."""
        at = [i for i, x in enumerate(args) if _is_float(jnp, x)]

        def f(*floats: Any) -> Any:
            now = dict(zip(at, floats, strict=True))
            return called([now.get(i, x) for i, x in enumerate(args)])

        return at, f

    def backward(dy: NDArray, *args: Any) -> list[Any]:
        inputs = lent(args)
        at, f = of_floats(inputs)
        try:
            y, pull = jax.vjp(f, *(inputs[i] for i in at))
            found = dict(zip(at, pull(jnp.array(dy, y.dtype)), strict=True))
        except InputError as error:
            raise Fault(f"forward, as it is differentiated: {error}") from None
        except Exception as error:
            raise Fault(f"the gradient raises {told(error)}") from None
        return [host(found[i]) if i in found else None for i in range(len(inputs))]

    def twice(c: NDArray, v: list[NDArray] | None, *args: Any) -> list[NDArray]:
        inputs = lent(args)
        at, f = of_floats(inputs)
        floats = tuple(inputs[i] for i in at)

        def loss(*floats: Any) -> Any:
            y = f(*floats)
            return (jnp.array(c, y.dtype) * (y + y * y / 2)).sum()

        grad = jax.grad(loss, tuple(range(len(at))))
        try:
            # Backwards again, since a custom_vjp refuses the forward mode.
            found = grad(*floats) if v is None else (
                jax.vjp(grad, *floats)[1](tuple(map(jnp.array, v))))  # fmt: skip
        except Exception as error:
            raise Fault(f"the second derivative raises {told(error)}") from None
        return [host(g) for g in found]

    return Adapter(name, signature_of(function), {}, forward, backward, twice)


def _is_float(jnp: Any, x: Any) -> bool:
    return hasattr(x, "dtype") and hasattr(x, "shape") and jnp.issubdtype(x.dtype, jnp.floating)
