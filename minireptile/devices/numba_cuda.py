"""The device of the numba-cuda backend: kernels in Python for NVIDIA GPUs, or Numba's simulator.

Whether it can be used is asked of the driver itself (libcuda, through ctypes), so that every
ordinary obstacle has its sentence; then a kernel of one line is compiled and run.
"""

import ctypes
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import InputError, pip
from .base import Array, Device, kernels_of
from .numba_setup import version as _version

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
NO_DEVICE = 100  # what cuInit answers without a GPU
CAPABILITY = 75, 76  # the driver's names for its two numbers
LEAST = 7, 5  # the oldest GPUs that CUDA 13 compiles for
# The package that brings the compiler, for each CUDA version that there is an extra for.
COMPILERS = {12: "nvidia-cuda-nvcc-cu12", 13: "nvidia-nvvm"}


# --------------------------------------------------------------------------- can it be used here?


def simulated() -> bool:
    """Whether Numba was asked to run CUDA kernels in Python, without a GPU."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


def why_not() -> str:
    """Why the numba-cuda backend cannot be used here, in one sentence; "" if it can."""
    driver = None if simulated() else _driver()
    for package in ("numba", "numba-cuda"):
        if not _version(package):
            return f"{package} is not installed; bring it with: {_install(driver)}"
    if simulated():
        return _import_trouble()
    if driver is None:
        return f"there is no NVIDIA driver here ({LIBRARY} is not found); install one"
    return _driver_trouble(driver) or _import_trouble() or _trial_trouble()


def _driver() -> Any:
    """The driver's library; None where there is none."""
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError:
        return None


def _cuda_version(driver: Any) -> tuple[int, int]:
    """The newest CUDA version that the driver knows; (0, 0) if it does not say."""
    number = ctypes.c_int(0)
    driver.cuDriverGetVersion(ctypes.byref(number))
    return number.value // 1000, number.value % 1000 // 10


def _install(driver: Any) -> str:
    cuda12 = driver is not None and _cuda_version(driver)[0] == 12
    return pip(f"numba-cuda[{'cu12' if cuda12 else 'cu13'}]")


def _driver_trouble(driver: Any) -> str:
    result, count = driver.cuInit(0), ctypes.c_int(0)
    if result == 0:
        result = driver.cuDeviceGetCount(ctypes.byref(count))
    if result == NO_DEVICE or (result == 0 and count.value == 0):
        return "the NVIDIA driver finds no GPU; see what nvidia-smi and CUDA_VISIBLE_DEVICES say"
    if result != 0:
        return f"the NVIDIA driver does not start (error {result}); see what nvidia-smi says"
    capability = []
    for name in CAPABILITY:
        number = ctypes.c_int(0)
        driver.cuDeviceGetAttribute(ctypes.byref(number), name, 0)
        capability.append(number.value)
    if tuple(capability) < LEAST:
        found, least = (".".join(map(str, pair)) for pair in (capability, LEAST))
        return (
            f"the GPU is too old: its compute capability is {found}, {least} is needed; "
            "use another one (CUDA_VISIBLE_DEVICES)"
        )
    known = _cuda_version(driver)
    if known[0] < min(COMPILERS):
        return f"the NVIDIA driver only knows CUDA {known[0]}.{known[1]}; update it"
    compilers = [cuda for cuda, package in COMPILERS.items() if _version(package)]
    if compilers and min(compilers) > known[0]:
        return (
            f"numba-cuda compiles for CUDA {min(compilers)}, and the NVIDIA driver only knows "
            f"CUDA {known[0]}.{known[1]}; update the driver, or: {_install(driver)}"
        )
    return ""


@cache
def _import_trouble() -> str:
    try:
        _cuda()
    except Exception as error:  # whatever it is, it comes from another package's start
        return f"numba-cuda does not start here ({_first_line(error)}); {_repair()}"
    return ""


@cache
def _trial_trouble() -> str:
    """Compile and run a kernel: the only way to know that compiler, driver and GPU agree."""
    try:
        relu_forward, device = _module("relu").relu_forward, NumbaCudaDevice()
        y = device.upload(np.zeros(2, np.float32))
        relu_forward(y, device.upload(np.array([-1, 1], np.float32)))
        assert device.read(y).tolist() == [0, 1], "wrong numbers"
    except Exception as error:
        return f"numba-cuda cannot run a kernel here ({_first_line(error)}); {_repair()}"
    return ""


