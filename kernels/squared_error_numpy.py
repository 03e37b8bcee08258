"""Squared error with its gradient, NumPy. Derivation: squared_error.md."""

import numpy as np
from numpy.typing import NDArray


def squared_error(
    loss: NDArray | None, dout: NDArray | None, out: NDArray, target: NDArray, scale: float
) -> None:
    """Write the loss of each task and its gradient (squared_error.md, eq. 1 and 2).

        loss[t] = scale sum_{b, n} (out - target)^2
        dout    = 2 scale (out - target)

    Parameters
    ----------
    loss : (T,), written
    dout : (T, B, N), written
    out, target : (T, B, N)
    scale : 1 / B for the mean over the mini-batch, 1 for the sum
    """
    difference = np.subtract(out, target, out=dout)
    if loss is not None:
        loss[...] = np.einsum("tbn,tbn->t", difference, difference) * scale
    if dout is not None:
        dout *= 2 * scale


def squared_error_r(rdout: NDArray, rout: NDArray, out: NDArray, scale: float) -> None:
    """Write rdout = 2 scale rout, the tangent of dout (squared_error.md, eq. 3).

    Parameters
    ----------
    rdout : (T, B, N), written
    rout : (T, B, N)
    out : (T, B, N), unused here: every loss has these arguments
    scale : as in `squared_error`
    """
    np.multiply(rout, 2 * scale, out=rdout)
