"""Processes of this machine, by the standard library."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any

import numpy as np

from ...errors import InputError
from ...lots import Job
from .base import ONE_THREAD, Known, Losses


class Processes:
    """A map over so many processes, which begin with the first lot: the kernels that they need are
    compiled by then, once. A pool with a dead process is of no use; another takes its place."""

    def __init__(self, count: int) -> None:
        if parent_process() is not None:
            raise InputError(
                "a worker cannot have workers of its own: leave out --workers inside, or outside"
            )
        self.count = count
        self.known = Known(lambda sent: sent)
        self.losses = Losses()
        self.pool: ProcessPoolExecutor | None = None

    def __call__(self, job: Callable[[range], Any], lots: Iterable[range]) -> Iterator[Any]:
        """What the job gives for each lot, in the order of the lots."""
        assert isinstance(job, Job)
        job, lots, done = Job(self.known(job.sent), job.changes), [*lots], 0
        while done < len(lots):
            self.pool = self.pool or started(self.count)
            try:
                for found in self.pool.map(job, lots[done:]):
                    self.losses.none()
                    done += 1
                    yield found
            except BrokenProcessPool:
                self.close()
                self.losses.another(
                    "this machine may lack the memory for so many; lower --workers or --meta-batch"
                )

    def close(self) -> None:
        """End all processes; a lot in hand is finished first."""
        if self.pool:
            self.pool.shutdown(cancel_futures=True)
        self.pool = None


def started(count: int) -> ProcessPoolExecutor:
    """A pool whose processes are there."""
    try:
        pool = ProcessPoolExecutor(count, get_context("spawn"), begin)
        with _inherited():
            for _ in range(count):  # or it would start them one by one, when it pleases
                pool.submit(os.getpid)
    except (OSError, ValueError) as error:  # of processes, or of what one may have of a pipe
        raise InputError(f"cannot start {count} processes ({error}): lower --workers") from error
    return pool


@contextmanager
def _inherited() -> Iterator[None]:
    """For a process that starts inside: one thread, and no ear for Ctrl-C, not even as it starts.
    A terminal sends that to all of them, and it is this process that saves the run."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    mask = getattr(signal, "pthread_sigmask", None)
    os.environ.update(ONE_THREAD)
    held = mask(signal.SIG_BLOCK, {signal.SIGINT}) if mask else ()
    try:
        yield
    finally:
        if mask:
            mask(signal.SIG_SETMASK, held)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def begin() -> None:
    """What a worker does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(ONE_THREAD)
    np.seterr(all="ignore")  # of a divergence the run itself will tell
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed tells its workers nothing."""
    parent = parent_process()
    assert parent
    parent.join()
    os._exit(1)
