"""The machine: what it is, and how fast it multiplies, reads and writes at best."""

import os
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from minireptile import backend
from minireptile.devices.numba_setup import version
from minireptile.errors import InputError, require
from minireptile.runs.machine import cores, processor

from .measure import clocked

CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
USUAL_CACHES = {"L1d": 2**15, "L2": 2**20, "L3": 2**25}  # where the system does not tell
PAGE, LINE = 4096, 64
TURN = 0.01  # seconds of a loop that is timed


@dataclass(frozen=True)
class Limits:
    """What the machine can do at best, measured."""

    threads: int  # how many of its cores took part
    # 1e9 floating-point operations a second, in a loop of multiply-adds on registers (peak.py);
    # in BLAS where that is faster, or nothing can be compiled.
    gflops: float
    # 1e9 bytes a second, read and written, by `update` (peak.py) on arrays that fit a cache
    # ("L1", "L2", "L3") and on some that fit none ("memory").
    gbs: dict[str, float]
    # Bytes of each cache, of all the threads together; infinite for "memory".
    room: dict[str, float]
    # 1e9 floating-point operations a second, in BLAS's product of two large matrices.
    blas: float = 0.0

    def level(self, bytes_touched: float) -> str:
        """The smallest level that has room for so many bytes."""
        return next(name for name, size in self.room.items() if bytes_touched <= size)

    def at(self, intensity: float, bytes_touched: float) -> float:
        """The most GFLOP/s at `intensity` (operations a byte): min(peak, bandwidth x intensity)."""
        return min(self.gflops, self.gbs[self.level(bytes_touched)] * intensity)


def describe() -> dict[str, Any]:
    """The processor, its caches, the system, and the versions of what computes."""
    info = require("threadpoolctl", "cli").threadpool_info()
    blas = [
        {
            "name": pool["internal_api"],
            "version": pool.get("version"),
            "threads": pool["num_threads"],
            "kernels": pool.get("architecture"),
        }
        for pool in info
        if pool["user_api"] == "blas"
    ]
    return {
        "cpu": processor(), "cores": cores(), "caches": caches(), "os": platform.platform(),
        "python": platform.python_version(), "blas": blas,
        **{package: version(package) or None for package in ("numpy", "scipy", "numba")},
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }  # fmt: skip


def caches() -> dict[str, int]:
    """Bytes of each cache that the first core sees, {"L1d": ..., "L2": ..., "L3": ...}."""
    found: dict[str, int] = {}
    with suppress(OSError, ValueError):
        for folder in sorted(CACHES.glob("index*")):
            level, kind, size = (
                (folder / name).read_text().strip() for name in ("level", "type", "size")
            )
            if kind != "Instruction":
                name = f"L{level}" + ("d" if kind == "Data" else "")
                found[name] = int(size.rstrip("K")) * 1024
    return found


def usable(gpu: bool = False) -> tuple[str, ...]:
    """The backends that work here, NumPy first; those that compute on a GPU only if asked for."""
    wanted = (name for name in backend.BACKENDS if gpu or name not in backend.DEVICES)
    return tuple(name for name in wanted if not backend.why_not(name))


def compiled_threads(wanted: int | None) -> int:
    """How many threads the compiled inner loop uses in this process. `InputError` if `wanted` is
    given and is another number: it is settled when Numba starts."""
    if "numba" not in usable():
        return wanted or cores()
    number = import_module("minireptile.engine.threads").threads()
    if wanted not in (None, number):
        raise InputError(
            f"compiled loops run on {number} threads in this process, not on {wanted}: "
            f"set NUMBA_NUM_THREADS={wanted} before it starts"
        )
    return number


@contextmanager
def blas_threads(number: int) -> Iterator[None]:
    """Hold every BLAS of this process to a number of threads. `InputError` if the number is below 1
    or above the number of cores."""
    if not 1 <= number <= cores():
        raise InputError(f"threads must lie between 1 and {cores()}, not {number}")
    with suppress(ImportError):
        import_module("scipy.linalg.cython_blas")  # brings a BLAS of its own, to be held as well
    with require("threadpoolctl", "cli").threadpool_limits(limits=number, user_api="blas"):
        yield


