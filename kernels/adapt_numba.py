"""The inner loop in one compiled call, Numba: k steps on each of T tasks, over several threads.

Every thread calls `work` with its own number. Tasks are dealt out whole as long as there is one for
every thread; what is left over is shared by teams: with 5 tasks on 2 cores, each core takes 2 and
both take halves of the fifth. Nothing is allocated inside.

What a step does, the program says (program.py): an inner loop, a gradient, a Hessian-vector product
or a forward pass are programs, and this is what follows them.
"""

import numpy as np

from . import program as p
from .adam_numba import adam_rate, adam_with_m, adam_without_m
from .jit_numba import barrier, copy, inner, jit, put
from .memory_numba import address_of, call, number, numbers, rounded, size_of
from .sgd_numba import sgd_momentum, sgd_plain

PIECE = 2048  # parameters updated at a time: their gradients stay in the first cache


@inner
def share(c):
    """The parameters of which a member takes care."""
    return c[p.MEMBER] * c[p.P] // c[p.MEMBERS], (c[p.MEMBER] + 1) * c[p.P] // c[p.MEMBERS]


@inner
def between(one, memory, start, stop):
    """Numbers start to stop of a vector."""
    return numbers(one, memory + start * size_of(one), stop - start)


@inner
def gradient(c, one, start, stop):
    """The gradient, the sum over the slices in their order, in place of the first one's."""
    total = between(one, c[p.GRADS], start, stop)
    for s in range(1, c[p.SLICES]):
        more = between(one, c[p.GRADS] + s * c[p.PITCH], start, stop)
        for i in range(total.shape[0]):
            total[i] += more[i]
    return total


def decay_weights(row, c, one):
    """phi becomes smaller, before the gradient is taken (optim.py)."""
    start, stop = share(c)
    phi, factor = between(one, c[p.PHI], start, stop), rounded(one, number(c[p.NUMBERS], p.DECAY))
    for i in range(phi.shape[0]):
        phi[i] *= factor


def total_loss(row, c, one):
    """The sum of the examples' losses, in their order, by one member."""
    if c[p.MEMBER] == 0:
        total, losses = rounded(one, 0.0), numbers(one, c[p.EXAMPLES], c[p.B])
        for b in range(c[p.B]):
            total += losses[b]
        numbers(one, c[p.LOSS], 1)[0] = total


def hand_out_gradient(row, c, one):
    """What the slices have of the gradient, or of the product, into the call's output."""
    start, stop = share(c)
    put(between(one, c[p.OUT], start, stop), gradient(c, one, start, stop))


def sgd_step(row, c, one):
    """phi -= lr g, or with a velocity (sgd.md)."""
    lr, momentum = number(c[p.NUMBERS], p.LR), number(c[p.NUMBERS], p.MOMENTUM)
    start, stop = share(c)
    for a in range(start, stop, PIECE):
        b = min(a + PIECE, stop)
        phi, g = between(one, c[p.PHI], a, b), gradient(c, one, a, b)
        if momentum == 0:
            sgd_plain(phi, g, rounded(one, lr))
        else:
            velocity = between(one, c[p.FIRST_MOMENT], a, b)
            sgd_momentum(phi, velocity, g, rounded(one, lr), rounded(one, momentum))


def adam_step(row, c, one):
    """Adam's step (adam.md), the one behind those taken."""
    lr, beta1, beta2 = (
        number(c[p.NUMBERS], p.LR),
        number(c[p.NUMBERS], p.BETA1),
        number(c[p.NUMBERS], p.BETA2),
    )
    t = numbers(np.int64(1), c[p.TAKEN], 1)[0] + c[p.STEP] + 1
    rate = rounded(one, adam_rate(t, lr, beta1, beta2))
    eps = rounded(one, number(c[p.NUMBERS], p.EPS))
    b1, b2 = rounded(one, beta1), rounded(one, beta2)
    rest1, rest2 = rounded(one, 1 - beta1), rounded(one, 1 - beta2)
    start, stop = share(c)
    for a in range(start, stop, PIECE):
        b = min(a + PIECE, stop)
        phi, g = between(one, c[p.PHI], a, b), gradient(c, one, a, b)
        v = between(one, c[p.SECOND_MOMENT], a, b)
        if beta1 == 0:
            adam_without_m(phi, v, g, rate, b2, rest2, eps)
        else:
            adam_with_m(
                phi, between(one, c[p.FIRST_MOMENT], a, b), v, g, rate, b1, rest1, b2, rest2, eps
            )


