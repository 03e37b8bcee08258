"""Backends: where the kernels come from.

A kernel module is ``kernels/NAME_BACKEND.py``. A function ``OPERATION`` in it is the version in
use, and ``OPERATION_v1``, ``OPERATION_v2``, ... are the rungs of its ladder, in order.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from . import numba_setup
from .errors import InputError

Kernels = Any  # a namespace with one function for every operation

BACKENDS = ("numpy", "numba")

# Which module holds which operations; the same for every backend.
OPERATIONS: dict[str, tuple[str, ...]] = {
    "conv2d": ("conv2d_forward", "conv2d_backward"),
    "dense": ("dense_forward", "dense_backward"),
    "batchnorm": ("batchnorm_forward", "batchnorm_backward"),
    "relu": ("relu_forward", "relu_backward"),
    "tanh": ("tanh_forward", "tanh_backward"),
    "maxpool": ("maxpool_forward", "maxpool_backward"),
    "softmax_cross_entropy": ("softmax_cross_entropy",),
    "squared_error": ("squared_error",),
    "sgd": ("sgd_step",),
    "adam": ("adam_step",),
}


@cache
def kernels(backend: str = "numpy") -> Kernels:
    """The kernels of a backend, as attributes: ``kernels("numpy").conv2d_forward``.

    Raises
    ------
    InputError, MissingPackage
        If there is no such backend, or it cannot be used here.
    """
    if backend not in BACKENDS:
        raise InputError(f"there is no backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    return SimpleNamespace(
        **{
            operation: getattr(_module(name, backend), operation)
            for name, operations in OPERATIONS.items()
            for operation in operations
        }
    )


def versions(operation: str, backend: str = "numpy") -> dict[str, Callable[..., None]]:
    """Every version of an operation, from naive to fast: {"v1": function, ...}."""
    name = next(name for name, operations in OPERATIONS.items() if operation in operations)
    module = _module(name, backend)
    ladder = {
        found[1]: getattr(module, attribute)
        for attribute in dir(module)
        if (found := re.fullmatch(rf"{operation}_(v\d+)", attribute))
    }
    by_rung = sorted(ladder, key=lambda version: int(version[1:]))
    return {v: ladder[v] for v in by_rung} or {"v1": getattr(module, operation)}


def why_not(backend: str) -> str:
    """Why a backend cannot be used here, in one sentence; "" if it can."""
    return numba_setup.why_not() if backend == "numba" else ""


def fastest() -> str:
    """The fastest backend that can be used here."""
    return next(backend for backend in reversed(BACKENDS) if not why_not(backend))


def announce_compilation(backend: str) -> None:
    """Say so on stderr if a kernel has to be compiled from now on."""
    if backend == "numba":
        numba_setup.prepare()
        numba_setup.announce()


def _module(name: str, backend: str) -> Any:
    if backend == "numba":
        numba_setup.prepare()
        with numba_setup.caching():
            return import_module(f"minireptile.kernels.{name}_{backend}")
    return import_module(f"minireptile.kernels.{name}_{backend}")
