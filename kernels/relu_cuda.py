"""The rectified linear unit, Numba CUDA: a thread for each number. Derivation: relu.md."""

from .jit_cuda import cuda, flat, launch_each


@cuda.jit
def _forward(y, x):
    i = cuda.grid(1)
    if i < y.size:
        zero = x.dtype.type(0)
        y[i] = zero if x[i] <= zero else x[i]  # NaN stays NaN


def relu_forward(y, x):
    """Write y = max(x, 0), any equal shapes; NaN stays NaN (relu.md, eq. 1)."""
    launch_each(_forward, y.size, flat(y), flat(x))


@cuda.jit
def _backward(dx, dy, x):
    i = cuda.grid(1)
    if i < dx.size:
        zero = x.dtype.type(0)
        dx[i] = zero if x[i] <= zero else dy[i]


def relu_backward(dx, dy, x):
    """Write dx = dy where x > 0, else 0 (relu.md, eq. 2)."""
    launch_each(_backward, dx.size, flat(dx), flat(dy), flat(x))
