"""The Hessian of the loss times a vector in one compiled call, Numba: forward and backward through
a network with tangents beside all values. Derived in loss_and_grad.md, eq. 9 to 12; the formulas of
a layer stand in its page's section "The R-operator".

Threads, slices and meetings are those of loss_and_grad_numba.py, and so are the stages up to the
first with parameters, before which nothing has a tangent. A task's tangents lie in a workspace rws
laid out as ws is, and a slice's part of the product lies where its gradient would.
"""

from __future__ import annotations

from .adapt_numba import add_slices, dealt
from .batchnorm_numba import (
    image_moments_r,
    join_moments_r,
    normalise_backward_r,
    normalise_r,
    sums_r,
    sums_r_relu,
)
from .conv2d_numba import sum_rows
from .dense_numba import fill_rows, rows_dw, rows_dx, rows_w
from .jit_numba import barrier, jit
from .loss_and_grad_numba import (
    backward_stage,
    forward_stage,
    images,
    join_statistics,
    join_sums,
    loss_of,
    moments,
    parameter,
    stage_input,
    statistics,
    sums_of,
    turn_weights,
    weights,
)
from .maxpool_numba import pool_backward, pool_forward_r
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
from .registers_numba import address_of, conv_products, conv_rows, conv_rows_back
from .relu_numba import relu_backward
from .softmax_cross_entropy_numba import cross_entropies_r
from .squared_error_numba import squared_error_r
from .tanh_numba import tanh_backward, tanh_backward_r


@jit
def forward_stage_r(
    row, eps, phi, v, x, ws, rws, winners, tables, first, last, B, moves
):  # fmt: skip
    """`forward_stage`, and the tangent of its output. It moves: its input has a tangent too."""
    n, kind = last - first, row[KIND]
    size, out_size = row[H] * row[WIDTH] * row[C], row[H_OUT] * row[W_OUT] * row[N]
    x_s, y_s = stage_input(row, x, ws, first, last), images(ws, row[Y], first, last, out_size)
    ry_s = images(rws, row[Y], first, last, out_size)
    rx_s = images(rws, row[X], first, last, size) if moves else ry_s  # stands for none
    forward_stage(row, eps, phi, x, ws, winners, tables, first, last, B)
    if kind == CONV:
        one, ry = phi.dtype.type(1), address_of(ry_s)
        rb = parameter(v, row[BIAS]) if row[BIAS] >= 0 else 0
        conv_rows(one, ry, address_of(x_s), parameter(v, row[W]), rb, tables, row[N], 0)
        if moves:
            conv_rows(one, ry, address_of(rx_s), parameter(phi, row[W]), 0, tables, row[N], 1)
    elif kind == DENSE:
        x_2, ry_2 = x_s.reshape((n, size)), ry_s.reshape((n, out_size))
        if row[BIAS] >= 0:
            fill_rows(ry_2, v[row[BIAS] : row[BIAS] + out_size])
        rows_w(ry_2, x_2, v[row[W] : row[W] + size * out_size], row[BIAS] >= 0)
        if moves:
            w = phi[row[W] : row[W] + size * out_size]
            rows_w(ry_2, rx_s.reshape((n, size)), w, True)
    elif kind == MOMENTS:
        c, m = row[C], row[H] * row[WIDTH]
        means, _ = moments(ws, row, B)
        rmeans, comoments = moments(rws, row, B)
        x_3, rx_3 = x_s.reshape((n, m, c)), rx_s.reshape((n, m, c))
        for b in range(n):
            i = first + b
            image_moments_r(rmeans[i], comoments[i], rx_3[b], x_3[b], means[i])
    elif kind == NORMALISE:
        c = row[C]
        mean, rstd = statistics(ws, row)
        rmean, rrstd = statistics(rws, row)
        gamma = phi[row[W] : row[W] + c]
        rgamma, rbeta = v[row[W] : row[W] + c], v[row[BIAS] : row[BIAS] + c]
        normalise_r(
            ry_s.reshape((-1, c)), rx_s.reshape((-1, c)), rmean, rrstd, rgamma, rbeta,
            x_s.reshape((-1, c)), mean, rstd, gamma, y_s.reshape((-1, c)), row[WITH_RELU] == 1,
        )  # fmt: skip
    elif kind == RELU:
        relu_backward(ry_s, rx_s, x_s)
    elif kind == TANH:
        tanh_backward(ry_s, rx_s, y_s)
    elif kind == POOL:
        shape = (n, row[H_OUT], row[W_OUT], row[N])
        won = images(winners, row[WINNER], first, last, out_size).reshape(shape)
        pool_forward_r(
            ry_s.reshape(shape), rx_s.reshape((n, row[H], row[WIDTH], row[C])), won,
            row[KH], row[KW], row[SR], row[SC], row[PR], row[PC],
        )  # fmt: skip


