"""Kernels against their definitions written out with plain loops, and hand-computed values.

The gradients of the same kernels are checked in test_layers.py; that other versions and backends
agree with these, in test_contract.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from minireptile.backend import kernels, versions, why_not
from minireptile.kernels.conv2d_numpy import col2im, im2col
from minireptile.kernels.window import output_size, taps
from minireptile.testing import complex_step
from minireptile.testing.strategies import Geometry, convolutions, few, geometries, seeds

K = kernels("numpy")
EPS = np.finfo(np.float64).eps
conv_versions = pytest.mark.parametrize("version", versions("conv2d_forward"))


# ------------------------------------------------------------------------------ windows


@pytest.mark.parametrize(
    ("n", "kernel", "stride", "size", "pad"),
    [
        (28, 3, 2, 14, 0),  # total padding 1, all of it behind: (0, 1)
        (14, 3, 2, 7, 0),
        (7, 3, 2, 4, 1),  # total 2: (1, 1)
        (4, 3, 2, 2, 0),
        (84, 3, 1, 84, 1),
        (84, 2, 2, 42, 0),
        (21, 2, 2, 11, 0),  # total 1: (0, 1)
        (5, 2, 1, 5, 0),
        (2, 5, 1, 2, 2),  # the kernel is larger than the image
        (10, 2, 4, 3, 0),  # the stride is larger than the kernel
        (9, 2, 4, 3, 0),
        (1, 1, 1, 1, 0),
        (1, 4, 3, 1, 1),  # total 3: (1, 2)
    ],
)
def test_same_padding_of_tensorflow(n: int, kernel: int, stride: int, size: int, pad: int) -> None:
    assert output_size(n, kernel, stride, "same") == (size, pad)


@given(n=st.integers(1, 12), kernel=st.integers(1, 12), stride=st.integers(1, 5))
def test_valid_counts_the_windows_that_fit(n: int, kernel: int, stride: int) -> None:
    starts = [r for r in range(0, n, stride) if r + kernel <= n]
    size, pad = output_size(n, kernel, stride, "valid")
    assert (max(size, 0), pad) == (len(starts), 0)


@given(geometries())
def test_taps_visit_each_pair_of_output_and_input_once(g: Geometry) -> None:
    expected = set()
    for o, p, i, j in product(*map(range, (*g.out_size, *g.kernel))):
        r, q = o * g.stride[0] + i - g.pad[0], p * g.stride[1] + j - g.pad[1]
        if 0 <= r < g.in_size[0] and 0 <= q < g.in_size[1]:
            expected.add((o, p, i, j, r, q))
    visited = []
    for i, j, outputs, inputs in taps(g.kernel, g.in_size, g.out_size, g.stride, g.pad):
        rows, columns = (
            zip(
                range(*outputs[axis].indices(g.out_size[axis - 2])),
                range(*inputs[axis].indices(g.in_size[axis - 2])),
                strict=True,
            )
            for axis in (2, 3)
        )
        visited += [(o, p, i, j, r, q) for (o, r), (p, q) in product(rows, columns)]
    assert len(visited) == len(set(visited))
    assert set(visited) == expected


# -------------------------------------------------------------------------- convolution


def plain_conv2d(x: NDArray, w: NDArray, b: NDArray | None, g: Geometry) -> NDArray:
    """The definition, an index at a time; only tasks, examples and channels run together."""
    y = np.zeros((*x.shape[:2], *g.out_size, w.shape[-1]), x.dtype)
    for o, p, i, j in product(*map(range, (*g.out_size, *g.kernel))):
        r, q = o * g.stride[0] + i - g.pad[0], p * g.stride[1] + j - g.pad[1]
        if 0 <= r < g.in_size[0] and 0 <= q < g.in_size[1]:
            for c in range(x.shape[-1]):
                y[:, :, o, p] += x[:, :, r, q, c, None] * w[:, None, i, j, c]
    return y if b is None else y + b[:, None, None, None]


def conv2d(version: str, x: NDArray, w: NDArray, b: NDArray | None, g: Geometry) -> NDArray:
    dtype = np.result_type(x, w, *([] if b is None else [b]))
    y = np.full((*x.shape[:2], *g.out_size, w.shape[-1]), np.nan, dtype)
    cols = np.full((*y.shape[:-1], *g.kernel, x.shape[-1]), np.nan, dtype)
    arrays = (a if a is None else a.astype(dtype) for a in (x, w, b))
    versions("conv2d_forward")[version](y, cols, *arrays, g.stride, g.pad)
    return y


def random_conv2d(g: Geometry, T: int, B: int, c: int, n: int, seed: int) -> tuple[NDArray, ...]:
    rng = np.random.default_rng(seed)
    shapes = (T, B, *g.in_size, c), (T, *g.kernel, c, n), (T, n), (T, B, *g.out_size, n)
    x, w, b, dy = (rng.standard_normal(shape) for shape in shapes)
    return x, w, b, dy


@conv_versions
@given(g=convolutions(), T=few, B=few, c=few, n=few, bias=st.booleans(), seed=seeds)
def test_conv2d_is_its_definition(
    version: str, g: Geometry, T: int, B: int, c: int, n: int, bias: bool, seed: int
) -> None:
    x, w, b, _ = random_conv2d(g, T, B, c, n, seed)
    offset = b if bias else None
    terms = w[0, ..., 0].size + 1
    bound = 2 * terms * EPS * plain_conv2d(abs(x), abs(w), abs(b), g)
    if version == "v3":  # winograd.md, eq. 9
        bound += 32 * (c + 12) * EPS * c * np.max(abs(x)) * np.max(abs(w))
    error = abs(conv2d(version, x, w, offset, g) - plain_conv2d(x, w, offset, g))
    assert (error <= bound).all()


@conv_versions
@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([1, 2, 3, 4], [321, 43]),  # padded (0, 1): 1 2 3 | 3 4 0
        ([1, 2, 3, 4, 5], [210, 432, 54]),  # padded (1, 1): 0 1 2 | 2 3 4 | 4 5 0
    ],
)
@pytest.mark.parametrize("axis", [2, 3])
def test_conv2d_by_hand(version: str, row: list[int], expected: list[int], axis: int) -> None:
    """The kernel (1, 10, 100) with stride 2 and "same", along rows and along columns."""

    def along(values: list[int]) -> NDArray:
        image = np.array(values, np.float64).reshape(1, 1, 1, -1, 1)
        return image.swapaxes(2, 3) if axis == 2 else image

    x, w = along(row), along([1, 10, 100])[0][..., None]
    g = Geometry((x.shape[2], x.shape[3]), (w.shape[1], w.shape[2]), (2, 2), "same")
    np.testing.assert_array_equal(conv2d(version, x, w, None, g), along(expected))


@conv_versions
@given(g=convolutions(4), T=st.integers(1, 2), B=st.integers(1, 2), c=few, n=few, seed=seeds)
def test_conv2d_backward_by_the_complex_step(
    version: str, g: Geometry, T: int, B: int, c: int, n: int, seed: int
) -> None:
    """Every version, every entry; test_layers.py checks the version in use only."""
    x, w, b, dy = random_conv2d(g, T, B, c, n, seed)
    given = {"x": x, "w": w, "b": b}

    def upstream(name: str, value: NDArray) -> NDArray:
        return (conv2d(version, **{**given, name: value}, g=g) * dy).sum()

    got = conv2d_backward(version, x, w, dy, g)
    for name, gradient in got.items():
        exact = complex_step(partial(upstream, name), given[name])
        np.testing.assert_allclose(gradient, exact, rtol=0, atol=1e-12 * max(np.max(abs(exact)), 1))


def conv2d_backward(
    version: str, x: NDArray, w: NDArray, dy: NDArray, g: Geometry, *, wanted: str = "xwb"
) -> dict[str, NDArray]:
    shapes = {"x": x.shape, "w": w.shape, "b": (len(x), w.shape[-1])}
    out = {name: np.full(shapes[name], np.nan) for name in wanted}
    cols = np.full((*dy.shape[:-1], *g.kernel, x.shape[-1]), np.nan)
    kernel = versions("conv2d_backward")[version]
    kernel(out.get("x"), out["w"], out.get("b"), cols, dy, x, w, g.stride, g.pad)
    return out


@conv_versions
@given(g=convolutions(), T=few, B=few, c=few, n=few, seed=seeds)
def test_conv2d_backward_leaves_out_what_nobody_wants(
    version: str, g: Geometry, T: int, B: int, c: int, n: int, seed: int
) -> None:
    x, w, _, dy = random_conv2d(g, T, B, c, n, seed)
    every = conv2d_backward(version, x, w, dy, g)
    for wanted in ("w", "xw", "wb"):
        for name, gradient in conv2d_backward(version, x, w, dy, g, wanted=wanted).items():
            np.testing.assert_array_equal(gradient, every[name])


@given(g=geometries(), T=few, B=few, c=few, seed=seeds)
def test_col2im_is_the_adjoint_of_im2col(g: Geometry, T: int, B: int, c: int, seed: int) -> None:
    """<col2im c, x> = <c, im2col x>."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((T, B, *g.in_size, c))
    cols = rng.standard_normal((T, B, *g.out_size, *g.kernel, c))
    image, columns = np.full_like(x, np.nan), np.full_like(cols, np.nan)
    im2col(columns, x, g.stride, g.pad)
    col2im(image, cols, g.stride, g.pad)
    size = cols.size + x.size
    bound = 2 * size * EPS * (abs(cols) * abs(columns)).sum()
    assert abs((image * x).sum() - (cols * columns).sum()) <= bound


