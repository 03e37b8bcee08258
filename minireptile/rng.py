"""Counter-based randomness: every random number is a function of where it is used.

A stream is a Philox generator keyed by (seed, stream) whose counter starts at (iteration, task).
So the tasks of iteration i are the same on every backend, with any number of workers, and after
a resume, and no generator state has to be saved.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from .checks import shown, whole
from .errors import InputError

SEEDS = 2**64 - 1  # the largest seed


class Stream(IntEnum):
    """What the numbers are for; streams never overlap."""

    TRAIN = 0  # meta-training tasks
    TEST = 1  # evaluation after training
    RUNNING = 2  # the running evaluation during training
    INIT = 3  # initial parameters
    SPLIT = 4  # which classes are for training
    GLYPHS = 5  # shapes of drawn characters
    EXAMPLE = 6  # pictures and demonstrations


def generator(seed: int, stream: Stream, iteration: int = 0, task: int = 0) -> np.random.Generator:
    """The generator of one (seed, stream, iteration, task): what the numbers are for, and where in
    their stream. `InputError` if one is no whole number, is negative or does not fit 64 bits."""
    seed = whole(seed, "the seed", 0, SEEDS)
    stream = whole(stream, "the stream", 0, max(Stream))  # type: ignore[assignment]
    iteration, task = (
        whole(n, what, 0, SEEDS) for n, what in ((iteration, "the iteration"), (task, "the task"))
    )
    # Philox counts up in the first word: 2**64 blocks of four numbers before a task meets the next.
    # Given lists, NumPy would make floats of words from 2**63 on.
    key = np.array([seed, stream], np.uint64)
    counter = np.array([0, task, iteration, 0], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def drawing(rng: np.random.Generator, where: str) -> np.random.Generator:
    """`rng` itself; `InputError` if it is no generator."""
    if not isinstance(rng, np.random.Generator):
        raise InputError(
            f"{where}: rng must be a numpy.random.Generator, as numpy.random.default_rng(0) is, "
            f"not {shown(rng)}"
        )
    return rng
