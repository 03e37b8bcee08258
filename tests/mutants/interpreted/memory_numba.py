"""In place of kernels/memory_numba.py: memory by its address, and stages that are called by one."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .jit_numba import ended

EVERYTHING = 2**40  # numbers behind an address, where nobody says how many


def address_of(array: NDArray) -> int:
    return int(array.ctypes.data)


def size_of(number: Any) -> int:
    return np.asarray(number).dtype.itemsize


def numbers(one: Any, address: int, shape: Any) -> NDArray:
    """The array of this shape that lies there, and nothing around it."""
    dtype = np.asarray(one).dtype
    count = int(np.prod(shape, dtype=np.int64))
    memory = (ctypes.c_char * (count * dtype.itemsize)).from_address(int(address))
    return np.frombuffer(memoryview(memory), dtype).reshape(shape)


def pointer(one: Any, address: int) -> NDArray:
    return numbers(one, address, EVERYTHING)


def number(address: int, i: int) -> Any:
    return pointer(1.0, address)[i]


def rounded(one: Any, value: float) -> Any:
    return np.asarray(one).dtype.type(value)


_stages: dict[int, Any] = {}


def call(function: int, row: int, fields: int, one: Any) -> None:
    stage = _stages[int(function)]
    try:
        stage(pointer(np.int64(1), row), pointer(np.int64(1), fields), one)
    except BaseException:
        ended(stage.__name__)
        raise


class Compiled:
    """What `numba.cfunc` makes of a stage: an address, and a call from Python."""

    argtypes = (ctypes.POINTER(ctypes.c_int64),) * 2

    def __init__(self, stage: Any, one: Any) -> None:
        self.one, self.ctypes = one, self
        self.address = id(self)  # which engine/program.py keeps
        _stages[self.address] = stage

    def __call__(self, row: Any, fields: Any, one: float) -> None:
        at, of = (ctypes.cast(a, ctypes.c_void_p).value or 0 for a in (row, fields))
        call(self.address, at, of, self.one)


def _cfunc(signature: Any, **_: Any) -> Callable[[Any], Compiled]:
    kind = np.dtype(str(signature.args[-1]))
    return lambda stage: Compiled(stage, kind.type(1))


numba: Any = import_module("numba")
numba.cfunc = _cfunc
