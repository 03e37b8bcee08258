"""The two terms of an update and their rest, against every order of the mini-batches by hand."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile.explore.answer import compute
from minireptile.explore.figures.taylor import ALPHAS, DRAWN, NEAR
from minireptile.explore.figures.two_weights import places

from .test_meta_loss import slope
from .test_two_weights import grad, loss

STATE: dict[str, Any] = {"theta": [0.6, 2.4], "k": 3, "rate": 0.1, "expand": "Reptile"}


def mean_of_orders(theta: NDArray, k: int, rate: float, of: str) -> NDArray:
    """E[u], the steps of each order one by one; MAML's by differences of the tail's loss."""
    found = []
    for order in permutations(DRAWN[:k]):
        phi, g = theta, []
        for task in order:
            g.append(grad(phi, task))
            phi = phi - rate * g[-1]

        def after(at: NDArray, order: Any = order) -> Any:
            for task in order[:-1]:
                at = at - rate * grad(at, task)
            return loss(at, order[-1])

        found.append(
            {"Reptile": np.sum(g, axis=0), "FOMAML": g[-1], "MAML": slope(after, theta)}[of]
        )
    return np.mean(found, axis=0)


@pytest.mark.parametrize("of", ["Reptile", "FOMAML", "MAML"])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_update_and_its_parts(k: int, of: str) -> None:
    theta = np.array(STATE["theta"])
    found = compute("taylor", {**STATE, "k": k, "expand": of})
    u = mean_of_orders(theta, k, 0.1, of)
    assert np.allclose(found["update"], -0.1 * u, rtol=0, atol=1e-8)
    assert np.allclose(found["parts"].sum(0), found["update"], rtol=0, atol=1e-14)
    a, b = {"Reptile": (k, -k * (k - 1) / 2), "FOMAML": (1, 1 - k), "MAML": (1, -2 * (k - 1))}[of]
    assert found["coefficients"].tolist() == [a, b]
    assert np.allclose(found["parts"][0], -0.1 * a * found["avg_grad"], rtol=0, atol=1e-14)
    inner = -(0.1**2) * b * found["avg_grad_inner"]
    assert np.allclose(found["parts"][1], inner, rtol=0, atol=1e-14)
    assert np.allclose(
        found["rest"], np.linalg.norm(found["parts"][2]) / 0.1, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("k", [2, 3, 5])
def test_the_two_vectors_are_gradients(k: int) -> None:
    """AvgGrad of the mean loss, AvgGradInner half that of the mean inner product."""
    theta, tasks = np.array(STATE["theta"]), DRAWN[:k]

    def mean_loss(at: NDArray) -> Any:
        return np.mean([loss(at, task) for task in tasks], axis=0)

    def inner(at: NDArray) -> Any:
        pairs = permutations(tasks, 2)
        return np.mean([(grad(at, a) * grad(at, b)).sum(-1) for a, b in pairs], axis=0)

    found = compute("taylor", {**STATE, "k": k})
    assert np.allclose(found["avg_grad"], slope(mean_loss, theta), rtol=0, atol=1e-8)
    assert np.allclose(found["avg_grad_inner"], slope(inner, theta) / 2, rtol=0, atol=1e-7)
    plane = compute("taylor_plane", {"k": k})
    at = places(48, *NEAR)
    assert np.allclose(plane["loss"].ravel(), mean_loss(at), rtol=0, atol=1e-12)
    assert np.allclose(plane["inner"].ravel(), inner(at), rtol=0, atol=1e-10)


@pytest.mark.parametrize("of", ["Reptile", "FOMAML", "MAML"])
def test_the_rest_falls_with_the_square_of_alpha(of: str) -> None:
    found = compute("taylor", {**STATE, "expand": of})
    assert abs(found["slope"][0] - 2) < 0.05
    ratios = found["rests"][1:9] / found["rests"][:8]
    assert np.allclose(np.log(ratios) / np.log(ALPHAS[1] / ALPHAS[0]), 2, rtol=0, atol=0.1)
    theta = np.array(STATE["theta"])
    near = found["coefficients"] @ np.array(
        [found["avg_grad"], ALPHAS[24] * found["avg_grad_inner"]]
    )
    rest = np.linalg.norm(mean_of_orders(theta, 3, ALPHAS[24], of) - near)
    assert abs(found["rests"][24] - rest) < 1e-7


def test_with_one_mini_batch_nothing_is_left_out() -> None:
    found = compute("taylor", {**STATE, "k": 1})
    assert np.array_equal(found["parts"][1:], np.zeros((2, 2)))
    assert not found["rests"].any()
