"""The inner loop in one compiled call, Numba: k steps on each of T tasks, over several threads.

Every thread calls `work` with its own number. Tasks are dealt out whole as long as there is one for
every thread; what is left over is shared by teams: with 5 tasks on 2 cores, each core takes 2 and
both take halves of the fifth. Nothing is allocated inside.

What a step does, the program says (program.py): an inner loop, a gradient, a Hessian-vector product
or a forward pass are programs, and this is what follows them.
"""

from __future__ import annotations

import numpy as np

from .adam_numba import adam_rate, adam_with_m, adam_without_m
from .jit_numba import barrier, copy, inner, jit, put
from .memory_numba import address_of, call, number, numbers, rounded, size_of
from .program import (
    ADAPTED,
    BETA1,
    BETA2,
    CARRY,
    CONSTANTS,
    CONSTANTS_AT,
    COUNTED,
    COUNTS,
    CUT,
    DATA,
    DECAY,
    DRAW,
    DRAWN,
    EPS,
    EXAMPLES,
    FIRST,
    FIRST_MOMENT,
    GRAD,
    GRADS,
    HAND_OUT,
    IMAGES,
    INNER_STEPS,
    ITEM,
    ITERATION,
    ITERATIONS,
    LABELS,
    LAST,
    LOSS,
    LOSSES,
    LR,
    MEMBER,
    MEMBERS,
    MEMORY,
    MEMORY_BYTES,
    MERGE,
    MOMENTS_1,
    MOMENTS_2,
    MOMENTUM,
    NUMBERS,
    NUMBERS_AT,
    ONCE,
    OUT,
    OUT_BYTES,
    OUTS,
    OWN_DRAWN,
    OWN_EXAMPLES,
    OWN_GRADS,
    OWN_PITCH,
    OWN_RWS,
    OWN_SCRATCH,
    OWN_V,
    OWN_WINNERS,
    OWN_WS,
    PHI,
    PITCH,
    POLICY,
    RWS,
    SCRATCH,
    SECOND_MOMENT,
    SIZE,
    SLICE,
    SLICES,
    SOURCE,
    SOURCES,
    STAGE,
    STEP,
    SYNC,
    TABLES,
    TABLES_AT,
    TAKEN,
    TARGETS,
    TASK,
    TASKS,
    THETAS,
    VECTORS,
    WINNERS,
    WRITTEN,
    WS,
    X_BYTES,
    X_STEP,
    XS,
    Y_BYTES,
    Y_STEP,
    YS,
    B,
    P,
    V,
)
from .sgd_numba import sgd_momentum, sgd_plain

PIECE = 2048  # parameters updated at a time: their gradients stay in the first cache


@inner
def share(c):
    """The parameters of which a member takes care."""
    return c[MEMBER] * c[P] // c[MEMBERS], (c[MEMBER] + 1) * c[P] // c[MEMBERS]


@inner
def between(one, memory, start, stop):
    """Numbers start to stop of a vector."""
    return numbers(one, memory + start * size_of(one), stop - start)


@inner
def gradient(c, one, start, stop):
    """The gradient, the sum over the slices in their order, in place of the first one's."""
    total = between(one, c[GRADS], start, stop)
    for s in range(1, c[SLICES]):
        more = between(one, c[GRADS] + s * c[PITCH], start, stop)
        for i in range(total.shape[0]):
            total[i] += more[i]
    return total


def decay_weights(row, c, one):
    """phi becomes smaller, before the gradient is taken (optim.py)."""
    start, stop = share(c)
    phi, factor = between(one, c[PHI], start, stop), rounded(one, number(c[NUMBERS], DECAY))
    for i in range(phi.shape[0]):
        phi[i] *= factor


def total_loss(row, c, one):
    """The sum of the examples' losses, in their order, by one member."""
    if c[MEMBER] == 0:
        total, losses = rounded(one, 0.0), numbers(one, c[EXAMPLES], c[B])
        for b in range(c[B]):
            total += losses[b]
        numbers(one, c[LOSS], 1)[0] = total


