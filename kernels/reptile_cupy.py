"""A meta-iteration around its inner loop on a GPU: launchers for reptile.cu."""

from typing import Any

import numpy as np

from .launch_cupy import THREADS, blocks, elements, flat, launch


def gather(x: Any, images: Any, indices: Any, clock: Any, scale: float) -> None:
    """Write x (n, ...), the images (N, ...) of uint8 of the iteration in hand, times `scale`;
    indices (iterations, n) are int32. clock (2,), int64: the row of `indices`, and the iterations
    done."""
    arguments = x, images, indices, clock, np.float32(scale), np.int64(images[0].size)
    flat("reptile", "gather", x, *arguments)


def take_row(out: Any, rows: Any, clock: Any, dtype: np.dtype) -> None:
    """Write out, the row of `rows` that the clock names; any type of 4 or 8 bytes."""
    words = out.size * out.itemsize // 4
    grid, arguments = (blocks(words), 1, 1), (out, rows, clock, np.int64(words))
    launch("reptile", "take_row", dtype, grid, (THREADS, 1, 1), *arguments)


def spread(many: Any, one: Any) -> None:
    """Write many (T, P), each row a copy of one (P,)."""
    elements("reptile", "spread", many, one.size, many, one, np.int64(one.size))


def merge(one: Any, many: Any, epsilon: Any, clock: Any, diverged: Any) -> None:
    """one (P,) += epsilon (mean of many (T, P) - one); without epsilon, the mean itself.

    epsilon : (iterations,) or None, read where the clock says
    diverged : (1,), int32: the lowest iteration whose result is not finite
    """
    T, P = many.shape
    grid, arguments = (blocks(P), 1, 1), (one, many, epsilon, clock, diverged, T, np.int64(P))
    launch("reptile", "merge", one.dtype, grid, (THREADS, 1, 1), *arguments)


def tick(clock: Any, dtype: np.dtype) -> None:
    """Go on to the next iteration."""
    launch("reptile", "tick", dtype, (1, 1, 1), (1, 1, 1), clock)


def decay(phi: Any, rate: float) -> None:
    """phi *= rate."""
    flat("reptile", "decay", phi, phi, float(rate))
