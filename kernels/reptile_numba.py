"""Outer iterations inside the compiled call, Numba: what a task is drawn with, and the update.

The stages around those of a step (adapt_numba.py), so that many iterations are one call. Each is
called by all members of a task's team, but `merge`, which every thread is in. Derivation: adapt.md,
"The outer loop in the call"; the update, reptile.md, eq. 1.
"""

import math

import numpy as np

from . import program as p
from .adapt_numba import PIECE, between, share
from .draw_numba import WORDS, choice, minibatches, permutation, seed_generator, uniform
from .jit_numba import inner, put
from .memory_numba import number, numbers, rounded

WORD = 8  # bytes


@inner
def words(address, start, shape):
    """Whole numbers among a task's, from the start-th on."""
    return numbers(np.int64(1), address + WORD * start, shape)


@inner
def generator_of(plan, c):
    """The generator of a task, as rng.py makes it."""
    g, source = numbers(np.uint64(1), c[p.DRAWN], WORDS), words(c[p.SOURCE], 0, p.GRID + 1)
    iteration = plan[p.FIRST_ITERATION] + c[p.ITERATION]
    seed_generator(g, source[p.SEED], source[p.STREAM], iteration, c[p.TASK])
    return g, source


def draw_images(plan, c, one):
    """Which images a task has, and its mini-batches: `sample_indices` (tasks/images.py)."""
    if c[p.MEMBER] != 0:
        return
    g, source = generator_of(plan, c)
    k, B, way, shot = plan[p.INNER_STEPS], plan[p.IMAGES], source[p.WAY], source[p.SHOT]
    indices = words(c[p.DRAWN], p.DRAWN_X, (k, B))
    labels = words(c[p.DRAWN], p.DRAWN_X + k * B, (k, B))
    room = p.DRAWN_X + 2 * k * B
    picks = words(c[p.DRAWN], room, way * shot)
    order = words(c[p.DRAWN], room + way * shot, way * shot)
    room += 2 * way * shot
    classes = words(c[p.DRAWN], room, way)
    taken = words(c[p.DRAWN], room + way, 3 * max(way, shot) + 2)
    starts = words(source[p.STARTS], 0, source[p.CLASSES] + 1)
    choice(g, source[p.CLASSES], classes, taken)
    for i in range(way):
        first, some = starts[classes[i]], picks[i * shot : (i + 1) * shot]
        choice(g, starts[classes[i] + 1] - first, some, taken)
        for j in range(shot):
            some[j] += first
    minibatches(g, way * shot, order, indices, source[p.REPLACEMENT] != 0)
    for i in range(k):
        for b in range(B):
            at = indices[i, b]
            indices[i, b], labels[i, b] = picks[at], at // shot


def gather_images(row, c, one):
    """The images of a slice of this step's mini-batch: bytes times the scale, as float32."""
    source, n = words(c[p.SOURCE], 0, p.GRID + 1), c[p.B]
    size, scale = source[p.PIXELS], np.float32(number(c[p.SOURCE], p.RATIO))
    indices = words(c[p.DRAWN], p.DRAWN_X + c[p.STEP] * n, n)
    x = numbers(one, c[p.DATA], (n, size))
    for b in range(c[p.FIRST], c[p.LAST]):
        image = numbers(np.uint8(1), source[p.BYTES] + indices[b] * size, size)
        for i in range(size):
            x[b, i] = np.float32(image[i]) * scale


def draw_sine(plan, c, one):
    """A sine wave's points, and its mini-batches: `Sine.draw` (tasks/sine.py)."""
    if c[p.MEMBER] != 0:
        return
    g, source = generator_of(plan, c)
    k, B, shot, points = plan[p.INNER_STEPS], plan[p.IMAGES], source[p.SHOT], source[p.POINTS]
    x = numbers(one, c[p.DRAWN] + WORD * p.DRAWN_X, (k, B))
    y = numbers(one, c[p.DRAWN] + WORD * (p.DRAWN_X + k * B), (k, B))
    room = p.DRAWN_X + 2 * k * B
    drawn, picks = words(c[p.DRAWN], room, (k, B)), words(c[p.DRAWN], room + k * B, points)
    order = words(c[p.DRAWN], room + k * B + points, shot)
    grid = numbers(1.0, source[p.GRID], points)
    amplitude, phase = uniform(g, 0.1, 5.0), uniform(g, 0.0, 2 * math.pi)
    permutation(g, picks)
    minibatches(g, shot, order, drawn, source[p.REPLACEMENT] != 0)
    for i in range(k):
        for b in range(B):
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
    if plan[p.POLICY] == p.CARRY and c[p.TASK] > 0:
        return
    (start, stop), item = share(c), plan[p.ITEM]
    mine, at = start * item, (c[p.ITERATION] * c[p.P] + start) * item
    if plan[p.MOMENTS_1] != 0:
        begin_with(one, c[p.FIRST_MOMENT] + mine, plan[p.SHARED_1], at, stop - start)
    if plan[p.MOMENTS_2] != 0:
        begin_with(one, c[p.SECOND_MOMENT] + mine, plan[p.SHARED_2], at, stop - start)


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
    T, size, iteration, row = plan[p.TASKS], c[p.P], c[p.ITERATION], c[p.P] * plan[p.ITEM]
    epsilon = rounded(one, number(plan[p.EPSILONS], iteration))
    start, stop = share(c)
    now, then = iteration * row, (iteration + 1) * row
    for a in range(start, stop, PIECE):
        b = min(a + PIECE, stop)
        theta = between(one, plan[p.THETAS] + now, a, b)
        new = mean(one, plan[p.THETAS] + then, plan[p.ADAPTED], T, size, a, b)
        for i in range(b - a):
            new[i] = theta[i] + epsilon * (new[i] - theta[i])
    rows = 1 if plan[p.POLICY] == p.CARRY else T
    if plan[p.SHARED_1] != 0:
        mean(one, plan[p.SHARED_1] + then, plan[p.MOMENTS_1], rows, size, start, stop)
    if plan[p.SHARED_2] != 0:
        mean(one, plan[p.SHARED_2] + then, plan[p.MOMENTS_2], rows, size, start, stop)
