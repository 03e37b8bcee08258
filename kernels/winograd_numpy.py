"""Winograd's convolution F(2x2, 3x3), NumPy: 3 x 3 kernels, stride 1. Derivation: winograd.md.

A table is a tuple of rows, each a tuple of arrays: the entries of a small matrix, for all tiles,
tasks and channels at once. Tiles of 2 x 2 outputs cover y; those at the end may hang over.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .window import Pair

Vector = Sequence[Any]  # the entries along one axis of a tile: arrays, or what adds like them
Table = Sequence[Vector]


def applies(kernel: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether a convolution is one of those that are computed so."""
    return kernel[0] == 3 and kernel[1] == 3 and stride[0] == 1 and stride[1] == 1


def pays(kernel: Sequence[int], stride: Sequence[int], C: int, N: int, pixels: int) -> bool:
    """Whether so many outputs of N channels, of C channels each, are computed faster so.

    A tile's transforms take time as C + N, the multiply-adds that it saves are as C N, and few
    tiles do not repay the weights' transforms (winograd.md).
    """
    return applies(kernel, stride) and C * N >= 12 * (C + N) and pixels >= 64


def of_inputs(d: Vector) -> Vector:
    """B' d, d (4,) (winograd.md, eq. 3)."""
    return d[0] - d[2], d[1] + d[2], d[2] - d[1], d[3] - d[1]


def of_taps(g: Vector) -> Vector:
    """G g, g (3,) (winograd.md, eq. 3)."""
    ends, middle = (g[0] + g[2]) / 2, g[1] / 2
    return g[0], ends + middle, ends - middle, g[2]


def to_outputs(m: Vector) -> Vector:
    """A' m, m (4,) (winograd.md, eq. 3)."""
    return m[0] + m[1] + m[2], m[1] - m[2] + m[3]


def of_outputs(y: Vector) -> Vector:
    """A y, y (2,): the transpose of `to_outputs`."""
    return y[0], y[0] + y[1], y[0] - y[1], y[1]


def to_taps(u: Vector) -> Vector:
    """G' u, u (4,): the transpose of `of_taps`."""
    middle = (u[1] + u[2]) / 2
    return u[0] + middle, (u[1] - u[2]) / 2, middle + u[3]


def twice(f: Callable[[Vector], Vector], table: Table) -> Table:
    """F table F', where f multiplies a vector by F: along the columns, then along the rows."""
    columns = map(f, zip(*table, strict=True))
    return [f(row) for row in zip(*columns, strict=True)]


def tiles(x: NDArray, size: Pair, step: Pair, pad: Pair) -> Table:
    """Entry (i, j) of every tile of an image, 0 outside it: a table of (T, B, rows, columns, C).

    size : entries of a tile; step : rows and columns of tiles; pad : 0 before the first entry.
    """
    T, B, H, W, C = x.shape
    padded = np.zeros((T, B, 2 * step[0] + size[0] - 2, 2 * step[1] + size[1] - 2, C), x.dtype)
    padded[:, :, pad[0] : pad[0] + H, pad[1] : pad[1] + W] = x
    return [
        [padded[:, :, i : i + 2 * step[0] : 2, j : j + 2 * step[1] : 2] for j in range(size[1])]
        for i in range(size[0])
    ]


def tiling(y: NDArray) -> Pair:
    """Rows and columns of tiles that cover the outputs y (T, B, H, W, N)."""
    return -(-y.shape[2] // 2), -(-y.shape[3] // 2)


def winograd_forward(y: NDArray, x: NDArray, w: NDArray, b: NDArray | None, pad: Pair) -> None:
    """Write y = A' [(G w G') (B' x B)] A + b, with a sum over channels inside (winograd.md, eq. 6).

    Parameters as in conv2d_numpy.py; the kernel is 3 x 3, the stride 1.
    """
    V = twice(of_inputs, tiles(x, (4, 4), tiling(y), pad))
    U = twice(of_taps, [[w[:, None, None, i, j] for j in range(3)] for i in range(3)])
    M = [[v @ u for v, u in zip(*rows, strict=True)] for rows in zip(V, U, strict=True)]
    Y = twice(to_outputs, M)
    for i, j in product(range(2), repeat=2):
        entries = y[:, :, i::2, j::2]
        entries[...] = Y[i][j][:, :, : entries.shape[2], : entries.shape[3]]
    if b is not None:
        y += b[:, None, None, None, :]


def winograd_backward(
    dx: NDArray | None, dw: NDArray | None, db: NDArray | None,
    dy: NDArray, x: NDArray, w: NDArray, pad: Pair,
) -> None:  # fmt: skip
    """Write dx, a convolution of dy, dw = G' [sum (B' x B) (A dy A')] G, and db (winograd.md, eq. 7
    and 8). Parameters as in conv2d_numpy.py; the kernel is 3 x 3, the stride 1."""
    if db is not None:
        db[...] = dy.sum((1, 2, 3))
    if dx is not None:
        turned = w[:, ::-1, ::-1].swapaxes(3, 4)
        winograd_forward(dx, dy, turned, None, (2 - pad[0], 2 - pad[1]))
    if dw is not None:
        V = twice(of_inputs, tiles(x, (4, 4), tiling(dy), pad))
        W = twice(of_outputs, tiles(dy, (2, 2), tiling(dy), (0, 0)))
        dU = [[over_tiles(*pair) for pair in zip(*rows, strict=True)]
              for rows in zip(V, W, strict=True)]  # fmt: skip
        for i, row in enumerate(twice(to_taps, dU)):
            for j, entries in enumerate(row):
                dw[:, i, j] = entries


def over_tiles(v: NDArray, w: NDArray) -> NDArray:
    """sum of v[..., c] w[..., n] over the tiles of all images: (T, C, N)."""
    T, C, N = v.shape[0], v.shape[-1], w.shape[-1]
    return v.reshape(T, -1, C).swapaxes(1, 2) @ w.reshape(T, -1, N)
