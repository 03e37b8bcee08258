"""Threads for the compiled calls, and BLAS held to one thread in each of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib import import_module
from threading import Lock
from typing import Any

from ..devices.numba_setup import caching

_turn = Lock()  # a team of threads is complete or not there at all: calls do not mix


def run(kernel: str, arguments: tuple, members: int, hold: bool = True) -> None:
    """Call a kernel's `work` in so many threads, this one among them; hold BLAS to one thread
    meanwhile. The last argument is where its barriers count."""
    work = _work(kernel)
    with _turn, blas_held() if hold else nullcontext():
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


@contextmanager
def blas_held() -> Iterator[None]:
    """One BLAS thread for each of ours, whatever the environment says, and as before afterwards."""
    changed = [(blas, n) for blas in _blas() if (n := blas.get_num_threads()) != 1]
    for blas, _ in changed:
        blas.set_num_threads(1)
    try:
        yield
    finally:
        for blas, n in changed:
            blas.set_num_threads(n)


@cache
def _blas() -> list[Any]:
    """The BLAS libraries of this process, SciPy's among them."""
    found = import_module("threadpoolctl").ThreadpoolController().select(user_api="blas")
    return list(found.lib_controllers)
