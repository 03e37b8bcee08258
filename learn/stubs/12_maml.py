"""12: exact MAML: back through the inner steps.                      25 minutes, about 8 lines

Read kernels/maml.md, eq. 1 to 5, without momentum and weight decay (mu = 0, rho = 1). Its tail is
called query here.

    theta      (P,)
    support    k mini-batches, a list of pairs (x, y): k steps of SGD, one on each
    query      a pair (x, y), which judges where the steps end
    lr         the inner step size, alpha

    loss, grad = loss_and_grad(phi, x, y)
    hvp(phi, x, y, v)    the Hessian of that loss at phi, times v: (P,)

The meta-loss is the loss on query after the steps, as a function of theta. At the end, your Adam,
your Hessian-vector product and your meta-gradient learn sine waves.
"""

from __future__ import annotations

import numpy as np


def meta_gradient(theta, support, query, loss_and_grad, hvp, lr):
    raise NotImplementedError("the gradient of the meta-loss by theta, (P,)")
