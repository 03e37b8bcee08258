"""What a question may hold: checks that take a value out of JSON, and its name, and return it as
the figures compute with it, or raise `InputError`. Each is bounded, so that no question asks for
much work."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import choice, flag, number, shown, whole
from ..errors import InputError

Check = Callable[[Any, str], Any]


def real(low: float, high: float) -> Check:
    """A number in [low, high], as float: JSON's 1 is an int, and theta must not become one."""

    def check(value: Any, what: str) -> float:
        x = number(value, what)
        if not low <= x <= high:
            raise InputError(f"{what} must lie between {low:g} and {high:g}, not {shown(value)}")
        return x

    return check


def count(low: int, high: int) -> Check:
    """A whole number in [low, high]."""
    return lambda value, what: whole(value, what, low, high)


def one_of(*names: str) -> Check:
    """One of a few names."""
    return lambda value, what: choice(value, what, names)


def truth(value: Any, what: str) -> bool:
    """True or false."""
    return flag(value, what)


def listed(check: Check, least: int, most: int) -> Check:
    """A list of so many values, each put through another check."""

    def listed(value: Any, what: str) -> list[Any]:
        if not isinstance(value, list) or not least <= len(value) <= most:
            size = f"{least}" if least == most else f"{least} to {most}"
            got = f"one of {len(value)}" if isinstance(value, list) else shown(value)
            raise InputError(f"{what} must be a list of {size}, not {got}")
        return [check(each, f"{what}[{i}]") for i, each in enumerate(value)]

    return listed


def point(low: float, high: float, size: int = 2) -> Check:
    """`size` numbers in [low, high]."""
    return listed(real(low, high), size, size)


def maybe(check: Check) -> Check:
    """What another check takes, or null."""
    return lambda value, what: None if value is None else check(value, what)


def numbers(*shape: int, most: float = 1e6) -> Check:
    """An array of this shape, as `pack` writes it: {"shape": [...], "f4": base64}; finite, and no
    larger than `most`."""

    def check(value: Any, what: str) -> NDArray[np.float32]:
        if not isinstance(value, dict) or value.keys() != {"shape", "f4"}:
            raise InputError(f'{what} must be {{"shape": ..., "f4": ...}}, not {shown(value)}')
        if value["shape"] != list(shape):
            raise InputError(f"{what} must have the shape {shape}, not {shown(value['shape'])}")
        try:
            raw = base64.b64decode(value["f4"], validate=True)
        except (TypeError, ValueError, binascii.Error):
            raw = b""
        if len(raw) != 4 * prod(shape):
            raise InputError(f"{what} must hold {prod(shape)} float32 in base64")
        found = np.frombuffer(raw, "<f4").astype(np.float32).reshape(shape)
        if not (np.abs(found) <= most).all():
            raise InputError(f"{what} holds NaN, or a number beyond {most:g}: press reset")
        return found

    return check


def pack(value: Any) -> Any:
    """What JSON has no words for: arrays, as little-endian float32 with their shape."""
    if isinstance(value, np.ndarray):
        with np.errstate(over="ignore"):  # what no float32 holds becomes infinite: a gap
            f4 = base64.b64encode(value.astype("<f4").tobytes()).decode()
        return {"shape": list(value.shape), "f4": f4}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(type(value).__name__)


def several(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return ", ".join(map(repr, sorted(names)))
