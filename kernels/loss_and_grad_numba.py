"""Forward and backward through a network, Numba: the stages of a compiled call. The chain rule that
they follow is derived in loss_and_grad.md; program.py says what a row and the fields hold.

A task's mini-batch is cut into slices of images. Its threads share the slices, and meet only
where a stage needs the sums over all images. Slices, and so all sums, are the same for any number
of threads: each slice has a gradient vector of its own, and they are added in order.

A stage is compiled by itself, when a network has it, and called by its address: its arguments are
a row of the program, the thread's fields, and the number 1 of the arrays' type.
"""

import numpy as np

from . import program as p
from .batchnorm_numba import (
    image_moments,
    image_sums,
    join_moments,
    normalise,
    normalise_backward,
)
from .batchnorm_pool_numba import normalise_pool, normalise_pool_backward
from .jit_numba import inner, put
from .maxpool_numba import pool_backward, pool_forward
from .memory_numba import address_of, number, numbers, rounded, size_of
from .registers_numba import conv_products, conv_rows, conv_rows_back, turned
from .relu_numba import relu_backward, relu_forward
from .softmax_cross_entropy_numba import cross_entropies
from .squared_error_numba import squared_errors
from .sums_numba import sum_rows
from .tanh_numba import tanh_backward, tanh_forward
from .winograd_numba import half_turn, room_for, winograd_dw, winograd_forward


@inner
def size_in(row):
    return row[p.H] * row[p.WIDTH] * row[p.C]


@inner
def size_out(row):
    return row[p.H_OUT] * row[p.W_OUT] * row[p.N]


@inner
def count(c):
    """The slice's images."""
    return c[p.LAST] - c[p.FIRST]


@inner
def input_at(row, c, one, memory, offset):
    """Where the slice's images begin in something as large as the stage's input, (B, ...)."""
    return memory + (offset + c[p.FIRST] * size_in(row)) * size_of(one)


@inner
def output_at(row, c, one, memory, offset):
    """Where they begin in something as large as its output."""
    return memory + (offset + c[p.FIRST] * size_out(row)) * size_of(one)


@inner
def x_at(row, c, one):
    """Where the stage's input begins: the data, or an earlier stage's output."""
    return input_at(row, c, one, c[p.WS] if row[p.X] >= 0 else c[p.DATA], max(row[p.X], 0))


@inner
def x_of(row, c, one, shape):
    return numbers(one, x_at(row, c, one), shape)


@inner
def inputs(row, c, one, memory, offset, shape):
    return numbers(one, input_at(row, c, one, memory, offset), shape)


@inner
def outputs(row, c, one, memory, offset, shape):
    return numbers(one, output_at(row, c, one, memory, offset), shape)


@inner
def flat(row, c):
    """The slice's outputs, as one axis; as many as its inputs for what computes one by one."""
    return count(c) * size_out(row)


@inner
def by_channel(row, c):
    """The same as pixels of all images, and channels."""
    return count(c) * row[p.H_OUT] * row[p.W_OUT], row[p.N]


@inner
def parameter(one, memory, offset, shape):
    """Numbers of phi, or of a vector like it."""
    return numbers(one, memory + offset * size_of(one), shape)


@inner
def weights_of(row):
    """How many weights a convolution or a dense layer has."""
    return row[p.KH] * row[p.KW] * row[p.C] * row[p.N]


@inner
def tables_of(row, c):
    """A convolution's tables for the slice."""
    return numbers(np.int64(1), c[p.TABLES] + 8 * row[p.CUTS + c[p.SLICE]], 2**40)


@inner
def winners_of(row, c):
    """(n, H_out, W_out, C) int32, which taps won."""
    start = c[p.WINNERS] + 4 * (row[p.WINNER] + c[p.FIRST] * size_out(row))
    shape = (count(c), row[p.H_OUT], row[p.W_OUT], row[p.N])
    return numbers(np.int32(1), start, shape)


@inner
def turn(row, c, one, vector, memory):
    """Write one member's share of the weights in a vector as the way back reads them."""
    taps = row[p.KH] * row[p.KW]
    first, last = c[p.MEMBER] * taps // c[p.MEMBERS], (c[p.MEMBER] + 1) * taps // c[p.MEMBERS]
    w = parameter(one, vector, row[p.W], (taps, row[p.C], row[p.N]))
    wt = parameter(one, memory, row[p.WT], (taps, row[p.N], row[p.C]))
    turned(wt[first:last], w[first:last])


def turn_weights(row, c, one):
    turn(row, c, one, c[p.PHI], c[p.WS])


