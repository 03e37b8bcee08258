"""What ``minireptile info`` says of this machine."""

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from .. import __version__
from ..backend import BACKENDS, describe, why_not
from ..devices import cupy as device_cupy
from ..errors import pip

PACKAGES = (
    "safetensors", "rich-click", "rich", "pillow", "matplotlib", "pooch",
    "numba", "scipy", "threadpoolctl", "platformdirs", "numba-cuda",
)  # fmt: skip


def lines() -> Iterator[str]:
    """Versions, processor, threads, backends and packages."""
    yield f"minireptile {__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield f"processor: {processor()}, {cores()}"
    blas_threads = _blas_threads()  # NumPy's, before Numba loads another BLAS
    reasons = {backend: why_not(backend) for backend in BACKENDS}
    yield f"threads: {_numba_threads(reasons['numba'])}, {blas_threads}"
    for backend, reason in reasons.items():
        yield f"backend {backend}: {reason or describe(backend)}"
    yield f"numpy {np.__version__}{_blas()}"
    for package in PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            yield f"{package} is not installed: {pip(package)}"
    yield from device_cupy.installed()


def processor() -> str:
    """The processor's name, as the system has it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    named = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return named[0] if named else platform.processor() or platform.machine()


def cores() -> str:
    """How many there are, and how many of them this process may use."""
    here = os.cpu_count() or 1
    usable = len(getattr(os, "sched_getaffinity", lambda _: range(here))(0))
    return f"{here} cores" + (f", {usable} of them usable here" if usable < here else "")


def _blas() -> str:
    """NumPy's BLAS; NumPy tells of it from 1.26 on."""
    try:
        found = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    except (TypeError, KeyError):
        return ""
    return f", BLAS {found['name']} {found['version']}"


def _numba_threads(why_not_numba: str) -> str:
    if why_not_numba:
        return "no Numba"
    from ..engine.threads import threads

    return f"{threads()} of Numba's"


def _blas_threads() -> str:
    """Of BLAS while a command runs."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "as many of BLAS's as it likes, without threadpoolctl"
    counts = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return f"{max(counts, default=1)} of BLAS's"
