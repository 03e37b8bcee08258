"""Timing work on a GPU: so many calls in a row that waiting for the last one does not count.

A launch returns before the work is done. A turn therefore queues many calls and waits once, and a
small kernel is repeated inside a captured graph, so that what is timed is the GPU and not Python.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from math import ceil
from time import perf_counter
from typing import Any

from ..measure import Timing, in_turns

Call = Callable[[], object]

LEAST = 0.005  # seconds that a turn lasts at least
MOST = 4096  # calls in a row


def cupy() -> Any:
    """CuPy, imported when it is first used."""
    return import_module("cupy")


def synchronize() -> None:
    """Wait until the GPU has done all it was given."""
    cupy().cuda.runtime.deviceSynchronize()


def gpu_turns(
    calls: dict[str, Call], rounds: int, least: float = LEAST, wait: Call = synchronize
) -> dict[str, Timing]:
    """Seconds a call, as `measure.in_turns`, for calls that queue work on a GPU.

    Parameters
    ----------
    calls : dict
        Functions without arguments, by name.
    rounds : int
        How often each has its turn.
    least : float
        Seconds that a turn lasts at least.
    wait : callable
        Returns when all that was queued is done.
    """
    sizes = {name: _size(call, least, wait) for name, call in calls.items()}
    batches: dict[str, Call] = {
        name: partial(_batch, call, sizes[name], wait) for name, call in calls.items()
    }
    timings = in_turns(batches, rounds, least=0.0)
    return {
        name: Timing(t.median / n, t.low / n, t.high / n, n)
        for (name, t), n in zip(timings.items(), sizes.values(), strict=True)
    }


def per_call(timing: Timing, calls: int) -> Timing:
    """The timing of one of several calls that were timed as one."""
    return Timing(timing.median / calls, timing.low / calls, timing.high / calls, timing.calls)


def _batch(call: Call, n: int, wait: Call) -> None:
    for _ in range(n):
        call()
    wait()


def _size(call: Call, least: float, wait: Call) -> int:
    """How many calls fill `least` seconds."""
    _batch(call, 1, wait)  # the first one compiles
    n = 1
    while n < MOST:
        start = perf_counter()
        _batch(call, n, wait)
        elapsed = perf_counter() - start
        if elapsed >= least:
            break
        n = min(MOST, 8 * n, max(n + 1, ceil(1.1 * n * least / max(elapsed, 1e-9))))
    return n
