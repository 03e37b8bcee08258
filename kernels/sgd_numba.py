"""Stochastic gradient descent, with and without momentum, Numba. Formulas: sgd.md."""

from .jit_numba import inner, jit


@inner
def sgd_plain(phi, grad, lr):
    """Update phi (n,) of one task, without momentum (sgd.md, eq. 2)."""
    for i in range(phi.shape[0]):
        phi[i] -= lr * grad[i]


@inner
def sgd_momentum(phi, velocity, grad, lr, momentum):
    """Update phi and velocity (n,) of one task (sgd.md, eq. 1 and 2)."""
    for i in range(phi.shape[0]):
        velocity[i] = momentum * velocity[i] + grad[i]
        phi[i] -= lr * velocity[i]


@jit
def sgd_step(phi, velocity, grad, lr, momentum):
    """Update phi and velocity in place (sgd.md, eq. 1 and 2). Parameters as in the reference."""
    number = phi.dtype.type
    for t in range(phi.shape[0]):
        if velocity is None:
            sgd_plain(phi[t], grad[t], number(lr))
        else:
            sgd_momentum(phi[t], velocity[t], grad[t], number(lr), number(momentum))