def hand_out_gradient(row, c, one):
    """What the slices have of the gradient, or of the product, into the call's output."""
    start, stop = share(c)
    put(between(one, c[OUT], start, stop), gradient(c, one, start, stop))


def sgd_step(row, c, one):
    """phi -= lr g, or with a velocity (sgd.md)."""
    lr, momentum = number(c[NUMBERS], LR), number(c[NUMBERS], MOMENTUM)
    start, stop = share(c)
    for a in range(start, stop, PIECE):
        b = min(a + PIECE, stop)
        phi, g = between(one, c[PHI], a, b), gradient(c, one, a, b)
        if momentum == 0:
            sgd_plain(phi, g, rounded(one, lr))
        else:
            velocity = between(one, c[FIRST_MOMENT], a, b)
            sgd_momentum(phi, velocity, g, rounded(one, lr), rounded(one, momentum))


def adam_step(row, c, one):
    """Adam's step (adam.md), the one behind those taken."""
    lr, beta1, beta2 = (
        number(c[NUMBERS], LR),
        number(c[NUMBERS], BETA1),
        number(c[NUMBERS], BETA2),
    )
    t = numbers(np.int64(1), c[TAKEN], 1)[0] + c[STEP] + 1
    rate, eps = rounded(one, adam_rate(t, lr, beta1, beta2)), rounded(one, number(c[NUMBERS], EPS))
    b1, b2 = rounded(one, beta1), rounded(one, beta2)
    rest1, rest2 = rounded(one, 1 - beta1), rounded(one, 1 - beta2)
    start, stop = share(c)
    for a in range(start, stop, PIECE):
        b = min(a + PIECE, stop)
        phi, g = between(one, c[PHI], a, b), gradient(c, one, a, b)
        v = between(one, c[SECOND_MOMENT], a, b)
        if beta1 == 0:
            adam_without_m(phi, v, g, rate, b2, rest2, eps)
        else:
            adam_with_m(
                phi, between(one, c[FIRST_MOMENT], a, b), v, g, rate, b1, rest1, b2, rest2, eps
            )


@inner
def begin(plan, c, task, team, me, member, members):
    """Fill the fields of a thread for a task, whose memory is that of thread `team`."""
    memory, size, item = plan[MEMORY] + team * plan[MEMORY_BYTES], plan[SIZE], plan[ITEM]
    row = 0 if plan[MERGE] != 0 and plan[POLICY] == CARRY else task  # of the optimizer's state
    c[PHI], c[V], c[P] = memory, memory + plan[OWN_V], size
    c[WS], c[RWS] = memory + plan[OWN_WS], memory + plan[OWN_RWS]
    c[GRADS], c[PITCH] = memory + plan[OWN_GRADS], plan[OWN_PITCH]
    c[WINNERS], c[EXAMPLES] = memory + plan[OWN_WINNERS], memory + plan[OWN_EXAMPLES]
    c[SCRATCH] = plan[MEMORY] + me * plan[MEMORY_BYTES] + plan[OWN_SCRATCH]
    c[OUT] = plan[OUTS] + task * plan[OUT_BYTES]
    c[FIRST_MOMENT] = plan[MOMENTS_1] + row * size * item
    c[SECOND_MOMENT] = plan[MOMENTS_2] + row * size * item
    c[TAKEN] = plan[COUNTS] + row * 8
    c[CONSTANTS], c[TABLES], c[NUMBERS] = plan[CONSTANTS_AT], plan[TABLES_AT], plan[NUMBERS_AT]
    c[B], c[SLICES], c[MEMBER], c[MEMBERS] = plan[IMAGES], plan[CUT], member, members
    c[SOURCE], c[DRAWN], c[TASK] = plan[SOURCES], memory + plan[OWN_DRAWN], task


