"""From the numbers of a wrong gradient to the usual mistake behind it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import prod

import numpy as np
from numpy.typing import NDArray

from .numeric import Arrays

CLOSE = 1e-6  # relative; far above the error of a double, far below any mistake


def diagnose(
    name: str, got: NDArray, want: NDArray, arrays: Arrays, y_shape: tuple[int, ...],
    close: float = CLOSE,
) -> list[str]:  # fmt: skip
    """Sentences on how `got`, the gradient of the input `name`, differs from `want`, the most
    telling first. Among all inputs, `arrays`, may be a missing factor; the output's shape is
    `y_shape`; what differs by less than `close`, relative to the largest entry, is the same."""
    scale = float(np.abs(want).max())
    error = got - want
    if not np.any(got):
        return ["all zeros: the gradient is never written, or the path to it is cut"]
    if scale == 0:
        return ["the true gradient is zero: this input does not matter here, or a term is too much"]
    ratio = list(_ratio(got, want, close, y_shape))
    flat = any(" everywhere" in words for words in ratio)
    return [
        *ratio,
        *_factor(name, got, want, arrays, close * scale),
        *_moved(got, want, close * scale),
        *([] if flat else _confined(error, close * scale)),
        *_missing_term(name, error, arrays, close * scale),
        *_unwritten(got, want, close * scale),
    ]


def _close(a: NDArray | float, b: NDArray | float, near: float) -> bool:
    return bool(np.max(np.abs(np.asarray(a) - b)) <= near)


def _subsets(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Non-empty sets of axes longer than 1, the largest first."""
    axes = [a for a, n in enumerate(shape) if n > 1]
    for size in range(len(axes), 0, -1):
        yield from combinations(axes, size)


def _ratio(got: NDArray, want: NDArray, close: float, y_shape: tuple[int, ...]) -> Iterator[str]:
    near = close * float(np.abs(want).max())
    flat = float((got * want).sum() / (want * want).sum())
    if _close(got, flat * want, near * max(abs(flat), 1)):
        yield f"ratio {flat:.6g} everywhere{_meaning(flat, close, want.shape, y_shape)}"
        return
    for axes in _subsets(want.shape):  # one ratio a task, a channel, ...
        squares = (want * want).sum(axes, keepdims=True)
        if (squares == 0).any():
            continue
        ratio = (got * want).sum(axes, keepdims=True) / squares
        if _close(got, ratio * want, near * max(float(np.abs(ratio).max()), 1)):
            rest = [a for a in range(want.ndim) if a not in axes]
            low, high = float(ratio.min()), float(ratio.max())
            if rest and not _close(ratio[ratio != 0], 1.0, close):
                yield (
                    f"the ratio depends on axis {', '.join(map(str, rest))} alone ({low:.4g} to "
                    f"{high:.4g}): a factor that varies along it is missing or too much"
                )
            return


def _meaning(ratio: float, close: float, shape: tuple[int, ...], y_shape: tuple[int, ...]) -> str:
    if abs(ratio + 1) < close:
        return ": the sign is wrong"
    for what, sizes in (("the output", y_shape), ("this gradient", shape)):
        for axes in _subsets(sizes):
            m = prod(sizes[a] for a in axes)
            for value, text in ((m, f"{m}"), (1 / m, f"1/{m}"), (1 - 1 / m, f"1 - 1/{m}"),
                                (1 / (1 - 1 / m), f"{m}/{m - 1}")):  # fmt: skip
                if abs(ratio - value) < close * abs(value) and (m != 2 or len(axes) < len(sizes)):
                    return (
                        f": {text}, and {m} is the size of axis {', '.join(map(str, axes))} of "
                        f"{what}: a mean where a sum belongs, or the other way round"
                    )
    if abs(ratio - 2) < close or abs(ratio - 0.5) < close:
        return ": a factor 2, such as the derivative of a square"
    return ": a constant factor is missing or too much"