@jit
def backward_stage_r(
    row, phi, v, x, ws, rws, winners, tables, hv, first, last, B, scratch, moves
):  # fmt: skip
    """dx, its tangent, and the parameters' part of hv (P,), the slice's own; of the gradient
    itself nothing is kept."""
    n, kind = last - first, row[KIND]
    size, out_size = row[H] * row[WIDTH] * row[C], row[H_OUT] * row[W_OUT] * row[N]
    x_s, y_s = stage_input(row, x, ws, first, last), images(ws, row[Y], first, last, out_size)
    dy_s, rdy_s = (
        images(ws, row[DY], first, last, out_size),
        images(rws, row[DY], first, last, out_size),
    )
    ry_s = images(rws, row[Y], first, last, out_size)
    # Where nothing moves, any array stands for those that are not there.
    rx_s = images(rws, row[X], first, last, size) if moves else ry_s
    dx_s = images(ws, row[DX], first, last, size) if moves else dy_s
    rdx_s = images(rws, row[DX], first, last, size) if moves else rdy_s
    if kind == CONV:
        one, rdw = phi.dtype.type(1), parameter(hv, row[W])
        dy, rdy = address_of(dy_s), address_of(rdy_s)
        weights(hv, row)[:] = 0
        conv_products(one, rdw, address_of(x_s), rdy, tables, row[N])
        if moves:
            wt, rwt = parameter(ws, row[WT]), parameter(rws, row[WT])
            dx, rdx = address_of(dx_s), address_of(rdx_s)
            conv_products(one, rdw, address_of(rx_s), dy, tables, row[N])
            conv_rows_back(one, dx, dy, wt, tables, row[C], 0)
            conv_rows_back(one, rdx, rdy, wt, tables, row[C], 0)
            conv_rows_back(one, rdx, dy, rwt, tables, row[C], 1)
        if row[BIAS] >= 0:
            sum_rows(hv[row[BIAS] : row[BIAS] + row[N]], rdy_s.reshape((-1, row[N])))
        return
    if kind == DENSE:
        x_2, dy_2, rdy_2 = (
            x_s.reshape((n, size)),
            dy_s.reshape((n, out_size)),
            rdy_s.reshape((n, out_size)),
        )
        w, rw = phi[row[W] : row[W] + size * out_size], v[row[W] : row[W] + size * out_size]
        rdw = hv[row[W] : row[W] + size * out_size]
        rows_dw(rdw, x_2, rdy_2, False)
        if moves:
            dx_2, rdx_2 = dx_s.reshape((n, size)), rdx_s.reshape((n, size))
            rows_dw(rdw, rx_s.reshape((n, size)), dy_2, True)
            rows_dx(dx_2, dy_2, w, False)
            rows_dx(rdx_2, rdy_2, w, False)
            rows_dx(rdx_2, dy_2, rw, True)
        if row[BIAS] >= 0:
            sum_rows(hv[row[BIAS] : row[BIAS] + out_size], rdy_2)
        return
    backward_stage(row, phi, x, ws, winners, tables, hv, first, last, B, scratch)
    if kind == NORMALISE:
        c = row[C]
        mean, rstd = statistics(ws, row)
        rmean, rrstd = statistics(rws, row)
        rsums, rsums_xhat = sums_of(rws, row, B)
        x_3, dy_3 = x_s.reshape((n, -1, c)), dy_s.reshape((n, -1, c))
        rx_3, rdy_3 = rx_s.reshape((n, -1, c)), rdy_s.reshape((n, -1, c))
        y_3 = y_s.reshape((n, -1, c))
        for b in range(n):
            i = first + b
            sums, tangents = (rsums[i], rsums_xhat[i]), (rdy_3[b], rx_3[b], rmean, rrstd)
            if row[WITH_RELU] == 1:
                sums_r_relu(*sums, *tangents, dy_3[b], x_3[b], mean, rstd, y_3[b])
            else:
                sums_r(*sums, *tangents, dy_3[b], x_3[b], mean, rstd)
    elif kind == MOMENTS:  # x, dx, dy and their tangents here are those of the whole layer
        c = row[C]
        mean, rstd = statistics(ws, row)
        rmean, rrstd = statistics(rws, row)
        gamma, rgamma = phi[row[W] : row[W] + c], v[row[W] : row[W] + c]
        normalise_backward_r(
            rdx_s.reshape((-1, c)), scratch[3 * c : 4 * c], scratch[2 * c : 3 * c],
            rdy_s.reshape((-1, c)), rx_s.reshape((-1, c)), rmean, rrstd, rgamma,
            scratch[c : 2 * c], scratch[:c], dy_s.reshape((-1, c)), x_s.reshape((-1, c)),
            mean, rstd, gamma, B * row[H] * row[WIDTH],
        )  # fmt: skip
    elif kind == RELU:
        relu_backward(rdx_s, rdy_s, x_s)
    elif kind == TANH:
        tanh_backward_r(rdx_s, rdy_s, ry_s, dy_s, y_s)
    elif kind == POOL:
        shape = (n, row[H_OUT], row[W_OUT], row[N])
        won = images(winners, row[WINNER], first, last, out_size).reshape(shape)
        pool_backward(
            rdx_s.reshape((n, row[H], row[WIDTH], row[C])), rdy_s.reshape(shape), won,
            row[KH], row[KW], row[SR], row[SC], row[PR], row[PC],
        )  # fmt: skip


