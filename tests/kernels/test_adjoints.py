"""Linear operations and their transposes: <L x, y> = <x, L* y> on any geometry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from minireptile.backend import kernels, versions
from minireptile.kernels.conv2d_numpy import col2im, im2col
from minireptile.testing import check_adjoint
from minireptile.testing.strategies import Geometry, convolutions, few, geometries, seeds

K = kernels("numpy")


def filled(function: object, *shapes: tuple[int, ...]) -> list[NDArray]:
    """Outputs full of NaN, given to `function` to be written."""
    outputs = [np.full(shape, np.nan) for shape in shapes]
    function(*outputs)  # type: ignore[operator]
    return outputs


@pytest.mark.parametrize("version", versions("conv2d_forward"))
@given(g=convolutions(), T=few, B=few, c=few, n=few, seed=seeds)
def test_convolution_in_its_input_and_in_its_weights(
    version: str, g: Geometry, T: int, B: int, c: int, n: int, seed: int
) -> None:
    forward = versions("conv2d_forward")[version]
    backward = versions("conv2d_backward")[version]
    rng = np.random.default_rng(seed)
    x_shape, w_shape = (T, B, *g.in_size, c), (T, *g.kernel, c, n)
    y_shape = (T, B, *g.out_size, n)
    x, w = rng.standard_normal(x_shape), rng.standard_normal(w_shape)
    cols = np.empty((T, B, *g.out_size, *g.kernel, c))

    def apply(x: NDArray, w: NDArray) -> NDArray:
        return filled(lambda y: forward(y, cols, x, w, None, g.stride, g.pad), y_shape)[0]

    def transposed(dy: NDArray) -> list[NDArray]:
        return filled(
            lambda dx, dw: backward(dx, dw, None, cols, dy, x, w, g.stride, g.pad),
            x_shape, w_shape,
        )  # fmt: skip

    y = np.empty(y_shape)
    check_adjoint(lambda v: apply(v, w), lambda dy: transposed(dy)[0], x, y, name="in x")
    check_adjoint(lambda v: apply(x, v), lambda dy: transposed(dy)[1], w, y, name="in w")


@given(g=geometries(), c=few, seed=seeds)
def test_im2col_and_col2im(g: Geometry, c: int, seed: int) -> None:
    x, cols = np.empty((2, 1, *g.in_size, c)), np.empty((2, 1, *g.out_size, *g.kernel, c))
    check_adjoint(
        lambda x: filled(lambda out: im2col(out, x, g.stride, g.pad), cols.shape)[0],
        lambda a: filled(lambda out: col2im(out, a, g.stride, g.pad), x.shape)[0],
        x, cols, seed,
    )  # fmt: skip


@given(T=few, B=few, n_in=few, n_out=few, seed=seeds)
def test_dense_in_its_input_and_in_its_weights(
    T: int, B: int, n_in: int, n_out: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal((T, B, n_in)), rng.standard_normal((T, n_in, n_out))
    y = np.empty((T, B, n_out))

    def transposed(dy: NDArray) -> list[NDArray]:
        return filled(lambda dx, dw: K.dense_backward(dx, dw, None, dy, x, w), x.shape, w.shape)

    def apply(x: NDArray, w: NDArray) -> NDArray:
        return filled(lambda y: K.dense_forward(y, x, w, None), y.shape)[0]

    check_adjoint(lambda v: apply(v, w), lambda dy: transposed(dy)[0], x, y)
    check_adjoint(lambda v: apply(x, v), lambda dy: transposed(dy)[1], w, y)


@given(g=geometries(), c=few, seed=seeds)
def test_the_routing_of_a_max_pool(g: Geometry, c: int, seed: int) -> None:
    """With the winners fixed, pooling reads one input for each output, and backward sends it back.

    What pooling reads is found by pooling the inputs' own numbers.
    """
    x = np.random.default_rng(seed).standard_normal((1, 2, *g.in_size, c))
    y, winner = np.empty((1, 2, *g.out_size, c)), np.empty((1, 2, *g.out_size, c), np.int32)
    K.maxpool_forward(y, winner, x, g.kernel, g.stride, g.pad)
    ranks = np.argsort(np.argsort(x, axis=None)).reshape(x.shape).astype(float)  # order as x's
    read = np.empty_like(y)
    K.maxpool_forward(read, np.empty_like(winner), ranks, g.kernel, g.stride, g.pad)
    where = np.argsort(x, axis=None)[read.astype(int)]
    check_adjoint(
        lambda v: v.ravel()[where],
        lambda dy: filled(
            lambda dx: K.maxpool_backward(dx, dy, winner, g.kernel, g.stride, g.pad), x.shape
        )[0],
        x, y, seed,
    )  # fmt: skip
