"""Adam, Numba. Formulas: adam.md."""

import math

from .jit_numba import inner, jit


@inner
def adam_rate(t, lr, beta1, beta2):
    """The step size after t steps: lr sqrt(1 - beta2^t) / (1 - beta1^t) (adam.md, eq. 4)."""
    return lr * math.sqrt(1 - beta2**t) / (1 - beta1**t)


@inner
def adam_without_m(phi, v, grad, rate, beta2, rest2, eps):
    """Update phi and v (n,) of one task where beta1 = 0; rest2 = 1 - beta2."""
    for i in range(phi.shape[0]):
        v[i] = beta2 * v[i] + rest2 * (grad[i] * grad[i])
        phi[i] -= rate * (grad[i] / (math.sqrt(v[i]) + eps))


@inner
def adam_with_m(phi, m, v, grad, rate, beta1, rest1, beta2, rest2, eps):
    """Update phi, m and v (n,) of one task; rest1 = 1 - beta1, rest2 = 1 - beta2."""
    for i in range(phi.shape[0]):
        m[i] = beta1 * m[i] + rest1 * grad[i]
        v[i] = beta2 * v[i] + rest2 * (grad[i] * grad[i])
        phi[i] -= rate * (m[i] / (math.sqrt(v[i]) + eps))


@jit
def adam_step(phi, m, v, t, grad, lr, beta1, beta2, eps):
    """Update phi, m, v and t in place (adam.md, eq. 1 to 4). Parameters as in the reference."""
    f = phi.dtype.type
    for i in range(phi.shape[0]):
        t[i] += 1
        rate = f(adam_rate(t[i], lr, beta1, beta2))
        if m is None:
            adam_without_m(phi[i], v[i], grad[i], rate, f(beta2), f(1 - beta2), f(eps))
        else:
            adam_with_m(
                phi[i], m[i], v[i], grad[i], rate,
                f(beta1), f(1 - beta1), f(beta2), f(1 - beta2), f(eps),
            )  # fmt: skip
