"""Sums on a GPU: launchers for sums.cu."""

from typing import Any

import numpy as np

from . import launch_cupy
from .launch_cupy import blocks, elements, launch, stride

COLUMNS, LANES = 8, 64  # as in reduce.cuh
BLOCKS = 128  # of a task: as many as keep a large card busy
ROWS = 256  # of a block's sum, at least: fewer are not worth a second launch


def shares(N: int, M: int) -> int:
    """How many blocks share the sum over M rows of each of a task's N columns, with ROWS rows each
    at least; whatever the number of tasks, on which no bit is to depend."""
    return max(min(BLOCKS // blocks(N, COLUMNS), M // ROWS), 1)


def sum_rows(total: Any, values: Any, parts: Any = None) -> None:
    """Write total (T, N), the sum of values (T, ..., N) over all axes between; where there is room
    for `parts` of it, many blocks share a sum."""
    T, N = total.shape
    M = values[0].size // N
    n = max(min(shares(N, M), 0 if parts is None else parts.size // (T * N)), 1)
    into, task = (total, stride(total)) if n == 1 else (parts, np.int64(n * N))
    arguments = into, task, values, stride(values), M, N
    grid, block = (blocks(N, COLUMNS), n, T), (COLUMNS, LANES, 1)
    launch("sums", "sum_rows", values.dtype, grid, block, *arguments)
    if n > 1:
        sum_slices(total, parts, n)


def sum_slices(total: Any, values: Any, slices: int) -> None:
    """Write total (T, ...), the sum over the slices of values (T, slices, ...) in their order."""
    size = total[0].size
    arguments = total, stride(total), values, slices, size
    elements("sums", "sum_slices", total, size, *arguments)


def add(total: Any, part: Any) -> None:
    """total += part, both (T, ...)."""
    size = total[0].size
    elements("sums", "add", total, size, total, stride(total), part, np.int64(size))


def add_gradient(total: Any, part: Any) -> None:
    """As `add`, to a parameter's gradient: beside the rest, where both are written."""
    with launch_cupy.beside():
        add(total, part)
