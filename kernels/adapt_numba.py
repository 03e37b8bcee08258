"""The inner loop in one compiled call, Numba: k steps on each of T tasks, over several threads.

Every thread calls `work` with its own number. Tasks are dealt out whole as long as there is one for
every thread; what is left over is shared by teams: with 5 tasks on 2 cores, each core takes 2 and
both take halves of the fifth. Nothing is allocated inside.
"""

from __future__ import annotations

from .adam_numba import adam_rate, adam_with_m, adam_without_m
from .jit_numba import barrier, jit
from .loss_and_grad_numba import backward, forward, loss_of
from .program import (
    ADAM,
    BETA1,
    BETA2,
    DECAY,
    EPS,
    FORWARD,
    GRADIENT,
    H_OUT,
    LR,
    MOMENTUM,
    SGD,
    W_OUT,
    N,
    Y,
)
from .sgd_numba import sgd_momentum, sgd_plain

PIECE = 2048  # parameters updated at a time: their gradients stay in the first cache


@jit
def add_slices(grads, start, stop):
    """grads[0] becomes the sum over the slices, in their order; grads (slices, P)."""
    total = grads[0, start:stop]
    for s in range(1, grads.shape[0]):
        more = grads[s, start:stop]
        for i in range(total.shape[0]):
            total[i] += more[i]


@jit
def update(mode, phi, m, v, t, grads, numbers, start, stop):
    """The optimizer's step on phi[start:stop] of one task; t is the steps taken, this one too."""
    f = phi.dtype.type
    lr, momentum = f(numbers[LR]), f(numbers[MOMENTUM])
    beta1, beta2, eps = f(numbers[BETA1]), f(numbers[BETA2]), f(numbers[EPS])
    rest1, rest2 = f(1 - numbers[BETA1]), f(1 - numbers[BETA2])
    rate = f(0)
    if mode == ADAM:
        rate = f(adam_rate(t, numbers[LR], numbers[BETA1], numbers[BETA2]))
    for a in range(start, stop, PIECE):
        b = min(a + PIECE, stop)
        add_slices(grads, a, b)
        p, g = phi[a:b], grads[0, a:b]
        if mode == SGD and momentum == 0:
            sgd_plain(p, g, lr)
        elif mode == SGD:
            sgd_momentum(p, m[a:b], g, lr, momentum)
        elif beta1 == 0:
            adam_without_m(p, v[a:b], g, rate, beta2, rest2, eps)
        else:
            adam_with_m(p, m[a:b], v[a:b], g, rate, beta1, rest1, beta2, rest2, eps)


@jit
def adapt_task(
    mode, table, cuts, tables, layer_eps, scale, task, phi, x, labels, targets, loss, out,
    numbers, m, v, t, own, ws, winners, scratch, grads, examples, member, members, arrived,
):  # fmt: skip
    """One member's part in the steps on one task. Parameters as in `work`; own, ws, winners,
    grads and examples are the team's, scratch the member's own.

    GRADIENT leaves the gradient of the first step in out, FORWARD the network's outputs.
    """
    theirs, out, m, v = phi[task], out[task], m[task], v[task]
    f, P, B, slices = phi.dtype.type, theirs.shape[0], x.shape[2], cuts.shape[1]
    start, stop = member * P // members, (member + 1) * P // members
    taken = t[task]
    barrier(arrived, members)  # the team's memory may still be another task's
    phi = own[:P]  # where its rows begin on cache lines
    phi[start:stop] = theirs[start:stop]
    for i in range(x.shape[0]):
        if numbers[DECAY] != 1:
            decay, mine = f(numbers[DECAY]), phi[start:stop]
            for j in range(mine.shape[0]):
                mine[j] *= decay
        barrier(arrived, members)  # phi is complete, and the last step's gradients are used up
        forward(
            table, cuts, tables, layer_eps, phi, x[i, task], ws, winners, scratch,
            member, members, arrived,
        )  # fmt: skip
        if mode == FORWARD:
            row = table[table.shape[0] - 1]
            size = row[H_OUT] * row[W_OUT] * row[N]
            for s in range(member * slices // members, (member + 1) * slices // members):
                a, b = (s * B // slices) * size, ((s + 1) * B // slices) * size
                out[a:b] = ws[row[Y] + a : row[Y] + b]
            continue
        loss_of(
            table, labels[i, task], targets[i, task], ws, examples, f(scale),
            slices, member, members, B,
        )  # fmt: skip
        backward(
            table, cuts, tables, phi, x[i, task], ws, winners, scratch, grads,
            member, members, arrived,
        )  # fmt: skip
        barrier(arrived, members)
        if member == 0:
            total = f(0)
            for b in range(B):
                total += examples[b]
            loss[i, task] = total
        if mode == GRADIENT:
            add_slices(grads, start, stop)
            out[start:stop] = grads[0, start:stop]
        else:
            update(mode, phi, m, v, taken + i + 1, grads, numbers, start, stop)
    if mode >= SGD:
        theirs[start:stop] = phi[start:stop]
    barrier(arrived, members)
    if member == 0 and mode == ADAM:
        t[task] = taken + x.shape[0]


@jit
def dealt(T, member, members):
    """How the members share T tasks: so many are dealt out whole, in turns; of the others, this
    member's team has task i. The team goes from `first` up to `last`."""
    whole = T - T % members
    teams = max(T - whole, 1)
    team = member * teams // members
    return whole, whole + team, -(-team * members // teams), -(-(team + 1) * members // teams)


@jit
def work(
    mode, table, cuts, tables, layer_eps, scale, phi, x, labels, targets, loss, out, numbers,
    m, v, t, own, ws, winners, scratch, grads, examples, arrived, member, members,
):  # fmt: skip
    """All that one of the threads does in a call.

    Parameters
    ----------
    mode : FORWARD, GRADIENT, SGD or ADAM
    table, layer_eps : (stages, COLUMNS) int64 and (stages,), the network (program.py)
    cuts, tables : (stages, slices) int64, where in `tables` a convolution's begin for a slice of
        the mini-batch (tiles.py)
    scale : 1 / B for the mean over the mini-batch, 1 for the sum
    phi : (T, P), updated
    x : (k, T, B, size)
    labels, targets : (k, T, B) int64, or (k, T, 0); (k, T, B, n_out), or (k, T, 0, 0)
    loss, out : (k, T), written; (T, P) for the gradient, (T, B n_out) for the outputs, or (T, 0)
    numbers : (6,), the optimizer's
    m, v, t : (T, P) moments, or (T, 0) where there are none; (T,) steps taken
    own, ws, winners, scratch, grads, examples : a row for each thread
    arrived : (threads, 8) int64 zeros, one row for each team, as far apart as cache lines
    member, members : which thread this is, of how many
    """
    T = phi.shape[0]
    whole, i, first, last = dealt(T, member, members)
    alone = arrived[member]
    for j in range(member, whole, members):
        adapt_task(
            mode, table, cuts, tables, layer_eps, scale, j, phi, x, labels, targets, loss, out,
            numbers, m, v, t,
            own[member], ws[member], winners[member], scratch[member], grads[member],
            examples[member], 0, 1, alone,
        )  # fmt: skip
    if whole < T:
        adapt_task(
            mode, table, cuts, tables, layer_eps, scale, i, phi, x, labels, targets, loss, out,
            numbers, m, v, t,
            own[first], ws[first], winners[first], scratch[member], grads[first],
            examples[first], member - first, last - first, arrived[first],
        )  # fmt: skip
