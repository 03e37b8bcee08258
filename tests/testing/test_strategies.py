"""The public Hypothesis strategies: what they draw works, and they reach the corners."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

import minireptile as mr
from minireptile.layers import Layer
from minireptile.tasks.base import sample
from minireptile.tasks.images import FewShot
from minireptile.testing import check_gradients
from minireptile.testing.strategies import (
    Geometry,
    arrays_like,
    dtypes,
    few,
    geometries,
    layers,
    models,
    shapes,
    tasks,
)
from tests.small import random_batch, random_phi


@given(data=st.data(), case=layers())
def test_layers_of_every_kind_pass_the_gradient_check(
    data: st.DataObject, case: tuple[Layer, tuple[int, ...]]
) -> None:
    layer, shape = case
    x = data.draw(arrays_like((data.draw(few), data.draw(few), *shape)))
    check_gradients(layer, x, tolerance=1e-9)


@given(data=st.data(), model=models(), T=few, B=few)
def test_models_give_gradients_that_differences_confirm(
    data: st.DataObject, model: mr.Model, T: int, B: int
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    phi, v = random_phi(model, rng, T), random_phi(model, rng, T)
    x, y = random_batch(model, rng, T, B)
    _, grad = model.loss_and_grad(phi, x, y)
    loss, _ = model.loss_and_grad(phi + 1e-20j * v, x, y)
    slope = (grad * v).sum(-1)
    bound = 1e-9 * np.linalg.norm(grad, axis=-1) * np.linalg.norm(v, axis=-1) + 1e-12
    assert (abs(loss.imag / 1e-20 - slope) <= bound).all()


@given(drawn=tasks())
def test_tasks_can_be_sampled(drawn: FewShot) -> None:
    x, y = sample(drawn, 0, 0, meta_batch=2, steps=2, batch=3, shot=2)
    assert x.shape == (2, 2, 3, *drawn.input_shape)
    assert y.max() < drawn.n_out


@given(data=st.data(), dtype=dtypes())
def test_arrays_like_keeps_shape_and_type(data: st.DataObject, dtype: np.dtype) -> None:
    example = np.zeros(data.draw(shapes()), dtype)
    array = data.draw(arrays_like(example))
    assert (array.shape, array.dtype) == (example.shape, example.dtype)
    assert np.isfinite(array).all()


@pytest.mark.parametrize(
    "corner",
    [
        lambda g: g.in_size == (1, 1),
        lambda g: g.in_size[0] == 2 and g.kernel[0] == 2,
        lambda g: g.kernel[0] > g.in_size[0] and g.padding == "same",
        lambda g: g.stride[1] > g.kernel[1],
        lambda g: g.pad[0] == 1 and g.stride[0] == 2,
        lambda g: g.padding == "valid" and g.in_size[0] > g.kernel[0] > 1,
    ],
)
def test_geometries_reach_the_corners(corner: object) -> None:
    find(geometries(), corner, settings=settings(max_examples=2000))  # type: ignore[arg-type]


def test_geometries_shrink_to_the_plainest_case() -> None:
    plain = find(geometries(), lambda g: True)
    assert plain == Geometry((1, 1), (1, 1), (1, 1), "same")
