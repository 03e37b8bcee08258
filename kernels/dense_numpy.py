"""The dense layer, NumPy. Derivation: dense.md.

y = x w + b
"""

import numpy as np
from numpy.typing import NDArray


def dense_forward(y: NDArray, x: NDArray, w: NDArray, b: NDArray | None) -> None:
    """Write y = x w + b (dense.md, eq. 1).

    Parameters
    ----------
    y : (T, B, n_out), written
    x : (T, B, n_in)
    w : (T, n_in, n_out)
    b : (T, n_out) or None
    """
    np.matmul(x, w, out=y)
    if b is not None:
        y += b[:, None, :]


def dense_backward(
    dx: NDArray | None, dw: NDArray | None, db: NDArray | None,
    dy: NDArray, x: NDArray, w: NDArray,
) -> None:  # fmt: skip
    """Write dx = dy w', dw = x' dy, db = sum over the mini-batch of dy (dense.md, eq. 2 to 4).

    Parameters
    ----------
    dx : (T, B, n_in), written
    dw : (T, n_in, n_out), written
    db : (T, n_out), written
    dy, x, w : as in the forward kernel
    """
    if dw is not None:
        np.matmul(x.swapaxes(1, 2), dy, out=dw)
    if db is not None:
        np.sum(dy, axis=1, out=db)
    if dx is not None:
        np.matmul(dy, w.swapaxes(1, 2), out=dx)
