"""Whole models on the simulated device: the recorded walk, and the outer loop, by numba-cuda."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minireptile as mr
from minireptile.engine.graph import Graph
from minireptile.loops import Loops
from minireptile.optim import Optimizer
from tests.gpu.cudasim import strict
from tests.small import (
    OPTIMIZERS,
    Corners,
    by_layers,
    random_batch,
    random_phi,
    tiny_stacks,
    tiny_tasks,
)

strict.install()
STACKS = tiny_stacks()
CLOSE: Any = {"rtol": 0, "atol": 1e-10}
every_stack = pytest.mark.parametrize("name", STACKS)
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)


@every_stack
def test_gradients_and_outputs(name: str) -> None:
    model, rng = STACKS[name], np.random.default_rng(0)
    phi, (x, y) = random_phi(model, rng, 2), random_batch(model, rng, 2, 3)
    device = model.on("numba-cuda")
    assert isinstance(device.engine, Graph), "layer by layer, it would be the host's loop"
    for _ in range(2):  # the launches made, and made again
        for got, expected in zip(
            (*device.loss_and_grad(phi, x, y), device.forward(phi, x)),
            (*model.loss_and_grad(phi, x, y), model.forward(phi, x)),
            strict=True,
        ):
            np.testing.assert_allclose(got, expected, **CLOSE)


@pytest.mark.parametrize("name", ["strided", "pooled", "relu first", "batchnorm first"])
def test_hessian_vector_product(name: str) -> None:
    model, rng = STACKS[name], np.random.default_rng(0)
    device = model.on("numba-cuda").engine
    for _ in range(2):  # the launches made, and made again for other numbers
        phi, v = random_phi(model, rng, 2), random_phi(model, rng, 2)
        x, y = random_batch(model, rng, 2, 3)
        got, expected = (m.products(phi, x, y, v) for m in (device, by_layers(model)))
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * np.max(abs(expected)))


@every_optimizer
def test_adapt(optimizer: Optimizer) -> None:
    model, rng = STACKS["relu first"], np.random.default_rng(0)
    theta, (x, y) = random_phi(model, rng, 2), random_batch(model, rng, 2, 2, 3)
    device, results = model.on("numba-cuda"), []
    for one in (model, device, device):
        phi, state = theta.copy(), optimizer.init(theta)
        loss = mr.adapt(one, phi, x, y, optimizer, state)
        results.append([phi, loss, *(state[name] for name in sorted(state))])
    for expected, got, again in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, **CLOSE)
        np.testing.assert_array_equal(again, got)


@pytest.mark.parametrize(
    ("state", "images"), [("mean", True), ("mean", False), ("carry", False), ("fresh", False)]
)
def test_reptile(state: str, images: bool) -> None:
    """Outer iterations, of images, of which the indices are sent, and of other data."""
    tasks = tiny_tasks() if images else Corners(3)
    body = STACKS["strided"].layers if images else [mr.Dense(4), mr.Tanh(), mr.Dense(3)]
    model = mr.Model(body, tasks.input_shape, dtype="float64")
    loops = Loops(
        2, meta_batch=2, inner_steps=2, inner_batch=3, train_shots=3, epsilon=0.5, state=state
    )
    runs = [
        list(mr.reptile(one, tasks, mr.Adam(0.01, beta1=0.0), loops))
        for one in (model, model.on("numba-cuda"))
    ]
    for expected, got in zip(*runs, strict=True):
        assert got.iteration == expected.iteration
        np.testing.assert_allclose(got.theta, expected.theta, **CLOSE)
        np.testing.assert_allclose(got.loss, expected.loss, **CLOSE)
        assert got.state.keys() == expected.state.keys()
        for name, array in expected.state.items():
            np.testing.assert_allclose(got.state[name], array, **CLOSE)
