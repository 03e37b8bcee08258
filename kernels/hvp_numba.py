"""The Hessian of the loss times a vector, Numba: the stages with tangents beside all values.
Derived in loss_and_grad.md, eq. 9 to 12; the formulas of a layer stand in its page's section "The
R-operator".

Threads, slices and meetings are those of loss_and_grad_numba.py, and so are the stages up to the
first with parameters, before which nothing has a tangent. A task's tangents lie in a workspace RWS
laid out as WS is, and a slice's part of the product lies where its gradient would.
"""

from . import program as p
from .batchnorm_numba import (
    image_moments_r,
    join_moments_r,
    normalise_backward_r,
    normalise_r,
    sums_r,
)
from .jit_numba import inner, put
from .loss_and_grad_numba import (
    by_channel,
    count,
    flat,
    input_at,
    inputs,
    last_of,
    moments,
    output_at,
    outputs,
    parameter,
    statistics,
    sums_of,
    tables_of,
    total_sums,
    turn,
    weights_of,
    winners_of,
    x_at,
    x_of,
)
from .maxpool_numba import pool_backward, pool_forward_r
from .memory_numba import address_of, number, numbers, rounded, size_of
from .registers_numba import conv_products, conv_rows, conv_rows_back
from .relu_numba import relu_backward
from .softmax_cross_entropy_numba import cross_entropies_r
from .squared_error_numba import squared_error_r
from .sums_numba import sum_rows
from .tanh_numba import tanh_backward, tanh_backward_r


def turn_weights_r(row, c, one):
    """As `turn_weights`, of the tangents."""
    turn(row, c, one, c[p.V], c[p.RWS])


@inner
def moves(row):
    """Whether a stage's input has a tangent: it has a gradient where one is wanted."""
    return row[p.DX] >= 0


def forward_product_r(row, c, one):
    """The tangent of the output; that of its input is there where it moves."""
    size, tables, x = size_of(one), tables_of(row, c), x_at(row, c, one)
    ry = output_at(row, c, one, c[p.RWS], row[p.Y])
    rb = c[p.V] + row[p.BIAS] * size if row[p.BIAS] >= 0 else 0
    conv_rows(one, ry, x, c[p.V] + row[p.W] * size, rb, tables, row[p.N], 0)
    if moves(row):
        rx = input_at(row, c, one, c[p.RWS], row[p.X])
        conv_rows(one, ry, rx, c[p.PHI] + row[p.W] * size, 0, tables, row[p.N], 1)


def backward_product_r(row, c, one):
    """dx, its tangent, and the weights' part of the product; of the gradient nothing is kept."""
    size, tables, n = size_of(one), tables_of(row, c), row[p.N]
    x, rdy = x_at(row, c, one), output_at(row, c, one, c[p.RWS], row[p.DY])
    rdw = parameter(one, c[p.GRAD], row[p.W], weights_of(row))
    rdw[:] = 0
    conv_products(one, address_of(rdw), x, rdy, tables, n)
    if moves(row):
        dy = output_at(row, c, one, c[p.WS], row[p.DY])
        rx = input_at(row, c, one, c[p.RWS], row[p.X])
        conv_products(one, address_of(rdw), rx, dy, tables, n)
        dx = input_at(row, c, one, c[p.WS], row[p.DX])
        rdx = input_at(row, c, one, c[p.RWS], row[p.DX])
        wt, rwt = c[p.WS] + row[p.WT] * size, c[p.RWS] + row[p.WT] * size
        conv_rows_back(one, dx, dy, wt, tables, row[p.C], 0)
        conv_rows_back(one, rdx, rdy, wt, tables, row[p.C], 0)
        conv_rows_back(one, rdx, dy, rwt, tables, row[p.C], 1)
    if row[p.BIAS] >= 0:
        sum_rows(parameter(one, c[p.GRAD], row[p.BIAS], n), numbers(one, rdy, by_channel(row, c)))


