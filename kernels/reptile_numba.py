"""Outer iterations inside the compiled call, Numba: what a task is drawn with, and the update.

The stages around those of a step (adapt_numba.py), so that many iterations are one call. Each is
called by all members of a task's team, but `merge`, which every thread is in. Derivation: adapt.md,
"The outer loop in the call"; the update, reptile.md, eq. 1.
"""

from __future__ import annotations

import math

import numpy as np

from .adapt_numba import PIECE, between, share
from .draw_numba import WORDS, choice, minibatches, permutation, seed_generator, uniform
from .jit_numba import inner, put
from .memory_numba import number, numbers, rounded
from .program import (
    ADAPTED,
    BYTES,
    CARRY,
    CLASSES,
    DATA,
    DRAWN,
    DRAWN_X,
    EPSILONS,
    FIRST,
    FIRST_ITERATION,
    FIRST_MOMENT,
    GRID,
    IMAGES,
    INNER_STEPS,
    ITEM,
    ITERATION,
    LAST,
    MEMBER,
    MOMENTS_1,
    MOMENTS_2,
    PIXELS,
    POINTS,
    POLICY,
    RATIO,
    REPLACEMENT,
    SECOND_MOMENT,
    SEED,
    SHARED_1,
    SHARED_2,
    SHOT,
    SOURCE,
    STARTS,
    STEP,
    STREAM,
    TASK,
    TASKS,
    THETAS,
    WAY,
    B,
    P,
)

WORD = 8  # bytes


@inner
def words(address, start, shape):
    """Whole numbers among a task's, from the start-th on."""
    return numbers(np.int64(1), address + WORD * start, shape)


@inner
def generator_of(plan, c):
    """The generator of a task, as rng.py makes it."""
    g, source = numbers(np.uint64(1), c[DRAWN], WORDS), words(c[SOURCE], 0, GRID + 1)
    iteration = plan[FIRST_ITERATION] + c[ITERATION]
    seed_generator(g, source[SEED], source[STREAM], iteration, c[TASK])
    return g, source


def draw_images(plan, c, one):
    """Which images a task has, and its mini-batches: `sample_indices` (tasks/images.py)."""
    if c[MEMBER] != 0:
        return
    g, source = generator_of(plan, c)
    k, B_, way, shot = plan[INNER_STEPS], plan[IMAGES], source[WAY], source[SHOT]
    indices, labels = words(c[DRAWN], DRAWN_X, (k, B_)), words(c[DRAWN], DRAWN_X + k * B_, (k, B_))
    room = DRAWN_X + 2 * k * B_
    picks, order = words(c[DRAWN], room, way * shot), words(c[DRAWN], room + way * shot, way * shot)
    room += 2 * way * shot
    classes = words(c[DRAWN], room, way)
    taken = words(c[DRAWN], room + way, 3 * max(way, shot) + 2)
    starts = words(source[STARTS], 0, source[CLASSES] + 1)
    choice(g, source[CLASSES], classes, taken)
    for i in range(way):
        first, some = starts[classes[i]], picks[i * shot : (i + 1) * shot]
        choice(g, starts[classes[i] + 1] - first, some, taken)
        for j in range(shot):
            some[j] += first
    minibatches(g, way * shot, order, indices, source[REPLACEMENT] != 0)
    for i in range(k):
        for b in range(B_):
            at = indices[i, b]
            indices[i, b], labels[i, b] = picks[at], at // shot


def gather_images(row, c, one):
    """The images of a slice of this step's mini-batch: bytes times the scale, as float32."""
    source, n = words(c[SOURCE], 0, GRID + 1), c[B]
    size, scale = source[PIXELS], np.float32(number(c[SOURCE], RATIO))
    indices = words(c[DRAWN], DRAWN_X + c[STEP] * n, n)
    x = numbers(one, c[DATA], (n, size))
    for b in range(c[FIRST], c[LAST]):
        image = numbers(np.uint8(1), source[BYTES] + indices[b] * size, size)
        for i in range(size):
            x[b, i] = np.float32(image[i]) * scale


