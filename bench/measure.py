"""Timing variants in turns, and checking them before.

A shared machine is now faster, now slower. Variants that take turns meet the same machine, so that
the ratio of their medians stays when the times themselves do not.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, sqrt
from time import perf_counter

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from minireptile.errors import InputError

MOST = 2**20  # calls in a row, however short
TIMES_ROUNDING = 10.0  # so much more than rounding explains is a mistake


class Mismatch(Exception):
    """A variant gives other numbers than the reference, so its time means nothing."""


@dataclass(frozen=True)
class Timing:
    """Seconds a call: the median of the rounds and their quartiles."""

    median: float
    low: float
    high: float
    calls: int  # calls in a row in each round


def in_turns(
    calls: Mapping[str, Callable[[], object]], rounds: int = 15, least: float = 0.02,
    wait: Callable[[], object] = lambda: None,
) -> dict[str, Timing]:  # fmt: skip
    """Time every call in every round, one after another; each is called once or more before.

    A turn lasts `least` seconds: a shorter call is repeated. At its end `wait` is called, which
    returns when all is done that calls have queued on a GPU. `InputError` if `rounds` is below 1 or
    `least` is negative.
    """
    if rounds < 1:
        raise InputError(f"rounds must be at least 1, not {rounds}")
    if not 0 <= least < np.inf:
        raise InputError(f"a turn must last 0 seconds or more, not {least}")
    for call in calls.values():
        _time(call, 1, wait)
    repeats = {name: _repeats(call, least, wait) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name].append(_time(call, repeats[name], wait) / repeats[name])
    return {name: _timing(turns, repeats[name]) for name, turns in seconds.items()}


def clocked(call: Callable[[], object]) -> float:
    """Seconds of a call."""
    return _time(call, 1, lambda: None)


def rounding(dtype: DTypeLike, terms: float = 1) -> float:
    """How far apart two sums of so many terms may be, in sizes of the sum: 10 eps sqrt(terms).

    Each of n additions rounds what has been summed up so far by eps / 2 of it or less, up or down
    alike, so that n errors make up about sqrt(n) of one, whichever order the terms come in and
    however many at a time. Ten times that is what no processor should need.
    """
    return TIMES_ROUNDING * float(np.finfo(dtype).eps) * sqrt(terms)


def close_phi(name: str, phi: NDArray, wanted: NDArray, theta: NDArray, steps: int) -> None:
    """Check phi (..., P) after so many small steps from theta (P,), each by its length.

    Every step rounds phi to eps of its size, whatever it adds:
    ||phi - wanted|| <= rounding(steps) ||theta||. `Mismatch` if a phi is further off. In single
    precision a ReLU may be on here and off there, which sends a task another way: one in ten may
    be off by ten times as much.
    """
    off = np.linalg.norm(phi - wanted, axis=-1) / np.linalg.norm(theta)
    if theta.dtype == np.float32 and off.ndim:
        off[np.argsort(off)[len(off) - len(off) // 10 :]] /= 10
    close(f"{name}, error of phi", off, 0 * off, 0.0, rounding(theta.dtype, steps))


def close(name: str, got: ArrayLike, wanted: ArrayLike, rtol: float, atol: float) -> None:
    """Check |got - wanted| <= atol + rtol |wanted|, entry by entry. `Mismatch` naming the variant
    and its worst entry, if one is off, or the shapes, if they differ."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    if got.shape != wanted.shape:
        raise Mismatch(f"{name}: shape {got.shape} where {wanted.shape} was expected")
    excess = np.abs(got - wanted) - (atol + rtol * np.abs(wanted))
    excess = np.where(np.isnan(excess), np.inf, excess)
    if excess.size and excess.max() > 0:
        worst = np.unravel_index(int(excess.argmax()), got.shape)
        at = ", ".join(str(int(i)) for i in worst)
        raise Mismatch(
            f"{name}: {np.count_nonzero(excess > 0)} of {got.size} entries differ, the worst at "
            f"[{at}]: {got[worst]} where {wanted[worst]} was expected"
        )


def _repeats(call: Callable[[], object], least: float, wait: Callable[[], object]) -> int:
    """How many calls in a row fill `least` seconds."""
    n = 1
    while n < MOST and (elapsed := _time(call, n, wait)) < least:
        # A tenth more than seems enough, but at most tenfold: the first guess rests on one call.
        n = min(MOST, 10 * n, ceil(1.1 * n * least / max(elapsed, 1e-9)))
    return n


def _time(call: Callable[[], object], n: int, wait: Callable[[], object]) -> float:
    start = perf_counter()
    for _ in range(n):
        call()
    wait()
    return perf_counter() - start


def _timing(seconds: list[float], calls: int) -> Timing:
    low, median, high = np.percentile(seconds, (25, 50, 75))
    return Timing(float(median), float(low), float(high), calls)
