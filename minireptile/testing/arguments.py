"""What the kit's functions take from outside, checked: one sentence for what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import shown
from ..errors import InputError

__tracebackhide__ = True


def array_of(value: Any, what: str) -> NDArray:
    """A new array of numbers, with at least one entry."""
    if hasattr(value, "mask") and hasattr(value, "filled"):  # numpy.ma is slow to import
        raise InputError(f"{what} is a masked array: fill it, {what}.filled(0), or cut it")
    try:
        array = np.array(value)
    except ValueError as error:  # rows of different lengths
        raise InputError(f"{what} is no array: its rows differ in length") from error
    if array.dtype.kind not in "biufc":
        raise InputError(
            f"{what} must be an array of numbers, not {type(value).__name__} of type {array.dtype}"
        )
    if not array.size:
        raise InputError(f"{what} is empty, shape {array.shape}: there is nothing to check")
    return array


def doubles(value: Any, what: str) -> NDArray:
    """A new array of real numbers in double precision."""
    array = array_of(value, what)
    if array.dtype.kind == "c":
        raise InputError(f"{what} must be real, not {array.dtype}")
    return array.astype(np.float64)


def text(name: Any) -> None:
    """What a message may call a thing."""
    if not isinstance(name, str):
        raise InputError(f"name must be a string, not {shown(name)}")


def given_names(names: Any, count: int) -> list[str] | None:
    """What the inputs are to be called, if anybody says so."""
    if names is None:
        return None
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise InputError(f"names must be a list of names such as ['x', 'w'], not {shown(names)}")
    if not all(isinstance(n, str) and n for n in names) or len({*names}) < len(names):
        raise InputError(f"names must be strings, each another one, not {shown(names)}")
    if len(names) != count:
        raise InputError(f"there are {len(names)} names for {count} inputs: give one for each")
    return list(names)


def functions(**given: Any) -> None:
    """All of these can be called."""
    for what, value in given.items():
        if not callable(value):
            raise InputError(f"{what} must be a function, not {type(value).__name__}")


def known_names(params: Any, known: Sequence[str], of: str) -> tuple[str, ...]:
    """Names of parameters, each among the known ones."""
    if isinstance(params, str) or not isinstance(params, Sequence):
        raise InputError(f"params must be a list of names such as ['w'], not {shown(params)}")
    for name in params:
        if not isinstance(name, str) or name not in known:
            there = f"it has {', '.join(known)}" if known else "it has none"
            raise InputError(f"{of} has no parameter {shown(name)}: {there}")
    return tuple(params)
