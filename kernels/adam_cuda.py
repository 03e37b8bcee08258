"""Adam, Numba CUDA: a thread for each parameter. Formulas: adam.md.

The step count t lives on the device. Were it increased by the kernel that also reads it, some
blocks would see it before and some after; so a kernel of its own, launched later, counts the step.
"""

import math

from .jit_cuda import BLOCK, blocks, cuda, launch, launch_each


@cuda.jit
def _count(t, steps):
    i = cuda.grid(1)
    if i < t.size:
        t[i] += steps


@cuda.jit(device=True)
def _rate(t, lr, beta1, beta2):
    """lr sqrt(1 - beta2^t) / (1 - beta1^t), in double precision (adam.md, eq. 4)."""
    return lr * math.sqrt(1.0 - math.pow(beta2, float(t))) / (1.0 - math.pow(beta1, float(t)))


@cuda.jit
def _with_m(phi, m, v, t, grad, ahead, lr, decay1, decay2, beta1, rest1, beta2, rest2, eps):
    """lr, decay1 and decay2 are doubles, for the rate; rest1 = 1 - beta1, rest2 = 1 - beta2."""
    rate = cuda.shared.array(1, phi.dtype)
    task, i = cuda.blockIdx.y, cuda.grid(1)
    if cuda.threadIdx.x == 0:  # the same for all threads, and powers of doubles are slow
        rate[0] = _rate(t[task] + ahead, lr, decay1, decay2)
    cuda.syncthreads()
    if i < phi.shape[1]:
        g = grad[task, i]
        m_new = beta1 * m[task, i] + rest1 * g
        v_new = beta2 * v[task, i] + rest2 * (g * g)
        m[task, i], v[task, i] = m_new, v_new
        phi[task, i] -= rate[0] * (m_new / (math.sqrt(v_new) + eps))


@cuda.jit
def _without_m(phi, v, t, grad, ahead, lr, decay2, beta2, rest2, eps):
    rate = cuda.shared.array(1, phi.dtype)
    task, i = cuda.blockIdx.y, cuda.grid(1)
    if cuda.threadIdx.x == 0:
        rate[0] = _rate(t[task] + ahead, lr, 0.0, decay2)
    cuda.syncthreads()
    if i < phi.shape[1]:
        g = grad[task, i]
        v_new = beta2 * v[task, i] + rest2 * (g * g)
        v[task, i] = v_new
        phi[task, i] -= rate[0] * (g / (math.sqrt(v_new) + eps))


def adam_ahead(phi, m, v, t, grad, lr, beta1, beta2, eps, ahead):
    """Update phi, m and v for step t + ahead; t stays, so that a whole loop counts once."""
    real = phi.dtype.type
    lr, beta1, beta2 = float(lr), float(beta1), float(beta2)
    first, second = (real(beta1), real(1 - beta1)), (real(beta2), real(1 - beta2))
    T, P = phi.shape
    grid = (blocks(P), T)
    if m is None:
        launch(_without_m, grid, (BLOCK,), phi, v, t, grad, ahead, lr, beta2, *second, real(eps))
    else:
        launch(
            _with_m, grid, (BLOCK,),
            phi, m, v, t, grad, ahead, lr, beta1, beta2, *first, *second, real(eps),
        )  # fmt: skip


def count_steps(t, steps, dtype=None):
    """t (T,) += steps. dtype is not used."""
    launch_each(_count, t.size, t, steps)


def adam_step(phi, m, v, t, grad, lr, beta1, beta2, eps):
    """Update phi, m, v and t in place (adam.md, eq. 1 to 4). Parameters as in the reference."""
    adam_ahead(phi, m, v, t, grad, lr, beta1, beta2, eps, 1)
    count_steps(t, 1)
