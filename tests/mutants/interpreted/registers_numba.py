"""In place of kernels/registers_numba.py, which writes in LLVM's words: its tables are followed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minireptile.kernels.tiles import BN, BR, BT, DN, DT, FN, FR, FT

from .memory_numba import EVERYTHING, numbers

HEIGHT, ROWS = 10, 8


def _tiles(
    one: Any, y: int, x: int, w: int, b: int, tables: NDArray, at: tuple[int, int, int], N: int,
    add: int,
) -> None:  # fmt: skip
    x_, w_, y_ = (numbers(one, address, EVERYTHING) for address in (x, w, y))
    tiles, n, first = at
    start = numbers(one, b, N) if b else np.zeros(N, y_.dtype)
    for head in tables[tiles : tiles + n * (2 + 2 * HEIGHT)].reshape(n, -1):
        sources, targets = head[2:].reshape(2, HEIGHT, 1)
        to = targets + np.arange(N)
        total = y_[to] if add else np.tile(start, (HEIGHT, 1))
        runs = first + 3 * head[0]
        for behind, row, count in tables[runs : runs + 3 * head[1]].reshape(-1, 3):
            weights = w_[row * N : (row + count) * N].reshape(count, N)
            total += x_[sources + behind + np.arange(count)] @ weights
        y_[to] = total


def conv_rows(one: Any, y: int, x: int, w: int, b: int, tables: NDArray, N: int, add: int) -> None:
    _tiles(one, y, x, w, b, tables, (tables[FT], tables[FN], tables[FR]), N, add)


def conv_rows_back(one: Any, dx: int, dy: int, wt: int, tables: NDArray, C: int, add: int) -> None:
    _tiles(one, dx, dy, wt, 0, tables, (tables[BT], tables[BN], tables[BR]), C, add)


def conv_products(one: Any, dw: int, x: int, dy: int, tables: NDArray, N: int) -> None:
    dw_, x_, dy_ = (numbers(one, address, EVERYTHING) for address in (dw, x, dy))
    heads, columns = tables[tables[DT] : tables[DT] + 4 * tables[DN]], np.arange(N)
    for pairs, count, tiles, n in heads.reshape(-1, 4):
        sources, targets = tables[pairs : pairs + 2 * count].reshape(count, 2).T
        d = dy_[targets[:, None] + columns]
        for to in tables[tiles : tiles + n * 2 * ROWS].reshape(n, 2, ROWS, 1):
            dw_[to[1] * N + columns] += x_[to[0] + sources] @ d


def turned(wt: NDArray, w: NDArray) -> None:
    wt[...] = w.swapaxes(1, 2)
