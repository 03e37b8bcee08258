"""A meta-iteration around its inner loop, Numba CUDA. The formulas are those of reptile.py.

A thread for each parameter, or for each number of the input. Which iteration it is, is read from a
clock on the device, (2,) int64: the iterations since the data came, and since the run began. So the
host can queue many iterations and need not wait for any.
"""

import math

import numpy as np

from .jit_cuda import BLOCK, blocks, cuda, flat, launch, launch_each


@cuda.jit
def _gather(x, images, indices, clock, scale):
    index = cuda.grid(1)
    if index < x.size:
        size = images.shape[1]
        image = indices[clock[0], index // size]
        x[index] = np.float32(images[image, index % size]) * scale  # single, as on the host


def gather(x, images, indices, clock, scale):
    """Write x (n, ...), the images (N, ...) of uint8 of the iteration in hand, times `scale`;
    indices (iterations, n) are int32, the clock (2,) int64."""
    images = images.reshape(images.shape[0], images.size // images.shape[0])
    indices = indices.reshape(indices.shape[0], indices.size // indices.shape[0])
    launch_each(_gather, x.size, flat(x), images, indices, clock, np.float32(scale))


@cuda.jit
def _take_row(out, rows, clock):
    i = cuda.grid(1)
    if i < out.size:
        out[i] = rows[clock[0], i]


def take_row(out, rows, clock, dtype=None):
    """Write out, the row of `rows` that the clock names; dtype is that of neither, and not used."""
    rows = rows.reshape(rows.shape[0], rows.size // rows.shape[0])
    launch_each(_take_row, out.size, flat(out), rows, clock)


@cuda.jit
def _spread(many, one):
    t, i = cuda.blockIdx.y, cuda.grid(1)
    if i < one.size:
        many[t, i] = one[i]


def spread(many, one):
    """Write many (T, P), each row a copy of one (P,)."""
    launch(_spread, (blocks(one.size), many.shape[0]), (BLOCK,), many, one)


@cuda.jit(device=True)
def _mean(many, i):
    """The mean over the tasks of many (T, P) at i, summed in their order."""
    total = many[0, i]
    for t in range(1, many.shape[0]):
        total += many[t, i]
    return total / many.dtype.type(many.shape[0])


@cuda.jit
def _merge(one, many, epsilon, blend, clock, diverged):
    i = cuda.grid(1)
    if i < one.size:
        result = _mean(many, i)
        if blend:
            result = one[i] + epsilon[clock[0]] * (result - one[i])
        one[i] = result
        if not math.isfinite(result):
            cuda.atomic.min(diverged, 0, clock[1] + 1)


def merge(one, many, epsilon, clock, diverged):
    """one (P,) += epsilon (mean of many (T, P) - one); without epsilon, the mean itself.

    epsilon : (iterations,) or None, read where the clock says
    clock : (2,), int64
    diverged : (1,), int32: the lowest iteration whose result is not finite
    """
    blend = epsilon is not None
    arguments = one, many, epsilon if blend else one, blend, clock, diverged
    launch_each(_merge, one.size, *arguments)


@cuda.jit
def _tick(clock):
    i = cuda.grid(1)
    if i < clock.size:
        clock[i] += 1


def tick(clock, dtype=None):
    """Go on to the next iteration. dtype is not used."""
    launch_each(_tick, clock.size, clock)


@cuda.jit
def _decay(phi, rate):
    i = cuda.grid(1)
    if i < phi.size:
        phi[i] *= rate


def decay(phi, rate):
    """phi *= rate."""
    launch_each(_decay, phi.size, flat(phi), phi.dtype.type(rate))