def forward_product(row, c, one):
    y, x = output_at(row, c, one, c[p.WS], row[p.Y]), x_at(row, c, one)
    w = c[p.PHI] + row[p.W] * size_of(one)
    b = c[p.PHI] + row[p.BIAS] * size_of(one) if row[p.BIAS] >= 0 else 0
    conv_rows(one, y, x, w, b, tables_of(row, c), row[p.N], 0)


def backward_product(row, c, one):
    n, wanted, tables = row[p.N], row[p.DX] >= 0, tables_of(row, c)
    x, dy = x_at(row, c, one), output_at(row, c, one, c[p.WS], row[p.DY])
    dw = parameter(one, c[p.GRAD], row[p.W], weights_of(row))
    dw[:] = 0
    conv_products(one, address_of(dw), x, dy, tables, n)
    if wanted:
        dx, wt = input_at(row, c, one, c[p.WS], row[p.DX]), c[p.WS] + row[p.WT] * size_of(one)
        conv_rows_back(one, dx, dy, wt, tables, row[p.C], 0)
    if row[p.BIAS] >= 0:
        sum_rows(parameter(one, c[p.GRAD], row[p.BIAS], n), numbers(one, dy, by_channel(row, c)))


@inner
def room_of(row, c, one):
    """Scratch for a convolution by Winograd's products: a bias, turned weights, and the rest."""
    C, n = row[p.C], row[p.N]
    room = numbers(one, c[p.SCRATCH], room_for(C, n))
    zero, wt = room[: max(C, n)], room[C + n : C + n + 9 * C * n]
    for i in range(zero.shape[0]):
        zero[i] = 0
    return zero, wt.reshape((3, 3, n, C)), room[C + n + 9 * C * n :]


@inner
def images_of(row, c, one):
    """x of the slice, and the shapes (n, H, W, C) of its inputs and (n, H, W, N) of its outputs."""
    n = count(c)
    shape = (n, row[p.H], row[p.WIDTH], row[p.C])
    return x_of(row, c, one, shape), shape, (n, row[p.H_OUT], row[p.W_OUT], row[p.N])


def forward_winograd(row, c, one):
    """As `forward_product`, with fewer multiplications (winograd.md)."""
    zero, _, room = room_of(row, c, one)
    x, _, shape = images_of(row, c, one)
    y, n = outputs(row, c, one, c[p.WS], row[p.Y], shape), row[p.N]
    w = parameter(one, c[p.PHI], row[p.W], (3, 3, row[p.C], n))
    bias = parameter(one, c[p.PHI], row[p.BIAS], n) if row[p.BIAS] >= 0 else zero[:n]
    winograd_forward(y, room, x, w, bias, row[p.PR], row[p.PC])


def backward_winograd(row, c, one):
    zero, wt, room = room_of(row, c, one)
    x, shape, shape_out = images_of(row, c, one)
    dy, n = outputs(row, c, one, c[p.WS], row[p.DY], shape_out), row[p.N]
    weights = (3, 3, row[p.C], n)
    winograd_dw(parameter(one, c[p.GRAD], row[p.W], weights), room, dy, x, row[p.PR], row[p.PC])
    if row[p.DX] >= 0:
        half_turn(wt, parameter(one, c[p.PHI], row[p.W], weights))
        dx = inputs(row, c, one, c[p.WS], row[p.DX], shape)
        winograd_forward(dx, room, dy, wt, zero[: row[p.C]], 2 - row[p.PR], 2 - row[p.PC])
    if row[p.BIAS] >= 0:
        sum_rows(parameter(one, c[p.GRAD], row[p.BIAS], n), dy.reshape(by_channel(row, c)))


@inner
def moments(row, c, one, memory):
    """Mean and spread of each image, two (B, C) arrays."""
    n = row[p.C]
    both = parameter(one, memory, row[p.SAVED] + 2 * n, (2, c[p.B], n))
    return both[0], both[1]


@inner
def sums_of(row, c, one, memory):
    """The sums of dy and dy xhat of each image, two (B, C) arrays. They do not lie over the
    moments, which a slower thread may still be reading."""
    n, start = row[p.C], row[p.SAVED] + (2 + 2 * c[p.B]) * row[p.C]
    both = parameter(one, memory, start, (2, c[p.B], n))
    return both[0], both[1]


@inner
def statistics(row, one, memory):
    """Mean and rstd (C,) of the mini-batch."""
    both = parameter(one, memory, row[p.SAVED], 2 * row[p.C])
    return both[: row[p.C]], both[row[p.C] :]


