"""11: a Hessian-vector product, by the R-operator.                   30 minutes, about 8 lines

Read the sections "The R-operator" of three pages: kernels/dense.md, eq. 5 to 8, kernels/tanh.md,
eq. 6 and 7, and kernels/squared_error.md, eq. 3.

    x          (B, n_in)
    target     (B, n_out)
    params     w (n_in, n_hidden), b (n_hidden,), u (n_hidden, n_out), c (n_out,)
    direction  rw, rb, ru, rc, of the same shapes

Two layers, y = tanh(x w + b) u + c, under the squared error. Its gradient is given below. The
Hessian times the direction is the derivative of that gradient along the direction: go through it
line by line, and write the derivative rz of each z below it. No matrix is formed.
"""

from __future__ import annotations

import numpy as np

# Given: the loss and its gradient.


def loss_and_grad(params, x, target):
    w, b, u, c = params
    h = np.tanh(x @ w + b)
    apart = h @ u + c - target
    dy = 2 / len(x) * apart
    dh = dy @ u.T
    dz = dh * (1 - h * h)
    return (apart**2).sum() / len(x), (x.T @ dz, dz.sum(0), h.T @ dy, dy.sum(0))


# Yours.


def hvp(params, x, target, direction):
    raise NotImplementedError("the derivatives of the gradients by w, b, u and c, in this order")
