"""Whether what a learner's function returned has the form that was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

Shape = tuple[int, ...]


def check_form(function: str, result: Any, **asked: Shape) -> None:
    """AssertionError unless the result is the arrays asked for: one, or a tuple in this order."""
    many = isinstance(result, tuple | list) and len(asked) > 1
    found = [_shape(part) for part in (result if many else (result,))]
    if found != list(asked.values()):
        wanted = ", ".join(f"{name} {shape}" for name, shape in asked.items())
        got = ", ".join(str(shape) if shape is not None else "None" for shape in found)
        raise AssertionError(f"{function} is to return {wanted}, and returns {got or 'nothing'}")


def _shape(value: Any) -> Shape | None:
    """None for what is no array of numbers."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return None
    return array.shape if array.dtype.kind in "biufc" else None
