"""Kernels on device arrays, called with NumPy arrays."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minireptile.kernels.operations import OPERATIONS


def on_host(kernel: Callable[..., None], device: Any) -> Callable[..., None]:
    """The kernel for NumPy arrays: copies in, the call, copies out.

    A view of a vector (T, P) becomes a view of the vector's copy on the device, so the kernel
    meets the task stride P there too, and what it writes beside the view comes back.
    """

    def call(*arguments: Any) -> None:
        copies: dict[int, tuple[NDArray, Any]] = {}

        def copied(a: NDArray) -> Any:
            narrow = a.astype(np.int32) if a.dtype == np.int64 and not a.flags.writeable else a
            return copies.setdefault(id(a), (a, device.upload(narrow)))[1]

        def on_device(a: Any) -> Any:
            if not isinstance(a, np.ndarray):
                return a
            if a.base is None:
                return copied(a)
            vector = a
            while isinstance(vector.base, np.ndarray):
                vector = vector.base
            start = (address(a) - address(vector)) // a.itemsize
            return device.view(copied(vector), start, a.shape[1:])

        kernel(*(on_device(a) for a in arguments))
        for array, copy in copies.values():
            result = device.read(copy)
            if array.flags.writeable:
                array[...] = result
            else:
                np.testing.assert_array_equal(array, result, "an input was changed")

    return call


def address(a: NDArray) -> int:
    return a.__array_interface__["data"][0]


def ladder(operation: str) -> dict[str, Callable[..., None]]:
    """Every version of an operation in kernels/MODULE_cuda.py, as backend.versions() lists them."""
    module = import_module(f"minireptile.kernels.{OPERATIONS[operation].module}_cuda")
    found = {v: f for v, f in vars(module).items() if re.fullmatch(rf"{operation}_v\d+", v)}
    return found or {operation: getattr(module, operation)}
