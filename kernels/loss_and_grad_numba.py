"""Forward and backward through a network in one compiled call, Numba. The chain rule that they
follow is derived in loss_and_grad.md; program.py says what the table holds.

A task's mini-batch is cut into slices of images. Its threads share the slices, and meet only
where a stage needs the sums over all images. Slices, and so all sums, are the same for any number
of threads: each slice has a gradient vector of its own, and they are added in order.
"""

from __future__ import annotations

from .batchnorm_numba import (
    image_moments,
    image_sums,
    image_sums_relu,
    join_moments,
    normalise,
    normalise_backward,
)
from .conv2d_numba import sum_rows
from .dense_numba import fill_rows, rows_dw, rows_dx, rows_w
from .jit_numba import barrier, jit
from .maxpool_numba import pool_backward, pool_forward
from .program import (
    BIAS,
    CONV,
    DENSE,
    DX,
    DY,
    H_OUT,
    KH,
    KIND,
    KW,
    MOMENTS,
    NORMALISE,
    PC,
    POOL,
    PR,
    RELU,
    SAVED,
    SC,
    SR,
    SYNC,
    SYNC_BACK,
    TANH,
    W_OUT,
    WIDTH,
    WINNER,
    WITH_RELU,
    WT,
    C,
    H,
    N,
    W,
    X,
    Y,
)
from .registers_numba import address_of, conv_products, conv_rows, conv_rows_back, turned
from .relu_numba import relu_backward, relu_forward
from .softmax_cross_entropy_numba import cross_entropies
from .squared_error_numba import squared_errors
from .tanh_numba import tanh_backward, tanh_forward


@jit
def images(memory, offset, first, last, size):
    """The part of a (B, size) array at an offset that holds images first to last, flat."""
    return memory[offset + first * size : offset + last * size]


@jit
def stage_input(row, x, ws, first, last):
    """A stage's input for some images, flat: the data (B, size), or an earlier stage's output."""
    size = row[H] * row[WIDTH] * row[C]
    if row[X] < 0:
        return x[first:last].reshape(-1)
    return images(ws, row[X], first, last, size)


@jit
def parameter(phi, offset):
    """The address of a number of phi, or of a workspace."""
    return address_of(phi) + offset * phi.itemsize


@jit
def weights(phi, row):
    """A convolution's weights, of phi or of a vector like it, flat."""
    return phi[row[W] : row[W] + row[KH] * row[KW] * row[C] * row[N]]


@jit
def turn_weights(table, phi, ws, member, members):
    """Write one member's share of the weights as the way back reads them."""
    for l in range(table.shape[0]):
        row = table[l]
        if row[KIND] == CONV and row[DX] >= 0:
            taps, shape = row[KH] * row[KW], (row[KH] * row[KW], row[C], row[N])
            first, last = member * taps // members, (member + 1) * taps // members
            w, wt = weights(phi, row), ws[row[WT] : row[WT] + taps * row[C] * row[N]]
            turned(wt.reshape((taps, row[N], row[C]))[first:last], w.reshape(shape)[first:last])


@jit
def forward_stage(row, eps, phi, x, ws, winners, tables, first, last, B):
    """One stage, forward, for images first to last of a task; a convolution's tables are theirs."""
    n, kind = last - first, row[KIND]
    size, out_size = row[H] * row[WIDTH] * row[C], row[H_OUT] * row[W_OUT] * row[N]
    x_s, y_s = stage_input(row, x, ws, first, last), images(ws, row[Y], first, last, out_size)
    if kind == CONV:
        b = parameter(phi, row[BIAS]) if row[BIAS] >= 0 else 0
        y, w = address_of(y_s), parameter(phi, row[W])
        conv_rows(phi.dtype.type(1), y, address_of(x_s), w, b, tables, row[N], 0)
    elif kind == DENSE:
        x_2, y_2 = x_s.reshape((n, size)), y_s.reshape((n, out_size))
        if row[BIAS] >= 0:
            fill_rows(y_2, phi[row[BIAS] : row[BIAS] + out_size])
        rows_w(y_2, x_2, phi[row[W] : row[W] + size * out_size], row[BIAS] >= 0)
    elif kind == MOMENTS:
        c, m = row[C], row[H] * row[WIDTH]
        means, spreads = moments(ws, row, B)
        x_3 = x_s.reshape((n, m, c))
        for b in range(n):
            image_moments(means[first + b], spreads[first + b], x_3[b])
    elif kind == NORMALISE:
        c = row[C]
        x_2, y_2 = x_s.reshape((-1, c)), y_s.reshape((-1, c))
        mean, rstd = statistics(ws, row)
        gamma, beta = phi[row[W] : row[W] + c], phi[row[BIAS] : row[BIAS] + c]
        normalise(y_2, x_2, mean, rstd, gamma, beta, row[WITH_RELU] == 1)
    elif kind == RELU:
        relu_forward(y_s, x_s)
    elif kind == TANH:
        tanh_forward(y_s, x_s)
    elif kind == POOL:
        x_4 = x_s.reshape((n, row[H], row[WIDTH], row[C]))
        shape = (n, row[H_OUT], row[W_OUT], row[N])
        won = images(winners, row[WINNER], first, last, out_size).reshape(shape)
        pool_forward(
            y_s.reshape(shape), won, x_4, row[KH], row[KW], row[SR], row[SC], row[PR], row[PC]
        )


