"""The hyperbolic tangent, NumPy. Derivation: tanh.md."""

import numpy as np
from numpy.typing import NDArray


def tanh_forward(y: NDArray, x: NDArray) -> None:
    """Write y = tanh x, any equal shapes (tanh.md, eq. 1)."""
    np.tanh(x, out=y)


def tanh_backward(dx: NDArray, dy: NDArray, y: NDArray) -> None:
    """Write dx = dy (1 - y^2), from the output y = tanh x (tanh.md, eq. 2)."""
    np.multiply(y, y, out=dx)
    np.subtract(1, dx, out=dx)
    dx *= dy


def tanh_backward_r(rdx: NDArray, rdy: NDArray, ry: NDArray, dy: NDArray, y: NDArray) -> None:
    """Write rdx = rdy (1 - y^2) - 2 y ry dy, the tangent of `tanh_backward` (tanh.md, eq. 7)."""
    tanh_backward(rdx, rdy, y)
    rdx -= 2 * y * ry * dy
