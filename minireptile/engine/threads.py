"""Threads for the compiled calls."""

import os
from collections.abc import Callable
from functools import cache
from importlib import import_module
from threading import Lock
from typing import Any

from ..devices.numba_setup import caching

WORTH_THREADS = 10**7  # multiply-adds of a whole call: about as long as waking threads takes

_turn = Lock()  # a team of threads is complete or not there at all: calls do not mix


def run(kernel: str, arguments: tuple, members: int) -> None:
    """Call a kernel's `work` in so many threads, this one among them. The last argument is where
    its barriers count."""
    work = _work(kernel)
    with _turn:
        if members == 1:
            work(*arguments, 0, 1)
            return
        arguments[-1][:] = 0  # nobody has arrived at a barrier yet
        waiting = [
            _pool(os.getpid()).submit(work, *arguments, i, members) for i in range(1, members)
        ]
        try:
            work(*arguments, 0, members)
        finally:
            import_module("concurrent.futures").wait(waiting)


@cache
def _pool(process: int) -> Any:
    """This process's threads; a fork has none of its parent's."""
    return import_module("concurrent.futures").ThreadPoolExecutor(
        max(1, threads() - 1), "minireptile"
    )


@cache
def _work(kernel: str) -> Callable[..., None]:
    with caching():
        return import_module(f"minireptile.kernels.{kernel}").work


@cache
def threads() -> int:
    """How many threads a call may use: the cores this process may run on, or NUMBA_NUM_THREADS."""
    allowed = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    return min(import_module("numba").config.NUMBA_NUM_THREADS, len(allowed))


def members_for(products: float, most: int) -> int:
    """How many threads, of at most so many, a call of so many multiply-adds is worth."""
    return min(threads(), most) if products >= WORTH_THREADS else 1