@jit
def moments(ws, row, B):
    """Mean and spread of each image, two (B, C) arrays."""
    c, start = row[C], row[SAVED] + 2 * row[C]
    both = ws[start : start + 2 * B * c].reshape((2, B, c))
    return both[0], both[1]


@jit
def sums_of(ws, row, B):
    """The sums of dy and dy xhat of each image, two (B, C) arrays. They do not lie over the
    moments, which a slower thread may still be reading."""
    c, start = row[C], row[SAVED] + (2 + 2 * B) * row[C]
    both = ws[start : start + 2 * B * c].reshape((2, B, c))
    return both[0], both[1]


@jit
def statistics(ws, row):
    """Mean and rstd (C,) of the mini-batch."""
    c, start = row[C], row[SAVED]
    return ws[start : start + c], ws[start + c : start + 2 * c]


@jit
def join_statistics(row, eps, ws, scratch, B):
    """Write mean and rstd from all images' moments. Every member computes the same numbers, and
    shows them when they are complete: the others may be reading theirs already."""
    c = row[C]
    means, spreads = moments(ws, row, B)
    mean, rstd = scratch[:c], scratch[c : 2 * c]
    join_moments(mean, rstd, means, spreads, row[H] * row[WIDTH], eps)
    shared_mean, shared_rstd = statistics(ws, row)
    shared_mean[:] = mean
    shared_rstd[:] = rstd


@jit
def join_sums(row, ws, B, dbeta, dgamma):
    """Write dbeta and dgamma (C,), the sums of all images (batchnorm.md, eq. 5 and 6)."""
    sums, sums_xhat = sums_of(ws, row, B)
    sum_rows(dbeta, sums)
    sum_rows(dgamma, sums_xhat)