def forward_moments_r(row, c, one):
    n = count(c)
    shape = (n, row[p.H] * row[p.WIDTH], row[p.C])
    means, _ = moments(row, c, one, c[p.WS])
    rmeans, comoments = moments(row, c, one, c[p.RWS])
    x, rx = x_of(row, c, one, shape), inputs(row, c, one, c[p.RWS], row[p.X], shape)
    for b in range(n):
        i = c[p.FIRST] + b
        image_moments_r(rmeans[i], comoments[i], rx[b], x[b], means[i])


def join_statistics_r(row, c, one):
    """As `join_statistics`, behind it: the values' lie where that has left them."""
    n = row[p.C]
    means, _ = moments(row, c, one, c[p.WS])
    rmeans, comoments = moments(row, c, one, c[p.RWS])
    mean, rstd = numbers(one, c[p.SCRATCH], n), parameter(one, c[p.SCRATCH], n, n)
    rmean, rrstd = parameter(one, c[p.SCRATCH], 2 * n, n), parameter(one, c[p.SCRATCH], 3 * n, n)
    join_moments_r(rmean, rrstd, rmeans, comoments, means, mean, rstd, row[p.H] * row[p.WIDTH])
    shared_rmean, shared_rrstd = statistics(row, one, c[p.RWS])
    put(shared_rmean, rmean)
    put(shared_rrstd, rrstd)


def forward_normalise_r(row, c, one):
    shape = by_channel(row, c)
    n = row[p.C]
    mean, rstd = statistics(row, one, c[p.WS])
    rmean, rrstd = statistics(row, one, c[p.RWS])
    ry = outputs(row, c, one, c[p.RWS], row[p.Y], shape)
    rx = inputs(row, c, one, c[p.RWS], row[p.X], shape)
    x = x_of(row, c, one, shape)
    y = outputs(row, c, one, c[p.WS], row[p.Y], shape)
    normalise_r(
        ry, rx, rmean, rrstd,
        parameter(one, c[p.V], row[p.W], n), parameter(one, c[p.V], row[p.BIAS], n),
        x, mean, rstd, parameter(one, c[p.PHI], row[p.W], n),
        y, row[p.WITH_RELU] == 1,
    )  # fmt: skip


def backward_normalise_r(row, c, one):
    n, shape = count(c), (count(c), row[p.H] * row[p.WIDTH], row[p.C])
    mean, rstd = statistics(row, one, c[p.WS])
    rmean, rrstd = statistics(row, one, c[p.RWS])
    rsums, rsums_xhat = sums_of(row, c, one, c[p.RWS])
    x, y = x_of(row, c, one, shape), outputs(row, c, one, c[p.WS], row[p.Y], shape)
    rx = inputs(row, c, one, c[p.RWS], row[p.X], shape)
    dy = outputs(row, c, one, c[p.WS], row[p.DY], shape)
    rdy = outputs(row, c, one, c[p.RWS], row[p.DY], shape)
    for b in range(n):
        i = c[p.FIRST] + b
        sums, tangents = (rsums[i], rsums_xhat[i]), (rdy[b], rx[b], rmean, rrstd)
        if row[p.WITH_RELU] == 1:
            sums_r(*sums, *tangents, dy[b], x[b], mean, rstd, y[b])
        else:
            sums_r(*sums, *tangents, dy[b], x[b], mean, rstd, None)


def join_sums_r(row, c, one):
    """The sums of all images, into a member's scratch, and those of the tangents behind them."""
    total_sums(row, c, one, c[p.WS], c[p.SCRATCH], 0)
    total_sums(row, c, one, c[p.RWS], c[p.SCRATCH] + 2 * row[p.C] * size_of(one), c[p.GRADS])


