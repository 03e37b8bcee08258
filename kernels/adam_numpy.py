"""Adam, NumPy. Formulas: adam.md.

Source: Kingma & Ba, 2015, in the efficient form at the end of their section 2, which TensorFlow
uses: epsilon is added to the square root of the uncorrected v.
"""

import numpy as np
from numpy.typing import NDArray


def adam_step(
    phi: NDArray, m: NDArray | None, v: NDArray, t: NDArray, grad: NDArray,
    lr: float, beta1: float, beta2: float, eps: float,
) -> None:  # fmt: skip
    """Update phi, m, v and t in place (adam.md, eq. 1 to 4).

        t   <- t + 1
        m   <- beta1 m + (1 - beta1) grad
        v   <- beta2 v + (1 - beta2) grad^2
        phi <- phi - lr sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + eps)

    Parameters
    ----------
    phi, v : (T, P), updated
    m : (T, P), updated; None where beta1 = 0, when it would equal grad
    t : (T,), int64, updated: steps taken so far
    grad : (T, P)
    lr, beta1, beta2, eps : alpha, beta_1, beta_2, epsilon of the formulas
    """
    t += 1
    rate = lr * np.sqrt(1 - beta2**t) / (1 - beta1**t)
    if m is not None:
        m *= beta1
        m += (1 - beta1) * grad
    v *= beta2
    step = grad * grad
    step *= 1 - beta2
    v += step
    np.sqrt(v, out=step)
    step += eps
    np.divide(grad if m is None else m, step, out=step)
    step *= rate[:, None].astype(phi.real.dtype)
    phi -= step
