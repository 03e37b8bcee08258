"""In place of kernels/winograd_numba.py, which writes in LLVM's words: the convolution itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minireptile.kernels.conv2d_numpy import conv2d_backward_v1, conv2d_forward_v1

ROOM = 7  # numbers of scratch that are written: what a caller keeps there must lie elsewhere


def _use(room: NDArray) -> None:
    assert room.size >= ROOM
    room[:] = np.nan


def winograd_forward(
    y: NDArray, room: NDArray, x: NDArray, w: NDArray, bias: NDArray, pr: int, pc: int
) -> None:
    _use(room)
    conv2d_forward_v1(y[None], None, x[None], w[None], bias[None], (1, 1), (pr, pc))


def winograd_dw(dw: NDArray, room: NDArray, dy: NDArray, x: NDArray, pr: int, pc: int) -> None:
    _use(room)
    w = np.empty_like(dw[None])
    conv2d_backward_v1(None, dw[None], None, None, dy[None], x[None], w, (1, 1), (pr, pc))


def room_for(C: int, N: int) -> int:
    return C + N + 9 * C * N + ROOM


def half_turn(turned: NDArray, w: NDArray) -> None:
    turned[...] = w[::-1, ::-1].swapaxes(2, 3)


def room_in(cols: NDArray, numbers: int) -> NDArray:
    flat = cols.reshape(-1)
    return flat if flat.size >= numbers else np.empty(numbers, flat.dtype)
