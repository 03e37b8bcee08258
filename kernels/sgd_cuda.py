"""Stochastic gradient descent, Numba CUDA: a thread for each parameter. Formulas: sgd.md."""

from .jit_cuda import BLOCK, blocks, cuda, launch


@cuda.jit
def _plain(phi, grad, lr):
    t, i = cuda.blockIdx.y, cuda.grid(1)
    if i < phi.shape[1]:
        phi[t, i] -= lr * grad[t, i]


@cuda.jit
def _momentum(phi, velocity, grad, lr, momentum):
    t, i = cuda.blockIdx.y, cuda.grid(1)
    if i < phi.shape[1]:
        v = momentum * velocity[t, i] + grad[t, i]
        velocity[t, i] = v
        phi[t, i] -= lr * v


def sgd_step(phi, velocity, grad, lr, momentum):
    """Update phi and velocity in place (sgd.md, eq. 1 and 2). Parameters as in the reference."""
    real = phi.dtype.type
    T, P = phi.shape
    grid = (blocks(P), T)
    if velocity is None:
        launch(_plain, grid, (BLOCK,), phi, grad, real(lr))
    else:
        launch(_momentum, grid, (BLOCK,), phi, velocity, grad, real(lr), real(momentum))
