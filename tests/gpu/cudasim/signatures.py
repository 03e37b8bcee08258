"""With which types the launchers call their kernels; needs neither the simulator nor a GPU."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile.kernels.operations import MODULES, OPERATIONS
from tests.gpu.cudasim.calls import ACTIVE, LARGE
from tests.gpu.cudasim.host import ladder
from tests.kernels.contract import Call, make

WITH_KERNELS = (*MODULES, "sums", "reptile")
Signature = tuple[Any, ...]


class Recorded(Exception):
    """Nothing was computed."""


def signatures(dtype: type) -> dict[tuple[Any, Signature], str]:
    """Every kernel and its arguments' types, each with a name to print."""
    found: dict[tuple[Any, Signature], str] = {}
    with recording(found):
        for operation in OPERATIONS:
            for kernel in ladder(operation).values():
                for arguments in LARGE[operation]:
                    with pytest.raises(Recorded):
                        make(_stopping(kernel), Call(arguments, 0, 0), dtype)
        for name, function, arguments in others(dtype):
            getattr(import_module(f"minireptile.kernels.{name}_cuda"), function)(*arguments)
    return found


@contextmanager
def recording(found: dict[tuple[Any, Signature], str]) -> Iterator[None]:
    """Launches are written down, and not made."""
    numba_types: Any = import_module("numba.cuda.types")
    typeof: Any = import_module("numba.cuda.typing.typeof").typeof

    def kind(a: Any) -> Any:
        if not isinstance(a, np.ndarray):
            return typeof(a)
        inputs = a.dtype == np.int64 and not a.flags.writeable  # labels: int32 on a device
        scalar = typeof(a.dtype.type(0)) if not inputs else numba_types.int32
        return numba_types.Array(scalar, a.ndim, typeof(a).layout)

    def launch(kernel: Any, grid: Any, block: Any, *arguments: Any) -> None:
        function = kernel.py_func
        name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        found[kernel, tuple(kind(a) for a in arguments)] = name

    with pytest.MonkeyPatch.context() as patch:
        for name in ("jit", *WITH_KERNELS):
            module = import_module(f"minireptile.kernels.{name}_cuda")
            patch.setattr(module, "launch", launch, raising=False)
        yield


def _stopping(kernel: Callable[..., None]) -> Callable[..., None]:
    def call(*arguments: Any) -> None:
        kernel(*arguments)
        raise Recorded

    return call


def others(dtype: type) -> list[tuple[str, str, tuple[Any, ...]]]:
    """(module, function, arguments) of what is not an operation."""

    def real(*shape: int) -> NDArray:
        return np.zeros(shape, dtype)

    x = real(*ACTIVE)
    clock, diverged = np.zeros(2, np.int64), np.zeros(1, np.int32)
    images, rows = np.zeros((4, 3, 2, 1), np.uint8), np.zeros((5, 6), np.int32)
    return [
        ("sums", "add", (x, x)),
        ("sums", "add", (real(2, 9)[:, 1:7].reshape(2, 3, 2), real(2, 3, 2))),
        ("reptile", "gather", (real(6, 3, 2, 1), images, rows, clock, 1.0)),
        ("reptile", "take_row", (rows[0], rows, clock, np.dtype(dtype))),
        ("reptile", "take_row", (real(6), real(5, 6), clock, np.dtype(dtype))),
        ("reptile", "spread", (real(2, 9), real(9))),
        ("reptile", "merge", (real(9), real(2, 9), real(5), clock, diverged)),
        ("reptile", "merge", (real(9), real(2, 9), None, clock, diverged)),
        ("reptile", "tick", (clock, np.dtype(dtype))),
        ("reptile", "decay", (real(2, 9), 0.5)),
    ]


def to_ptx(kernel: Any, signature: Signature, capability: tuple[int, int]) -> str:
    """The kernel compiled for a GPU that is not there."""
    from numba import cuda

    gpu = types.SimpleNamespace(compute_capability=capability)
    with pytest.MonkeyPatch.context() as patch:
        # What a kernel calls is compiled for the GPU at hand, whatever was asked for.
        patch.setattr("numba.cuda.dispatcher.get_current_device", lambda: gpu)
        return cuda.compile_ptx(kernel.py_func, signature, cc=capability)[0]
