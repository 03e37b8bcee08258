"""Squared error with its gradient, Numba. Derivation: squared_error.md."""

from .jit_numba import inner, jit, part


@inner
def squared_errors(losses, dout, out, target, scale):
    """Write the loss (n,) of each example and its gradient; dout, out, target (n, N).

    losses or dout may be None.
    """
    for b in range(out.shape[0]):
        if losses is not None:
            losses[b] = 0
        for i in range(out.shape[1]):
            d = out[b, i] - target[b, i]
            if losses is not None:
                losses[b] += scale * d * d
            if dout is not None:
                dout[b, i] = (scale + scale) * d


@jit
def squared_error(loss, dout, out, target, scale):
    """Write the loss of each task and its gradient (squared_error.md, eq. 1 and 2).

    Parameters as in the NumPy reference.
    """
    f = out.dtype.type(scale)
    for t in range(out.shape[0]):
        total = out.dtype.type(0)
        for b in range(out.shape[1]):
            e = slice(b, b + 1)
            to, gradient = part(loss, slice(t, t + 1)), part(dout, (t, e))
            squared_errors(to, gradient, out[t, e], target[t, e], f)
            if loss is not None:
                total += loss[t]
        if loss is not None:
            loss[t] = total


@jit
def squared_error_r(rdout, rout, out, scale):
    """Write rdout = 2 scale rout (squared_error.md, eq. 3). Parameters as in the reference."""
    rdout_1, rout_1 = rdout.reshape(-1), rout.reshape(-1)
    f = out.dtype.type(scale)
    for i in range(rout_1.shape[0]):
        rdout_1[i] = (f + f) * rout_1[i]