def forward_moments(row, c, one):
    means, spreads = moments(row, c, one, c[p.WS])
    n = count(c)
    x = x_of(row, c, one, (n, row[p.H] * row[p.WIDTH], row[p.C]))
    for b in range(n):
        image_moments(means[c[p.FIRST] + b], spreads[c[p.FIRST] + b], x[b])


forward_pooled_moments = forward_moments


def join_statistics(row, c, one):
    """Write mean and rstd from all images' moments. Every member computes the same numbers, and
    shows them when they are complete: the others may be reading theirs already."""
    n = row[p.C]
    means, spreads = moments(row, c, one, c[p.WS])
    mean, rstd = numbers(one, c[p.SCRATCH], n), parameter(one, c[p.SCRATCH], n, n)
    eps = number(c[p.CONSTANTS], row[p.EPS_AT])
    join_moments(mean, rstd, means, spreads, row[p.H] * row[p.WIDTH], eps)
    shared_mean, shared_rstd = statistics(row, one, c[p.WS])
    put(shared_mean, mean)
    put(shared_rstd, rstd)


def forward_normalise(row, c, one):
    n = row[p.C]
    x = x_of(row, c, one, by_channel(row, c))
    y = outputs(row, c, one, c[p.WS], row[p.Y], by_channel(row, c))
    mean, rstd = statistics(row, one, c[p.WS])
    gamma, beta = parameter(one, c[p.PHI], row[p.W], n), parameter(one, c[p.PHI], row[p.BIAS], n)
    normalise(y, x, mean, rstd, gamma, beta, row[p.WITH_RELU] == 1)


def forward_pooled(row, c, one):
    """`forward_normalise`, the max-pool behind it and its ReLU (batchnorm.md, eq. 30)."""
    n, won = row[p.C], winners_of(row, c)
    x = x_of(row, c, one, (won.shape[0], row[p.H], row[p.WIDTH], n))
    y = outputs(row, c, one, c[p.WS], row[p.Y], won.shape)
    from_x = outputs(row, c, one, c[p.WS], row[p.WON], won.shape)
    mean, rstd = statistics(row, one, c[p.WS])
    gamma, beta = parameter(one, c[p.PHI], row[p.W], n), parameter(one, c[p.PHI], row[p.BIAS], n)
    normalise_pool(y, won, from_x, x, mean, rstd, gamma, beta, row[p.WITH_RELU] == 1)


@inner
def gather_sums(row, c, one, x):
    """The sums of each image, x (n, m, C) what its outputs came from; behind a ReLU, dy becomes 0
    where y is."""
    sums, sums_xhat = sums_of(row, c, one, c[p.WS])
    mean, rstd = statistics(row, one, c[p.WS])
    y = outputs(row, c, one, c[p.WS], row[p.Y], x.shape)
    dy = outputs(row, c, one, c[p.WS], row[p.DY], x.shape)
    for b in range(x.shape[0]):
        i = c[p.FIRST] + b
        image_sums(sums[i], sums_xhat[i], dy[b], y[b], x[b], mean, rstd, row[p.WITH_RELU] == 1)


def backward_normalise(row, c, one):
    gather_sums(row, c, one, x_of(row, c, one, (count(c), row[p.H] * row[p.WIDTH], row[p.C])))


def backward_pooled(row, c, one):
    """Only the winners have a gradient (batchnorm.md, eq. 31)."""
    shape = count(c), row[p.H_OUT] * row[p.W_OUT], row[p.N]
    gather_sums(row, c, one, outputs(row, c, one, c[p.WS], row[p.WON], shape))


@inner
def total_sums(row, c, one, memory, scratch, grads):
    """Write dbeta and dgamma (C,), the sums of all images (batchnorm.md, eq. 5 and 6), into a
    member's scratch, and one member into the gradient."""
    n = row[p.C]
    sums, sums_xhat = sums_of(row, c, one, memory)
    dbeta, dgamma = numbers(one, scratch, n), parameter(one, scratch, n, n)
    sum_rows(dbeta, sums)
    sum_rows(dgamma, sums_xhat)
    if grads != 0 and c[p.MEMBER] == 0:
        put(parameter(one, grads, row[p.BIAS], n), dbeta)
        put(parameter(one, grads, row[p.W], n), dgamma)


def join_sums(row, c, one):
    total_sums(row, c, one, c[p.WS], c[p.SCRATCH], c[p.GRADS])


@inner
def totals(row, c, one):
    """What a layer's dx is computed from beside x and dy: mean, rstd, gamma, dbeta, dgamma, M."""
    n = row[p.C]
    dbeta, dgamma = numbers(one, c[p.SCRATCH], n), parameter(one, c[p.SCRATCH], n, n)
    M, gamma = c[p.B] * row[p.H] * row[p.WIDTH], parameter(one, c[p.PHI], row[p.W], n)
    mean, rstd = statistics(row, one, c[p.WS])
    return mean, rstd, gamma, dbeta, dgamma, M