@inner
def begin(plan, c, task, team, me, member, members):
    """Fill the fields of a thread for a task, whose memory is that of thread `team`."""
    memory, size, item = plan[p.MEMORY] + team * plan[p.MEMORY_BYTES], plan[p.SIZE], plan[p.ITEM]
    row = (
        0 if plan[p.MERGE] != 0 and plan[p.POLICY] == p.CARRY else task
    )  # of the optimizer's state
    c[p.PHI], c[p.V], c[p.P] = memory, memory + plan[p.OWN_V], size
    c[p.WS], c[p.RWS] = memory + plan[p.OWN_WS], memory + plan[p.OWN_RWS]
    c[p.GRADS], c[p.PITCH] = memory + plan[p.OWN_GRADS], plan[p.OWN_PITCH]
    c[p.WINNERS], c[p.EXAMPLES] = memory + plan[p.OWN_WINNERS], memory + plan[p.OWN_EXAMPLES]
    c[p.SCRATCH] = plan[p.MEMORY] + me * plan[p.MEMORY_BYTES] + plan[p.OWN_SCRATCH]
    c[p.OUT] = plan[p.OUTS] + task * plan[p.OUT_BYTES]
    c[p.FIRST_MOMENT] = plan[p.MOMENTS_1] + row * size * item
    c[p.SECOND_MOMENT] = plan[p.MOMENTS_2] + row * size * item
    c[p.TAKEN] = plan[p.COUNTS] + row * 8
    c[p.CONSTANTS], c[p.TABLES], c[p.NUMBERS] = (
        plan[p.CONSTANTS_AT],
        plan[p.TABLES_AT],
        plan[p.NUMBERS_AT],
    )
    c[p.B], c[p.SLICES], c[p.MEMBER], c[p.MEMBERS] = plan[p.IMAGES], plan[p.CUT], member, members
    c[p.SOURCE], c[p.DRAWN], c[p.TASK] = plan[p.SOURCES], memory + plan[p.OWN_DRAWN], task


@inner
def follow(program, c, one, arrived):
    """One step: every instruction in turn, for the slices of one member."""
    at, width = address_of(program), 8 * program.shape[1]
    member, members, slices, B = c[p.MEMBER], c[p.MEMBERS], c[p.SLICES], c[p.B]
    for l in range(program.shape[0]):
        row = at + l * width
        if program[l, p.SYNC]:
            barrier(arrived, members)
        if program[l, p.ONCE]:
            call(program[l, p.STAGE], row, address_of(c), one)
            continue
        for s in range(member * slices // members, (member + 1) * slices // members):
            c[p.FIRST], c[p.LAST], c[p.SLICE] = s * B // slices, (s + 1) * B // slices, s
            c[p.GRAD] = c[p.GRADS] + s * c[p.PITCH]
            call(program[l, p.STAGE], row, address_of(c), one)


@inner
def task_of(program, plan, c, one, arrived, task, team, me, member, members):
    """One member's part in the steps on one task."""
    begin(plan, c, task, team, me, member, members)
    start, stop = share(c)
    item, drawn = plan[p.ITEM], plan[p.DRAW] != 0
    mine, some, all_ = start * item, (stop - start) * item, plan[p.SIZE] * item
    theirs = (c[p.ITERATION] if drawn else task) * all_ + mine
    barrier(arrived, members)  # the team's memory may still be another task's
    # phi is copied to where its rows begin on cache lines.
    copy(c[p.PHI] + mine, plan[p.THETAS] + theirs, some)
    if plan[p.VECTORS] != 0:
        copy(c[p.V] + mine, plan[p.VECTORS] + theirs, some)
    if drawn:
        call(plan[p.HAND_OUT], address_of(plan), address_of(c), one)
        call(plan[p.DRAW], address_of(plan), address_of(c), one)
    begun = c[p.PHI] if drawn else 0  # where the data are: in the team's own memory
    for i in range(plan[p.INNER_STEPS]):
        at = (c[p.ITERATION] * plan[p.INNER_STEPS] + i) * plan[p.TASKS] + task
        c[p.STEP] = i
        c[p.DATA] = begun + plan[p.XS] + task * plan[p.X_BYTES] + i * plan[p.X_STEP]
        c[p.LABELS] = begun + plan[p.YS] + task * plan[p.Y_BYTES] + i * plan[p.Y_STEP]
        c[p.TARGETS] = c[p.LABELS]
        c[p.LOSS] = plan[p.LOSSES] + at * item
        follow(program, c, one, arrived)
    if plan[p.WRITTEN]:
        copy(plan[p.ADAPTED] + task * all_ + mine, c[p.PHI] + mine, some)
    barrier(arrived, members)
    if member == 0 and plan[p.COUNTED]:
        numbers(np.int64(1), c[p.TAKEN], 1)[0] += plan[p.INNER_STEPS]


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
    T, c, together = plan[p.TASKS], fields[member], plan[p.MERGE] != 0
    whole, i, first, last = dealt(T, member, members)
    alone, more = whole // members, 0
    if together and plan[p.POLICY] == p.CARRY:  # one task after another, each by all
        alone, more, whole, i, first, last = 0, 1, 0, 0, 0, members
    last = min(last, first + plan[p.CUT])  # of a team, no more than there are slices
    shared = (T if more else whole < T) if member < last else 0
    for iteration in range(plan[p.ITERATIONS]):
        c[p.ITERATION] = iteration
        for j in range(alone + shared):
            task = j * members + member if j < alone else i + j * more
            begins, ends = (member, member + 1) if j < alone else (first, last)
            task_of(
                program, plan, c, one, arrived[begins], task, begins, member,
                member - begins, ends - begins,
            )  # fmt: skip
        if together:
            barrier(arrived[members], members)
            c[p.MEMBER], c[p.MEMBERS], c[p.P] = member, members, plan[p.SIZE]
            call(plan[p.MERGE], address_of(plan), address_of(c), one)
            barrier(arrived[members], members)
