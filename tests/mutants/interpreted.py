"""In place of kernels/jit_numba.py: the same names, and nothing is compiled.

A mutant of a kernel that Python reads costs seconds, and a compiled one minutes. What compiled code
would do silently, reading beside an array, is an error here. Addresses stay unchecked.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.setswitchinterval(1e-5)  # threads take turns often, so that a missing barrier shows
_come = threading.Condition()


def jit(function: Any) -> Any:
    return function


inner = intrinsic = jit


def _matrix(address: int, itemsize: int, rows: int, columns: int, pitch: int) -> NDArray:
    numbers = (rows - 1) * pitch + columns
    memory = (ctypes.c_char * (numbers * itemsize)).from_address(int(address))
    flat: NDArray = np.frombuffer(memoryview(memory), np.dtype(f"f{itemsize}"))
    return np.lib.stride_tricks.as_strided(flat, (rows, columns), (pitch * itemsize, itemsize))


def gemm(
    itemsize: int, m: int, n: int, k: int, a: int, lda: int, ta: int, b: int, ldb: int, tb: int,
    c: int, ldc: int, beta: float,
) -> None:  # fmt: skip
    """As in jit_numba.py: C = op(A) op(B) + beta C."""
    left = _matrix(a, itemsize, k, m, lda).T if ta else _matrix(a, itemsize, m, k, lda)
    right = _matrix(b, itemsize, n, k, ldb).T if tb else _matrix(b, itemsize, k, n, ldb)
    product = _matrix(c, itemsize, m, n, ldc)
    product[...] = left @ right + (beta * product if beta else 0)


def multiply_add(a: Any, b: Any, c: Any) -> Any:
    return a * b + c


def copy(to: int, start: int, count: int) -> None:
    ctypes.memmove(int(to), int(start), int(count))


def packed(array: NDArray) -> NDArray:
    assert array.flags.c_contiguous
    return array


def barrier(arrived: NDArray, members: int) -> None:
    """Wait until all members have come here, without keeping a core busy."""
    if members > 1:
        with _come:
            goal = (arrived[0] // members + 1) * members
            arrived[0] += 1
            _come.notify_all()
            _come.wait_for(lambda: arrived[0] >= goal)


def part(output: NDArray | None, index: Any) -> NDArray | None:
    return None if output is None else output[index]


def wanted(output: NDArray | None, like: NDArray, dimensions: int) -> tuple[NDArray, bool]:
    if output is None:
        return np.empty((0,) * dimensions, like.dtype), False
    return output, True
