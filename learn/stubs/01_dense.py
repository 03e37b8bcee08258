"""01: the dense layer, y = x w + b, and its gradients.                20 minutes, about 4 lines

Read kernels/dense.md, eq. 1 to 4 (here without the task axis t).

    x  (B, n_in)     a mini-batch of B examples
    w  (n_in, n_out)
    b  (n_out,)
    y  (B, n_out)

dy is the gradient of the loss by y, of y's shape: it comes from above. Each gradient that you
return has the shape of what it belongs to. Change nothing that you are given.

When you have written something: python -m learn
"""

import numpy as np


def forward(x, w, b):
    raise NotImplementedError("y, by eq. 1")


def backward(dy, x, w, b):
    raise NotImplementedError("dx, dw and db, in this order, by eq. 2 to 4")


def mean_backward(dy, x, w):
    # A loss is a mean over the mini-batch. The simplest one is y = (x @ w).mean(0), (n_out,).
    raise NotImplementedError("dx and dw; dy is (n_out,), as y is")
