"""What the GPU backends have in common: a device's memory, and calls from the host's.

A `Device` has arrays of its own. `through` makes a kernel that works on these one that takes NumPy
arrays, by copying: for checks, for tests, and for layers that the device does not know.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..kernels.operations import MODULES

Array = Any  # an array on a device


class Device(Protocol):
    """A GPU, or what stands in for one."""

    name: str

    def owns(self, array: object) -> bool:
        """Whether an array lies on the device."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A contiguous array of whatever was there."""
        ...

    def upload(self, host: NDArray) -> Array:
        """A new contiguous array with a host array's values."""
        ...

    def write(self, array: Array, host: NDArray) -> None:
        """Copy an array's values, from the host or the device, into one of the same shape."""
        ...

    def read(self, array: Array) -> NDArray:
        """An array's values on the host, once the device is done."""
        ...

    def copy(self, array: Array) -> Array:
        """A copy on the device."""
        ...

    def view(self, array: Array, start: int, shape: tuple[int, ...]) -> Array:
        """array[:, start:start + prod(shape)] of vectors (T, P), as (T, *shape)."""
        ...

    def capture(self, call: Callable[[], None]) -> Callable[[], None]:
        """The launches of a call, to be repeated as one; the call is made once or twice. What it
        refers to lives as long as what is returned."""
        ...

    def join(self) -> None:
        """What was launched beside the rest has to be done before what follows."""
        ...

    def kernels(self, tf32: bool = False) -> Any:
        """The kernels by name, for arrays on the device."""
        ...

    def describe(self) -> str:
        """Which GPU, and versions."""
        ...

    def free_memory(self) -> int:
        """Bytes that can still be had."""
        ...

    def errors(self) -> AbstractContextManager[None]:
        """The device's own errors as `InputError`."""
        ...


@cache
def through(device: Device, kernel: Callable[..., None]) -> Callable[..., None]:
    """A device kernel as one that takes NumPy arrays, views of parameters among them."""

    def call(*arguments: Any) -> None:
        copies: dict[int, tuple[NDArray, Array, bool]] = {}

        def there(a: Any) -> Any:
            if not isinstance(a, np.ndarray):
                return a
            whole = a if a.flags.c_contiguous else a.base  # a parameter's whole vector (T, P)
            assert isinstance(whole, np.ndarray)
            copied = copies.get(id(whole))
            array = copied[1] if copied else device.upload(whole)
            written = a.flags.writeable or bool(copied and copied[2])
            copies[id(whole)] = whole, array, written
            if a.flags.c_contiguous:
                return array
            start = (a.ctypes.data - whole.ctypes.data) // a.itemsize
            return device.view(array, start, a.shape[1:])

        kernel(*map(there, arguments))
        for whole, array, written in copies.values():
            if written:
                whole[...] = device.read(array)

    return call


def kernels_of(kind: str) -> SimpleNamespace:
    """Every function of the modules kernels/MODULE_`kind`.py, for arrays on the device."""
    functions: dict[str, Any] = {}
    for name in (*MODULES, "sums", "reptile"):
        module = import_module(f"minireptile.kernels.{name}_{kind}")
        functions |= {
            key: value
            for key, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", "") == module.__name__
        }
    return SimpleNamespace(**functions)
