"""What the contract does not know: the pieces of a meta-iteration, the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile.backend import kernels
from minireptile.devices.numba_cuda import device
from minireptile.errors import InputError
from minireptile.kernels import jit_cuda, sgd_cuda
from tests.gpu.cudasim import strict
from tests.gpu.cudasim.host import on_host

strict.install()
DEVICE, NUMPY = device(), kernels("numpy")
K = DEVICE.kernels()
both_types = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def numbers(dtype: type, *shape: int) -> NDArray:
    return np.random.default_rng(sum(shape)).uniform(-1, 1, shape).astype(dtype)


def call(name: str, *arguments: Any) -> None:
    on_host(getattr(K, name), DEVICE)(*arguments)


def test_relu_and_pooling_do_not_hide_nan() -> None:
    x = np.array([[np.nan, -1.0, -0.0, 2.0]])
    y = np.empty_like(x)
    call("relu_forward", y, x)
    np.testing.assert_array_equal(y, [[np.nan, 0, 0, 2]])
    assert not np.signbit(y[0, 1:]).any()
    image = np.array([1.0, np.nan, 3.0, 0.0]).reshape(1, 1, 2, 2, 1).copy()
    top, winner = np.empty((1, 1, 1, 1, 1)), np.empty((1, 1, 1, 1, 1), np.int32)
    call("maxpool_forward", top, winner, image, (2, 2), (2, 2), (0, 0))
    assert np.isnan(top).all()
    assert winner.item() == 1


def test_sizes_of_blocks() -> None:
    assert [jit_cuda.blocks(n, 8) for n in (1, 8, 9, 17)] == [1, 1, 2, 3]
    for place, (block, tile) in jit_cuda.SIZES.items():
        for size in (block, tile):
            assert size & (size - 1) == 0, place
    block, tile = jit_cuda.SIZES["card"]
    assert block % 32 == tile**2 % 32 == 0


@both_types
def test_spread_merge_and_decay(dtype: type) -> None:
    theta: NDArray = numbers(dtype, 19)
    phi: NDArray = np.empty((3, 19), dtype)
    call("spread", phi, theta)
    np.testing.assert_array_equal(phi, [theta] * 3)
    phi, start = numbers(dtype, 3, 19), theta.copy()
    clock, diverged = np.array([1, 5]), np.array([99], np.int32)
    call("merge", theta, phi, None, clock, diverged)
    np.testing.assert_array_equal(theta, (phi[0] + phi[1] + phi[2]) / dtype(3))
    step, theta = theta - start, start.copy()
    call("merge", theta, phi, np.array([7, 0.3], dtype), clock, diverged)
    np.testing.assert_allclose(theta, start + dtype(0.3) * step, rtol=0, atol=1e-6)
    assert diverged.item() == 99
    call("decay", phi, 0.5)
    np.testing.assert_array_equal(phi, numbers(dtype, 3, 19) * dtype(0.5))


@both_types
@pytest.mark.parametrize("name", ["add", "add_gradient"])
@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 2, 1, 3, 4)])
def test_add(name: str, dtype: type, shape: tuple[int, ...]) -> None:
    """To an array of its own, and to a parameter's gradient, beside which nothing is written."""
    part, size = numbers(dtype, *shape), int(np.prod(shape[1:]))
    part.setflags(write=False)
    vectors: NDArray = numbers(dtype, shape[0], size + 7)
    want = vectors.copy()
    want[:, 4 : 4 + size] += part.reshape(shape[0], size)
    call(name, vectors[:, 4 : 4 + size].reshape(shape), part)
    np.testing.assert_array_equal(vectors, want)
    whole: NDArray = np.ones(shape, dtype)
    call(name, whole, part)
    np.testing.assert_array_equal(whole, 1 + part)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("blend", [False, True])
def test_the_first_iteration_that_diverged_is_kept(bad: float, blend: bool) -> None:
    theta, phi, diverged = np.ones(19), np.ones((2, 19)), np.array([99], np.int32)
    epsilon = np.ones(3) if blend else None
    phi[1, 18] = bad
    call("merge", theta, phi, epsilon, np.array([0, 4]), diverged)
    assert diverged.item() == 5
    call("merge", theta, phi, epsilon, np.array([1, 5]), diverged)
    assert diverged.item() == 5


