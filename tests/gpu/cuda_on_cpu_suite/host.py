"""CUDA kernels as functions of NumPy arrays: which there are, and what holds of each call."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
from numpy.typing import NDArray

from minireptile import backend
from minireptile.devices.base import through
from minireptile.kernels import launch_cupy
from minireptile.kernels.operations import OPERATIONS
from tests.gpu.cuda_on_cpu import Array, Device, Engine
from tests.gpu.cuda_on_cpu_build import Changes
from tests.kernels.contract import Call, Scratch, make
from tests.kernels.contract_calls import enlarged

from .calls import LARGE

Kernel = Callable[..., None]

# The orders that calls are repeated in: ascending, descending, and shuffled in four ways.
ORDERS = (0, 1, 2, 34567, 89, 1011121314)


def ladder(operation: str) -> dict[str, Kernel]:
    """Every version of an operation but those of lower precision, by name."""
    module = import_module(f"minireptile.kernels.{OPERATIONS[operation].module}_cupy")
    found = {n: getattr(module, n) for n in dir(module) if re.fullmatch(rf"{operation}_v\d+", n)}
    return found or {operation: getattr(module, operation)}


def reference(operation: str) -> Kernel:
    """The NumPy kernel, version 1."""
    return backend.versions(operation, "numpy")["v1"]


def large(operation: str) -> list[Call]:
    """Calls that cross blocks and tiles, an operation's own or else the contract's enlarged;
    without the scratch that a GPU does not use."""
    calls = LARGE[operation]() if operation in LARGE else enlarged(operation, 600)
    return [
        replace(
            call, arguments=tuple(None if isinstance(a, Scratch) else a for a in call.arguments)
        )
        for call in calls
    ]


EVERY = [
    pytest.param(operation, kernel, id=name)
    for operation in OPERATIONS
    for name, kernel in ladder(operation).items()
]


class Watched(Device):
    """Remembers what was uploaded."""

    def __init__(self) -> None:
        self.uploads: list[tuple[NDArray, Array]] = []

    def upload(self, host: NDArray) -> Array:
        array = super().upload(host)
        self.uploads.append((host, array))
        return array


def on_host(kernel: Kernel) -> Kernel:
    """A device kernel as one of NumPy arrays that fails if it writes to an input."""

    def call(*arguments: Any) -> None:
        device = Watched()
        through(device, kernel)(*arguments)
        for host, array in device.uploads:  # what may be written has been copied back
            assert host.tobytes() == array.tobytes(), "an input was changed on the device"

    return call


def in_every_order(kernel: Kernel, call: Call, dtype: type, changes: Changes = ()) -> list[NDArray]:
    """The call's outputs, which must be the same bits in whatever order threads take turns."""
    before, every = launch_cupy.engine, []
    try:
        for order in ORDERS:
            launch_cupy.engine = Engine(changes, orders=(order,))
            every.append(make(on_host(kernel), call, dtype))
    finally:
        launch_cupy.engine = before
    for order, outputs in zip(ORDERS, every, strict=True):
        for output, first in zip(outputs, every[0], strict=True):
            assert output.tobytes() == first.tobytes(), f"other numbers in order {order}"
    return every[0]