@jit
def forward_r(
    table, cuts, tables, eps, phi, v, x, ws, rws, winners, scratch, start,
    member, members, arrived,
):  # fmt: skip
    """`forward` with tangents from stage `start` on, the first with parameters."""
    B, slices = x.shape[0], cuts.shape[1]
    turn_weights(table, phi, ws, member, members)
    turn_weights(table, v, rws, member, members)
    for l in range(table.shape[0]):
        row = table[l]
        if row[SYNC]:
            barrier(arrived, members)
        if row[KIND] == NORMALISE:
            join_statistics(row, eps[l], ws, scratch, B)
            c = row[C]
            means, _ = moments(ws, row, B)
            rmeans, comoments = moments(rws, row, B)
            mean, rstd = scratch[:c], scratch[c : 2 * c]
            rmean, rrstd = scratch[2 * c : 3 * c], scratch[3 * c : 4 * c]
            m = row[H] * row[WIDTH]
            join_moments_r(rmean, rrstd, rmeans, comoments, means, mean, rstd, m)
            shared_rmean, shared_rrstd = statistics(rws, row)
            shared_rmean[:] = rmean
            shared_rrstd[:] = rrstd
        for s in range(member * slices // members, (member + 1) * slices // members):
            first, last = s * B // slices, (s + 1) * B // slices
            these = tables[cuts[l, s] :]
            if l < start:
                forward_stage(row, eps[l], phi, x, ws, winners, these, first, last, B)
            else:
                forward_stage_r(
                    row, eps[l], phi, v, x, ws, rws, winners, these, first, last, B, l > start
                )


@jit
def loss_r(table, labels, targets, ws, rws, losses, scale, slices, member, members, B):
    """The gradient of the loss by the outputs of the member's slices, and its tangent."""
    loss_of(table, labels, targets, ws, losses, scale, slices, member, members, B)
    row = table[table.shape[0] - 1]
    size = row[H_OUT] * row[W_OUT] * row[N]
    first = member * slices // members * B // slices
    last = (member + 1) * slices // members * B // slices
    shape = (last - first, size)
    out = images(ws, row[Y], first, last, size).reshape(shape)
    rout = images(rws, row[Y], first, last, size).reshape(shape)
    rdout = images(rws, row[DY], first, last, size).reshape(shape)
    if labels.shape[0] > 0:
        cross_entropies_r(rdout, rout, out, scale)
    else:
        squared_error_r(rdout, rout, out, scale)


@jit
def backward_r(
    table, cuts, tables, phi, v, x, ws, rws, winners, scratch, hvs, start,
    member, members, arrived,
):  # fmt: skip
    """The stages backwards down to `start` for the slices of one member; hvs is (slices, P)."""
    B, slices = x.shape[0], cuts.shape[1]
    barrier(arrived, members)  # the turned weights are complete
    for l in range(table.shape[0] - 1, start - 1, -1):
        row = table[l]
        if row[SYNC_BACK]:
            barrier(arrived, members)
        if row[KIND] == MOMENTS:
            c = row[C]
            rdbeta, rdgamma = scratch[2 * c : 3 * c], scratch[3 * c : 4 * c]
            join_sums(row, ws, B, scratch[:c], scratch[c : 2 * c])
            join_sums(row, rws, B, rdbeta, rdgamma)
            if member == 0:
                hvs[0, row[BIAS] : row[BIAS] + c] = rdbeta
                hvs[0, row[W] : row[W] + c] = rdgamma
        for s in range(member * slices // members, (member + 1) * slices // members):
            first, last = s * B // slices, (s + 1) * B // slices
            these = tables[cuts[l, s] :]
            backward_stage_r(
                row, phi, v, x, ws, rws, winners, these, hvs[s], first, last, B, scratch, l > start
            )


@jit
def hvp_task(
    table, cuts, tables, layer_eps, scale, start, phi, v, x, labels, targets, hv,
    own, rown, ws, rws, winners, scratch, hvs, examples, member, members, arrived,
):  # fmt: skip
    """One member's part in the product of one task: phi, v, hv (P,), x (B, size)."""
    P, B, slices = phi.shape[0], x.shape[0], cuts.shape[1]
    first, last = member * P // members, (member + 1) * P // members
    barrier(arrived, members)  # the team's memory may still be another task's
    own[first:last] = phi[first:last]
    rown[first:last] = v[first:last]
    phi, v = own[:P], rown[:P]
    barrier(arrived, members)
    forward_r(
        table, cuts, tables, layer_eps, phi, v, x, ws, rws, winners, scratch, start,
        member, members, arrived,
    )  # fmt: skip
    scale = phi.dtype.type(scale)
    loss_r(table, labels, targets, ws, rws, examples, scale, slices, member, members, B)
    backward_r(
        table, cuts, tables, phi, v, x, ws, rws, winners, scratch, hvs, start,
        member, members, arrived,
    )  # fmt: skip
    barrier(arrived, members)
    add_slices(hvs, first, last)
    hv[first:last] = hvs[0, first:last]


@jit
def work(
    table, cuts, tables, layer_eps, scale, start, phi, v, x, labels, targets, hv,
    own, rown, ws, rws, winners, scratch, hvs, examples, arrived, member, members,
):  # fmt: skip
    """All that one of the threads does in a call; who does what is as in adapt_numba.py.

    Parameters
    ----------
    start : the first stage with parameters
    phi, v, hv : (T, P); hv is written
    x, labels, targets : (T, B, size), (T, B) int64 or (T, 0), (T, B, n_out) or (T, 0, 0)
    rown, rws, hvs : as own, ws and grads in adapt_numba.py, for tangents and for parts of the product
    The others are those of adapt_numba.py.
    """
    T = phi.shape[0]
    whole, i, first, last = dealt(T, member, members)
    for j in range(member, whole, members):
        hvp_task(
            table, cuts, tables, layer_eps, scale, start, phi[j], v[j], x[j], labels[j],
            targets[j], hv[j], own[member], rown[member], ws[member], rws[member],
            winners[member], scratch[member], hvs[member], examples[member], 0, 1, arrived[member],
        )  # fmt: skip
    if whole < T:
        hvp_task(
            table, cuts, tables, layer_eps, scale, start, phi[i], v[i], x[i], labels[i],
            targets[i], hv[i], own[first], rown[first], ws[first], rws[first], winners[first],
            scratch[member], hvs[first], examples[first], member - first, last - first,
            arrived[first],
        )  # fmt: skip
