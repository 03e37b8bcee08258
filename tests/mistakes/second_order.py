"""The loops of meta-learning that need a second derivative: MAML, and the Hessian's products.

The tasks are those of loops.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minireptile.testing import check_gradients, check_hvp

from .loops import LR, Batch, Batches, LossAndGrad, c0, rng, theta0
from .record import Check, Mistake

# MAML: the loss after k inner steps, as a function of theta. Now the tasks are curved: a mini-batch
# (x, y) has the loss sum phi^4 / 4 + (phi' x - y)^2 / 2.


support = [(c_i, c_i[0]) for c_i in c0[0, :3]]
query = c0[1, 0], c0[1, 0, 0]


def curved(phi: NDArray, x: NDArray, y: NDArray) -> tuple[Any, NDArray]:
    apart = phi @ x - y
    return (phi**4).sum() / 4 + apart**2 / 2, phi**3 + apart * x


def curved_hvp(phi: NDArray, x: NDArray, y: NDArray, v: NDArray) -> NDArray:
    return 3 * phi**2 * v + (v @ x) * x


Hvp = Callable[[NDArray, NDArray, NDArray, NDArray], NDArray]


def meta_gradient(
    theta: NDArray, support: Batches, query: Batch, loss_and_grad: LossAndGrad, hvp: Hvp, lr: float
) -> NDArray:
    phi, path = theta, []
    for x, y in support:
        path.append(phi)
        phi = phi - lr * loss_and_grad(phi, x, y)[1]
    a = loss_and_grad(phi, *query)[1]
    for phi, (x, y) in zip(reversed(path), reversed(support), strict=True):
        a = a - lr * hvp(phi, x, y, a)
    return a


def first_order(
    theta: NDArray, support: Batches, query: Batch, loss_and_grad: LossAndGrad, hvp: Hvp, lr: float
) -> NDArray:
    phi = theta
    for x, y in support:
        phi = phi - lr * loss_and_grad(phi, x, y)[1]
    return loss_and_grad(phi, *query)[1]


def hessian_at_phi(
    theta: NDArray, support: Batches, query: Batch, loss_and_grad: LossAndGrad, hvp: Hvp, lr: float
) -> NDArray:
    phi = theta
    for x, y in support:
        phi = phi - lr * loss_and_grad(phi, x, y)[1]
    a = loss_and_grad(phi, *query)[1]
    for x, y in reversed(support):
        a = a - lr * hvp(phi, x, y, a)  # should be where the step began
    return a


def gradient_at_theta_too(
    theta: NDArray, support: Batches, query: Batch, loss_and_grad: LossAndGrad, hvp: Hvp, lr: float
) -> NDArray:
    phi, path = theta, []
    for x, y in support:
        path.append(phi)
        phi = phi - lr * loss_and_grad(phi, x, y)[1]
    a = loss_and_grad(theta, *query)[1]
    for phi, (x, y) in zip(reversed(path), reversed(support), strict=True):
        a = a - lr * hvp(phi, x, y, a)
    return a


def check_maml(meta_gradient: Callable[..., NDArray]) -> Check:
    def meta_loss(theta: NDArray) -> Any:
        for x, y in support:
            theta = theta - LR * curved(theta, x, y)[1]
        return curved(theta, *query)[0]

    def backward(dy: NDArray, theta: NDArray) -> NDArray:
        return dy * meta_gradient(theta, support, query, curved, curved_hvp, LR)

    return lambda: check_gradients((meta_loss, backward), theta0, name="maml")


# The Hessian of a network with one hidden layer, tanh(x w + b) u + c, times a direction, one array
# for each parameter; the loss is the squared error. rz is the derivative of z along it.

Params = tuple[NDArray, NDArray, NDArray, NDArray]
shapes = (2, 4), (4,), (4, 3), (3,)
x1, target1 = rng.standard_normal((5, 2)), rng.standard_normal((5, 3))
params0 = rng.standard_normal(sum(map(math.prod, shapes)))


def parts(flat: NDArray, shapes: Sequence[tuple[int, ...]] = shapes) -> Any:
    pieces = np.split(flat, np.cumsum([math.prod(shape) for shape in shapes])[:-1])
    return tuple(piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True))


def flat(arrays: Params) -> NDArray:
    return np.concatenate([np.ravel(array) for array in arrays])


def network(params: Params, x: NDArray, target: NDArray) -> tuple[Any, Params]:
    """The loss and its gradient by each parameter."""
    w, b, u, c = params
    h = np.tanh(x @ w + b)
    apart = h @ u + c - target
    dy = 2 / len(x) * apart
    dz = (dy @ u.T) * (1 - h * h)
    return (apart**2).sum() / len(x), (x.T @ dz, dz.sum(0), h.T @ dy, dy.sum(0))


def hvp(params: Params, x: NDArray, target: NDArray, direction: Params) -> Params:
    (w, b, u, c), (rw, rb, ru, rc) = params, direction
    h = np.tanh(x @ w + b)
    rh = (x @ rw + rb) * (1 - h * h)
    dy = 2 / len(x) * (h @ u + c - target)
    rdy = 2 / len(x) * (rh @ u + h @ ru + rc)
    dh, rdh = dy @ u.T, rdy @ u.T + dy @ ru.T
    rdz = rdh * (1 - h * h) - 2 * h * rh * dh
    return x.T @ rdz, rdz.sum(0), rh.T @ dy + h.T @ rdy, rdy.sum(0)


def outer_product(params: Params, x: NDArray, target: NDArray, direction: Params) -> Params:
    grad = network(params, x, target)[1]
    along = sum((g * v).sum() for g, v in zip(grad, direction, strict=True))
    return tuple(g * along for g in grad)


def slope_of_tanh_constant(
    params: Params, x: NDArray, target: NDArray, direction: Params
) -> Params:
    (w, b, u, c), (rw, rb, ru, rc) = params, direction
    h = np.tanh(x @ w + b)
    rh = (x @ rw + rb) * (1 - h * h)
    dy = 2 / len(x) * (h @ u + c - target)
    rdy = 2 / len(x) * (rh @ u + h @ ru + rc)
    rdh = rdy @ u.T + dy @ ru.T
    rdz = rdh * (1 - h * h)  # and -2 h rh dh
    return x.T @ rdz, rdz.sum(0), rh.T @ dy + h.T @ rdy, rdy.sum(0)


def weights_constant_on_the_way_back(
    params: Params, x: NDArray, target: NDArray, direction: Params
) -> Params:
    (w, b, u, c), (rw, rb, ru, rc) = params, direction
    h = np.tanh(x @ w + b)
    rh = (x @ rw + rb) * (1 - h * h)
    dy = 2 / len(x) * (h @ u + c - target)
    rdy = 2 / len(x) * (rh @ u + h @ ru + rc)
    dh, rdh = dy @ u.T, rdy @ u.T  # and dy ru'
    rdz = rdh * (1 - h * h) - 2 * h * rh * dh
    return x.T @ rdz, rdz.sum(0), rh.T @ dy + h.T @ rdy, rdy.sum(0)


def check_hessian(hvp: Callable[..., Params]) -> Check:
    def loss(theta: NDArray) -> Any:
        return network(parts(theta), x1, target1)[0]

    def grad(theta: NDArray) -> NDArray:
        return flat(network(parts(theta), x1, target1)[1])

    def product(theta: NDArray, v: NDArray) -> NDArray:
        return flat(hvp(parts(theta), x1, target1, parts(v)))

    return lambda: check_hvp(grad, product, params0, loss=loss)


MISTAKES = (
    Mistake(
        "maml: second-order term left out",
        "off by the learning rate times the Hessian: this is first-order MAML",
        check_maml(first_order),
        r"dtheta: is wrong",
        check_maml(meta_gradient),
        wrong={"meta_gradient": first_order},
    ),
    Mistake(
        "maml: Hessian taken at phi instead of theta",
        "right for quadratic losses, off by lr^2 otherwise",
        check_maml(hessian_at_phi),
        r"dtheta: is wrong",
        check_maml(meta_gradient),
        wrong={"meta_gradient": hessian_at_phi},
    ),
    Mistake(
        "maml: outer gradient taken at theta instead of phi",
        "as if nothing had been learned in between",
        check_maml(gradient_at_theta_too),
        r"dtheta: is wrong",
        check_maml(meta_gradient),
        wrong={"meta_gradient": gradient_at_theta_too},
    ),
    Mistake(
        "hvp: outer product of the gradient instead of the Hessian",
        "symmetric, of the right shape, and wrong against differences of gradients",
        check_hessian(outer_product),
        r"u \. H v = .* differences give",
        check_hessian(hvp),
        wrong={"hvp": outer_product},
    ),
    Mistake(
        "hvp: the slope of tanh taken as a constant",
        "-2 y ry dy left out: still symmetric; wrong against differences of gradients",
        check_hessian(slope_of_tanh_constant),
        r"u \. H v = .* differences give",
        check_hessian(hvp),
        wrong={"hvp": slope_of_tanh_constant},
    ),
    Mistake(
        "hvp: the weights taken as constant on the way back",
        "dy ru' left out of rdx: u' H v differs from v' H u",
        check_hessian(weights_constant_on_the_way_back),
        r"not symmetric",
        check_hessian(hvp),
        wrong={"hvp": weights_constant_on_the_way_back},
    ),
)