@both_types
def test_gather_take_row_and_tick(dtype: type) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 2, 1)).astype(np.uint8)
    indices = np.array([[0, 1, 2], [3, 0, 3]], np.int32)
    clock = np.zeros(2, np.int64)
    x: NDArray = np.full((3, 3, 2, 1), np.nan, dtype)
    clock[1] = 7
    out, rows = np.zeros(3, np.int32), indices + 10
    for i in range(2):
        call("gather", x, images, indices, clock, 1 / 255)
        np.testing.assert_array_equal(x, images[indices[i]] * np.float32(1 / 255))
        call("take_row", out, rows, clock, np.dtype(dtype))
        np.testing.assert_array_equal(out, rows[i])
        call("tick", clock, np.dtype(dtype))
    assert clock.tolist() == [2, 9]


def test_the_device_reads_what_was_written() -> None:
    host = numbers(np.float32, 3, 10)
    host.setflags(write=False)
    array = DEVICE.upload(host)
    np.testing.assert_array_equal(DEVICE.read(array), host)
    view = DEVICE.view(array, 2, (2, 3))
    np.testing.assert_array_equal(DEVICE.read(view), host[:, 2:8].reshape(3, 2, 3))
    DEVICE.write(array, -host)
    np.testing.assert_array_equal(DEVICE.read(view), -host[:, 2:8].reshape(3, 2, 3))
    copied = DEVICE.copy(array)
    DEVICE.write(array, np.zeros((3, 10)))
    np.testing.assert_array_equal(DEVICE.read(copied), -host)
    DEVICE.write(array, copied)
    np.testing.assert_array_equal(DEVICE.read(array), -host)
    assert DEVICE.owns(array)
    assert DEVICE.owns(view)
    assert not DEVICE.owns(host)
    other = DEVICE.empty((3, 10), np.float32)
    assert tuple(other.shape) == (3, 10)
    assert other.dtype == np.float32
    called = []

    def call() -> None:
        called.append(1)
        K.tanh_forward(other, array)
        K.relu_forward(other, array)

    again = DEVICE.capture(call)
    assert called == [1]
    for _ in range(2):
        DEVICE.write(other, np.full((3, 10), np.nan))
        called.clear()
        again()
        assert not called, "the launches were to be repeated, not the call"
        np.testing.assert_array_equal(DEVICE.read(other), np.maximum(-host, 0))


@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_adam_ahead_leaves_the_count(beta1: float) -> None:
    """Three steps that are counted afterwards are three steps."""
    phi, v = numbers(np.float64, 2, 9), np.zeros((2, 9))
    m, t = np.zeros((2, 9)) if beta1 else None, np.array([0, 5])
    one: Any = [None if a is None else a.copy() for a in (phi, m, v, t)]
    for ahead in (1, 2, 3):
        grad = numbers(np.float64, 2, 9) / ahead
        call("adam_ahead", phi, m, v, t, grad, 0.1, beta1, 0.99, 1e-3, ahead)
        NUMPY.adam_step(*one, grad, 0.1, beta1, 0.99, 1e-3)
        np.testing.assert_allclose(phi, one[0], rtol=0, atol=1e-14)
    assert t.tolist() == [0, 5]
    call("count_steps", t, 3, np.dtype(np.float64))
    np.testing.assert_array_equal(t, one[3])


def test_what_it_says_of_itself() -> None:
    assert "simulator" in DEVICE.describe()
    assert DEVICE.free_memory() > 0
    DEVICE.join()
    with pytest.raises(InputError, match="no TF32"):
        DEVICE.kernels(tf32=True)


def test_an_index_outside_is_an_error() -> None:
    logits, labels = numbers(np.float64, 1, 2, 3), np.array([[0, 3]])
    for outside in (3, -1):
        labels[0, 1] = outside
        labels.setflags(write=False)
        with pytest.raises(IndexError):
            call("softmax_cross_entropy", np.empty(1), np.empty((1, 2, 3)), logits, labels, 1.0)
        labels = labels.copy()


def test_a_number_that_two_threads_write_is_an_error() -> None:
    phi, grad = (DEVICE.upload(np.ones((2, 9))) for _ in range(2))
    grid = jit_cuda.blocks(9), 2, 1
    jit_cuda.launch(sgd_cuda._plain, grid, (jit_cuda.BLOCK,), phi, grad, 0.5)
    np.testing.assert_array_equal(DEVICE.read(phi), np.full((2, 9), 0.5))
    with pytest.raises(RuntimeError, match=r"two threads write the number at \(0, 0\)"):
        jit_cuda.launch(sgd_cuda._plain, (*grid[:2], 2), (jit_cuda.BLOCK,), phi, grad, 0.5)