def draw_sine(plan, c, one):
    """A sine wave's points, and its mini-batches: `Sine.draw` (tasks/sine.py)."""
    if c[MEMBER] != 0:
        return
    g, source = generator_of(plan, c)
    k, B_, shot, points = plan[INNER_STEPS], plan[IMAGES], source[SHOT], source[POINTS]
    x = numbers(one, c[DRAWN] + WORD * DRAWN_X, (k, B_))
    y = numbers(one, c[DRAWN] + WORD * (DRAWN_X + k * B_), (k, B_))
    room = DRAWN_X + 2 * k * B_
    drawn, picks = words(c[DRAWN], room, (k, B_)), words(c[DRAWN], room + k * B_, points)
    order = words(c[DRAWN], room + k * B_ + points, shot)
    grid = numbers(1.0, source[GRID], points)
    amplitude, phase = uniform(g, 0.1, 5.0), uniform(g, 0.0, 2 * math.pi)
    permutation(g, picks)
    minibatches(g, shot, order, drawn, source[REPLACEMENT] != 0)
    for i in range(k):
        for b in range(B_):
            at = grid[picks[drawn[i, b]]]
            x[i, b], y[i, b] = np.float32(at), np.float32(amplitude * math.sin(at + phase))


@inner
def begin_with(one, own, shared, at, n):
    """A task's moments: the shared ones, or zeros where nothing is shared."""
    if shared != 0:
        put(numbers(one, own, n), numbers(one, shared + at, n))
    else:
        numbers(one, own, n)[:] = rounded(one, 0.0)


def hand_out_state(plan, c, one):
    """The optimizer's state that a task starts from: `hand_out` (optim.py)."""
    if plan[POLICY] == CARRY and c[TASK] > 0:
        return
    (start, stop), item = share(c), plan[ITEM]
    mine, at = start * item, (c[ITERATION] * c[P] + start) * item
    if plan[MOMENTS_1] != 0:
        begin_with(one, c[FIRST_MOMENT] + mine, plan[SHARED_1], at, stop - start)
    if plan[MOMENTS_2] != 0:
        begin_with(one, c[SECOND_MOMENT] + mine, plan[SHARED_2], at, stop - start)


@inner
def mean(one, to, rows, count, size, start, stop):
    """The mean of `count` rows of `size` numbers, from start to stop, summed in their order."""
    total, n = between(one, to, start, stop), rounded(one, float(count))
    put(total, between(one, rows, start, stop))
    for t in range(1, count):
        more = between(one, rows, t * size + start, t * size + stop)
        for i in range(total.shape[0]):
            total[i] += more[i]
    for i in range(total.shape[0]):
        total[i] /= n
    return total


def merge(plan, c, one):
    """theta + epsilon (mean of phi - theta), and the state to share, each in the next row."""
    T, size, iteration, row = plan[TASKS], c[P], c[ITERATION], c[P] * plan[ITEM]
    epsilon = rounded(one, number(plan[EPSILONS], iteration))
    start, stop = share(c)
    now, then = iteration * row, (iteration + 1) * row
    for a in range(start, stop, PIECE):
        b = min(a + PIECE, stop)
        theta = between(one, plan[THETAS] + now, a, b)
        new = mean(one, plan[THETAS] + then, plan[ADAPTED], T, size, a, b)
        for i in range(b - a):
            new[i] = theta[i] + epsilon * (new[i] - theta[i])
    rows = 1 if plan[POLICY] == CARRY else T
    if plan[SHARED_1] != 0:
        mean(one, plan[SHARED_1] + then, plan[MOMENTS_1], rows, size, start, stop)
    if plan[SHARED_2] != 0:
        mean(one, plan[SHARED_2] + then, plan[MOMENTS_2], rows, size, start, stop)
