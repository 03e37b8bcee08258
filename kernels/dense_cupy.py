"""The dense layer on a GPU: launchers for dense.cu. Derivation: dense.md.

Arguments as in dense_numpy.py, with arrays on the device.
"""

from contextlib import nullcontext
from typing import Any

from . import launch_cupy
from .launch_cupy import SIDE, THREADS, TILE, elements, launch, stride, tiles
from .sums_cupy import sum_rows


def dense_forward_v1(y: Any, x: Any, w: Any, b: Any) -> None:
    """A thread for each output (dense.md, eq. 1)."""
    _, n_in, n_out = w.shape
    arguments = y, x, w, stride(w), b, stride(b), x.shape[1], n_in, n_out
    elements("dense", "dense_forward_v1", y, y[0].size, *arguments)


def dense_backward_v1(dx: Any, dw: Any, db: Any, dy: Any, x: Any, w: Any) -> None:
    """A thread for each entry of dw and of dx (dense.md, eq. 2 to 4)."""
    sizes = x.shape[1], *w.shape[1:]
    if dw is not None:
        elements("dense", "dense_dw_v1", dy, w[0].size, dw, stride(dw), dy, x, *sizes)
    if dx is not None:
        elements("dense", "dense_dx_v1", dy, x[0].size, dx, dy, w, stride(w), *sizes)
    if db is not None:
        sum_rows(db, dy)


def _products(version: str, side: int, block: tuple[int, int, int]) -> tuple[Any, Any]:
    """The forward and the backward launcher of a version that computes matrix products."""

    def forward(y: Any, x: Any, w: Any, b: Any) -> None:
        T, B, n_in = x.shape
        n_out = w.shape[2]
        arguments = y, x, w, stride(w), b, stride(b), B, n_in, n_out
        grid = tiles(B, n_out, T, side)
        launch("dense", f"dense_forward_{version}", y.dtype, grid, block, *arguments)

    def backward(dx: Any, dw: Any, db: Any, dy: Any, x: Any, w: Any) -> None:
        T, B, n_in = x.shape
        n_out = w.shape[2]
        sizes = B, n_in, n_out
        wanted = dw is not None or db is not None
        with launch_cupy.beside() if wanted else nullcontext():
            if dw is not None:
                grid, arguments = tiles(n_in, n_out, T, side), (dw, stride(dw), dy, x, *sizes)
                launch("dense", f"dense_dw_{version}", dy.dtype, grid, block, *arguments)
            if db is not None:
                sum_rows(db, dy)
        if dx is not None:
            grid, arguments = tiles(B, n_in, T, side), (dx, dy, w, stride(w), *sizes)
            launch("dense", f"dense_dx_{version}", dy.dtype, grid, block, *arguments)

    return forward, backward


dense_forward_v2, dense_backward_v2 = _products("v2", TILE, (TILE, TILE, 1))
dense_forward_v3, dense_backward_v3 = _products("v3", SIDE, (THREADS, 1, 1))

dense_forward = dense_forward_v3
dense_backward = dense_backward_v3
