"""Squared error with its gradient, Numba. Derivation: squared_error.md."""

from __future__ import annotations

from .jit_numba import jit


@jit
def example_squared_error(dout, out, target, scale):
    """The loss of one example, and its gradient (n,)."""
    loss = out.dtype.type(0)
    for i in range(out.shape[0]):
        d = out[i] - target[i]
        loss += d * d
        dout[i] = (scale + scale) * d
    return loss * scale


@jit
def squared_error(loss, dout, out, target, scale):
    """Write the loss of each task and its gradient (squared_error.md, eq. 1 and 2).

    Parameters as in the NumPy reference.
    """
    for t in range(out.shape[0]):
        loss[t] = 0
        for b in range(out.shape[1]):
            loss[t] += example_squared_error(
                dout[t, b], out[t, b], target[t, b], out.dtype.type(scale)
            )