def limits(dtype: DTypeLike = "float32", number: int = 1, quick: bool = False) -> Limits:
    """Measure the machine's limits on `number` threads; each is the best of a few tries."""
    sizes = {**USUAL_CACHES, **caches()}
    # A core has an L1 and an L2 of its own, and all share the last one.
    room = {"L1": number * sizes["L1d"], "L2": number * sizes["L2"], "L3": sizes["L3"]}
    if room["L2"] >= room["L3"]:
        del room["L3"]
    beyond = (2 if quick else 8) * sizes["L3"]
    tries = 3 if quick else 10
    # Half a cache surely fits, beside what else is in it. What is as large as all of it may fit.
    with blas_threads(number):
        gbs = {
            level: number * _streaming(size // 2 // number, 1, tries)
            if level in ("L1", "L2")
            else _streaming(size // 2, number, tries)
            for level, size in room.items()
        }
        gbs["memory"] = _streaming(beyond, number, tries)
        for far, near in pairwise(reversed([*gbs])):  # what is nearer is not slower
            gbs[near] = max(gbs[near], gbs[far])
    fastest, blas = rates(dtype, number, quick)
    return Limits(number, fastest, gbs, {**room, "memory": np.inf}, blas)


def rates(
    dtype: DTypeLike = "float32", number: int = 1, quick: bool = False
) -> tuple[float, float]:
    """GFLOP/s on `number` threads at best, and in BLAS."""
    tries = 3 if quick else 10
    with blas_threads(number):
        blas = _multiplying(512 if quick else 1536, dtype, tries)
    return max(blas, *_loops(dtype, number, tries)), blas


def _multiplying(n: int, dtype: DTypeLike, tries: int) -> float:
    """GFLOP/s of a product of two n x n matrices: 2 n^3 operations."""
    rng = np.random.default_rng(0)
    a, b = rng.random((2, n, n)).astype(dtype)
    out = np.empty_like(a)
    return 2e-9 * n**3 / _best(lambda: np.matmul(a, b, out=out), tries)


def _loops(dtype: DTypeLike, number: int, tries: int) -> Iterator[float]:
    """GFLOP/s of each loop of multiply-adds, on `number` threads; 0 if nothing can be compiled."""
    yield 0.0
    if "numba" in usable():
        peak = import_module("bench.peak")
        for shape in peak.SHAPES:
            loop, flops = peak.multiply_adds(dtype, *shape)
            loop(1, 0.5, 0.5)  # compiles
            turns = 1 + int(1000 * TURN / max(clocked(partial(loop, 1000, 0.5, 0.5)), 1e-9))
            best = _together([partial(loop, turns, 0.5, 0.5)] * number, tries)
            yield 1e-9 * flops * turns * number / best


def _streaming(touched: int, number: int, tries: int) -> float:
    """GB/s of updates on `number` threads, which touch so many bytes together."""
    update = import_module("bench.peak").update if "numba" in usable() else _update
    pairs = [_buffers(touched // 2 // number) for _ in range(number)]
    moved = 3 * sum(target.nbytes for target, _ in pairs)  # two are read, and one is written
    repeats = max(1, 2**26 // touched)  # a small one alone would be over before the clock ticks
    best = _together([partial(update, *pair, repeats) for pair in pairs], tries)
    return 1e-9 * moved * repeats / best


def _buffers(size: int) -> tuple[NDArray, NDArray]:
    """Two arrays of so many bytes that do not get into each other's way: they begin where a line
    of the caches does, and half a page apart within a page. A processor tells a load from the
    stores before it by the last 12 bits of their addresses at first, and waits where they agree."""
    apart = -(-size // PAGE) * PAGE + PAGE // 2
    memory = np.ones((apart + size + LINE) // 4, np.float32)
    start, count = -memory.ctypes.data % LINE // 4, size // 4
    return memory[start:][:count], memory[start + apart // 4 :][:count]


def _update(target: NDArray, source: NDArray, repeats: int) -> None:
    """As `peak.update`, where nothing can be compiled."""
    for _ in range(repeats):
        np.add(target, source, out=target)


def _together(calls: list[Callable[[], object]], tries: int) -> float:
    """Seconds of the calls, each on a thread of its own."""
    if len(calls) == 1:
        return _best(calls[0], tries)
    with ThreadPoolExecutor(len(calls)) as pool:
        return _best(lambda: list(pool.map(lambda call: call(), calls)), tries)


def _best(call: Callable[[], object], tries: int) -> float:
    call()
    return min(clocked(call) for _ in range(tries))