def backward_moments(row, c, one):
    """x, dx and dy are those of the whole layer here."""
    shape = by_channel(row, c)
    dx = inputs(row, c, one, c[p.WS], row[p.DX], shape)
    dy = outputs(row, c, one, c[p.WS], row[p.DY], shape)
    normalise_backward(dx, dy, x_of(row, c, one, shape), *totals(row, c, one))


def backward_pooled_moments(row, c, one):
    """`backward_moments` behind a max-pool (batchnorm.md, eq. 32)."""
    won = winners_of(row, c)
    shape = won.shape[0], row[p.H], row[p.WIDTH], row[p.C]
    dx = inputs(row, c, one, c[p.WS], row[p.DX], shape)
    dy = outputs(row, c, one, c[p.WS], row[p.DY], won.shape)
    normalise_pool_backward(dx, dy, won, x_of(row, c, one, shape), *totals(row, c, one))


def forward_relu(row, c, one):
    shape = flat(row, c)
    relu_forward(outputs(row, c, one, c[p.WS], row[p.Y], shape), x_of(row, c, one, shape))


def backward_relu(row, c, one):
    shape = flat(row, c)
    dy = outputs(row, c, one, c[p.WS], row[p.DY], shape)
    relu_backward(inputs(row, c, one, c[p.WS], row[p.DX], shape), dy, x_of(row, c, one, shape))


def forward_tanh(row, c, one):
    shape = flat(row, c)
    tanh_forward(outputs(row, c, one, c[p.WS], row[p.Y], shape), x_of(row, c, one, shape))


def backward_tanh(row, c, one):
    shape = flat(row, c)
    y = outputs(row, c, one, c[p.WS], row[p.Y], shape)
    dy = outputs(row, c, one, c[p.WS], row[p.DY], shape)
    tanh_backward(inputs(row, c, one, c[p.WS], row[p.DX], shape), dy, y)


def forward_pool(row, c, one):
    won = winners_of(row, c)
    x = x_of(row, c, one, (won.shape[0], row[p.H], row[p.WIDTH], row[p.C]))
    y = outputs(row, c, one, c[p.WS], row[p.Y], won.shape)
    pool_forward(y, won, x, row[p.KH], row[p.KW], row[p.SR], row[p.SC], row[p.PR], row[p.PC])


def backward_pool(row, c, one):
    won = winners_of(row, c)
    dx = inputs(row, c, one, c[p.WS], row[p.DX], (won.shape[0], row[p.H], row[p.WIDTH], row[p.C]))
    dy = outputs(row, c, one, c[p.WS], row[p.DY], won.shape)
    pool_backward(dx, dy, won, row[p.KH], row[p.KW], row[p.SR], row[p.SC], row[p.PR], row[p.PC])


@inner
def last_of(row, c, one, memory, offset):
    """The network's outputs (n, n_out) for the slice's images, or what is as large."""
    shape = (count(c), size_out(row))
    return outputs(row, c, one, memory, offset, shape)


def cross_entropy(row, c, one):
    """The loss of each example of the slice, and its gradient; row is the last stage's."""
    labels = numbers(np.int64(1), c[p.LABELS], c[p.B])[c[p.FIRST] : c[p.LAST]]
    losses = numbers(one, c[p.EXAMPLES], c[p.B])[c[p.FIRST] : c[p.LAST]]
    out, dout = last_of(row, c, one, c[p.WS], row[p.Y]), last_of(row, c, one, c[p.WS], row[p.DY])
    cross_entropies(losses, dout, out, labels, rounded(one, number(c[p.CONSTANTS], p.SCALE)))


def squared(row, c, one):
    """`cross_entropy` for targets (B, n_out)."""
    targets = last_of(row, c, one, c[p.TARGETS], 0)
    losses = numbers(one, c[p.EXAMPLES], c[p.B])[c[p.FIRST] : c[p.LAST]]
    out, dout = last_of(row, c, one, c[p.WS], row[p.Y]), last_of(row, c, one, c[p.WS], row[p.DY])
    squared_errors(losses, dout, out, targets, rounded(one, number(c[p.CONSTANTS], p.SCALE)))


def hand_out(row, c, one):
    """The outputs of the slice's images, into the call's."""
    n = flat(row, c)
    put(outputs(row, c, one, c[p.OUT], 0, n), outputs(row, c, one, c[p.WS], row[p.Y], n))
