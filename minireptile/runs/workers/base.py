"""What the maps over workers have in common."""

import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import numpy as np

from ...errors import InputError
from ...lots import Job, Sent
from .. import console

ONE_THREAD = dict.fromkeys(
    ("NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1"
)
KEPT = 4  # of a run: training, its running evaluation, its test
LOSSES = 3  # of workers, one after another without a lot in between, are chance


def launched() -> tuple[int, int]:
    """Which of the processes that mpiexec started this is, and how many there are, by what MPICH
    and Open MPI say to each; (0, 1) without it."""
    for rank, size in (("PMI_RANK", "PMI_SIZE"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")):
        with suppress(KeyError, ValueError):
            return int(os.environ[rank]), int(os.environ[size])
    return 0, 1


class Pool(Protocol):
    """A map over `count` workers."""

    @property
    def count(self) -> int:
        """How many there are."""

    def __call__(self, job: Callable[[range], Any], lots: Iterable[range]) -> Iterator[Any]:
        """What the job gives for each lot, in the order of the lots."""

    def close(self) -> None:
        """Let the workers go; none is left behind."""


class Known:
    """What workers were told before. Model and tasks are the same from one evaluation to the next,
    and go to them once."""

    def __init__(self, tell: Callable[[Sent], Any]) -> None:
        self.tell = tell
        self.kept: dict[tuple[int, ...], tuple[Sent, Any]] = {}

    def __call__(self, sent: Sent) -> Any:
        """What `tell` made of these parts when they were new."""
        key = tuple(map(id, sent.parts))  # which live as long as they are kept
        if key not in self.kept:
            while len(self.kept) >= KEPT:
                del self.kept[next(iter(self.kept))]
            self.kept[key] = sent, self.tell(sent)
        return self.kept[key][1]

    def forget(self) -> None:
        """All of it: the workers are others now."""
        self.kept.clear()


class Losses:
    """Workers that are lost: their lots are computed again, unless nothing else happens."""

    def __init__(self) -> None:
        self.running = self.all = 0

    def none(self) -> None:
        """A lot was computed."""
        self.running = 0

    def another(self, advice: str) -> None:
        """One more. `InputError` if it is one too many."""
        self.running += 1
        self.all += 1
        if self.running > LOSSES:
            raise InputError(
                f"workers were lost {self.running} times without a lot in between: {advice}"
            )
        if self.all == 1:
            console.say("a worker was lost; its tasks are computed again", stderr=True)


def packed(sent: Sent) -> bytes:
    """What all lots of a run have in common, for another machine. Only workers that this program
    has been told to trust get it, and unpickle it."""
    return pickle.dumps(sent.parts, pickle.HIGHEST_PROTOCOL)


def unpacked(parts: bytes) -> Sent:
    """The same, there."""
    return Sent(pickle.loads(parts))


def compute(sent: Sent, changes: dict[str, Any], lot: range) -> Any:
    """A lot, on a worker; of a divergence the run itself will tell."""
    with np.errstate(all="ignore"):
        return Job(sent, changes)(lot)


@contextmanager
def one_thread() -> Iterator[None]:
    """For processes that start inside."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def hold_to_one_thread() -> None:
    """As many threads as there are workers are enough. Numba and what it brings are not loaded yet,
    where this comes first."""
    for name, one in ONE_THREAD.items():
        os.environ.setdefault(name, one)
