"""The gradient kit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from numpy.typing import NDArray

import minireptile as mr
from minireptile import testing as kit
from minireptile.testing import GradientError, IdentityError

from .computing import numbers
from .constructors import with_backend
from .wrong_values import DAMAGES, POOL, UNKNOWN, Door, Wrong, among


def proving(check: Callable[..., Any]) -> Callable[..., Any]:
    """A check of the kit; that a proof fails is an answer, not an error."""

    def call(**arguments: Any) -> Any:
        try:
            return check(**arguments)
        except (GradientError, IdentityError) as failure:
            return failure

    return call


def twice(*arrays: NDArray) -> NDArray:
    return 2 * arrays[0]


def of_squares(theta: NDArray) -> float:
    return (theta**2).sum()


GUESS = (lambda v: None, POOL)
FUNCTION = (lambda v: None if callable(v) else False, POOL)
NOT_AT_ALL = ("a class", "a stranger", "a record", "a layer", "a function", "an iterator", "{}")
ANY_ARRAY = (UNKNOWN, (
    *(Wrong(label, make) for label, (make, _) in DAMAGES.items()),
    *(replace(wrong, legit=False if wrong.label in NOT_AT_ALL else None) for wrong in POOL),
))  # fmt: skip


@cache
def checked() -> list[Any]:
    """Rows of a table."""
    return kit.check_layers("Tanh")


KIT = {
    "check_gradients": Door(
        proving(lambda subject, x, **more: kit.check_gradients(subject, x, **more)),
        lambda backend: {
            "subject": (twice, twice), "x": numbers(2, 3), "params": (), "seed": 0,
            "method": "auto", "tolerance": None, "name": None,
        },
        {
            "subject": (
                lambda v: None if isinstance(v, mr.Tanh) else False,
                (*POOL, Wrong("one function", lambda f: f[0])),
            ),
            "x": ANY_ARRAY, "params": GUESS, "seed": GUESS, "tolerance": GUESS, "name": GUESS,
            "method": among("auto", "complex step", "differences"),
        },
    ),
    "check_gradients of a layer": Door(
        proving(lambda subject, x, **more: kit.check_gradients(subject, x, **more)),
        lambda backend: {"subject": mr.Dense(2), "x": numbers(2, 2, 3), "backend": "numpy"},
        {"x": ANY_ARRAY, "backend": (lambda v: False, POOL)},
    ),
    "check_adjoint": Door(
        proving(kit.check_adjoint),
        lambda backend: {"L": twice, "L_adjoint": twice, "x": numbers(3), "y": numbers(3),
                         "seed": 0, "name": "twice"},
        {"L": FUNCTION, "L_adjoint": FUNCTION, "x": ANY_ARRAY, "y": ANY_ARRAY, "seed": GUESS,
         "name": GUESS},
    ),
    "check_same": Door(
        proving(lambda kernel, reference, x, **more: kit.check_same(kernel, reference, x, **more)),
        lambda backend: {"kernel": twice, "reference": twice, "x": numbers(3), "length": 1,
                         "name": None},
        {"kernel": FUNCTION, "reference": FUNCTION, "length": GUESS, "name": GUESS},
    ),
    "check_hvp": Door(
        proving(kit.check_hvp),
        lambda backend: {
            "grad": twice, "hvp": lambda theta, v: 2 * v, "theta": numbers(3), "seed": 0,
            "loss": of_squares, "tolerance": 1e-6, "name": "twice",
        },
        {
            "grad": FUNCTION, "hvp": FUNCTION, "theta": ANY_ARRAY, "seed": GUESS,
            "loss": (lambda v: None if v is None or callable(v) else False, tuple(
                wrong for wrong in POOL if wrong.label != "a function")),
            "tolerance": GUESS, "name": GUESS,
        },
    ),
    "complex_step": Door(
        proving(kit.complex_step), lambda backend: {"f": of_squares, "x": numbers(3)},
        {"f": FUNCTION, "x": ANY_ARRAY},
    ),
    "check_layers": Door(
        kit.check_layers, with_backend(name="Tanh", backend="numpy"),
        {
            "name": (lambda v: None if v is None else False, POOL),
            "backend": (lambda v: False, POOL),
        },
    ),
    "table": Door(kit.table, lambda backend: {"rows": list(checked())}, {"rows": GUESS}),
}  # fmt: skip
