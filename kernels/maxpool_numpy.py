"""Max pooling, NumPy. Derivation: maxpool.md.

y[t, b, o, p, c] = max_{i, j} x[t, b, o s + i - pad, p s + j - pad, c]

The padding never wins. Among equal values the first one wins, in the order of (i, j), and gets the
whole gradient.
"""

import numpy as np
from numpy.typing import NDArray

from .window import Pair, taps


def maxpool_forward(
    y: NDArray | None, winner: NDArray | None, x: NDArray, size: Pair, stride: Pair, pad: Pair
) -> None:
    """Write y and, for the backward kernel, which tap won (maxpool.md, eq. 1 and 2).

    Parameters
    ----------
    y : (T, B, H_out, W_out, C), written
    winner : (T, B, H_out, W_out, C), int32, written: i * size[1] + j of the largest entry
    x : (T, B, H, W, C)
    size, stride, pad : (rows, columns)
    """
    if y is None:
        assert winner is not None
        y = np.empty(winner.shape, x.dtype)
    winner = np.empty(y.shape, np.int32) if winner is None else winner
    # No tap leads yet, and what y holds does not matter.
    winner[...] = -1
    for i, j, outputs, inputs in taps(size, x.shape[2:4], y.shape[2:4], stride, pad):
        here, best = x[inputs], y[outputs]
        larger = ~((here.real <= best.real) | np.isnan(best))  # NaN wins, so it is not hidden
        larger |= winner[outputs] < 0
        y[outputs] = np.where(larger, here, best)
        winner[outputs] = np.where(larger, i * size[1] + j, winner[outputs])


def maxpool_backward(
    dx: NDArray, dy: NDArray, winner: NDArray, size: Pair, stride: Pair, pad: Pair
) -> None:
    """Write dx, each dy added where its maximum came from (maxpool.md, eq. 3).

    Parameters
    ----------
    dx : (T, B, H, W, C), written
    dy : (T, B, H_out, W_out, C)
    winner : as written by the forward kernel
    size, stride, pad : (rows, columns)
    """
    dx[...] = 0
    for i, j, outputs, inputs in taps(size, dx.shape[2:4], dy.shape[2:4], stride, pad):
        dx[inputs] += np.where(winner[outputs] == i * size[1] + j, dy[outputs], 0)


def maxpool_forward_r(
    ry: NDArray, rx: NDArray, winner: NDArray, size: Pair, stride: Pair, pad: Pair
) -> None:
    """Write ry, the tangent of each window's winner (maxpool.md, eq. 4).

    Parameters
    ----------
    ry : (T, B, H_out, W_out, C), written
    rx : (T, B, H, W, C)
    winner, size, stride, pad : as in `maxpool_forward`
    """
    for i, j, outputs, inputs in taps(size, rx.shape[2:4], ry.shape[2:4], stride, pad):
        np.copyto(ry[outputs], rx[inputs], where=winner[outputs] == i * size[1] + j)
