"""Sums on a GPU: launchers for sums.cu."""

from typing import Any

import numpy as np

from . import launch_cupy
from .launch_cupy import blocks, elements, launch, stride

COLUMNS, LANES = 8, 64  # as in reduce.cuh


def sum_rows(total: Any, values: Any) -> None:
    """Write total (T, N), the sum of values (T, ..., N) over all axes between."""
    T, N = total.shape
    M = values[0].size // N
    grid = (blocks(N, COLUMNS), 1, T)
    arguments = total, stride(total), values, stride(values), M, N
    launch("sums", "sum_rows", values.dtype, grid, (COLUMNS, LANES, 1), *arguments)


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
