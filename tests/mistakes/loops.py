"""The loops of meta-learning, on tasks that are solved by hand.

Task t has the loss sum a (phi - c[t])^2 / 2, so k gradient steps lead from theta to
c + (1 - lr a)^k (theta - c), and everything that a loop does has a closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minireptile.kernels.adam_numpy import adam_step
from minireptile.testing import check_gradients, check_hvp, check_same

from .record import Check, Mistake

T, P, K = 3, 4, 5  # tasks, parameters, inner steps
LR, EPSILON = 0.1, 0.5
rng = np.random.default_rng(9)
theta0 = rng.standard_normal(P)
a0 = rng.uniform(0.5, 2, P)
c0 = rng.standard_normal((T, P))

Meta = Callable[[NDArray, NDArray, NDArray], NDArray]
Path = tuple[NDArray, ...]


def reptile_reference(theta: NDArray, a: NDArray, c: NDArray) -> NDArray:
    phi = c + (1 - LR * a) ** K * (theta - c)
    return EPSILON * (phi.mean(0) - theta)


def reptile(theta: NDArray, a: NDArray, c: NDArray) -> NDArray:
    phi = np.repeat(theta[None], T, axis=0)
    for _ in range(K):
        phi -= LR * a * (phi - c)
    return EPSILON * (phi.mean(0) - theta)


def theta_aliased(theta: NDArray, a: NDArray, c: NDArray) -> NDArray:
    theta = theta.copy()
    phi = [theta for _ in range(T)]  # should be theta.copy()
    for t in range(T):
        for _ in range(K):
            phi[t] -= LR * a * (phi[t] - c[t])
    return EPSILON * (np.mean(phi, axis=0) - theta)


def sign_reversed(theta: NDArray, a: NDArray, c: NDArray) -> NDArray:
    phi = np.repeat(theta[None], T, axis=0)
    for _ in range(K):
        phi -= LR * a * (phi - c)
    return EPSILON * (theta - phi.mean(0))


def summed_over_tasks(theta: NDArray, a: NDArray, c: NDArray) -> NDArray:
    phi = np.repeat(theta[None], T, axis=0)
    for _ in range(K):
        phi -= LR * a * (phi - c)
    return EPSILON * (phi - theta).sum(0)


def last_task_only(theta: NDArray, a: NDArray, c: NDArray) -> NDArray:
    for t in range(T):
        phi = theta.copy()
        for _ in range(K):
            phi -= LR * a * (phi - c[t])
    return EPSILON * (phi - theta)


def check_reptile(loop: Meta) -> Check:
    inputs = theta0, a0, c0
    return lambda: check_same(loop, reptile_reference, *inputs, length=4 * K, name="step of theta")


# The inner loop on one task: output i is phi after step i.


def path_reference(theta: NDArray, a: NDArray, c: NDArray) -> Path:
    return tuple(c + (1 - LR * a) ** i * (theta - c) for i in range(1, K + 1))


def adapt(theta: NDArray, a: NDArray, c: NDArray) -> Path:
    phi, path = theta.copy(), []
    for _ in range(K):
        phi -= LR * a * (phi - c)
        path.append(phi.copy())
    return tuple(path)


def gradient_at_theta(theta: NDArray, a: NDArray, c: NDArray) -> Path:
    phi, path = theta.copy(), []
    for _ in range(K):
        phi -= LR * a * (theta - c)  # should be phi
        path.append(phi.copy())
    return tuple(path)


def one_step_short(theta: NDArray, a: NDArray, c: NDArray) -> Path:
    phi, path = theta.copy(), []
    for _ in range(1, K):
        phi -= LR * a * (phi - c)
        path.append(phi.copy())
    return tuple(path)


def check_path(loop: Callable[..., Path]) -> Check:
    inputs = theta0, a0, c0[0]
    return lambda: check_same(loop, path_reference, *inputs, length=4 * K, name="inner loop")


# Adam on all tasks at once, against one task after another: output t is phi of task t.


def all_at_once(theta: NDArray, a: NDArray, c: NDArray) -> Path:
    phi, m, v = np.repeat(theta[None], T, axis=0), np.zeros((T, P)), np.zeros((T, P))
    steps = np.zeros(T, np.int64)
    for _ in range(K):
        adam_step(phi, m, v, steps, a * (phi - c), LR, 0.9, 0.999, 1e-8)
    return tuple(phi)


def one_by_one(theta: NDArray, a: NDArray, c: NDArray) -> Path:
    ends = []
    for t in range(T):
        phi, m, v = theta[None].copy(), np.zeros((1, P)), np.zeros((1, P))
        steps = np.zeros(1, np.int64)
        for _ in range(K):
            adam_step(phi, m, v, steps, a * (phi - c[t]), LR, 0.9, 0.999, 1e-8)
        ends.append(phi[0])
    return tuple(ends)


def state_leaks(theta: NDArray, a: NDArray, c: NDArray) -> Path:
    m, v = np.zeros((1, P)), np.zeros((1, P))
    steps, ends = np.zeros(1, np.int64), []
    for t in range(T):  # m, v and steps should start again
        phi = theta[None].copy()
        for _ in range(K):
            adam_step(phi, m, v, steps, a * (phi - c[t]), LR, 0.9, 0.999, 1e-8)
        ends.append(phi[0])
    return tuple(ends)


def phi_not_reset(theta: NDArray, a: NDArray, c: NDArray) -> Path:
    phi, ends = theta[None].copy(), []  # should be in the loop over the tasks
    for t in range(T):
        m, v = np.zeros((1, P)), np.zeros((1, P))
        steps = np.zeros(1, np.int64)
        for _ in range(K):
            adam_step(phi, m, v, steps, a * (phi - c[t]), LR, 0.9, 0.999, 1e-8)
        ends.append(phi[0].copy())
    return tuple(ends)


def check_tasks(loop: Callable[..., Path]) -> Check:
    inputs = theta0, a0, c0
    return lambda: check_same(loop, all_at_once, *inputs, length=16 * K, name="tasks")


# Backward through two dense layers, y = (x w) u, that are trained on the way.

x0 = rng.standard_normal((3, P))
w0, u0 = rng.standard_normal((2, P, P))


def two_layers(x: NDArray, w: NDArray, u: NDArray) -> NDArray:
    return x @ w @ u


def two_layers_backward(
    dy: NDArray, x: NDArray, w: NDArray, u: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    dhidden = dy @ u.T
    return dhidden @ w.T, x.T @ dhidden, (x @ w).T @ dy


def updated_too_early(
    dy: NDArray, x: NDArray, w: NDArray, u: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    du = (x @ w).T @ dy
    u -= LR * du  # should wait until dy has gone through u
    dhidden = dy @ u.T
    return dhidden @ w.T, x.T @ dhidden, du


def check_two_layers(backward: Callable[..., tuple[NDArray, NDArray, NDArray]]) -> Check:
    inputs = x0, w0, u0
    return lambda: check_gradients((two_layers, backward), *inputs, name="two layers")


# MAML: the loss after one inner step, as a function of theta. Now the task is a curved one, with
# the loss sum phi^4 / 4 + (phi' x)^2 / 2, its gradient and its Hessian times a vector.


support, query = c0[:2]


def curved_loss(phi: NDArray, x: NDArray) -> Any:
    return (phi**4).sum() / 4 + (phi @ x) ** 2 / 2


def curved_grad(phi: NDArray, x: NDArray) -> NDArray:
    return phi**3 + (phi @ x) * x


def curved_hvp(phi: NDArray, x: NDArray, v: NDArray) -> NDArray:
    return 3 * phi**2 * v + (v @ x) * x


def maml(theta: NDArray) -> NDArray:
    return curved_loss(theta - LR * curved_grad(theta, support), query)


def maml_backward(dy: NDArray, theta: NDArray) -> NDArray:
    g = curved_grad(theta - LR * curved_grad(theta, support), query)
    return dy * (g - LR * curved_hvp(theta, support, g))


def first_order(dy: NDArray, theta: NDArray) -> NDArray:
    return dy * curved_grad(theta - LR * curved_grad(theta, support), query)


def hessian_at_phi(dy: NDArray, theta: NDArray) -> NDArray:
    phi = theta - LR * curved_grad(theta, support)
    g = curved_grad(phi, query)
    return dy * (g - LR * curved_hvp(phi, support, g))


def gradient_at_theta_too(dy: NDArray, theta: NDArray) -> NDArray:
    g = curved_grad(theta, query)
    return dy * (g - LR * curved_hvp(theta, support, g))


def check_maml(backward: Callable[[NDArray, NDArray], NDArray]) -> Check:
    return lambda: check_gradients((maml, backward), theta0, name="maml")


def hvp(theta: NDArray, v: NDArray) -> NDArray:
    return curved_hvp(theta, support, v)


def outer_product(theta: NDArray, v: NDArray) -> NDArray:
    g = curved_grad(theta, support)
    return g * (g @ v)


def factor_forgotten(theta: NDArray, v: NDArray) -> NDArray:
    return theta**2 * v + (v @ support) * support


def not_symmetric(theta: NDArray, v: NDArray) -> NDArray:
    return 3 * theta**2 * v + (v @ theta) * support


def check_hessian(hvp: Callable[[NDArray, NDArray], NDArray]) -> Check:
    def loss(phi: NDArray) -> float:
        return curved_loss(phi, support)

    def grad(phi: NDArray) -> NDArray:
        return curved_grad(phi, support)

    return lambda: check_hvp(grad, hvp, theta0, loss=loss)


MISTAKES = (
    Mistake(
        "reptile: phi is theta itself, not a copy",
        "theta moves with phi: phi - theta is 0, epsilon has no effect, tasks follow one another",
        check_reptile(theta_aliased),
        r": -?0, expected",
        check_reptile(reptile),
    ),
    Mistake(
        "reptile: theta - phi instead of phi - theta",
        "moves away from the tasks: the loss before adaptation goes up",
        check_reptile(sign_reversed),
        r"ratio -1;",
        check_reptile(reptile),
    ),
    Mistake(
        "reptile: sum over the tasks instead of the mean",
        "T times the outer step; diverges as the meta-batch grows",
        check_reptile(summed_over_tasks),
        r"ratio 3;",
        check_reptile(reptile),
    ),
    Mistake(
        "reptile: only the last task counts",
        "noisy, but it learns: the meta-batch was for nothing",
        check_reptile(last_task_only),
        r"step of theta",
        check_reptile(reptile),
    ),
    Mistake(
        "loops: gradient taken at theta in every inner step",
        "right for k = 1; k steps become one long one",
        check_path(gradient_at_theta),
        r"output 1 ",
        check_path(adapt),
    ),
    Mistake(
        "loops: one inner step too few",
        "range(1, k): everything learns, a little too slowly",
        check_path(one_step_short),
        r"4 outputs, and the reference has 5",
        check_path(adapt),
    ),
    Mistake(
        "loops: phi not reset to theta between tasks",
        "task 0 is right; every other task starts where the one before it ended",
        check_tasks(phi_not_reset),
        r"output 1 ",
        check_tasks(one_by_one),
    ),
    Mistake(
        "loops: Adam's state leaks from task to task",
        "task 0 is right; all others depend on the order of the tasks",
        check_tasks(state_leaks),
        r"output 1 ",
        check_tasks(one_by_one),
    ),
    Mistake(
        "loops: a layer's weights updated before dy went through them",
        "its own gradient is right, those below are off by a term in the learning rate",
        check_two_layers(updated_too_early),
        r"backward changes its input u",
        check_two_layers(two_layers_backward),
    ),
    Mistake(
        "maml: second-order term left out",
        "off by the learning rate times the Hessian: this is first-order MAML",
        check_maml(first_order),
        r"dtheta: is wrong",
        check_maml(maml_backward),
    ),
    Mistake(
        "maml: Hessian taken at phi instead of theta",
        "right for quadratic losses, off by lr^2 otherwise",
        check_maml(hessian_at_phi),
        r"dtheta: is wrong",
        check_maml(maml_backward),
    ),
    Mistake(
        "maml: outer gradient taken at theta instead of phi",
        "as if nothing had been learned in between",
        check_maml(gradient_at_theta_too),
        r"dtheta: is wrong",
        check_maml(maml_backward),
    ),
    Mistake(
        "hvp: outer product of the gradient instead of the Hessian",
        "symmetric, of the right shape, and wrong against differences of gradients",
        check_hessian(outer_product),
        r"u \. H v = .* differences give",
        check_hessian(hvp),
    ),
    Mistake(
        "hvp: factor 3 of the cube's derivative forgotten",
        "still symmetric; wrong against differences of gradients",
        check_hessian(factor_forgotten),
        r"u \. H v = .* differences give",
        check_hessian(hvp),
    ),
    Mistake(
        "hvp: the wrong vector in the inner product",
        "u' H v differs from v' H u",
        check_hessian(not_symmetric),
        r"not symmetric",
        check_hessian(hvp),
    ),
)
