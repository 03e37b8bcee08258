"""Winograd's convolution: its bound of the error, tails of every kind, and its bits.

That it is the convolution, and its gradients the complex step's, test_kernels.py and
test_contract.py check with the other versions.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import DTypeLike, NDArray

from minireptile.backend import versions, why_not
from minireptile.kernels.winograd_numpy import applies, pays
from minireptile.testing.strategies import Geometry, few, seeds

T = 2
RUNGS = {"numpy": "v3", "numba": "v4"}
numba = pytest.mark.skipif(bool(why_not("numba")), reason=why_not("numba"))
backends = pytest.mark.parametrize(
    "backend", ["numpy", pytest.param("numba", marks=[numba, pytest.mark.long])]
)
both_types = pytest.mark.parametrize("dtype", [np.float32, np.float64])


class Arrays(NamedTuple):
    """The inputs of a convolution and its gradients. A parameter is a view of a longer vector."""

    x: NDArray
    w: NDArray
    b: NDArray
    dy: NDArray

    def of_image(self, i: int) -> Arrays:
        return self._replace(x=self.x[:, i : i + 1].copy(), dy=self.dy[:, i : i + 1].copy())


def random_arrays(g: Geometry, B: int, c: int, n: int, dtype: DTypeLike, seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    x, dy = rng.uniform(-1, 1, (T, B, *g.in_size, c)), rng.uniform(-1, 1, (T, B, *g.out_size, n))
    phi = rng.uniform(-1, 1, (T, 9 * c * n + n)).astype(dtype)
    w, b = phi[:, : 9 * c * n].reshape(T, 3, 3, c, n), phi[:, 9 * c * n :]
    return Arrays(x.astype(dtype), w, b, dy.astype(dtype))


def convolve(backend: str, version: str, a: Arrays, pad: tuple[int, int], images: int = 1) -> Any:
    """y, dx, dw, db, with scratch for so many images."""
    dtype, (_, _, H, W, n), c = a.x.dtype, a.dy.shape, a.x.shape[-1]
    grad = np.full((T, a.w[0].size + n), np.nan, dtype)
    dw, db = grad[:, : a.w[0].size].reshape(a.w.shape), grad[:, a.w[0].size :]
    y, dx = np.full_like(a.dy, np.nan), np.full_like(a.x, np.nan)
    cols = np.full((1, images, H, W, 3, 3, c), np.nan, dtype)
    ways = ("forward", "backward")
    forward, backward = (versions(f"conv2d_{way}", backend)[version] for way in ways)
    forward(y, cols, a.x, a.w, a.b, (1, 1), pad)
    backward(dx, dw, db, cols, a.dy, a.x, a.w, (1, 1), pad)
    return y, dx, dw, db


@st.composite
def geometries(draw: st.DrawFn, largest: int) -> Geometry:
    padding = draw(st.sampled_from(("same", "valid")))
    least = 1 if padding == "same" else 3
    sizes = [draw(st.integers(least, largest)) for _ in range(2)]
    return Geometry((sizes[0], sizes[1]), (3, 3), (1, 1), padding)


def largest(*arrays: NDArray) -> float:
    return float(np.prod([np.max(abs(a)) for a in arrays]))


@backends
@both_types
@given(
    g=geometries(20), B=st.integers(1, 3), c=st.integers(1, 37), n=st.integers(1, 37), seed=seeds
)
def test_the_error_is_within_its_bound(
    backend: str, dtype: DTypeLike, g: Geometry, B: int, c: int, n: int, seed: int
) -> None:
    """winograd.md, eq. 10 and 11, on tiles that hang over, vectors that are not full and more tiles
    than a block has. The reference is the definition in the longest type there is."""
    a = random_arrays(g, B, c, n, dtype, seed)
    y, dx, dw, _ = convolve(backend, RUNGS[backend], a, g.pad)
    long = np.longdouble
    exact = convolve("numpy", "v1", Arrays(*(array.astype(long) for array in a)), g.pad)
    u, its = np.finfo(dtype).eps / 2, np.finfo(long).eps
    tiles = B * -(-g.out_size[0] // 2) * -(-g.out_size[1] // 2)
    # terms of the definition, roundings, and how much larger the terms become
    for got, want, terms, roundings, size in (
        (y, exact[0], 9 * c + 1, c + 11, 64 * c * largest(a.x, a.w) + largest(a.b)),
        (dx, exact[1], 9 * n, n + 11, 64 * n * largest(a.dy, a.w)),
        (dw, exact[2], 4 * tiles, tiles + 8, 36 * tiles * largest(a.x, a.dy)),
    ):
        assert got.dtype == dtype
        bound = (roundings * u / (1 - roundings * u) + terms * its) * size
        assert np.max(abs(got - want)) <= bound


@numba
@pytest.mark.long
@both_types
@given(g=geometries(20), B=few, c=st.integers(1, 20), n=st.integers(1, 20), seed=seeds)
def test_images_have_bits_of_their_own(
    dtype: DTypeLike, g: Geometry, B: int, c: int, n: int, seed: int
) -> None:
    """Whatever else is in the call, in whichever thread it is made, and however much scratch it
    has: which tiles share a block changes nothing."""
    a = random_arrays(g, B, c, n, dtype, seed)
    together = convolve("numba", "v4", a, g.pad)
    with ThreadPoolExecutor(2) as pool:
        calls = [(a, 1), (a, 40), *((a.of_image(i), 1) for i in range(B))]
        found = [pool.submit(convolve, "numba", "v4", part, g.pad, room) for part, room in calls]
        first, second, *alone = (future.result() for future in found)
    for again in (first, second):
        for got, want in zip(again, together, strict=True):
            np.testing.assert_array_equal(got, want)
    for i, image in enumerate(alone):
        for got, want in zip(image[:2], together[:2], strict=True):
            np.testing.assert_array_equal(got[:, 0], want[:, i])


@pytest.mark.parametrize(
    ("kernel", "stride", "expected"),
    [
        ((3, 3), (1, 1), True),
        ((3, 2), (1, 1), False),
        ((2, 3), (1, 1), False),
        ((3, 3), (2, 1), False),
        ((3, 3), (1, 2), False),
    ],
)
def test_what_is_computed_so(
    kernel: tuple[int, int], stride: tuple[int, int], expected: bool
) -> None:
    assert applies(kernel, stride) == expected
    assert pays(kernel, stride, 24, 24, 64) == expected


@pytest.mark.parametrize(
    ("C", "N", "pixels", "expected"),
    [(24, 24, 64, True), (24, 24, 63, False), (24, 23, 64, False), (16, 48, 64, True),
     (15, 59, 64, False), (3, 512, 10**4, False)],
)  # fmt: skip
def test_it_is_taken_where_it_is_faster(C: int, N: int, pixels: int, expected: bool) -> None:
    """winograd.md, eq. 9."""
    assert pays((3, 3), (1, 1), C, N, pixels) == expected


@numba
@pytest.mark.long
@pytest.mark.parametrize(("channels", "version"), [(24, "v4"), (23, "v3")])
def test_the_kernel_is_the_faster_version(channels: int, version: str) -> None:
    g = Geometry((8, 8), (3, 3), (1, 1), "same")
    a = random_arrays(g, 1, 24, channels, np.float32, 0)
    chosen, v3, v4 = (convolve("numba", rung, a, g.pad) for rung in ("v5", "v3", "v4"))
    for one, two, other in zip(chosen[:3], v3, v4, strict=False):
        assert np.array_equal(one, two) == (version == "v3")
        assert np.array_equal(one, other) == (version == "v4")
