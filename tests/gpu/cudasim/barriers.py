"""Every barrier is needed: without it, some call of the contract comes out wrong."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from importlib import import_module
from types import CodeType
from typing import Any

import numpy as np
import pytest

from minireptile.kernels.operations import MODULES
from tests.gpu.cudasim import strict
from tests.gpu.cudasim.calls import LARGE
from tests.gpu.cudasim.contract import DEVICE, check
from tests.gpu.cudasim.host import ladder, on_host
from tests.kernels.contract import Call

BARRIER = "cuda.syncthreads()"
# Modules with kernels, and whose operations are to find a barrier missing there.
USERS = {**{name: (name,) for name in MODULES}, "jit": ("squared_error", "batchnorm")}


def barriers() -> Iterator[Any]:
    for name, users in USERS.items():
        for attribute, kernel in vars(import_module(f"minireptile.kernels.{name}_cuda")).items():
            function = getattr(kernel, "fn", None)
            if function is not None and function.__module__.endswith(f".{name}_cuda"):
                for i in range(inspect.getsource(function).count(BARRIER)):
                    yield pytest.param(function, i, users, id=f"{name}-{attribute}-{i}")


def without(function: Any, which: int) -> CodeType:
    """The function's code without one of its barriers."""
    source = textwrap.dedent(inspect.getsource(function))
    parts = source[source.index("\ndef ") :].split(BARRIER)
    source = BARRIER.join(parts[: which + 1]) + "pass" + BARRIER.join(parts[which + 1 :])
    names: dict[str, Any] = {}
    exec(compile(source, f"{function.__name__} without barrier {which}", "exec"), {}, names)
    return names[function.__name__].__code__


def comes_out_wrong(users: tuple[str, ...]) -> bool:
    calls = [
        (operation, on_host(kernel, DEVICE))
        for name in users
        for operation in MODULES[name]
        for kernel in ladder(operation).values()
    ]
    for operation, kernel in reversed(calls):
        for arguments in LARGE[operation]:
            try:
                check(operation, kernel, Call(arguments, 40, 40), np.float64)
            except (AssertionError, RuntimeError):
                return True
    return False


@pytest.mark.parametrize(("function", "which", "users"), list(barriers()))
def test_barrier_is_needed(
    function: Any, which: int, users: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function, "__code__", without(function, which))
    for last_first in (False, True):
        monkeypatch.setattr(strict, "last_first", last_first)
        if comes_out_wrong(users):
            return
    pytest.fail("nobody would notice that it is missing")


def test_there_are_barriers() -> None:
    assert len(list(barriers())) >= 11
