"""MAML through five steps of the paper's Omniglot network, against derivatives that share nothing
with it: the complex step, and differences in extended precision."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile import SGD, adapt, omniglot_cnn
from minireptile.maml import meta_grad

STEPS = {"sgd": SGD(0.02), "momentum and decay": SGD(0.01, 0.7, 0.97)}
every_step = pytest.mark.parametrize("optimizer", STEPS.values(), ids=STEPS)


class Omniglot:
    """All 64 filters, 5-way, 1-shot: k = 5 mini-batches of 5 images, a tail, and a direction."""

    def __init__(self, optimizer: SGD) -> None:
        rng = np.random.default_rng(0)
        self.model, self.optimizer = omniglot_cnn(5, dtype="float64"), optimizer
        self.theta = self.model.init(0)
        self.x, self.tail_x = rng.uniform(size=(5, 5, 28, 28, 1)), rng.uniform(size=(5, 28, 28, 1))
        self.y, self.tail_y = np.tile(np.arange(5), (5, 1)), np.arange(5)
        self.along = rng.standard_normal(self.model.size)

    def slope(self) -> float:
        """The derivative of the meta-loss along the direction, by the meta-gradient."""
        batches = self.x[:, None], self.y[:, None], self.tail_x[None], self.tail_y[None]
        phi = self.theta[None].copy()
        _, grad = meta_grad(self.model, phi, *batches, self.optimizer, self.optimizer.init(phi))
        return float(grad[0] @ self.along)

    def meta_loss(self, phi: NDArray) -> NDArray:
        """The tail's loss after five steps from phi (P,), in phi's type."""
        adapt(self.model, phi, self.x, self.y, self.optimizer)
        return self.model.loss_and_grad(phi, self.tail_x, self.tail_y)[0]


@every_step
def test_the_meta_gradient_is_the_complex_step(optimizer: SGD) -> None:
    task, h = Omniglot(optimizer), 1e-20
    exact = task.meta_loss(task.theta + 1j * h * task.along).imag / h
    assert task.slope() == pytest.approx(exact, rel=1e-12)


@pytest.mark.skipif(
    np.finfo(np.longdouble).nmant != 63,
    reason="np.longdouble is not x86's 80 bits here: no wider than double, or slow",
)
@pytest.mark.parametrize("h", [1e-8, pytest.param(1e-9, marks=pytest.mark.long)])
def test_the_meta_gradient_is_a_difference_in_extended_precision(h: float) -> None:
    """Half a million values pass a rectifier. Where one changes sides, an inner gradient jumps and
    with it the meta-loss, here from h = 2e-8 on. Below, what is left out, of order h^2, is less
    than rounding, so that a higher order gains nothing."""
    task = Omniglot(STEPS["sgd"])
    theta, step = (a.astype(np.longdouble) for a in (task.theta, h * task.along))
    ahead, behind = task.meta_loss(theta + step), task.meta_loss(theta - step)
    assert ahead.dtype == np.longdouble
    assert task.slope() == pytest.approx(
        float((ahead - behind) / (2 * np.longdouble(h))), rel=1e-10
    )
