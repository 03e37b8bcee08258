"""From a CUDA source to a launched kernel: what the *_cupy.py launchers share.

A source NAME.cu is compiled by NVRTC when it is first used, once for each type of number. The
engine that compiles and launches is CuPy's; a test puts one in its place that runs the same sources
on the CPU.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

HERE = Path(__file__).parent
HEADERS = ("device.cuh", "product.cuh", "reduce.cuh")
THREADS = 256  # of a block where nothing else decides
TILE, SIDE = 16, 32  # of what a block computes; as in product.cuh

# The struct Window of device.cuh.
WINDOW = np.dtype(
    [
        (name, np.int32)
        for name in (
            "B", "H", "W", "C", "H_out", "W_out", "N",
            "rows", "columns", "stride_r", "stride_c", "pad_r", "pad_c",
        )
    ]
)  # fmt: skip

Grid = tuple[int, ...]


class Engine(Protocol):
    """Whatever runs kernels."""

    def launch(
        self, name: str, kernel: str, dtype: np.dtype, grid: Grid, block: Grid, arguments: tuple
    ) -> None:
        """Queue a kernel of NAME.cu; arguments are device arrays, None and NumPy scalars."""
        ...

    def empty(self, size: int, dtype: np.dtype) -> Any:
        """A device array (size,) of whatever was there."""
        ...


class CupyEngine:
    """Kernels on the current CUDA device and CuPy's current stream."""

    def launch(
        self, name: str, kernel: str, dtype: np.dtype, grid: Grid, block: Grid, arguments: tuple
    ) -> None:
        _function(name, kernel, dtype)(grid, block, arguments)

    def empty(self, size: int, dtype: np.dtype) -> Any:
        return import_module("cupy").empty(size, dtype)


engine: Engine = CupyEngine()

# Kernels that are queued inside may run beside those that follow, until somebody joins the two: the
# gradients of a layer's parameters, which no other layer waits for. Recording a graph replaces it.
beside: Callable[[], AbstractContextManager[None]] = nullcontext


def room(size: int, dtype: DTypeLike) -> Any:
    """At least `size` numbers on the device for what one kernel leaves to the next one on the same
    stream. They stay where they are, as a recorded graph needs it; what runs `beside` may not have
    them."""
    return _room(engine.empty, 2 ** (size - 1).bit_length(), np.dtype(dtype))


@cache
def _room(empty: Callable[[int, np.dtype], Any], size: int, dtype: np.dtype) -> Any:
    return empty(size, dtype)


def source(name: str) -> str:
    """NAME.cu with the headers before it, each line with its file and number for the compiler.

    One text, because CuPy recompiles when the text that it is given changes, and does not look
    into files that it includes.
    """
    parts = []
    for file in (*HEADERS, f"{name}.cu"):
        parts += [f'#line 1 "{file}"', (HERE / file).read_text(encoding="utf-8")]
    return "\n".join(parts)


def options(dtype: DTypeLike) -> tuple[str, ...]:
    """What the compiler is told beside the source."""
    real = ("-DREAL=float",) if np.dtype(dtype) == np.float32 else ("-DREAL=double", "-DDOUBLE")
    return ("--std=c++14", *real)


@cache
def _module(name: str, dtype: np.dtype) -> Any:
    return import_module("cupy").RawModule(code=source(name), options=options(dtype))


@cache
def _function(name: str, kernel: str, dtype: np.dtype) -> Any:
    return _module(name, dtype).get_function(kernel)


def launch(
    name: str, kernel: str, dtype: np.dtype, grid: Grid, block: Grid, *arguments: Any
) -> None:
    """Queue a kernel. A Python int becomes an int, a float a `real`."""
    real = dtype.type
    ready = tuple(
        np.int32(a) if type(a) is int else real(a) if type(a) is float else a for a in arguments
    )
    engine.launch(name, kernel, dtype, grid, block, ready)


def blocks(n: int, size: int = THREADS) -> int:
    """Blocks of `size` that n things need; at least one, since a grid may not be empty."""
    return max(-(-n // size), 1)


def tiles(rows: int, columns: int, tasks: int, side: int) -> Grid:
    """The grid of a matrix product a task, cut into side x side tiles."""
    return blocks(rows, side), blocks(columns, side), tasks


def elements(name: str, kernel: str, first: Any, per_task: int, *arguments: Any) -> None:
    """Queue a kernel that gives every task's elements a thread each; `first` is (T, ...)."""
    grid = (min(blocks(per_task), 2**20), 1, first.shape[0])
    launch(name, kernel, first.dtype, grid, (THREADS, 1, 1), *arguments)


def flat(name: str, kernel: str, array: Any, *arguments: Any) -> None:
    """Queue a kernel that gives every element of contiguous arrays a thread, tasks or not."""
    grid = (min(blocks(array.size), 2**20), 1, 1)
    arguments = *arguments, np.int64(array.size)
    launch(name, kernel, array.dtype, grid, (THREADS, 1, 1), *arguments)


def stride(array: Any) -> np.int64:
    """Elements from one task's part of an array to the next one's."""
    return np.int64(0 if array is None else array.strides[0] // array.itemsize)


@cache
def window(
    x: tuple[int, ...], y: tuple[int, ...], kernel: tuple, step: tuple, pad: tuple
) -> NDArray:
    """The struct Window for inputs x (T, B, H, W, C) and outputs y (T, B, H_out, W_out, N)."""
    return np.array((*x[1:], *y[2:], *kernel, *step, *pad), WINDOW)
