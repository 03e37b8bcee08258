"""The CuPy device: is it usable, its memory, and graphs.

kernels/launch_cupy.py launches; kernels/*.cu are what is launched.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib import import_module, metadata
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import InputError, pip
from ..kernels import launch_cupy
from .base import kernels_of

PACKAGES = ("cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x")
INSTALL = f"{pip('cupy-cuda13x[ctk]')}, or cupy-cuda12x[ctk] for a driver of CUDA 12"
OLDEST = 75  # compute capability 7.5: the oldest that CUDA 13 compiles for
OLDEST_TF32 = 80


rank = 0  # of this process among the workers on its machine, each of which has a card


def installed() -> list[str]:
    """The CuPy packages there are; more than one overwrite each other's files."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def why_not() -> str:
    """Why the CuPy backend cannot be used here, in one sentence; "" if it can."""
    packages = installed()
    if len(packages) > 1:
        names = " ".join(p.partition(" ")[0] for p in packages)
        return (
            f"{' and '.join(packages)} are both installed and overwrite each other; "
            f"remove them with: pip uninstall {names}; then install one: {INSTALL}"
        )
    try:
        cupy: Any = import_module("cupy")
    except ModuleNotFoundError:
        return f"CuPy is not installed; on a machine with an NVIDIA GPU: {INSTALL}"
    except Exception as error:  # whatever it is, it comes from another package's start
        return f"CuPy does not start here: {_first_line(error)}; install it anew: {INSTALL}"
    return _device_trouble(cupy) or _compiler_trouble(cupy)


def _device_trouble(cupy: Any) -> str:
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except Exception as error:
        if "NoDevice" in str(error):
            return "there is no NVIDIA GPU that this process may use"
        return (
            f"CuPy for CUDA {_version(runtime.runtimeGetVersion())} finds no driver that fits "
            f"({_first_line(error)}); install or update the NVIDIA driver, or take the CuPy "
            f"for the driver's CUDA version: {INSTALL}"
        )
    if not count:
        return "there is no NVIDIA GPU that this process may use"
    try:
        if rank:
            cupy.cuda.Device(rank % count).use()
        capability = int(cupy.cuda.Device().compute_capability)
        name = runtime.getDeviceProperties(runtime.getDevice())["name"].decode()
    except Exception as error:
        return f"the GPU does not answer: {_first_line(error)}; is another program holding it?"
    if capability < OLDEST:
        return (
            f"the {name} has compute capability {capability / 10}, and {OLDEST / 10} is needed; "
            "use --backend numba"
        )
    return ""


def _compiler_trouble(cupy: Any) -> str:
    """A trivial kernel, compiled and run: does CuPy's CUDA fit the driver and its compiler?"""
    code = 'extern "C" __global__ void one(int *x) { *x = 1; }'
    try:
        x = cupy.zeros(1, np.int32)
        cupy.RawModule(code=code).get_function("one")((1,), (1,), (x,))
        right = int(x[0]) == 1
    except Exception as error:
        return (
            f"CuPy cannot compile and run a kernel here ({_first_line(error)}); take the CuPy for "
            f"this driver's CUDA version: {INSTALL}"
        )
    return "" if right else "a kernel that CuPy compiled wrote a wrong number; update the driver"


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")


@contextmanager
def plain_errors() -> Iterator[None]:
    """CuPy's errors as sentences, each an `InputError`: a kernel that does not compile, memory, the
    card itself."""
    cupy: Any = import_module("cupy")
    try:
        yield
    except cupy.cuda.memory.OutOfMemoryError as error:
        raise InputError(
            f"the GPU is out of memory ({_first_line(error)}); lower --meta-batch, or end other "
            "programs that use the GPU"
        ) from error
    except cupy.cuda.compiler.CompileException as error:
        found = re.search(r"\S+\.cuh?\(\d+\): error.*", str(error))
        words = found[0] if found else _first_line(error)
        raise InputError(
            f"a kernel does not compile for this GPU ({words}); update CuPy and the NVIDIA "
            "driver, or use --backend numba"
        ) from error
    except (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError) as error:
        raise InputError(
            f"the GPU reports an error ({_first_line(error)}); try again, and if it comes back, "
            "use --backend numba"
        ) from error


