"""What a person passes, made sure of once: numbers, names and arrays, or one sentence.

A check takes a value and what to call it, such as "Loops: iterations", and returns the value as the
product keeps it (NumPy's integers as int, its floats as float), or raises `InputError`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

LARGEST = 2**31 - 1  # of a count: more is a slip of the pen
WORDS = 60  # characters of a value in a sentence

REALS: dict[str, tuple[Callable[[float], bool], str]] = {
    "finite": (lambda x: True, "be a finite number"),
    "positive": (lambda x: x > 0, "be positive"),
    "fraction": (lambda x: 0 <= x < 1, "lie in [0, 1)"),
    "rate": (lambda x: 0 < x <= 1, "lie in (0, 1]"),
}
KINDS = {"i": "integers", "f": "floating-point numbers", "c": "complex numbers", "b": "booleans"}


def settle(record: object, check: Callable[..., Any], *names: str, **limits: Any) -> None:
    """Put fields of a frozen record through a check, and keep what it returns."""
    for name in names:
        what = f"{type(record).__name__}: {name}"
        object.__setattr__(record, name, check(getattr(record, name), what, **limits))


def whole(value: Any, what: str, least: int = 1, most: int | None = None) -> int:
    """A whole number from `least` to `most`; no bool, and no float even if it is whole."""
    if not _is_whole(value):
        raise InputError(f"{what} must be a whole number, not {shown(value)}")
    value = int(value)
    if least <= value <= (LARGEST if most is None else most):
        return value
    if most is not None:
        bounds = f"between {least} and {_power(most)}"
    else:
        bounds = f"at least {least}" if value < least else f"at most {_power(LARGEST)}"
    raise InputError(f"{what} must be {bounds}, not {shown(value)}")


def counts(
    value: Any, what: str, least: int = 1, such_as: str = "(28, 28, 1)"
) -> tuple[int, ...]:  # fmt: skip
    """A tuple of whole numbers of at least `least`, of a tuple, a list or a range of them."""
    if isinstance(value, tuple | list | range) and all(_fits(n, least) for n in value):
        return tuple(map(int, value))
    numbers = f"whole numbers of at least {least}" if least else "whole numbers, none negative"
    raise InputError(f"{what} must be a tuple of {numbers}, such as {such_as}, not {shown(value)}")


def count_or_pair(value: Any, what: str) -> int | tuple[int, int]:
    """A whole number of at least 1, or two of them: rows and columns."""
    if _fits(value, 1):
        return int(value)
    if isinstance(value, tuple | list) and len(value) == 2 and all(_fits(n, 1) for n in value):
        return int(value[0]), int(value[1])
    raise InputError(
        f"{what} must be a whole number of at least 1, or a pair of them, not {shown(value)}"
    )


def number(value: Any, what: str, kind: str = "finite") -> float:
    """A finite real number of one of the kinds in `REALS`."""
    if not (_is_whole(value) or isinstance(value, float | np.floating)):
        raise InputError(f"{what} must be a number, not {shown(value)}")
    try:
        x = float(value)
    except OverflowError:  # an int beyond 1e308
        x = math.inf
    fits, words = REALS[kind]
    if not (math.isfinite(x) and fits(x)):
        raise InputError(f"{what} must {words}, not {shown(value)}")
    return x


def flag(value: Any, what: str) -> bool:
    """True or False, and neither 1 nor "no"."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{what} must be True or False, not {shown(value)}")
    return bool(value)


def choice(value: Any, what: str, choices: Sequence[str]) -> str:
    """One of a few names."""
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"{what} must be one of {', '.join(choices)}, not {shown(value)}")
    return str(value)


def array(value: Any, what: str, kinds: str = "bif") -> NDArray:
    """An array to be read, in the machine's byte order, of numbers of the kinds in `KINDS`.

    Whoever has the numbers in a list may pass that. Finite they need not be.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise InputError(f"{what} must not be a masked array: fill it first, with filled()")
    try:
        found = np.asarray(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # ragged lists, foreign objects
        raise InputError(
            f"{what} must be an array of numbers, all rows of one length, not {shown(value)}"
        ) from None
    if found.dtype.kind.replace("u", "i") not in kinds:
        expected = "numbers" if len(kinds) > 2 else " or ".join(KINDS[kind] for kind in kinds)
        got = found.dtype if isinstance(value, np.ndarray | list | tuple) else shown(value)
        raise InputError(f"{what} must hold {expected}, not {got}")
    return found if found.dtype.isnative else found.astype(found.dtype.newbyteorder("="))


def changed(record: Any) -> str:
    """A record of numbers as one would write it: with what differs from the defaults alone."""
    values = [(f.name, getattr(record, f.name), f.default) for f in fields(record)]
    parts = [f"{name}={value!r}" for name, value, default in values if value != default]
    return f"{type(record).__name__}({', '.join(parts)})"


def shown(value: Any) -> str:
    """A value in a sentence: one short line, whatever it is."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, np.ndarray) and value.ndim:
        kind = "a masked array" if isinstance(value, np.ma.MaskedArray) else "an array"
        return f"{kind} of {value.dtype} and shape {value.shape}"
    try:
        text = " ".join(repr(value.item() if isinstance(value, np.generic) else value).split())
    except Exception:  # a stranger's __repr__, or an int of too many digits
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= WORDS else text[: WORDS - 3] + "..."


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64)


def _fits(value: Any, least: int) -> bool:
    return _is_whole(value) and least <= int(value) <= LARGEST


def _power(n: int) -> str:
    """A bound as a person would write it: 2**64 - 1."""
    large = n >= LARGEST and (n + 1).bit_count() == 1
    return f"2**{n.bit_length()} - 1" if large else str(n)
