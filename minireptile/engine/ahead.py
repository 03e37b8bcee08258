"""Drawing the tasks of iterations to come in other processes.

A GPU is done with a meta-iteration in less time than one process needs to draw it. Worker w of n
draws the chunks w, w + n, ... and writes them to its standard output; it is ahead by what the pipe
holds. Tasks depend on (seed, iteration, task) alone, so it does not matter who draws them.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..loops import Loops
from ..tasks.images import FewShot, ImageClasses

MOST_WORKERS = 4
WORTH = 2000  # iterations: below, starting processes takes longer than it saves

Chunk = tuple[NDArray[np.int32], NDArray[np.int64]]  # indices and labels, (n, k, T, B) each


@dataclass(frozen=True)
class Order:
    """What a worker is told: the tasks' classes, the loops, and which chunks are its own."""

    starts: list[int]
    way: int
    loops: dict[str, Any]
    first: int  # iteration of its first chunk
    step: int  # iterations from one of its chunks to the next
    chunk: int  # iterations in a chunk


def chunks(tasks: FewShot, loops: Loops, first: int, chunk: int) -> Iterator[Chunk]:
    """The indices and labels of all iterations from `first`, `chunk` iterations at a time."""
    workers = min(MOST_WORKERS, (os.cpu_count() or 1) - 1)
    if workers < 1 or loops.iterations - first < WORTH:
        for at in range(first, loops.iterations, chunk):
            yield draw(tasks, loops, at, min(chunk, loops.iterations - at))
        return
    orders = [
        Order(
            tasks.data.starts.tolist(), tasks.n_out, asdict(loops),
            first + w * chunk, workers * chunk, chunk,
        )
        for w in range(workers)
    ]  # fmt: skip
    started = [_start(order) for order in orders]
    try:
        shape = loops.inner_steps, loops.meta_batch, loops.inner_batch
        for number, at in enumerate(range(first, loops.iterations, chunk)):
            n = min(chunk, loops.iterations - at)
            drawn = _read(started[number % workers], n, shape)
            yield drawn or draw(tasks, loops, at, n)  # a worker that died is done without
    finally:
        for process in started:
            process.kill()
            process.communicate()


def draw(tasks: FewShot, loops: Loops, first: int, n: int) -> Chunk:
    """The indices and labels of n iterations."""
    indices, labels = zip(
        *(loops.sample_indices(tasks, it) for it in range(first, first + n)), strict=True
    )
    return np.stack(indices), np.stack(labels)


def _start(order: Order) -> subprocess.Popen:
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, "-m", "minireptile.engine.ahead"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,  # Ctrl-C is for the process that trains
    )  # fmt: skip
    assert process.stdin
    try:
        process.stdin.write(json.dumps(asdict(order)).encode())
        process.stdin.close()
    except BrokenPipeError:  # it died, which shows when its chunks are read
        pass
    process.stdin = None
    return process


def _read(process: subprocess.Popen, n: int, shape: tuple[int, ...]) -> Chunk | None:
    """A chunk from a worker; None if it has ended without it."""
    assert process.stdout
    count = n * int(np.prod(shape))
    data = process.stdout.read(count * 12)
    if len(data) < count * 12:
        return None
    indices = np.frombuffer(data, np.int32, count).reshape(n, *shape)
    return indices, np.frombuffer(data, np.int64, count, 4 * count).reshape(n, *shape)


def work() -> None:
    """Be a worker: read the order, write the chunks."""
    order = Order(**json.load(sys.stdin))
    images = np.empty((0, 1, 1, 1), np.uint8)  # only their numbers matter
    starts = np.array(order.starts)
    data = ImageClasses(images, starts, tuple(map(str, range(len(starts) - 1))), 1.0)
    tasks, loops = FewShot(data, order.way), Loops(**order.loops)
    for first in range(order.first, loops.iterations, order.step):
        n = min(order.chunk, loops.iterations - first)
        for array in draw(tasks, loops, first, n):
            sys.stdout.buffer.write(array.tobytes())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    try:
        work()
    except BrokenPipeError:  # nobody needs the rest
        os._exit(0)
