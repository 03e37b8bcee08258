"""08: momentum and Adam.                                            15 minutes, about 10 lines

Read kernels/sgd.md, eq. 1 and 2, and kernels/adam.md, eq. 1 to 4. Both are elementwise: here
without the task axis.

    grads              (K, P)  the gradients of K steps
    phi, m, v, grad    (P,)    parameters, moving averages of gradients and of squares, a gradient
    t                  how many steps have been taken before, 0 in the first call
    lr, mu, beta1, beta2, eps  numbers

Both begin with a velocity, and with m and v, of zeros.
"""

from __future__ import annotations

import numpy as np


def momentum_steps(grads, lr, mu):
    raise NotImplementedError("a list of what each step adds to phi: K arrays, (P,)")


def adam_step(phi, m, v, t, grad, lr, beta1, beta2, eps):
    raise NotImplementedError("phi, m, v and t after one step, in this order, by eq. 1 to 4")