@inner
def follow(program, c, one, arrived):
    """One step: every instruction in turn, for the slices of one member."""
    at, width = address_of(program), 8 * program.shape[1]
    member, members, slices, B_ = c[MEMBER], c[MEMBERS], c[SLICES], c[B]
    for l in range(program.shape[0]):
        row = at + l * width
        if program[l, SYNC]:
            barrier(arrived, members)
        if program[l, ONCE]:
            call(program[l, STAGE], row, address_of(c), one)
            continue
        for s in range(member * slices // members, (member + 1) * slices // members):
            c[FIRST], c[LAST], c[SLICE] = s * B_ // slices, (s + 1) * B_ // slices, s
            c[GRAD] = c[GRADS] + s * c[PITCH]
            call(program[l, STAGE], row, address_of(c), one)


@inner
def task_of(program, plan, c, one, arrived, task, team, me, member, members):
    """One member's part in the steps on one task."""
    begin(plan, c, task, team, me, member, members)
    start, stop = share(c)
    item, drawn = plan[ITEM], plan[DRAW] != 0
    mine, some, all_ = start * item, (stop - start) * item, plan[SIZE] * item
    theirs = (c[ITERATION] if drawn else task) * all_ + mine
    barrier(arrived, members)  # the team's memory may still be another task's
    # phi is copied to where its rows begin on cache lines.
    copy(c[PHI] + mine, plan[THETAS] + theirs, some)
    if plan[VECTORS] != 0:
        copy(c[V] + mine, plan[VECTORS] + theirs, some)
    if drawn:
        call(plan[HAND_OUT], address_of(plan), address_of(c), one)
        call(plan[DRAW], address_of(plan), address_of(c), one)
    begun = c[PHI] if drawn else 0  # where the data are: in the team's own memory
    for i in range(plan[INNER_STEPS]):
        at = (c[ITERATION] * plan[INNER_STEPS] + i) * plan[TASKS] + task
        c[STEP] = i
        c[DATA] = begun + plan[XS] + task * plan[X_BYTES] + i * plan[X_STEP]
        c[LABELS] = begun + plan[YS] + task * plan[Y_BYTES] + i * plan[Y_STEP]
        c[TARGETS] = c[LABELS]
        c[LOSS] = plan[LOSSES] + at * item
        follow(program, c, one, arrived)
    if plan[WRITTEN]:
        copy(plan[ADAPTED] + task * all_ + mine, c[PHI] + mine, some)
    barrier(arrived, members)
    if member == 0 and plan[COUNTED]:
        numbers(np.int64(1), c[TAKEN], 1)[0] += plan[INNER_STEPS]


@inner
def dealt(T, member, members):
    """How the members share T tasks: so many are dealt out whole, in turns; of the others, this
    member's team has task i. The team goes from `first` up to `last`."""
    whole = T - T % members
    teams = max(T - whole, 1)
    team = member * teams // members
    return whole, whole + team, -(-team * members // teams), -(-(team + 1) * members // teams)


@jit
def work(program, plan, fields, one, arrived, member, members):
    """All that one of the threads does in a call: the tasks, or outer iterations of them.

    Parameters
    ----------
    program : (instructions, columns) int64
    plan : (TOLD,) int64, what the call is told; named as in program.py
    fields : (threads, FIELDS) int64, written
    one : the number 1 of the arrays' type
    arrived : (threads + 1, 8) int64 zeros, one row for each team and one for all, as far apart as
        cache lines
    member, members : which thread this is, of how many
    """
    T, c, together = plan[TASKS], fields[member], plan[MERGE] != 0
    whole, i, first, last = dealt(T, member, members)
    alone, more = whole // members, 0
    if together and plan[POLICY] == CARRY:  # one task after another, each by all
        alone, more, whole, i, first, last = 0, 1, 0, 0, 0, members
    last = min(last, first + plan[CUT])  # of a team, no more than there are slices
    shared = (T if more else whole < T) if member < last else 0
    for iteration in range(plan[ITERATIONS]):
        c[ITERATION] = iteration
        for j in range(alone + shared):
            task = j * members + member if j < alone else i + j * more
            begins, ends = (member, member + 1) if j < alone else (first, last)
            task_of(
                program, plan, c, one, arrived[begins], task, begins, member,
                member - begins, ends - begins,
            )  # fmt: skip
        if together:
            barrier(arrived[members], members)
            c[MEMBER], c[MEMBERS], c[P] = member, members, plan[SIZE]
            call(plan[MERGE], address_of(plan), address_of(c), one)
            barrier(arrived[members], members)
