"""Stochastic gradient descent, with and without momentum, NumPy. Formulas: sgd.md."""

from numpy.typing import NDArray


def sgd_step(
    phi: NDArray, velocity: NDArray | None, grad: NDArray, lr: float, momentum: float
) -> None:
    """Update phi and velocity in place (sgd.md, eq. 1 and 2).

        velocity <- momentum velocity + grad
        phi      <- phi - lr velocity

    Parameters
    ----------
    phi : (T, P), updated
    velocity : (T, P), updated; None without momentum, when grad takes its place
    grad : (T, P)
    lr, momentum : alpha and mu of the formulas
    """
    if velocity is not None:
        velocity *= momentum
        velocity += grad
        grad = velocity
    phi -= lr * grad
