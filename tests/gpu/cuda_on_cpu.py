"""kernels/*.cu on the CPU: an engine for launch_cupy.py in place of CuPy's, made of cuda_cpu.h
and cuda_cpu.cpp.

Arrays "on the device" are NumPy arrays of a class of their own, so that a host array that slips
into a launch is found out. Under the address sanitizer, which has to be loaded before Python (see
test_cuda_on_cpu.py), sources are compiled for it.
"""

from __future__ import annotations

import ctypes
import os
from collections import Counter
from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .cuda_on_cpu_build import COMPILER as COMPILER
from .cuda_on_cpu_build import Changes, build

LIMITS = (2**31 - 1, 65535, 65535, 1024, 1024, 64)
ORDERS = (0, 1, 12345)  # ascending, descending, shuffled
SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")


class Array(np.ndarray):
    """An array on the device that is not there."""


class Divergence(Exception):
    """Threads waited at a barrier that others never reached, or all do the same."""


class Engine:
    """Compile with g++ and run.

    Parameters
    ----------
    changes : tuple of Change
    orders : tuple of int
        The order of a block's threads and of the blocks, from one launch of a kernel to the next.
    """

    def __init__(self, changes: Changes = (), orders: tuple[int, ...] = ORDERS) -> None:
        self.changes, self.orders = changes, orders
        self.launches: Counter[str] = Counter()

    def launch(
        self, name: str, kernel: str, dtype: np.dtype, grid: tuple, block: tuple, arguments: tuple
    ) -> None:
        """As `launch_cupy.Engine.launch`; returns when the kernel has ended."""
        sizes = (*grid, *block)
        for size, most in zip(sizes, LIMITS, strict=True):
            assert 1 <= size <= most, f"{kernel}: no card takes the sizes {grid}, {block}"
        assert prod(block) <= 1024, f"{kernel}: no card takes blocks of {block}"
        whole = prod(block) % 32 == 0 or prod(block) == 1
        assert whole, f"{kernel}: a part of a warp of {block} is idle"
        library = _library(name, np.dtype(dtype), self.changes)
        takes = getattr(library, f"signature_{kernel}")
        takes.restype = ctypes.c_char_p
        _check(kernel, takes().decode().split(), arguments)
        held = [_by_reference(a) for a in arguments]
        pointers = (ctypes.c_void_p * len(held))(*(h.ctypes.data for h in held))
        round_, nth = divmod(self.launches[kernel], len(self.orders))
        self.launches[kernel] += 1
        order = self.orders[nth]
        seed = order if order < 2 else order + round_
        call = getattr(library, f"launch_{kernel}")
        call.restype = ctypes.c_char_p
        trouble = call((ctypes.c_uint * 6)(*sizes), ctypes.c_ulonglong(seed), pointers)
        if trouble:
            raise Divergence(f"{kernel}: {trouble.decode()}")

    def empty(self, size: int, dtype: np.dtype) -> Array:
        return Device().empty((size,), dtype)


def _type_name(a: Any) -> str:
    """As type_name in cuda_cpu.h: f4, *i8, V52."""
    if a is None:
        return "*"
    return "*" * isinstance(a, Array) + f"{a.dtype.kind}{a.dtype.itemsize}"


def _check(kernel: str, takes: list[str], arguments: tuple) -> None:
    """Hold arguments to a kernel's parameters, which CuPy does not."""
    gets = [_type_name(a) for a in arguments]
    fits = len(takes) == len(gets) and all(
        # None is an address, and unsigned stands for any 4 bytes
        want == got or want[0] == got or (want == "*u4" and got[0] == "*")
        for want, got in zip(takes, gets, strict=True)
    )
    assert fits, f"{kernel} takes {' '.join(takes)}, and got {' '.join(gets)}"


def _by_reference(argument: Any) -> NDArray:
    """An argument's bytes: an array's address, a number itself."""
    if argument is None:
        return np.zeros(1, np.intp)
    if isinstance(argument, Array):
        return np.array([argument.ctypes.data], np.intp)
    value = np.asarray(argument)
    assert value.size == 1, f"an array of the host was passed to a kernel: {value.shape}"
    return np.atleast_1d(value)


@cache
def _library(name: str, dtype: np.dtype, changes: Changes) -> Any:
    return ctypes.CDLL(str(build(name, dtype, changes, SANITIZED)))


class Device:
    """The device that is not there; see minireptile.devices.base.Device."""

    name = "cuda on the CPU"

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        array = np.empty(shape, dtype).view(Array)
        array.view(np.uint8)[...] = 0xFF  # NaN, or -1
        return array

    def upload(self, host: NDArray) -> Array:
        return np.array(host, order="C").view(Array)

    def write(self, array: Array, host: NDArray) -> None:
        assert isinstance(array, Array)
        assert array.shape == host.shape
        array[...] = host

    def read(self, array: Array) -> NDArray:
        assert isinstance(array, Array)
        return np.array(array)

    def view(self, array: Array, start: int, shape: tuple[int, ...]) -> Array:
        view = array[:, start : start + prod(shape)].reshape(len(array), *shape)
        assert isinstance(view, Array)
        assert np.shares_memory(view, array)
        return view

    def capture(self, call: Callable[[], None]) -> Callable[[], None]:
        return call
