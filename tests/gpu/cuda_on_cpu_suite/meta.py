"""The kernels around the inner loop, which the host's backends have no kernels for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile.backend import kernels
from minireptile.kernels import (
    adam_cupy,
    launch_cupy,
    maxpool_cupy,
    relu_cupy,
    reptile_cupy,
    sums_cupy,
)
from tests.gpu.cuda_on_cpu import Array, Device, Engine

launch_cupy.engine = Engine()
DEVICE = Device()

both_types = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def up(values: Any, dtype: Any) -> Array:
    return DEVICE.upload(np.asarray(values, dtype))


def random(dtype: type, *shape: int) -> NDArray:
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape).astype(dtype)


class Noted(Engine):
    """Writes grids and blocks down, and runs nothing."""

    def launch(
        self, name: str, kernel: str, dtype: np.dtype, grid: tuple, block: tuple, arguments: tuple
    ) -> None:
        self.sizes = grid, block


def test_as_many_blocks_as_there_is_work_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [launch_cupy.blocks(n, 8) for n in (0, 1, 8, 9, 17)] == [1, 1, 1, 2, 3]
    monkeypatch.setattr(launch_cupy, "engine", noted := Noted())
    for n, grid in ((1, 1), (256, 1), (257, 2), (2**28, 2**20), (2**28 + 1, 2**20)):
        launch_cupy.elements("relu", "", up([0, 0, 0], np.float32), n)
        assert noted.sizes == ((grid, 1, 3), (256, 1, 1))
        launch_cupy.flat("relu", "", SimpleNamespace(size=n, dtype=np.dtype(np.float32)))
        assert noted.sizes == ((grid, 1, 1), (256, 1, 1))


def test_relu_and_pooling_do_not_hide_nan() -> None:
    y = up([0] * 4, np.float64)
    relu_cupy.relu_forward(y, up([np.nan, -1, -0.0, 2], np.float64))
    np.testing.assert_array_equal(y, [np.nan, 0, 0, 2])
    assert not np.signbit(y[1:]).any()
    image = up([1, np.nan, 3, 0], np.float64).reshape(1, 1, 2, 2, 1)
    top, winner = (up([-1], kind).reshape(1, 1, 1, 1, 1) for kind in (np.float64, np.int32))
    maxpool_cupy.maxpool_forward(top, winner, image, (2, 2), (2, 2), (0, 0))
    assert np.isnan(top).all()
    assert winner == 1


@both_types
@pytest.mark.parametrize("size", [(28, 28, 1), (5, 3, 3)])
def test_gather(dtype: type, size: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (7, *size), np.uint8)
    indices = rng.integers(0, 7, (3, 2 * 5), np.int32)
    for row in range(3):
        x = DEVICE.empty((2, 5, *size), dtype)
        clock = up((row, 40), np.int64)
        reptile_cupy.gather(x, up(images, np.uint8), up(indices, np.int32), clock, 1 / 255)
        scaled = np.float32(1 / 255) * images[indices[row]].astype(np.float32)
        np.testing.assert_array_equal(x, scaled.reshape(x.shape))  # in both types


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("length", [5, 300])
def test_take_row(kind: type, length: int) -> None:
    rows: NDArray = np.random.default_rng(0).integers(-99, 99, (4, 2, length)).astype(kind)
    for row in range(4):
        out = DEVICE.empty((2, length), kind)
        reptile_cupy.take_row(out, up(rows, kind), up((row, 9), np.int64), np.dtype(np.float32))
        np.testing.assert_array_equal(out, rows[row])


@both_types
@pytest.mark.parametrize("P", [1, 256, 300])
def test_spread(dtype: type, P: int) -> None:
    one, many = random(dtype, P), DEVICE.empty((3, P), dtype)
    reptile_cupy.spread(many, up(one, dtype))
    np.testing.assert_array_equal(many, np.stack([one] * 3))


@both_types
@pytest.mark.parametrize("P", [1, 256, 300])
def test_merge(dtype: type, P: int) -> None:
    one, many, epsilon = random(dtype, P), random(dtype, 3, P), random(dtype, 4)
    eps = np.finfo(dtype).eps
    for rate, want in (
        (up(epsilon, dtype), one + epsilon[2] * (many.mean(0) - one)),
        (None, many.mean(0)),
    ):
        result, diverged = up(one, dtype), up([99], np.int32)
        reptile_cupy.merge(result, up(many, dtype), rate, up((2, 7), np.int64), diverged)
        np.testing.assert_allclose(result, want, rtol=0, atol=8 * eps)
        assert diverged == [99]


@both_types
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("before", "after"), [(99, 8), (3, 3)])
def test_merge_keeps_the_first_iteration_that_diverged(
    dtype: type, bad: float, before: int, after: int
) -> None:
    many = random(dtype, 3, 300)
    many[1, 299] = bad
    diverged = up([before], np.int32)
    clock = up((0, 7), np.int64)
    reptile_cupy.merge(DEVICE.empty((300,), dtype), up(many, dtype), None, clock, diverged)
    assert diverged == [after]


@both_types
def test_tick_and_decay(dtype: type) -> None:
    clock = up((3, 2**40), np.int64)
    reptile_cupy.tick(clock, np.dtype(dtype))
    np.testing.assert_array_equal(clock, (4, 2**40 + 1))
    phi = random(dtype, 3, 300)
    result = up(phi, dtype)
    reptile_cupy.decay(result, 0.9)
    np.testing.assert_array_equal(result, phi * dtype(0.9))


@both_types
@pytest.mark.parametrize("add", [sums_cupy.add, sums_cupy.add_gradient])
@pytest.mark.parametrize("shape", [(3, 1), (2, 256), (3, 3, 5, 5, 4)])
def test_add(add: Any, dtype: type, shape: tuple[int, ...]) -> None:
    """To an array of its own, and to a parameter's gradient, beside which nothing is written."""
    part, size = random(dtype, *shape), int(np.prod(shape[1:]))
    vectors = random(dtype, shape[0], size + 7)
    there = up(vectors, dtype)
    add(DEVICE.view(there, 4, shape[1:]), up(part, dtype))
    vectors[:, 4 : 4 + size] += part.reshape(shape[0], size)
    np.testing.assert_array_equal(there, vectors)
    whole = up(part, dtype)
    add(whole, up(-2 * part, dtype))
    np.testing.assert_array_equal(whole, -part)


@both_types
def test_adam_ahead_is_adam_and_leaves_the_count(dtype: type) -> None:
    """Three steps ahead of a count, and the count afterwards, are three steps."""
    phi, m, grad = random(dtype, 3, 300), random(dtype, 3, 300) / 9, random(dtype, 3, 300)
    v, t = m * m + dtype(0.01), np.array([0, 5, 1000])
    device = [up(a, dtype) for a in (phi, m, v)]
    count = up(t, np.int64)
    for ahead in (1, 2, 3):
        arguments: list[Any] = [*device, count, up(grad, dtype), 0.01, 0.9, 0.999, 1e-8, ahead]
        adam_cupy.adam_ahead(*arguments)
        kernels("numpy").adam_step(phi, m, v, t, grad, 0.01, 0.9, 0.999, 1e-8)
    np.testing.assert_array_equal(count, [0, 5, 1000])
    adam_cupy.count_steps(count, 3, np.dtype(dtype))
    np.testing.assert_array_equal(count, t)
    for got, want in zip(device, (phi, m, v), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=50 * np.finfo(dtype).eps)
