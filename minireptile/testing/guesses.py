"""Guesses at the cause of a wrong gradient, tried out: would it be right, if ...?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from . import numeric
from .numeric import Arrays

__tracebackhide__ = True
Forward = Callable[[Arrays], NDArray]
CLOSE = 1e-6


def what_if(
    forward: Forward, arrays: Arrays, dy: NDArray, name: str, got: NDArray, want: NDArray,
    analytic: bool, close: float = CLOSE,
) -> list[str]:  # fmt: skip
    """Sentences on what the wrong gradient `got` of the input `name` would be right for.

    Each guess changes another input or the upstream gradient and takes the gradient anew.
    """

    def gradient(at: Arrays, dy: NDArray, of: str = name) -> NDArray:
        value = lambda a: complex((forward(a) * dy).sum())  # noqa: E731
        return numeric.gradient(value, at, of, analytic, np.ndindex(at[of].shape))[0]

    def fits(other: NDArray) -> bool:
        scale = max(float(np.abs(got).max()), 1e-300)
        return other.shape == got.shape and bool(np.abs(other - got).max() <= close * scale)

    floats = [n for n, a in arrays.items() if a.dtype.kind == "f"]
    for other in floats:
        if other != name and arrays[other].shape == got.shape and fits(gradient(arrays, dy, other)):
            return [f"it is the gradient of {other}: returned in the wrong order"]
    for sign, words in ((1, "too much"), (-1, "missing")):
        if dy.shape == got.shape and fits(want + sign * dy):
            return [
                f"the error is the upstream gradient itself, which is {words}: a path around the "
                "operation, such as a shortcut"
            ]
    for size in range(1, dy.ndim + 1):
        for axes in combinations(range(dy.ndim), size):
            if fits(dy.sum(axes)):
                return [f"it is dy summed over axis {', '.join(map(str, axes))}, the wrong one"]
    for words, part in _parts(dy):
        if fits(gradient(arrays, part)):
            return [f"it holds the contribution of {words} alone"]
    for other in floats:
        for words, changed in _changes(arrays[other]):
            try:
                if fits(gradient({**arrays, other: changed}, dy)):
                    return [f"it would be right if {other} {words}"]
            except (ValueError, IndexError):  # forward does not take such a shape
                continue
    return []


def _parts(dy: NDArray) -> Iterator[tuple[str, NDArray]]:
    """The upstream gradient with all but a part of it set to 0."""
    places = {
        "the first": slice(None, 1), "the last": slice(-1, None),
        "all but the first": slice(1, None), "all but the last": slice(None, -1),
    }  # fmt: skip
    for axis in range(dy.ndim):
        for words, kept in places.items():
            if dy.shape[axis] > 1:
                part, index = np.zeros_like(dy), (slice(None),) * axis + (kept,)
                part[index] = dy[index]
                yield f"{words} along axis {axis} of the output", part


def _changes(array: NDArray) -> Iterator[tuple[str, NDArray]]:
    """The usual confusions about an input."""
    for i, j in combinations(range(array.ndim), 2):
        if array.shape[i] == array.shape[j] > 1:
            yield f"were transposed (axes {i} and {j})", array.swapaxes(i, j).copy()
    long = [a for a, n in enumerate(array.shape) if n > 1]
    for size in (1, 2):
        for axes in combinations(long, size):
            yield (
                f"were flipped along axis {', '.join(map(str, axes))}",
                np.flip(array, axes).copy(),
            )
    for axis in long:
        first = np.broadcast_to(array.take([0], axis), array.shape).copy()
        yield f"had its first entry along axis {axis} everywhere", first