@jit
def backward_stage(row, phi, x, ws, winners, tables, grad, first, last, B, scratch):
    """One stage, backward, for images first to last of a task; grad (P,) is the slice's own."""
    n, kind = last - first, row[KIND]
    size, out_size = row[H] * row[WIDTH] * row[C], row[H_OUT] * row[W_OUT] * row[N]
    x_s, y_s = stage_input(row, x, ws, first, last), images(ws, row[Y], first, last, out_size)
    dy_s, wanted = images(ws, row[DY], first, last, out_size), row[DX] >= 0
    dx_s = images(ws, row[DX], first, last, size) if wanted else dy_s
    if kind == CONV:
        one, dy, dw = phi.dtype.type(1), address_of(dy_s), parameter(grad, row[W])
        weights(grad, row)[:] = 0
        conv_products(one, dw, address_of(x_s), dy, tables, row[N])
        if wanted:
            wt = parameter(ws, row[WT])
            conv_rows_back(one, address_of(dx_s), dy, wt, tables, row[C], 0)
        if row[BIAS] >= 0:
            sum_rows(grad[row[BIAS] : row[BIAS] + row[N]], dy_s.reshape((-1, row[N])))
    elif kind == DENSE:
        x_2, dy_2 = x_s.reshape((n, size)), dy_s.reshape((n, out_size))
        rows_dw(grad[row[W] : row[W] + size * out_size], x_2, dy_2, False)
        if wanted:
            w = phi[row[W] : row[W] + size * out_size]
            rows_dx(dx_s.reshape((n, size)), dy_2, w, False)
        if row[BIAS] >= 0:
            sum_rows(grad[row[BIAS] : row[BIAS] + out_size], dy_2)
    elif kind == NORMALISE:  # the sums of each image
        c = row[C]
        sums, sums_xhat = sums_of(ws, row, B)
        mean, rstd = statistics(ws, row)
        x_3, dy_3, y_3 = x_s.reshape((n, -1, c)), dy_s.reshape((n, -1, c)), y_s.reshape((n, -1, c))
        for b in range(n):
            i = first + b
            if row[WITH_RELU] == 1:
                image_sums_relu(sums[i], sums_xhat[i], dy_3[b], y_3[b], x_3[b], mean, rstd)
            else:
                image_sums(sums[i], sums_xhat[i], dy_3[b], x_3[b], mean, rstd)
    elif kind == MOMENTS and wanted:  # x, dx and dy here are those of the whole layer
        c = row[C]
        mean, rstd = statistics(ws, row)
        gamma, M = phi[row[W] : row[W] + c], B * row[H] * row[WIDTH]
        normalise_backward(
            dx_s.reshape((-1, c)), dy_s.reshape((-1, c)), x_s.reshape((-1, c)),
            mean, rstd, gamma, scratch[:c], scratch[c : 2 * c], M,
        )  # fmt: skip
    elif kind == RELU and wanted:
        relu_backward(dx_s, dy_s, x_s)
    elif kind == TANH and wanted:
        tanh_backward(dx_s, dy_s, y_s)
    elif kind == POOL and wanted:
        shape = (n, row[H_OUT], row[W_OUT], row[N])
        won = images(winners, row[WINNER], first, last, out_size).reshape(shape)
        pool_backward(
            dx_s.reshape((n, row[H], row[WIDTH], row[C])), dy_s.reshape(shape), won,
            row[KH], row[KW], row[SR], row[SC], row[PR], row[PC],
        )  # fmt: skip


@jit
def forward(table, cuts, tables, eps, phi, x, ws, winners, scratch, member, members, arrived):
    """All stages for the slices of one member of a task's team. x is (B, size)."""
    B, slices = x.shape[0], cuts.shape[1]
    turn_weights(table, phi, ws, member, members)
    for l in range(table.shape[0]):
        row = table[l]
        if row[SYNC]:
            barrier(arrived, members)
        if row[KIND] == NORMALISE:
            join_statistics(row, eps[l], ws, scratch, B)
        for s in range(member * slices // members, (member + 1) * slices // members):
            first, last = s * B // slices, (s + 1) * B // slices
            these = tables[cuts[l, s] :]
            forward_stage(row, eps[l], phi, x, ws, winners, these, first, last, B)


@jit
def loss_of(table, labels, targets, ws, losses, scale, slices, member, members, B):
    """The loss of each example of the member's slices, and its gradient. labels (B,), or (0,)
    where targets (B, n_out) count."""
    row = table[table.shape[0] - 1]
    size = row[H_OUT] * row[W_OUT] * row[N]
    first = member * slices // members * B // slices
    last = (member + 1) * slices // members * B // slices
    out = images(ws, row[Y], first, last, size).reshape((last - first, size))
    dout = images(ws, row[DY], first, last, size).reshape((last - first, size))
    if labels.shape[0] > 0:
        cross_entropies(losses[first:last], dout, out, labels[first:last], scale)
    else:
        squared_errors(losses[first:last], dout, out, targets[first:last], scale)


@jit
def backward(table, cuts, tables, phi, x, ws, winners, scratch, grads, member, members, arrived):
    """All stages backwards for the slices of one member; grads is (slices, P) or longer."""
    B, slices = x.shape[0], cuts.shape[1]
    barrier(arrived, members)  # the turned weights are complete
    for l in range(table.shape[0] - 1, -1, -1):
        row = table[l]
        if row[SYNC_BACK]:
            barrier(arrived, members)
        if row[KIND] == MOMENTS:
            c = row[C]
            dbeta, dgamma = scratch[:c], scratch[c : 2 * c]
            join_sums(row, ws, B, dbeta, dgamma)
            if member == 0:
                grads[0, row[BIAS] : row[BIAS] + c] = dbeta
                grads[0, row[W] : row[W] + c] = dgamma
        for s in range(member * slices // members, (member + 1) * slices // members):
            first, last = s * B // slices, (s + 1) * B // slices
            these = tables[cuts[l, s] :]
            backward_stage(row, phi, x, ws, winners, these, grads[s], first, last, B, scratch)
