"""Tasks in lots: what a worker does with some of an iteration's T tasks, and how lots are joined.

An algorithm is a function of a lot, which gives (losses, updates, states) of its tasks, and an
outer loop that joins the lots in the order of the tasks. Each task depends on its own number alone
(`Loops.sample`), so the same bits come out for any lots, and wherever they were computed.
"""

from __future__ import annotations

import os
import pickle
import platform
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from copy import copy
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checks import shown
from .errors import InputError
from .loops import Loops, Snapshot
from .model import Model
from .optim import State, merge

Lot = tuple[NDArray, NDArray, State]  # losses (k, n), updates (n, P), states of the n tasks
Each = Callable[[Callable[[range], Any], range], Iterable[Any]]
Map = Callable[[Callable[[range], Any], Iterable[range]], Iterable[Any]]


def at_once(lot: Callable[[range], Any], tasks: range) -> Iterable[Any]:
    """All tasks as one lot, here."""
    return (lot(tasks),)


def join(lots: Iterable[Lot], run: Snapshot, loops: Loops) -> Lot:
    """The losses (k, T) and the updates (T, P) of all tasks, in their order, and the state to
    share from now on."""
    losses, updates, states = zip(*lots, strict=True)
    if len(losses) == 1:
        loss, update, each = losses[0], updates[0], states[0]
    else:
        loss, update = np.concatenate(losses, axis=1), np.concatenate(updates)
        each = {name: np.concatenate([state[name] for state in states]) for name in states[0]}
    return loss, update, run.state if loops.state == "fresh" else merge(each)


def split(tasks: range, count: int) -> list[range]:
    """Up to `count` lots of tasks that are neighbours, of nearly equal sizes."""
    count = min(count, len(tasks))
    edges = [tasks.start + len(tasks) * i // count for i in range(count + 1)]
    return [range(a, b) for a, b in pairwise(edges)]


def in_lots(map: Map, size: int | None = None) -> Each:
    """Have lots computed by `map`: the builtin one, an executor's, or `minireptile.runs.workers`'.

    Its workers get a lot each, where it says how many there are, as an executor's does; otherwise
    every task is a lot. With `size`, a lot has so many tasks at most, and each worker as many lots.
    """
    if not callable(map):
        raise InputError(f"map must be a function such as an executor's map, not {shown(map)}")
    owner = getattr(map, "__self__", map)
    sent: list[Sent] = []

    def each(lot: Callable[[range], Any], tasks: range) -> Iterator[Any]:
        assert isinstance(lot, partial)
        if not sent:
            sent.append(Sent((lot.func, *lot.args)))
        count = getattr(owner, "count", None) or getattr(owner, "_max_workers", None)
        job = Job(sent[0], lot.keywords)
        if size and not count:
            return iter(map(job, [tasks[i : i + size] for i in range(0, len(tasks), size)]))
        lots = count or len(tasks)
        if size:
            lots *= -(-len(tasks) // (lots * size))
        return iter(map(job, split(tasks, lots)))

    return each


def check_parallel(loops: Loops) -> None:
    """`InputError` if the tasks cannot be adapted to apart from each other."""
    if loops.state == "carry":
        raise InputError(
            "state='carry' hands the optimizer's state from one task to the next, so one worker "
            "does it all: choose state='mean' (or 'fresh'), or train without workers"
        )


class Sent:
    """What all lots of a run have in common: the function of a lot, the model, the tasks, the
    optimizer. To another process it goes once, as a file of this user's; there, it is kept."""

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self.parts = parts
        self.path = ""
        self.own = threading.local()
        self.own.parts = parts

    @property
    def here(self) -> tuple[Any, ...]:
        """For this thread: a model computes one thing at a time, so each thread has its own."""
        if not hasattr(self.own, "parts"):
            self.own.parts = tuple(copy(p) if isinstance(p, Model) else p for p in self.parts)
        return self.own.parts

    @property
    def key(self) -> str:
        """A name for it that no other has."""
        return self.path or self._write()

    def _write(self) -> str:
        number, self.path = tempfile.mkstemp(prefix="minireptile-", suffix=".lot")
        with open(number, "wb") as file:
            pickle.dump(self.parts, file)
        weakref.finalize(self, _forget, self.path, os.getpid())
        return self.path

    def __reduce__(self) -> tuple[Any, ...]:
        return arrived, (self.key,)


def _forget(path: str, owner: int) -> None:
    if os.getpid() == owner:
        with suppress(OSError):
            Path(path).unlink()


@lru_cache(4)
def arrived(path: str) -> Sent:
    """In a worker: what was sent, read once. `InputError` if it is not this user's, or not here."""
    try:
        if os.stat(path).st_uid != os.getuid():
            raise PermissionError(13, "it is somebody else's")
        with open(path, "rb") as file:
            return Sent(pickle.load(file))
    except OSError as error:
        raise InputError(
            f"a worker on {platform.node()} cannot read {path} ({error.strerror}): this map is for "
            "workers on one machine; for others, minireptile train --workers"
        ) from error


class Job:
    """One lot, to be computed anywhere: called with the numbers of its tasks."""

    def __init__(self, sent: Sent, changes: dict[str, Any]) -> None:
        self.sent = sent
        self.changes = changes  # what changes from one iteration to the next

    def __call__(self, which: range) -> Any:
        function, *parts = self.sent.here
        return function(*parts, which, **self.changes)
