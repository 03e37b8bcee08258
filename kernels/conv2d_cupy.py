"""The 2-D convolution on a GPU: launchers for conv2d.cu. Derivation: conv2d.md.

Arguments as in conv2d_numpy.py, with arrays on the device. `cols` holds parts of dw, as many as
there is room for, or is None. A dense layer is a convolution too (dense_cupy.py).
"""

from contextlib import nullcontext
from typing import Any

import numpy as np

from . import launch_cupy
from .launch_cupy import SIDE, THREADS, TILE, blocks, elements, launch, stride, tiles, window
from .sums_cupy import sum_rows, sum_slices
from .window import Pair

BLOCKS = 256  # of a task: as many as keep a large card busy
ROWS = 256  # of the sum that a block has at least


def slices(K: int, N: int, M: int) -> int:
    """How many blocks share the sum over M of each tile of dw: more where a task has few tiles,
    whatever the number of tasks, on which no bit is to depend."""
    few = max(BLOCKS // (blocks(K, SIDE) * blocks(N, SIDE)), 1)
    return min(few, blocks(M, ROWS))


def scratch(T: int, K: int, N: int, M: int) -> int:
    """Numbers that `cols` should have room for: dw's slices, for K taps and channels, N filters."""
    n = slices(K, N, M)
    return n * T * K * N if n > 1 else 0


def _products(version: str, side: int, block: tuple[int, int, int]) -> tuple[Any, Any]:
    """The forward and the backward launcher of a version that computes matrix products."""

    def forward(y: Any, cols: Any, x: Any, w: Any, b: Any, step: Pair, pad: Pair) -> None:
        g = window(x.shape, y.shape, w.shape[1:3], tuple(step), tuple(pad))
        T, B, H_out, W_out, N = y.shape
        # Sums of few terms are too short for eight warps to share.
        short = version == "v3" and w[0].size // N <= TILE
        name, side_, threads = ("v2", *V2) if short else (version, side, block)
        grid = tiles(B * H_out * W_out, N, T, side_)
        arguments = y, x, w, stride(w), b, stride(b), g
        launch("conv2d", f"conv2d_forward_{name}", y.dtype, grid, threads, *arguments)

    def backward(
        dx: Any, dw: Any, db: Any, cols: Any, dy: Any, x: Any, w: Any, step: Pair, pad: Pair
    ) -> None:
        g = window(x.shape, dy.shape, w.shape[1:3], tuple(step), tuple(pad))
        T, B, H, W, C = x.shape
        N = dy.shape[-1]
        wanted = dw is not None or db is not None
        with launch_cupy.beside() if wanted else nullcontext():
            if dw is not None:
                K, M = w.shape[1] * w.shape[2] * C, B * dy.shape[2] * dy.shape[3]
                n = min(slices(K, N, M), 1 if cols is None else cols.size // (T * K * N))
                into, task = (dw, stride(dw)) if n < 2 else (cols, np.int64(n * K * N))
                name, grid = f"conv2d_dw_{version}", tiles(K, N, T * max(n, 1), side)
                launch("conv2d", name, dy.dtype, grid, block, into, task, dy, x, max(n, 1), g)
                if n > 1:
                    sum_slices(dw, cols, n)
            if db is not None:
                sum_rows(db, dy, cols)  # dw has been added up, which leaves its room
        if dx is not None:
            rows = B * blocks(H, step[0]) * blocks(W, step[1])  # of the largest phase
            grid = tiles(rows, C, T * step[0] * step[1], side)
            arguments = dx, dy, w, stride(w), g
            launch("conv2d", f"conv2d_dx_{version}", dy.dtype, grid, block, *arguments)

    return forward, backward


def conv2d_forward_v1(y: Any, cols: Any, x: Any, w: Any, b: Any, step: Pair, pad: Pair) -> None:
    """A thread for each output (conv2d.md, eq. 2)."""
    g = window(x.shape, y.shape, w.shape[1:3], tuple(step), tuple(pad))
    arguments = y, x, w, stride(w), b, stride(b), g
    elements("conv2d", "conv2d_forward_v1", y, y[0].size, *arguments)


def conv2d_backward_v1(
    dx: Any, dw: Any, db: Any, cols: Any, dy: Any, x: Any, w: Any, step: Pair, pad: Pair
) -> None:
    """A thread for each entry of dw and of dx."""
    g = window(x.shape, dy.shape, w.shape[1:3], tuple(step), tuple(pad))
    if dw is not None:
        elements("conv2d", "conv2d_dw_v1", dy, w[0].size, dw, stride(dw), dy, x, g)
    if dx is not None:
        elements("conv2d", "conv2d_dx_v1", dy, x[0].size, dx, dy, w, stride(w), g)
    if db is not None:
        sum_rows(db, dy)


V2, V3 = (TILE, (TILE, TILE, 1)), (SIDE, (THREADS, 1, 1))  # the side of a tile, its block
conv2d_forward_v2, conv2d_backward_v2 = _products("v2", *V2)
conv2d_forward_v3, conv2d_backward_v3 = _products("v3", *V3)
conv2d_forward_tf32, conv2d_backward_tf32 = _products("tf32", *V3)

conv2d_forward = conv2d_forward_v3
conv2d_backward = conv2d_backward_v3
