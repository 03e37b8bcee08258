"""The rectified linear unit, Numba. Derivation: relu.md."""

from .jit_numba import jit


@jit
def relu_forward(y, x):
    """Write y = max(x, 0), any equal shapes; NaN stays NaN (relu.md, eq. 1)."""
    y_1, x_1 = y.reshape(-1), x.reshape(-1)
    zero = x.dtype.type(0)
    for i in range(x_1.shape[0]):
        y_1[i] = zero if x_1[i] <= zero else x_1[i]


@jit
def relu_backward(dx, dy, x):
    """Write dx = dy where x > 0, else 0; x may be the output as well (relu.md, eq. 2)."""
    dx_1, dy_1, x_1 = dx.reshape(-1), dy.reshape(-1), x.reshape(-1)
    zero = x.dtype.type(0)
    for i in range(x_1.shape[0]):
        dx_1[i] = zero if x_1[i] <= zero else dy_1[i]
