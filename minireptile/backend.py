"""Backends: where the kernels come from.

Which operations there are, ``kernels/operations.py`` says. A kernel module is
``kernels/MODULE_BACKEND.py``. A function ``OPERATION`` in it is the version in use, and
``OPERATION_v1``, ``OPERATION_v2``, ... are the rungs of its ladder, in order.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from numpy.typing import NDArray

from .checks import shown
from .devices import numba_setup
from .devices.base import Device, through
from .errors import InputError, MissingPackage
from .kernels.operations import OPERATIONS

Kernels = Any  # a namespace with one function for every operation

BACKENDS = ("numpy", "numba", "cupy", "numba-cuda")
BY_SPEED = ("numpy", "numba", "cupy")  # numba-cuda is there to be read
DEVICES = {"cupy": "devices.cupy", "numba-cuda": "devices.numba_cuda"}  # which compute on a GPU


def kernels(backend: str = "numpy") -> Kernels:
    """The kernels of a backend, as attributes: ``kernels("numpy").conv2d_forward``. `InputError` or
    `MissingPackage` if there is no such backend, or it cannot be used here."""
    check_backend(backend)
    return _kernels(backend, device_of(backend))  # type: ignore[arg-type]


def check_backend(backend: str) -> None:
    """`InputError` if there is none of that name."""
    if not isinstance(backend, str) or backend not in BACKENDS:
        raise InputError(
            f"there is no backend {shown(backend)}: choose one of {', '.join(BACKENDS)}"
        )


def settled(backend: str, images: bool) -> str:
    """A backend's own name; for "auto", the fastest that can be used here. A GPU gains nothing on a
    network so small that it waits for launches, as those are whose examples are no images."""
    if isinstance(backend, str) and backend == "auto":
        return fastest(BY_SPEED if images else BY_SPEED[:-1])
    check_backend(backend)
    return backend


@cache
def _kernels(backend: str, device: Device | None) -> Kernels:
    found = {name: _kernel(name, backend) for name in OPERATIONS}
    return SimpleNamespace(**found, add=_add, add_gradient=_add)


def _add(total: NDArray, part: NDArray) -> None:
    """total += part. A device, which cannot say it so, has kernels (kernels/sums_cupy.py)."""
    total += part


def versions(operation: str, backend: str = "numpy") -> dict[str, Callable[..., None]]:
    """Every version of an operation, from naive to fast: {"v1": function, ...}."""
    found = re.finditer(rf"\b{operation}_v(\d+)\b", " ".join(dir(_module(operation, backend))))
    rungs = sorted({int(match[1]) for match in found})
    ladder = {f"v{n}": _kernel(f"{operation}_v{n}", backend) for n in rungs}
    return ladder or {"v1": _kernel(operation, backend)}


def why_not(backend: str) -> str:
    """Why a backend cannot be used here, in one sentence; "" if it can."""
    if backend in DEVICES:
        return import_module(f"minireptile.{DEVICES[backend]}").why_not()
    return numba_setup.why_not() if backend == "numba" else ""


def fastest(candidates: tuple[str, ...] = BY_SPEED) -> str:
    """The last of the candidates that can be used here."""
    return next(backend for backend in reversed(candidates) if not why_not(backend))


def device_of(backend: str) -> Device | None:
    """The GPU that a backend computes on; None for one that computes on the host. `InputError` or
    `MissingPackage` if it cannot be used here."""
    if backend not in DEVICES:
        return None
    reason = why_not(backend)
    if reason:
        error = MissingPackage if "pip install" in reason else InputError
        raise error(f"the {backend} backend cannot be used: {reason}; or choose --backend numba")
    return import_module(f"minireptile.{DEVICES[backend]}").device()


def describe(backend: str) -> str:
    """A word on a backend that can be used here: "ready", and on which GPU."""
    device = device_of(backend)
    return f"ready, {device.describe()}" if device else "ready"


def gpu_expected() -> bool:
    """Whether somebody would expect a GPU to be used: there is a card, or CuPy is installed."""
    card = any(Path(path).exists() for path in ("/dev/nvidia0", "/dev/dxg"))
    return card or bool(import_module("minireptile.devices.cupy").installed())


def prepare(backend: str) -> None:
    """`InputError` or `MissingPackage` if a backend cannot be used here."""
    if backend == "numba":
        numba_setup.prepare()
    device_of(backend)


def announce_compilation(backend: str) -> list[str]:
    """Say so on stderr if a kernel has to be compiled from now on. Returns what has been said, a
    list that grows with it."""
    if backend != "numba":
        return []
    numba_setup.prepare()
    return numba_setup.announce()


def _kernel(name: str, backend: str) -> Callable[..., None]:
    """A function of a backend's modules, for arrays of the host."""
    operation = re.sub(r"_v\d+$", "", name)
    kernel = getattr(_module(operation, backend), name)
    device = device_of(backend)
    return through(device, kernel) if device else kernel  # type: ignore[arg-type]


def _module(operation: str, backend: str) -> Any:
    """The module of an operation's kernels."""
    name = OPERATIONS[operation].module
    if backend == "numba":
        numba_setup.prepare()
        with numba_setup.caching():
            return import_module(f"minireptile.kernels.{name}_{backend}")
    return import_module(f"minireptile.kernels.{name}_{backend.removeprefix('numba-')}")