@given(g=geometries(), seed=seeds)
def test_im2col_is_its_definition(g: Geometry, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((1, 1, *g.in_size, 2))
    cols = np.full((1, 1, *g.out_size, *g.kernel, 2), np.nan)
    im2col(cols, x, g.stride, g.pad)
    for o, p, i, j in product(*map(range, cols.shape[2:6])):
        r, q = o * g.stride[0] + i - g.pad[0], p * g.stride[1] + j - g.pad[1]
        inside = 0 <= r < g.in_size[0] and 0 <= q < g.in_size[1]
        np.testing.assert_array_equal(cols[0, 0, o, p, i, j], x[0, 0, r, q] if inside else [0, 0])


# -------------------------------------------------------------------------- max pooling


def plain_maxpool(x: NDArray, g: Geometry) -> tuple[NDArray, NDArray]:
    """Maxima and winning taps, one window at a time; the first of equal values wins."""
    y = np.empty((*x.shape[:2], *g.out_size, x.shape[-1]))
    winner = np.empty(y.shape, np.int32)
    for t, b, o, p, c in np.ndindex(y.shape):
        inside = {}
        for i, j in product(*map(range, g.kernel)):
            r, q = o * g.stride[0] + i - g.pad[0], p * g.stride[1] + j - g.pad[1]
            if 0 <= r < g.in_size[0] and 0 <= q < g.in_size[1]:
                inside[i * g.kernel[1] + j] = x[t, b, r, q, c]
        winner[t, b, o, p, c] = max(inside, key=lambda tap: inside[tap])
        y[t, b, o, p, c] = inside[winner[t, b, o, p, c]]
    return y, winner


def maxpool(x: NDArray, g: Geometry) -> tuple[NDArray, NDArray]:
    y = np.full((*x.shape[:2], *g.out_size, x.shape[-1]), np.nan, x.dtype)
    winner = np.full(y.shape, -1, np.int32)
    K.maxpool_forward(y, winner, x, g.kernel, g.stride, g.pad)
    return y, winner


@given(g=geometries(), T=few, B=few, c=few, seed=seeds, ties=st.booleans())
def test_maxpool_is_its_definition(
    g: Geometry, T: int, B: int, c: int, seed: int, ties: bool
) -> None:
    rng = np.random.default_rng(seed)
    shape = T, B, *g.in_size, c
    # All negative, so that a padding of 0 would win.
    x = -rng.integers(1, 3, shape).astype(float) if ties else -rng.uniform(1, 2, shape)
    y, winner = maxpool(x, g)
    plain_y, plain_winner = plain_maxpool(x, g)
    np.testing.assert_array_equal(y, plain_y)
    np.testing.assert_array_equal(winner, plain_winner)

    dy = rng.integers(1, 9, y.shape).astype(float)  # whole numbers, so that sums are exact
    dx, expected = np.full_like(x, np.nan), np.zeros_like(x)
    K.maxpool_backward(dx, dy, winner, g.kernel, g.stride, g.pad)
    for t, b, o, p, ch in np.ndindex(y.shape):
        i, j = divmod(plain_winner[t, b, o, p, ch], g.kernel[1])
        r, q = o * g.stride[0] + i - g.pad[0], p * g.stride[1] + j - g.pad[1]
        expected[t, b, r, q, ch] += dy[t, b, o, p, ch]
    np.testing.assert_array_equal(dx, expected)


@given(g=geometries(), seed=seeds, data=st.data())
def test_maxpool_does_not_hide_nan(g: Geometry, seed: int, data: st.DataObject) -> None:
    """A window that holds a NaN gives NaN, wherever in the window it lies."""
    x = np.random.default_rng(seed).standard_normal((1, 1, *g.in_size, 1))
    r, q = (data.draw(st.integers(0, n - 1)) for n in g.in_size)
    x[0, 0, r, q] = np.nan
    y, _ = maxpool(x, g)
    for o, p in product(*map(range, g.out_size)):
        i, j = r + g.pad[0] - o * g.stride[0], q + g.pad[1] - p * g.stride[1]
        seen = 0 <= i < g.kernel[0] and 0 <= j < g.kernel[1]
        assert np.isnan(y[0, 0, o, p, 0]) == seen, f"NaN at tap {(i, j)}, output {(o, p)}"


# ------------------------------------------------------------------ the other operations


def test_relu() -> None:
    x = np.array([-2.0, -0.0, 0.0, 3.0, np.nan])
    y, dx = np.full_like(x, 7), np.full_like(x, 7)
    K.relu_forward(y, x)
    K.relu_backward(dx, np.array([1.0, 2.0, 3.0, 4.0, 5.0]), x)
    np.testing.assert_array_equal(y, [0, 0, 0, 3, np.nan])
    np.testing.assert_array_equal(dx[:4], [0, 0, 0, 4])
    assert not np.signbit(y[:3]).any()


def test_tanh() -> None:
    x = np.array([0.0, 0.5, -1.0, 100.0])
    y, dx = np.full_like(x, np.nan), np.full_like(x, np.nan)
    K.tanh_forward(y, x)
    K.tanh_backward(dx, np.full(4, 2.0), y)
    e = np.exp(-2 * x)
    np.testing.assert_allclose(y, (1 - e) / (1 + e), rtol=1e-15)
    np.testing.assert_allclose(dx, 8 * e / (1 + e) ** 2, rtol=1e-14, atol=1e-15)


@given(T=few, B=few, n_in=few, n=few, bias=st.booleans(), seed=seeds)
def test_dense(T: int, B: int, n_in: int, n: int, bias: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, w, b, dy = (rng.standard_normal(s) for s in ((T, B, n_in), (T, n_in, n), (T, n), (T, B, n)))
    y, dx, dw, db = (np.full_like(a, np.nan) for a in (dy, x, w, b))
    K.dense_forward(y, x, w, b if bias else None)
    K.dense_backward(dx, dw, db, dy, x, w)
    for t in range(T):
        plain = [[sum(x[t, i, c] * w[t, c, o] for c in range(n_in)) for o in range(n)]
                 for i in range(B)]  # fmt: skip
        np.testing.assert_allclose(y[t], np.array(plain) + bias * b[t], rtol=0, atol=1e-14)
        for c, o in product(range(n_in), range(n)):
            assert dw[t, c, o] == pytest.approx(sum(x[t, :, c] * dy[t, :, o]), abs=1e-14)
        np.testing.assert_allclose(db[t], sum(dy[t]), rtol=0, atol=1e-14)
        for i, c in product(range(B), range(n_in)):
            assert dx[t, i, c] == pytest.approx(sum(dy[t, i] * w[t, c]), abs=1e-14)
    lone = np.full_like(w, np.nan)
    K.dense_backward(None, lone, None, dy, x, w)
    np.testing.assert_array_equal(lone, dw)


@given(
    T=few,
    B=few,
    inner=st.lists(few, max_size=2),
    c=few,
    seed=seeds,
    eps=st.sampled_from((1e-3, 1.0)),
)
def test_batchnorm(T: int, B: int, inner: list[int], c: int, seed: int, eps: float) -> None:
    rng = np.random.default_rng(seed)
    x = 5 + rng.standard_normal((T, B, *inner, c))
    gamma, beta = rng.standard_normal((2, T, c))
    y, mean, rstd = np.full_like(x, np.nan), np.full((T, c), np.nan), np.full((T, c), np.nan)
    K.batchnorm_forward(y, mean, rstd, x, gamma, beta, eps)
    for t, ch in np.ndindex(T, c):
        values = x[t, ..., ch].ravel().tolist()
        mu = sum(values) / len(values)
        var = sum((value - mu) ** 2 for value in values) / len(values)
        assert mean[t, ch] == pytest.approx(mu, rel=1e-14)
        assert rstd[t, ch] == pytest.approx(1 / np.sqrt(var + eps), rel=1e-11)
        plain = gamma[t, ch] * (x[t, ..., ch] - mu) / np.sqrt(var + eps) + beta[t, ch]
        np.testing.assert_allclose(y[t, ..., ch], plain, rtol=0, atol=1e-11)


@pytest.mark.parametrize("backend", [b for b in ("numpy", "numba") if not why_not(b)])
@given(T=few, B=few, inner=st.lists(few, max_size=2), c=few, seed=seeds)
def test_batchnorm_with_a_relu_behind_it_is_the_two(
    backend: str, T: int, B: int, inner: list[int], c: int, seed: int
) -> None:
    """Bit for bit, on either backend; in the type in which test_contract.py has compiled them."""
    k, rng = kernels(backend), np.random.default_rng(seed)
    x, dy = rng.standard_normal((2, T, B, *inner, c)).astype(np.float32)
    gamma, beta = rng.standard_normal((2, T, c)).astype(np.float32)
    two, one = ([np.full_like(a, np.nan) for a in (x, gamma, gamma)] for _ in range(2))
    k.batchnorm_relu_forward(*one, x, gamma, beta, 0.1)
    k.batchnorm_forward(*two, x, gamma, beta, 0.1)
    y, through = np.full_like(x, np.nan), np.full_like(x, np.nan)
    k.relu_forward(y, two[0])
    for got, want in zip(one, (y, *two[1:]), strict=True):
        np.testing.assert_array_equal(got, want)
    statistics = one[1:]
    k.batchnorm_relu_backward(*one, dy, y, x, *(a.copy() for a in statistics), gamma)
    k.relu_backward(through, dy, y)
    k.batchnorm_backward(*two, through, x, *(a.copy() for a in two[1:]), gamma)
    for got, want in zip(one, two, strict=True):
        np.testing.assert_array_equal(got, want)


@given(T=few, B=few, inner=st.lists(few, max_size=2), c=few, seed=seeds)
def test_batchnorm_with_a_relu_behind_it_by_the_complex_step(
    T: int, B: int, inner: list[int], c: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, dy = rng.standard_normal((2, T, B, *inner, c))
    gamma, beta = rng.standard_normal((2, T, c))
    given = {"x": x, "gamma": gamma, "beta": beta}

    def forward(name: str, value: NDArray) -> list[NDArray]:
        inputs = {**given, name: value}
        written = [np.empty(a.shape, value.dtype) for a in (x, gamma, gamma)]
        K.batchnorm_relu_forward(*written, *(a.astype(value.dtype) for a in inputs.values()), 1.0)
        return written

    y, mean, rstd = forward("x", x)
    written = [np.full_like(a, np.nan) for a in (x, gamma, gamma)]
    K.batchnorm_relu_backward(*written, dy, y, x, mean, rstd, gamma)
    for name, got in zip(given, written, strict=True):
        by_step = complex_step(partial(upstream_of_norm, forward, name, dy), given[name])
        np.testing.assert_allclose(got, by_step, rtol=0, atol=1e-12)


def upstream_of_norm(forward: Callable[..., Any], name: str, dy: NDArray, a: NDArray) -> NDArray:
    return np.asarray((dy * forward(name, a)[0]).sum())


@given(T=few, B=few, n=st.integers(1, 5), seed=seeds, scale=st.sampled_from(("mean", "sum")))
def test_softmax_cross_entropy(T: int, B: int, n: int, seed: int, scale: str) -> None:
    rng = np.random.default_rng(seed)
    z, labels = 3 * rng.standard_normal((T, B, n)), rng.integers(0, n, (T, B))
    factor = 1 / B if scale == "mean" else 1.0
    loss, dz = np.full(T, np.nan), np.full_like(z, np.nan)
    K.softmax_cross_entropy(loss, dz, z, labels, factor)
    for t in range(T):
        total = 0.0
        for b in range(B):
            softmax = np.exp(z[t, b]) / sum(np.exp(z[t, b]))
            total -= np.log(softmax[labels[t, b]])
            onehot = np.arange(n) == labels[t, b]
            np.testing.assert_allclose(dz[t, b], factor * (softmax - onehot), rtol=0, atol=1e-14)
        assert loss[t] == pytest.approx(factor * total, rel=1e-13, abs=1e-13)
    by_step = complex_step(partial(sum_of_loss, K.softmax_cross_entropy, labels, factor), z)
    np.testing.assert_allclose(dz, by_step, rtol=0, atol=1e-13)


def sum_of_loss(kernel: Callable[..., Any], y: NDArray, factor: float, out: NDArray) -> NDArray:
    loss = np.empty(len(out), out.dtype)
    kernel(loss, np.empty_like(out), out, y, factor)
    return np.asarray(loss.sum())


def test_softmax_cross_entropy_of_huge_logits() -> None:
    """Shifting all logits changes nothing, and exp does not overflow."""
    z = np.array([[[0.0, 1.0, -2.0], [4.0, 0.0, 4.0]]])
    labels = np.array([[0, 2]])
    results = []
    for shift in (0.0, 1000.0, -1000.0):
        loss, dz = np.full(1, np.nan), np.full_like(z, np.nan)
        K.softmax_cross_entropy(loss, dz, z + shift, labels, 0.5)
        results.append((loss, dz))
    for loss, dz in results[1:]:
        np.testing.assert_allclose(loss, results[0][0], rtol=1e-15)
        np.testing.assert_allclose(dz, results[0][1], rtol=1e-15)
    far = np.array([[[1000.0, -1000.0]]])
    loss, dz = np.full(1, np.nan), np.full_like(far, np.nan)
    K.softmax_cross_entropy(loss, dz, far, np.array([[1]]), 1.0)
    assert loss[0] == 2000
    np.testing.assert_array_equal(dz, [[[1, -1]]])


@given(T=few, B=few, n=few, seed=seeds, mean=st.booleans())
def test_squared_error(T: int, B: int, n: int, seed: int, mean: bool) -> None:
    rng = np.random.default_rng(seed)
    out, target = rng.standard_normal((2, T, B, n))
    factor = 1 / B if mean else 1.0
    loss, dout = np.full(T, np.nan), np.full_like(out, np.nan)
    K.squared_error(loss, dout, out, target, factor)
    for t in range(T):
        pairs = zip(out[t].ravel().tolist(), target[t].ravel().tolist(), strict=True)
        assert loss[t] == pytest.approx(factor * sum((o - y) ** 2 for o, y in pairs), rel=1e-13)
    np.testing.assert_allclose(dout, 2 * factor * (out - target), rtol=1e-15)
    by_step = complex_step(partial(sum_of_loss, K.squared_error, target, factor), out)
    np.testing.assert_allclose(dout, by_step, rtol=0, atol=1e-13)


@pytest.mark.parametrize("room", [(1, 1), (1, 2), (1, 5), (2, 5), (3, 5)])
def test_any_room_for_cols_gives_the_same_convolution(room: tuple[int, int]) -> None:
    """Scratch for some images of a task, for one task, or for several (conv2d.md, section 4)."""
    g = Geometry((5, 4), (3, 3), (2, 1), "same")
    x, w, b, dy = random_conv2d(g, 3, 5, 2, 3, 0)
    whole: list[NDArray] = []
    parts: list[NDArray] = []
    for out, (t, images) in ((whole, (3, 5)), (parts, room)):
        cols = np.full((t, images, *g.out_size, *g.kernel, 2), np.nan)
        y, dx, dw, db = (np.full_like(a, np.nan) for a in (dy, x, w, b))
        K.conv2d_forward(y, cols, x, w, b, g.stride, g.pad)
        K.conv2d_backward(dx, dw, db, cols, dy, x, w, g.stride, g.pad)
        out += [y, dx, dw, db]
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-14 * np.max(abs(a)))
