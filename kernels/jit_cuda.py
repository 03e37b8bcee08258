"""How every Numba CUDA kernel is launched, and what they share.

A kernel runs once in every thread. Threads come in blocks, blocks in a grid; `cuda.grid(1)` is a
thread's number in the whole grid. The threads of a block have memory in common
(`cuda.shared.array`) and wait for each other at `cuda.syncthreads()`; blocks know nothing of each
other. Arrays live on the device; a kernel cannot return anything.

Numbers that a kernel gets are cast to the arrays' type before the launch, and constants inside are
made with it: a single double would turn float32 arithmetic into double arithmetic, which most
graphics cards do 32 or 64 times slower.

With NUMBA_ENABLE_CUDASIM=1, Numba runs the same kernels without a GPU, each thread a thread of
Python; there the blocks are small, so that small arrays still take several.
"""

import warnings
from functools import cache
from importlib import import_module
from math import prod
from typing import Any

import numpy as np

cuda: Any = import_module("numba.cuda")
config: Any = import_module("numba").config

SIMULATED = bool(config.ENABLE_CUDASIM)
# Threads in a block, a power of 2 for block_sum; and rows and columns of a tile of a matrix, whose
# blocks have TILE^2 threads. On a card both are whole warps.
SIZES = {"card": (128, 16), "simulator": (8, 4)}
BLOCK, TILE = SIZES["simulator" if SIMULATED else "card"]
_record: list[tuple[Any, tuple]] | None = None  # where launches are written down


def blocks(n, size=BLOCK):
    """How many blocks of this size n threads need."""
    return -(-n // size)


def launch(kernel, grid, block, *arguments):
    """Run a kernel in `grid` blocks of `block` threads; it may still be running afterwards."""
    configured = _configured(kernel, grid, block)
    if _record is not None:
        _record.append((configured, arguments))
    configured(*arguments)


def recorded(call):
    """Make a call; a list of its launches, (function, arguments), that can be made again."""
    global _record
    launches: list[tuple[Any, tuple]] = []
    _record = launches
    try:
        call()
    finally:
        _record = None
    return launches


def launch_each(kernel, n, *arguments):
    """Run a kernel in at least n threads; those from n on have nothing to do."""
    launch(kernel, (blocks(n),), (BLOCK,), *arguments)


@cache
def _configured(kernel, grid, block):
    if SIMULATED:  # there, kernel[grid, block] is the kernel itself, and the last one counts
        return lambda *arguments: kernel[grid, block](*arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a small grid leaves a part of the device idle
        return kernel[grid, block]


def outputs(written, stand_ins):
    """Arrays to write, with another where nobody wants one, and behind them which are wanted."""
    pairs = zip(written, stand_ins, strict=True)
    arrays = (other if output is None else output for output, other in pairs)
    return (*arrays, tuple(output is not None for output in written))


def flat(array):
    """A contiguous array as one row, so that a kernel is compiled once for all dimensions."""
    return array if len(array.shape) == 1 else array.reshape(array.size)


class View:
    """Part of each row of a device array (T, ...), as the CUDA array interface describes it: Numba
    reshapes contiguous arrays alone."""

    def __init__(self, array: Any, start: int, shape: tuple[int, ...]) -> None:
        self.array = array  # whose memory it is must not go before the view
        size = array.dtype.itemsize
        strides = [prod(shape[axis + 1 :]) * size for axis in range(len(shape))]
        address = array.__cuda_array_interface__["data"][0] + start * size
        self.__cuda_array_interface__ = {
            "shape": shape, "strides": (array.strides[0], *strides[1:]), "typestr": array.dtype.str,
            "data": (address, False), "stream": None, "version": 3,
        }  # fmt: skip


def view(array, start, shape):
    """array[:, start:start + prod(shape)], numbers side by side in each row, as (T, *shape)."""
    T = array.shape[0]
    if SIMULATED or isinstance(array, np.ndarray):  # where kernels are compiled, and not run
        return array.reshape(T, array.size // T)[:, start : start + prod(shape)].reshape(T, *shape)
    return cuda.as_cuda_array(View(array, start, (T, *shape)), sync=False)


@cuda.jit(device=True)
def block_sum(shared, value):
    """The sum of a block's values, one from each thread, in every thread.

    shared has room for BLOCK numbers. Half of the threads add the other half's partial sums, then
    a quarter, and so on: always in this order, so the result is always the same.
    """
    i = cuda.threadIdx.x
    shared[i] = value
    cuda.syncthreads()
    half = BLOCK // 2
    while half > 0:
        if i < half:
            shared[i] += shared[i + half]
        cuda.syncthreads()
        half //= 2
    total = shared[0]
    cuda.syncthreads()  # all have read it before the next sum is written
    return total