def _factor(name: str, got: NDArray, want: NDArray, arrays: Arrays, near: float) -> Iterator[str]:
    for other, array in arrays.items():
        if other == name or array.dtype.kind != "f" or array.ndim > got.ndim or array.size < 2:
            continue
        for shape in _broadcasts(array.shape, got.shape):
            factor = array.reshape(shape)
            if _close(got * factor, want, near):
                yield f"the factor {other} is missing"
                return
            if _close(want * factor, got, near * max(1, float(np.abs(factor).max()))):
                yield f"there is a factor {other} too much"
                return


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Ways to lay `shape` along the axes of `target`, order kept."""
    for axes in combinations(range(len(target)), len(shape)):
        if all(target[a] == n for a, n in zip(axes, shape, strict=True)):
            yield tuple(target[a] if a in axes else 1 for a in range(len(target)))


def _moved(got: NDArray, want: NDArray, near: float) -> Iterator[str]:
    """The right numbers in the wrong places."""
    for i, j in combinations(range(want.ndim), 2):
        if want.shape[i] == want.shape[j] and _close(got.swapaxes(i, j), want, near):
            yield f"transposed: axes {i} and {j} are exchanged"
            return
    for axes in _subsets(want.shape):
        if _close(np.flip(got, axes), want, near):
            yield f"flipped along axis {', '.join(map(str, axes))}"
            return
    for axis, n in enumerate(want.shape):
        for shift in (1, -1):
            inner = slice(1, None) if shift == 1 else slice(None, -1)
            outer = slice(None, -1) if shift == 1 else slice(1, None)
            a, b = np.moveaxis(got, axis, 0)[inner], np.moveaxis(want, axis, 0)[outer]
            if n > 2 and np.any(b) and _close(a, b, near):
                yield f"shifted by {shift} along axis {axis}: an index or a padding is off by one"
    order = np.argsort(np.abs(got), axis=None), np.argsort(np.abs(want), axis=None)
    if want.size > 3 and _close(got.ravel()[order[0]], want.ravel()[order[1]], near):
        yield "the numbers are right, but in another order: look for a transpose or a reshape"


def _confined(error: NDArray, near: float) -> Iterator[str]:
    """Errors in some places only: a border, a channel, a task."""
    wrong = np.abs(error) > near
    for axis, n in enumerate(error.shape):
        hit = np.flatnonzero(wrong.any(tuple(a for a in range(error.ndim) if a != axis)))
        if n < 2 or len(hit) == n or len(hit) == 0:
            continue
        if len(hit) == 1:
            place = {0: ", the first", n - 1: ", the last"}.get(int(hit[0]), "")
            yield f"only at index {hit[0]} of axis {axis}{place}"
        elif set(hit) == {0, n - 1}:
            yield f"only at both borders of axis {axis}"
        else:
            yield f"only at indices {', '.join(map(str, hit[:8]))} of axis {axis}, which has {n}"


def _missing_term(name: str, error: NDArray, arrays: Arrays, near: float) -> Iterator[str]:
    """An error with a form of its own: a term that was left out, or is too much."""
    for axes in _subsets(error.shape):
        if _close(error, error.mean(axes, keepdims=True), near):
            yield (
                f"the error is the same along axis {', '.join(map(str, axes))}: a term summed or "
                "averaged over it is missing or too much, such as the path through a mean"
            )
            break
    x = arrays[name]
    for axes in _subsets(error.shape):
        centred = x - x.mean(axes, keepdims=True)
        squares = (centred * centred).sum(axes, keepdims=True)
        if prod(error.shape[a] for a in axes) < 3 or (squares == 0).any():
            continue
        fit = (error * centred).sum(axes, keepdims=True) / squares
        if np.any(fit) and _close(error, fit * centred, near):
            yield (
                f"the error is proportional to the input centred over axis "
                f"{', '.join(map(str, axes))}: the path through a variance is missing or wrong"
            )
            break


def _unwritten(got: NDArray, want: NDArray, near: float) -> Iterator[str]:
    missing = (got == 0) & (np.abs(want) > near)
    extra = (np.abs(got) > near) & (want == 0)
    if 0 < missing.sum() < want.size:
        yield f"{missing.sum()} of {want.size} entries are 0 and should not be"
    if extra.any():
        yield f"{extra.sum()} of {want.size} entries should be 0 and are not"
