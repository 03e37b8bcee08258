"""In place of kernels/jit_numba.py."""

from __future__ import annotations

import ctypes
import sys
import threading
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.setswitchinterval(1e-5)  # threads take turns often, so that a missing barrier shows
PATIENCE = 60  # seconds for which a thread waits for others
_come = threading.Condition()
_failed: list[str] = []  # stages in which a thread ended, for which the others need not wait


def jit(function: Any) -> Any:
    return function


inner = jit


def intrinsic(function: Any) -> Any:
    """Of what a kernel's file writes in LLVM's words there is one with a meaning here."""
    return {"high": _high}.get(function.__name__, function)


def _high(a: np.uint64, b: np.uint64) -> np.uint64:
    return np.uint64(int(a) * int(b) >> 64)


def _matrix(address: int, itemsize: int, rows: int, columns: int, pitch: int) -> NDArray:
    numbers = (rows - 1) * pitch + columns
    memory = (ctypes.c_char * int(numbers * itemsize)).from_address(int(address))
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


def put(to: NDArray, values: NDArray) -> None:
    assert len(values) >= len(to)
    to[:] = values[: len(to)]


def barrier(arrived: NDArray, members: int) -> None:
    """Wait until all members have come here, without keeping a core busy."""
    if members > 1:
        with _come:
            goal = (arrived[0] // members + 1) * members
            arrived[0] += 1
            _come.notify_all()
            come = _come.wait_for(lambda: _failed or arrived[0] >= goal, PATIENCE)
            assert come, "the other threads do not come"
            assert not _failed, f"another thread ended in {_failed}"


def ended(stage: str) -> None:
    """A thread says that it comes to no barrier any more."""
    with _come:
        _failed.append(stage)
        _come.notify_all()


def part(output: NDArray | None, index: Any) -> NDArray | None:
    return None if output is None else output[index]


def wanted(output: NDArray | None, like: NDArray, dimensions: int) -> tuple[NDArray, bool]:
    if output is None:
        return np.empty((0,) * dimensions, like.dtype), False
    return output, True


numba: Any = import_module("numba")
numba.njit = jit  # what a test makes of kernels