def backward_moments_r(row, c, one):
    """x, dx, dy and their tangents are those of the whole layer here."""
    shape = by_channel(row, c)
    n = row[p.C]
    mean, rstd = statistics(row, one, c[p.WS])
    rmean, rrstd = statistics(row, one, c[p.RWS])
    x = x_of(row, c, one, shape)
    rx = inputs(row, c, one, c[p.RWS], row[p.X], shape)
    dy = outputs(row, c, one, c[p.WS], row[p.DY], shape)
    rdy = outputs(row, c, one, c[p.RWS], row[p.DY], shape)
    rdx = inputs(row, c, one, c[p.RWS], row[p.DX], shape)
    dbeta, dgamma = numbers(one, c[p.SCRATCH], n), parameter(one, c[p.SCRATCH], n, n)
    rdbeta, rdgamma = parameter(one, c[p.SCRATCH], 2 * n, n), parameter(one, c[p.SCRATCH], 3 * n, n)
    normalise_backward_r(
        rdx, rdgamma, rdbeta, rdy, rx,
        rmean, rrstd, parameter(one, c[p.V], row[p.W], n), dgamma, dbeta,
        dy, x, mean, rstd,
        parameter(one, c[p.PHI], row[p.W], n), c[p.B] * row[p.H] * row[p.WIDTH],
    )  # fmt: skip


def forward_relu_r(row, c, one):
    shape = flat(row, c)
    ry = outputs(row, c, one, c[p.RWS], row[p.Y], shape)
    rx = inputs(row, c, one, c[p.RWS], row[p.X], shape)
    relu_backward(ry, rx, x_of(row, c, one, shape))


def backward_relu_r(row, c, one):
    shape = flat(row, c)
    rdx = inputs(row, c, one, c[p.RWS], row[p.DX], shape)
    rdy = outputs(row, c, one, c[p.RWS], row[p.DY], shape)
    relu_backward(rdx, rdy, x_of(row, c, one, shape))


def forward_tanh_r(row, c, one):
    shape = flat(row, c)
    ry = outputs(row, c, one, c[p.RWS], row[p.Y], shape)
    rx = inputs(row, c, one, c[p.RWS], row[p.X], shape)
    tanh_backward(ry, rx, outputs(row, c, one, c[p.WS], row[p.Y], shape))


def backward_tanh_r(row, c, one):
    shape = flat(row, c)
    y = outputs(row, c, one, c[p.WS], row[p.Y], shape)
    ry = outputs(row, c, one, c[p.RWS], row[p.Y], shape)
    dy = outputs(row, c, one, c[p.WS], row[p.DY], shape)
    rdy = outputs(row, c, one, c[p.RWS], row[p.DY], shape)
    tanh_backward_r(inputs(row, c, one, c[p.RWS], row[p.DX], shape), rdy, ry, dy, y)


def forward_pool_r(row, c, one):
    won = winners_of(row, c)
    shape = (won.shape[0], row[p.H], row[p.WIDTH], row[p.C])
    ry = outputs(row, c, one, c[p.RWS], row[p.Y], won.shape)
    rx = inputs(row, c, one, c[p.RWS], row[p.X], shape)
    pool_forward_r(ry, rx, won, row[p.KH], row[p.KW], row[p.SR], row[p.SC], row[p.PR], row[p.PC])


def backward_pool_r(row, c, one):
    won = winners_of(row, c)
    shape = (won.shape[0], row[p.H], row[p.WIDTH], row[p.C])
    rdx = inputs(row, c, one, c[p.RWS], row[p.DX], shape)
    rdy = outputs(row, c, one, c[p.RWS], row[p.DY], won.shape)
    pool_backward(rdx, rdy, won, row[p.KH], row[p.KW], row[p.SR], row[p.SC], row[p.PR], row[p.PC])


def cross_entropy_r(row, c, one):
    """The tangent of the loss's gradient by the slice's outputs; row is the last stage's."""
    out, rout = last_of(row, c, one, c[p.WS], row[p.Y]), last_of(row, c, one, c[p.RWS], row[p.Y])
    rdout = last_of(row, c, one, c[p.RWS], row[p.DY])
    cross_entropies_r(rdout, rout, out, rounded(one, number(c[p.CONSTANTS], p.SCALE)))


def squared_r(row, c, one):
    """`cross_entropy_r` for the squared error."""
    out, rout = last_of(row, c, one, c[p.WS], row[p.Y]), last_of(row, c, one, c[p.RWS], row[p.Y])
    rdout = last_of(row, c, one, c[p.RWS], row[p.DY])
    squared_error_r(rdout, rout, out, rounded(one, number(c[p.CONSTANTS], p.SCALE)))
