"""What ``minireptile info`` says of this machine."""

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from .. import __version__
from ..backend import BACKENDS, describe, why_not
from ..devices import cupy as device_cupy
from ..errors import MissingPackage, pip
from ..runs import machine
from ..runs.machine import processor

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


def cores() -> str:
    """How many there are, and how many of them this process may use."""
    here, usable = os.cpu_count() or 1, machine.cores()
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
        return f"{machine.blas_threads()} of BLAS's"
    except MissingPackage:
        return "as many of BLAS's as it likes, without threadpoolctl"
