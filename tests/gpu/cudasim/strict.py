"""Numba's CUDA simulator, stricter and faster; `install` puts it in place.

The threads of a block take turns: each runs until it comes to a barrier or to its end, then the
next one does, in their order or (`last_first`) in the opposite one. So a race comes out the same
way every time, and nobody spends time on waiting. An index below 0, which NumPy would count from
the end, and a barrier that some threads never come to are errors, as they are on a GPU; so is a
number that two threads of a launch write, even where they agree: one of them works in vain.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numba.cuda.simulator import kernel as simulator
from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray, FakeWithinKernelCUDAArray
from numba.cuda.simulator.kernelapi import Dim3, FakeCUDAAtomic


class Worker(threading.Thread):
    """One thread of a block, again and again; the simulator asks it for its indices."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.go, self.stopped = threading.Lock(), threading.Lock()
        self.go.acquire()
        self.stopped.acquire()
        self.blockIdx = self.threadIdx = Dim3(0, 0, 0)
        self.thread_id = 0
        self.job: Any = None
        self.error: Exception | None = None
        self.done = self.abort = False
        self.start()

    def run(self) -> None:
        while True:
            self.go.acquire()
            try:
                with np.errstate(all="ignore"):  # nobody warns on a GPU
                    self.job()
            except Exception as error:
                self.error = error
            self.done = True
            self.stopped.release()

    def step(self) -> None:
        """Let it run to the next barrier, or to the end."""
        self.go.release()
        self.stopped.acquire()

    def syncthreads(self) -> None:
        self.stopped.release()
        self.go.acquire()
        if self.abort:
            raise RuntimeError("another thread failed")


WORKERS: list[Worker] = []
last_first = False
writers: dict[tuple[int, Any], tuple[Any, int]] = {}  # which thread wrote a number, in a launch


def run(self: Any, grid_point: tuple[int, ...], *arguments: Any) -> None:
    """Run one block; in place of BlockManager.run."""
    if not any(grid_point):
        writers.clear()
    points = list(np.ndindex(*self._block_dim[::-1]))
    while len(WORKERS) < len(points):
        WORKERS.append(Worker())
    live = WORKERS[: len(points)]
    for i, (worker, (z, y, x)) in enumerate(zip(live, points, strict=True)):
        worker.blockIdx, worker.threadIdx, worker.thread_id = Dim3(*grid_point), Dim3(x, y, z), i
        worker.job, worker.error = (lambda: self._f(*arguments)), None
        worker.done = worker.abort = False
    if last_first:
        live.reverse()
    error: Exception | None = None
    while live and error is None:
        for worker in live:
            worker.step()
            error = error or worker.error
        done = [worker.done for worker in live]
        if any(done) and not all(done):
            error = error or RuntimeError("some threads never came to the barrier")
        live = [worker for worker in live if not worker.done]
    for worker in live:
        worker.abort = True
        worker.step()
    if error is not None:
        raise error


def inside(index: Any) -> Any:
    for i in index if isinstance(index, tuple) else (index,):
        if not isinstance(i, slice) and i < 0:
            raise IndexError(f"index {index} is out of bounds")
    return index


def install() -> None:
    plain: Any = FakeWithinKernelCUDAArray
    array = FakeCUDAArray

    def get(self: Any, index: Any) -> Any:
        value = self._item._ary[inside(index)]
        return plain(array(value)) if isinstance(value, np.ndarray) else value

    def put(self: Any, index: Any, value: Any) -> None:
        me: Any = threading.current_thread()
        thread = tuple(me.blockIdx), me.thread_id
        if writers.setdefault((id(self._item._ary), index), thread) != thread:
            raise RuntimeError(f"two threads write the number at {index}")
        self._item._ary[inside(index)] = value

    def atomic_min(self: Any, array: Any, index: Any, value: Any) -> Any:
        old = array[index]
        array._item._ary[index] = min(old, value)
        return old

    manager: Any = simulator.BlockManager
    atomics: Any = FakeCUDAAtomic
    manager.run, atomics.min = run, atomic_min
    plain.__getitem__, plain.__setitem__ = get, put
