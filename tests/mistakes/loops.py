"""The loops of meta-learning, on tasks that are solved by hand.

A mini-batch (a, c) has the loss sum a (phi - c)^2 / 2, so a gradient step leads from phi to
c + (1 - lr a) (phi - c), and everything that a loop does has a closed form. Every mini-batch has a
c of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minireptile.kernels.adam_numpy import adam_step
from minireptile.optim import SGD, Adam
from minireptile.testing import check_gradients, check_same

from .record import Check, Mistake

T, K, P = 3, 5, 4  # tasks, inner steps, parameters
LR, EPSILON = 0.1, 0.5
rng = np.random.default_rng(9)
theta0 = rng.standard_normal(P)
a0 = rng.uniform(0.5, 2, P)
c0 = rng.standard_normal((T, K, P))

Batch = tuple[NDArray, NDArray]
Batches = Sequence[Batch]  # the k mini-batches of a task
LossAndGrad = Callable[[NDArray, NDArray, NDArray], tuple[Any, NDArray]]
Path = tuple[NDArray, ...]


def quadratic(phi: NDArray, a: NDArray, c: NDArray) -> tuple[Any, NDArray]:
    return (a * (phi - c) ** 2).sum() / 2, a * (phi - c)


def batches_of(a: NDArray, c: NDArray) -> list[Batch]:
    return [(a, c_i) for c_i in c]


def path_reference(theta: NDArray, a: NDArray, c: NDArray) -> Path:
    """theta and phi after each step."""
    path = [theta]
    for c_i in c:
        path.append(c_i + (1 - LR * a) * (path[-1] - c_i))
    return tuple(path)


# The inner loop on one task. Output i is where the gradient of step i was taken, and the last one
# where the loop ends.


def adapt(phi: NDArray, batches: Batches, loss_and_grad: LossAndGrad, optimizer: Any) -> None:
    state = optimizer.init(phi)
    for x, y in batches:
        _, grad = loss_and_grad(phi, x, y)
        optimizer.step(phi, grad, state)


def gradient_at_theta(
    phi: NDArray, batches: Batches, loss_and_grad: LossAndGrad, optimizer: Any
) -> None:
    theta, state = phi.copy(), optimizer.init(phi)
    for x, y in batches:
        _, grad = loss_and_grad(theta, x, y)  # should be phi
        optimizer.step(phi, grad, state)


def one_step_short(
    phi: NDArray, batches: Batches, loss_and_grad: LossAndGrad, optimizer: Any
) -> None:
    state = optimizer.init(phi)
    for i in range(1, len(batches)):
        _, grad = loss_and_grad(phi, *batches[i - 1])
        optimizer.step(phi, grad, state)


def check_path(adapt: Callable[..., None]) -> Check:
    def run(theta: NDArray, a: NDArray, c: NDArray) -> Path:
        path = []

        def loss_and_grad(phi: NDArray, a: NDArray, c: NDArray) -> tuple[Any, NDArray]:
            path.append(phi.copy())
            return quadratic(phi, a, c)

        adapt(theta, batches_of(a, c), loss_and_grad, SGD(LR))
        return *path, theta

    inputs, name = (theta0, a0, c0[0]), "phi at each gradient and at the end"
    return lambda: check_same(run, path_reference, *inputs, length=4 * K, name=name)


# Adam on all tasks at once, against one task after another: output t is phi of task t.


def all_at_once(theta: NDArray, a: NDArray, c: NDArray) -> Path:
    phi, m, v = np.repeat(theta[None], T, axis=0), np.zeros((T, P)), np.zeros((T, P))
    steps = np.zeros(T, np.int64)
    for i in range(K):
        adam_step(phi, m, v, steps, a * (phi - c[:, i]), LR, 0.9, 0.999, 1e-8)
    return tuple(phi)


def adapt_tasks(
    theta: NDArray, tasks: Sequence[Batches], loss_and_grad: LossAndGrad, optimizer: Any
) -> NDArray:
    phi = np.repeat(theta[None], len(tasks), axis=0)
    for t, batches in enumerate(tasks):
        adapt(phi[t], batches, loss_and_grad, optimizer)
    return phi


def phi_not_reset(
    theta: NDArray, tasks: Sequence[Batches], loss_and_grad: LossAndGrad, optimizer: Any
) -> NDArray:
    phi, ends = theta.copy(), []  # should be in the loop over the tasks
    for batches in tasks:
        adapt(phi, batches, loss_and_grad, optimizer)
        ends.append(phi.copy())
    return np.array(ends)


def state_leaks(
    theta: NDArray, tasks: Sequence[Batches], loss_and_grad: LossAndGrad, optimizer: Any
) -> NDArray:
    phi = np.repeat(theta[None], len(tasks), axis=0)
    state = optimizer.init(theta)  # should start again with every task
    for t, batches in enumerate(tasks):
        for x, y in batches:
            optimizer.step(phi[t], loss_and_grad(phi[t], x, y)[1], state)
    return phi


def check_tasks(adapt_tasks: Callable[..., NDArray]) -> Check:
    def run(theta: NDArray, a: NDArray, c: NDArray) -> Path:
        tasks = [batches_of(a, c_t) for c_t in c]
        return tuple(adapt_tasks(theta, tasks, quadratic, Adam(LR, 0.9, 0.999, 1e-8)))

    inputs = theta0, a0, c0
    return lambda: check_same(run, all_at_once, *inputs, length=16 * K, name="phi of each task")


# Reptile's step of theta. The inner loop works on phi where it lies.


def sgd_steps(phi: NDArray, batches: Batches) -> None:
    for a, c in batches:
        phi -= LR * a * (phi - c)


def reptile_step(
    theta: NDArray, tasks: Sequence[Batches], adapt: Callable[..., None], epsilon: float
) -> NDArray:
    phi = np.repeat(theta[None], len(tasks), axis=0)
    for t, batches in enumerate(tasks):
        adapt(phi[t], batches)
    return theta + epsilon * (phi.mean(0) - theta)


def theta_aliased(
    theta: NDArray, tasks: Sequence[Batches], adapt: Callable[..., None], epsilon: float
) -> NDArray:
    phi = [theta for _ in tasks]  # should be theta.copy()
    for t, batches in enumerate(tasks):
        adapt(phi[t], batches)
    return theta + epsilon * (np.mean(phi, axis=0) - theta)


def sign_reversed(
    theta: NDArray, tasks: Sequence[Batches], adapt: Callable[..., None], epsilon: float
) -> NDArray:
    phi = np.repeat(theta[None], len(tasks), axis=0)
    for t, batches in enumerate(tasks):
        adapt(phi[t], batches)
    return theta + epsilon * (theta - phi.mean(0))


def summed_over_tasks(
    theta: NDArray, tasks: Sequence[Batches], adapt: Callable[..., None], epsilon: float
) -> NDArray:
    phi = np.repeat(theta[None], len(tasks), axis=0)
    for t, batches in enumerate(tasks):
        adapt(phi[t], batches)
    return theta + epsilon * (phi - theta).sum(0)


def last_task_only(
    theta: NDArray, tasks: Sequence[Batches], adapt: Callable[..., None], epsilon: float
) -> NDArray:
    for batches in tasks:
        phi = theta.copy()
        adapt(phi, batches)
    return theta + epsilon * (phi - theta)


def check_reptile(reptile_step: Callable[..., NDArray]) -> Check:
    def run(theta: NDArray, a: NDArray, c: NDArray) -> NDArray:
        return reptile_step(theta, [batches_of(a, c_t) for c_t in c], sgd_steps, EPSILON) - theta

    def reference(theta: NDArray, a: NDArray, c: NDArray) -> NDArray:
        ends = [path_reference(theta, a, c_t)[-1] for c_t in c]
        return EPSILON * (np.mean(ends, axis=0) - theta)

    inputs = theta0, a0, c0
    return lambda: check_same(run, reference, *inputs, length=4 * K, name="step of theta")


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


MISTAKES = (
    Mistake(
        "reptile: phi is theta itself, not a copy",
        "theta moves with phi: phi - theta is 0, epsilon has no effect, tasks follow one another",
        check_reptile(theta_aliased),
        r": -?0, expected",
        check_reptile(reptile_step),
        wrong={"reptile_step": theta_aliased},
    ),
    Mistake(
        "reptile: theta - phi instead of phi - theta",
        "moves away from the tasks: the loss before adaptation goes up",
        check_reptile(sign_reversed),
        r"ratio -1;",
        check_reptile(reptile_step),
        wrong={"reptile_step": sign_reversed},
    ),
    Mistake(
        "reptile: sum over the tasks instead of the mean",
        "T times the outer step; diverges as the meta-batch grows",
        check_reptile(summed_over_tasks),
        r"ratio 3;",
        check_reptile(reptile_step),
        wrong={"reptile_step": summed_over_tasks},
    ),
    Mistake(
        "reptile: only the last task counts",
        "noisy, but it learns: the meta-batch was for nothing",
        check_reptile(last_task_only),
        r"step of theta",
        check_reptile(reptile_step),
        wrong={"reptile_step": last_task_only},
    ),
    Mistake(
        "loops: gradient taken at theta in every inner step",
        "right for k = 1; k steps become one long one",
        check_path(gradient_at_theta),
        r"output 1 ",
        check_path(adapt),
        wrong={"adapt": gradient_at_theta},
    ),
    Mistake(
        "loops: one inner step too few",
        "range(1, k): everything learns, a little too slowly",
        check_path(one_step_short),
        r"5 outputs, and the reference has 6",
        check_path(adapt),
        wrong={"adapt": one_step_short},
    ),
    Mistake(
        "loops: phi not reset to theta between tasks",
        "task 0 is right; every other task starts where the one before it ended",
        check_tasks(phi_not_reset),
        r"output 1 ",
        check_tasks(adapt_tasks),
        wrong={"adapt_tasks": phi_not_reset},
    ),
    Mistake(
        "loops: Adam's state leaks from task to task",
        "task 0 is right; all others depend on the order of the tasks",
        check_tasks(state_leaks),
        r"output 1 ",
        check_tasks(adapt_tasks),
        wrong={"adapt_tasks": state_leaks},
    ),
    Mistake(
        "loops: a layer's weights updated before dy went through them",
        "its own gradient is right, those below are off by a term in the learning rate",
        check_two_layers(updated_too_early),
        r"backward changes its input u",
        check_two_layers(two_layers_backward),
    ),
)