def _first_line(error: Exception) -> str:
    lines = [line.strip().rstrip(":.") for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) or type(error).__name__


def _repair() -> str:
    return f"bring its parts in fitting versions with: {_install(_driver())} 'numpy<2.5'"


# -------------------------------------------------------------------------------------- the device


@contextmanager
def plain_errors() -> Iterator[None]:
    """Errors of Numba and of the driver as sentences, each an `InputError`."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("numba", "cuda"):
            raise
        if "OUT_OF_MEMORY" in str(error):
            raise InputError(
                f"the GPU is out of memory ({_first_line(error)}); lower --meta-batch, or end "
                "other programs that use the GPU"
            ) from error
        raise InputError(
            f"the GPU reports an error ({_first_line(error)}); try again, and if it comes back, "
            "use --backend numba"
        ) from error


class NumbaCudaDevice:
    """The GPU that Numba uses, and its default stream. Implements `Device` of base.py."""

    name = "numba-cuda"
    errors = staticmethod(plain_errors)

    def __init__(self) -> None:
        self._cuda = _cuda()

    def owns(self, array: Any) -> bool:
        """Whether an array lies on the device, as Numba's."""
        return bool(getattr(array, "__cuda_ndarray__", False))

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        return self._cuda.device_array(shape, np.dtype(dtype))

    def upload(self, host: NDArray) -> Array:
        return self._cuda.to_device(np.ascontiguousarray(host))

    def write(self, array: Array, values: Any) -> None:
        if not self.owns(values):
            values = np.ascontiguousarray(values, array.dtype)
        assert tuple(values.shape) == tuple(array.shape), (values.shape, array.shape)
        array.copy_to_device(values)

    def read(self, array: Array) -> NDArray:
        return np.ascontiguousarray(array.copy_to_host())

    def copy(self, array: Array) -> Array:
        other = self.empty(tuple(array.shape), array.dtype)
        other.copy_to_device(array)
        return other

    def wait(self) -> None:
        """Until everything queued is done."""
        self._cuda.synchronize()

    def view(self, array: Array, start: int, shape: tuple[int, ...]) -> Array:
        return _module("jit").view(array, start, shape)

    def capture(self, call: Callable[[], None]) -> Callable[[], None]:
        """The launches of a call, one after another: what lies between them is saved."""
        launches = _module("jit").recorded(call)

        def replay() -> None:
            for configured, arguments in launches:
                configured(*arguments)

        return replay

    def join(self) -> None:
        """Everything is launched on one stream, in order."""

    def describe(self) -> str:
        """The card, its memory, and the versions of the driver's CUDA and of numba-cuda."""
        version = f"numba-cuda {_version('numba-cuda')}"
        if simulated():
            return f"Numba's simulator of a GPU, {version}"
        card = self._cuda.get_current_device()
        name = card.name.decode() if isinstance(card.name, bytes) else card.name
        major, minor = card.compute_capability
        memory = self._cuda.current_context().get_memory_info()[1] / 2**30
        known = ".".join(map(str, _cuda_version(_driver())))
        return (
            f"{name}, compute capability {major}.{minor}, {memory:.0f} GiB, "
            f"driver for CUDA {known}, {version}"
        )

    def free_memory(self) -> int:
        """Bytes that can still be had."""
        if simulated():
            return 2**40
        context = self._cuda.current_context()
        context.deallocations.clear()  # what Numba has kept of arrays that are gone
        return int(context.get_memory_info()[0])

    @cache  # noqa: B019  (there is one device)
    def kernels(self, tf32: bool = False) -> SimpleNamespace:
        """The kernels by name, for arrays on the device."""
        if tf32:
            raise InputError("the numba-cuda backend has no TF32: leave --tf32 out")
        return kernels_of("cuda")


@cache
def device() -> Device:
    """The device, once a process. `why_not` must be empty."""
    return NumbaCudaDevice()


def _cuda() -> Any:
    return importlib.import_module("numba.cuda")


def _module(name: str) -> Any:
    return importlib.import_module(f"minireptile.kernels.{name}_cuda")