class CupyDevice:
    """The current CUDA device, and one stream on it, which waits for what the default stream does.

    Implements `minireptile.devices.base.Device`.
    """

    name = "cupy"
    errors = staticmethod(plain_errors)

    def __init__(self) -> None:
        self.cupy: Any = import_module("cupy")
        self.stream, self.side = self.cupy.cuda.Stream(), self.cupy.cuda.Stream()
        self.apart = False  # whether something was launched on the side

    def owns(self, array: Any) -> bool:
        """Whether an array lies on the device."""
        return isinstance(array, self.cupy.ndarray)

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        with self.stream:
            return self.cupy.empty(shape, dtype)

    def upload(self, host: NDArray) -> Any:
        with self.stream:
            return self.cupy.array(host, order="C")

    def write(self, array: Any, values: Any) -> None:
        with self.stream:
            if self.owns(values):
                array[...] = values
            else:
                array.set(np.asarray(values, array.dtype, order="C"), stream=self.stream)

    def read(self, array: Any) -> NDArray:
        return array.get(stream=self.stream)

    def copy(self, array: Any) -> Any:
        with self.stream:
            return array.copy()

    def wait(self) -> None:
        """Until everything queued is done."""
        self.stream.synchronize()

    def view(self, array: Any, start: int, shape: tuple[int, ...]) -> Any:
        part = array[:, start : start + prod(shape)]
        inner, step = [], array.itemsize
        for n in reversed(shape):
            inner.append(step)
            step *= n
        strides = (array.strides[0], *reversed(inner))
        return self.cupy.ndarray((len(array), *shape), array.dtype, part.data, strides)

    def capture(self, call: Callable[[], None]) -> Callable[[], None]:
        with self.stream:
            call()  # loads every kernel, which may not happen while a graph is recorded
            self.stream.begin_capture()
            launch_cupy.beside = self._beside
            try:
                call()
            finally:
                launch_cupy.beside = nullcontext
                graph = self.stream.end_capture()

        # A graph knows addresses alone: what the call refers to has to live as long as it does.
        def replay(_kept: Callable[[], None] = call) -> None:
            graph.launch(self.stream)

        return replay

    @contextmanager
    def _beside(self) -> Iterator[None]:
        """A second stream, as a branch of the graph: begins after all that was launched so far."""
        self.side.wait_event(self.stream.record(self._event()))
        self.apart = True
        with self.side:
            yield

    def join(self) -> None:
        if self.apart:
            self.stream.wait_event(self.side.record(self._event()))
            self.apart = False

    def _event(self) -> Any:
        return self.cupy.cuda.Event(disable_timing=True)

    def describe(self) -> str:
        """The card, its memory, and the CUDA versions of driver and CuPy."""
        runtime = self.cupy.cuda.runtime
        card = runtime.getDeviceProperties(runtime.getDevice())
        driver, built = runtime.driverGetVersion(), runtime.runtimeGetVersion()
        return (
            f"{card['name'].decode()}, compute capability {card['major']}.{card['minor']}, "
            f"{card['totalGlobalMem'] / 2**30:.0f} GiB, driver for CUDA {_version(driver)}, "
            f"CuPy {self.cupy.__version__} for CUDA {_version(built)}"
        )

    def free_memory(self) -> int:
        """Bytes that can still be had."""
        self.cupy.get_default_memory_pool().free_all_blocks()
        return int(self.cupy.cuda.Device().mem_info[0])

    @cache  # noqa: B019  (there is one device)
    def kernels(self, tf32: bool = False) -> SimpleNamespace:
        """The kernels by name, for arrays on the device; with `tf32`, convolutions in TF32.
        `InputError` if the card has no tensor cores for TF32."""
        functions = kernels_of("cupy")
        if tf32:
            capability = int(self.cupy.cuda.Device().compute_capability)
            if capability < OLDEST_TF32:
                raise InputError(
                    f"TF32 needs compute capability 8.0, and this GPU has {capability / 10}: "
                    "leave --tf32 out"
                )
            for operation in ("conv2d_forward", "conv2d_backward"):
                setattr(functions, operation, getattr(functions, f"{operation}_tf32"))
        return functions


@cache
def device() -> CupyDevice:
    """The device; `InputError` or `MissingPackage` where there is none: see `why_not`."""
    return CupyDevice()
