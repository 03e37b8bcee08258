"""kernels/*.cu on the CPU: an engine for launch_cupy.py in place of CuPy's, made of
cuda_cpu.h and cuda_cpu.cpp.

Arrays "on the device" are NumPy arrays of a class of their own, so that a host array that slips
into a launch is found out. Under the address sanitizer, which has to be loaded before Python (see
test_cuda_on_cpu.py), sources are compiled for it.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from minireptile.kernels import launch_cupy

COMPILER = shutil.which("g++")
SUPPORTED = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")  # cuda_cpu.cpp
HEADER, RUNTIME = (Path(__file__).with_name(name) for name in ("cuda_cpu.h", "cuda_cpu.cpp"))
LIMITS = (2**31 - 1, 65535, 65535, 1024, 1024, 64)
ORDERS = (0, 1, 12345)  # ascending, descending, shuffled
FLAGS = ["-std=c++17", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-I{HEADER.parent}"]
# A source holds more than its kernels need, and pragmas for another compiler.
KERNEL_FLAGS = [*FLAGS, "-Wno-unknown-pragmas", "-Wno-unused-function"]
SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")


class Array(np.ndarray):
    """An array on the device that is not there."""


class Divergence(Exception):
    """Threads waited at a barrier that others never reached."""


class Refused(Exception):
    """What the compiler said."""


class Change(NamedTuple):
    """A mistake made on purpose: in a source file, other text at one place (counted from 0)."""

    file: str
    old: str
    new: str
    place: int = 0

    def made(self, source: str) -> str:
        """A text of `launch_cupy.source` with the mistake in it, if the file is part of it."""
        before, mark, text = source.partition(f'#line 1 "{self.file}"\n')
        if not mark:
            return source
        text, next_mark, behind = text.partition("\n#line 1 ")
        parts = text.split(self.old)
        if self.place + 1 >= len(parts):
            raise ValueError(f"{self.file} has not so many {self.old!r}")
        text = self.old.join(parts[: self.place + 1]) + self.new
        text += self.old.join(parts[self.place + 1 :])
        return before + mark + text + next_mark + behind


Changes = tuple[Change, ...]


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
            raise Divergence(f"{kernel}: not all threads reach a barrier: {trouble.decode()}")


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


def build(name: str, dtype: DTypeLike, changes: Changes = (), sanitize: bool = False) -> Path:
    """NAME.cu as a shared library, compiled unless that was done before."""
    source = launch_cupy.source(name)
    for change in changes:
        source = change.made(source)
    options = launch_cupy.options(dtype)[1:]
    flags = ["-O1", *KERNEL_FLAGS, *options]
    if sanitize:
        # Arrays in sections of their own are not watched unless asked for.
        flags += ["-g1", "-fsanitize=address", "-fsanitize-sections=block_shared"]
    runtime = _made("runtime.o", RUNTIME.read_text(encoding="utf-8"), [*FLAGS, "-O3", "-c"])
    return _made(
        f"{name}.so", lambda: _program(source, options), [*flags, "-shared", str(runtime)], source
    )


def _made(result: str, text: str | Callable[[], str], flags: list[str], known: str = "") -> Path:
    """The compiler's result, from a folder of results named after all that they depend on."""
    header = HEADER.read_text(encoding="utf-8")
    parts = [known or text, header, *flags]
    key = hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"minireptile-cuda-on-cpu-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    assert folder.stat().st_uid == os.getuid(), f"{folder} is somebody else's"
    path = folder / f"{key}-{result}"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as made:
            source, new = Path(made, "source.cpp"), Path(made, "new")
            source.write_text(text if isinstance(text, str) else text(), encoding="utf-8")
            _compile(str(source), *flags, "-o", str(new))
            new.replace(path)
    return path


def _program(source: str, options: tuple[str, ...]) -> str:
    """A source with the header before it and a launcher for each of its kernels behind it.

    Inside a namespace without a name, its functions and with them their __shared__ arrays are this
    file's own: those of inline functions and templates could not share a section with others.
    """
    # Kernels may be made by macros: look for their names once these are expanded.
    command = "-E", "-P", "-x", "c++", "-D__global__=__global__", *options, "-"
    kernels = re.findall(r'extern "C" __global__ void (\w+)\(', _compile(*command, text=source))
    launchers = "".join(
        f'extern "C" const char *signature_{k}() {{ return cuda_cpu::signature({k}); }}\n'
        f'extern "C" const char *launch_{k}(const unsigned *s, unsigned long long o, void **a) '
        f"{{ return cuda_cpu::launch({k}, s, o, a); }}\n"
        for k in kernels
    )
    return f'#include "{HEADER.name}"\nnamespace {{\n{source}\n}}\n{launchers}'


def _compile(*arguments: str, text: str = "") -> str:
    """Run the compiler, itself without the sanitizer."""
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    done = subprocess.run(
        [str(COMPILER), *arguments], input=text, capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout


class Device:
    """The device that is not there; see minireptile.device.Device."""

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
        return array[:, start : start + prod(shape)].reshape(len(array), *shape)

    def capture(self, call: Callable[[], None]) -> Callable[[], None]:
        return call
