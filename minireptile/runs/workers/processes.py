"""Processes of this machine, by the standard library."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread
from typing import Any

import numpy as np

from ...devices import cupy
from ...errors import InputError
from ...lots import Job
from .base import ONE_THREAD, Known, Losses, one_thread


class Worker:
    """A process, with a pipe of its own: where it is killed in the middle of a word, the pipe ends,
    and nobody waits for the rest. (A pool of concurrent.futures does, for ever.)"""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        spawn = get_context("spawn")
        self.pipe, there = spawn.Pipe()
        self.process = spawn.Process(target=work, args=(there, rank), daemon=True)
        with _inherited():
            self.process.start()
        there.close()
        self.lot: int | None = None  # the number of what it computes

    def end(self) -> None:
        """Now, whatever it does."""
        self.pipe.close()
        self.process.kill()
        self.process.join()


class Processes:
    """A map over so many processes, which begin with the first lot: the kernels that they need are
    compiled by then, once. Another takes the place of one that is lost, and computes its lot."""

    def __init__(self, count: int) -> None:
        if parent_process() is not None:
            raise InputError(
                "a worker cannot have workers of its own: leave out --workers inside, or outside"
            )
        self.count = count
        self.known = Known(lambda sent: sent)
        self.losses = Losses()
        self.workers: list[Worker] = []

    def __call__(self, job: Callable[[range], Any], lots: Iterable[range]) -> Iterator[Any]:
        """What the job gives for each lot, in the order of the lots."""
        assert isinstance(job, Job)
        job, lots = Job(self.known(job.sent), job.changes), [*lots]
        found: dict[int, Any] = {}
        waiting = [*range(len(lots))][::-1]
        if any(worker.lot is not None for worker in self.workers):
            self.close()  # somebody did not want the rest
        for i in range(len(lots)):
            while i not in found:
                self._start()
                for worker in self.workers:
                    if worker.lot is None and waiting:
                        worker.lot = waiting.pop()
                        with suppress(OSError):  # it is lost, and its pipe says so below
                            worker.pipe.send((job, lots[worker.lot]))
                busy = {w.pipe: w for w in self.workers if w.lot is not None}
                for pipe in wait([*busy]):
                    worker = busy[pipe]  # type: ignore[index]
                    assert worker.lot is not None
                    try:
                        found[worker.lot] = worker.pipe.recv()
                    except (EOFError, OSError):
                        waiting.append(worker.lot)
                        self.workers.remove(worker)
                        worker.end()
                        self.losses.another(
                            "this machine may lack the memory for so many; lower --workers or "
                            "--meta-batch"
                        )
                        continue
                    worker.lot = None
                    self.losses.none()
            answer = found.pop(i)
            if isinstance(answer, Exception):
                raise answer
            yield answer

    def _start(self) -> None:
        try:
            for rank in sorted({*range(self.count)} - {worker.rank for worker in self.workers}):
                self.workers.append(Worker(rank))
        except OSError as error:  # of processes, or of files open
            self.close()
            raise InputError(
                f"cannot start {self.count} processes ({error}): lower --workers"
            ) from error

    def close(self) -> None:
        """End all processes."""
        while self.workers:
            self.workers.pop().end()


@contextmanager
def _inherited() -> Iterator[None]:
    """For a process that starts inside: one thread, and no ear for Ctrl-C, not even as it starts.
    A terminal sends that to all of them, and it is this process that saves the run."""
    mask = getattr(signal, "pthread_sigmask", None)
    if mask:  # whose own start would undo the next line
        import_module("multiprocessing.resource_tracker").ensure_running()
    held = mask(signal.SIG_BLOCK, {signal.SIGINT}) if mask else ()
    try:
        with one_thread():
            yield
    finally:
        if mask:
            mask(signal.SIG_SETMASK, held)


def work(pipe: Any, rank: int) -> None:
    """What a worker does: lots, until the pipe ends."""
    cupy.rank = rank
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(ONE_THREAD)
    np.seterr(all="ignore")  # of a divergence the run itself will tell
    Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):
        while True:
            job, lot = pipe.recv()
            try:
                answer = job(lot)
            except Exception as error:
                answer = error
            pipe.send(answer)


def _end_with_parent() -> None:
    """A parent that was killed tells its workers nothing."""
    parent = parent_process()
    assert parent
    parent.join()
    os._exit(1)
