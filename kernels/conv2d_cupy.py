"""The 2-D convolution on a GPU: launchers for conv2d.cu. Derivation: conv2d.md.

Arguments as in conv2d_numpy.py, with arrays on the device; `cols` is not used and may be None.
"""

from __future__ import annotations

from typing import Any

from . import launch_cupy
from .launch_cupy import SIDE, THREADS, TILE, blocks, elements, launch, stride, tiles, window
from .sums_cupy import sum_rows
from .window import Pair


def _products(version: str, side: int, block: tuple[int, int, int]) -> tuple[Any, Any]:
    """The forward and the backward launcher of a version that computes matrix products."""

    def forward(y: Any, cols: Any, x: Any, w: Any, b: Any, step: Pair, pad: Pair) -> None:
        g = window(x.shape, y.shape, w.shape[1:3], tuple(step), tuple(pad))
        T, B, H_out, W_out, N = y.shape
        grid = tiles(B * H_out * W_out, N, T, side)
        arguments = y, x, w, stride(w), b, stride(b), g
        launch("conv2d", f"conv2d_forward_{version}", y.dtype, grid, block, *arguments)

    def backward(
        dx: Any, dw: Any, db: Any, cols: Any, dy: Any, x: Any, w: Any, step: Pair, pad: Pair
    ) -> None:
        g = window(x.shape, dy.shape, w.shape[1:3], tuple(step), tuple(pad))
        T, B, H, W, C = x.shape
        N = dy.shape[-1]
        with launch_cupy.beside():
            grid = tiles(w.shape[1] * w.shape[2] * C, N, T, side)
            arguments = dw, stride(dw), dy, x, g
            launch("conv2d", f"conv2d_dw_{version}", dy.dtype, grid, block, *arguments)
            if db is not None:
                sum_rows(db, dy)
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
    elements("conv2d", "conv2d_dw_v1", dy, w[0].size, dw, stride(dw), dy, x, g)
    if dx is not None:
        elements("conv2d", "conv2d_dx_v1", dy, x[0].size, dx, dy, w, stride(w), g)
    if db is not None:
        sum_rows(db, dy)


conv2d_forward_v2, conv2d_backward_v2 = _products("v2", TILE, (TILE, TILE, 1))
conv2d_forward_v3, conv2d_backward_v3 = _products("v3", SIDE, (THREADS, 1, 1))
conv2d_forward_tf32, conv2d_backward_tf32 = _products("tf32", SIDE, (THREADS, 1, 1))

conv2d_forward = conv2d_forward_v3
conv2d_backward = conv2d_backward_v3
