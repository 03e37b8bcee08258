"""The compiled calls' random numbers: those of NumPy's `Generator`, to the last bit."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from minireptile.backend import why_not
from minireptile.devices.numba_setup import caching
from minireptile.rng import SEEDS, Stream, generator
from minireptile.tasks.base import minibatches

if why_not("numba"):
    pytest.skip(why_not("numba"), allow_module_level=True)

U = np.uint64
counters = st.integers(0, 2**63 - 1)


@pytest.fixture(scope="module")
def drawn() -> Any:
    """Everything that a generator draws, in turns: a function of where it begins and of sizes."""
    with caching():
        draw: Any = import_module("minireptile.kernels.draw_numba")
    jit: Any = import_module("numba").njit

    @jit
    def all_of(g, n, size, indices, replacement):
        chosen, taken = np.empty(size, np.int64), np.empty(3 * size + 2, np.int64)
        draw.choice(g, n, chosen, taken)
        number = draw.uniform(g, 0.1, 5.0)
        draw.minibatches(g, size, np.empty(size, np.int64), indices, replacement)
        order = np.empty(n, np.int64)
        draw.permutation(g, order)
        return chosen, number, order, draw.uniform(g, 0.0, 1.0)

    @jit
    def begin(g, seed, stream, iteration, task):
        draw.seed_generator(g, seed, stream, iteration, task)

    def function(
        seed: int, at: tuple[int, int, int], n: int, size: int, shape: tuple[int, int], again: bool
    ) -> Any:
        g, indices = np.full(draw.WORDS, 9, U), np.empty(shape, np.int64)
        begin(g, U(seed), *at)
        chosen, number, order, last = all_of(g, n, size, indices, again)
        return chosen, number, indices, order, last

    return function


@given(
    seed=st.integers(0, SEEDS), stream=st.sampled_from(Stream), iteration=counters, task=counters,
    n=st.integers(1, 3000), size=st.integers(1, 60), steps=st.integers(1, 6),
    batch=st.integers(1, 60), replacement=st.booleans(),
)  # fmt: skip
@example(
    seed=SEEDS, stream=Stream.TRAIN, iteration=0, task=2**63 - 1, n=1, size=1, steps=3, batch=1,
    replacement=False,
)  # fmt: skip
def test_the_numbers_are_numpys(
    drawn: Any, seed: int, stream: Stream, iteration: int, task: int, n: int, size: int,
    steps: int, batch: int, replacement: bool,
) -> None:  # fmt: skip
    size = min(n, size)
    batch = min(batch, size) if replacement else batch
    rng = generator(seed, stream, iteration, task)
    wanted: list[NDArray | float] = [
        rng.choice(n, size, replace=False),
        rng.uniform(0.1, 5.0),
        minibatches(rng, size, steps, batch, replacement),
        rng.permutation(n),
        rng.random(),
    ]
    at = int(stream), iteration, task
    got = drawn(seed, at, n, size, (steps, batch), replacement)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_falls_beyond_the_last_whole_share_is_drawn_again() -> None:
    """2^32 halves over 3 2^30 numbers leave a quarter over, which would make some likelier."""
    with caching():
        draw: Any = import_module("minireptile.kernels.draw_numba")

    @import_module("numba").njit
    def numbers(g, n, found):
        draw.seed_generator(g, U(3), 0, 0, 0)
        for i in range(found.shape[0]):
            found[i] = draw.below(g, n)

    n, found = 3 * 2**30, np.empty(100, np.int64)
    numbers(np.empty(draw.WORDS, U), n, found)
    np.testing.assert_array_equal(found, generator(3, Stream(0), 0, 0).integers(n, size=100))


def test_numpy_draws_some_of_many_with_a_set(drawn: Any) -> None:
    """Up to the sizes for which `choice` says so: the largest, and fewer than one in 50."""
    for n, size in ((10_000, 9_000), (100_000, 2_000)):
        rng = generator(3, Stream.TEST)
        wanted = rng.choice(n, size, replace=False)
        got = drawn(3, (int(Stream.TEST), 0, 0), n, size, (1, 1), False)[0]
        np.testing.assert_array_equal(got, wanted)
