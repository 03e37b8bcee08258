"""The cupy backend without a GPU: its kernels' sources on the CPU, behind CuPy's place.

What is not CuPy itself runs as it does on a GPU: launchers, networks, recorded calls, outer loop.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile.devices import cupy as device_cupy
from minireptile.devices.base import kernels_of
from minireptile.kernels import launch_cupy

from .cuda_on_cpu import Array, Device, Engine


class Step(NamedTuple):
    """A launch of a graph, or a `join` where there is none."""

    aside: bool  # beside the rest, until the next join
    launch: tuple  # name, kernel, dtype, grid, block
    arguments: tuple


class Pointer(NamedTuple):
    """All that a graph knows of an array."""

    owner: weakref.ref[NDArray]  # whose memory it is
    offset: int
    like: dict[str, Any]


def pointer(argument: Any) -> Any:
    """An array by its address; whatever else as it is."""
    if not isinstance(argument, Array):
        return argument
    owner: Any = argument
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    offset = argument.ctypes.data - owner.ctypes.data
    like = {"shape": argument.shape, "dtype": argument.dtype, "strides": argument.strides}
    return Pointer(weakref.ref(owner), offset, like)


def found(argument: Any) -> Any:
    """The array at an address."""
    if not isinstance(argument, Pointer):
        return argument
    owner = argument.owner()
    assert owner is not None, "a graph writes to memory that nobody holds any more"
    return np.ndarray(buffer=owner, offset=argument.offset, **argument.like).view(Array)


class StandIn(Device):
    """The device that is not there, with all that `minireptile.devices.base.Device` asks for."""

    name = "cupy"

    def __init__(self) -> None:
        self.free, self.captured, self.made = 2**40, 0, 0
        self.steps: list[Step] | None = None  # of what is being recorded
        self.aside = False

    def owns(self, array: Any) -> bool:
        return isinstance(array, Array)

    def write(self, array: Array, values: Any) -> None:
        assert isinstance(array, Array)
        assert array.shape == np.shape(values)
        array[...] = values

    def copy(self, array: Array) -> Array:
        return np.array(array).view(Array)

    def kernels(self, tf32: bool = False) -> Any:
        functions = kernels_of("cupy")
        if tf32:
            for operation in ("conv2d_forward", "conv2d_backward"):
                setattr(functions, operation, getattr(functions, f"{operation}_tf32"))
        return SimpleNamespace(**vars(functions))

    def capture(self, call: Callable[[], None]) -> Callable[[], None]:
        """As a GPU's graph: launches with numbers and addresses as they were when it was recorded,
        and what was put off beside the rest as late as a second stream may be."""
        call()
        self.captured += 1
        engine: Any = launch_cupy.engine
        with pytest.MonkeyPatch.context() as patch:
            self.steps = steps = list[Step]()
            patch.setattr(engine, "launch", self._record)
            patch.setattr(launch_cupy, "beside", self._beside)
            call()
            self.steps = None

        def replay(_kept: Callable[[], None] = call) -> None:
            self.made += 1
            late: list[Step] = []
            for step in steps:
                if step.aside:
                    late.append(step)
                    continue
                due, late = ([step], late) if step.launch else (late, [])
                for each in due:
                    engine.launch(*each.launch, tuple(map(found, each.arguments)))
            assert not late, "launched beside the rest, and never joined"

        return replay

    def _record(self, *launch: Any) -> None:
        assert self.steps is not None
        self.steps.append(Step(self.aside, launch[:-1], tuple(map(pointer, launch[-1]))))

    @contextmanager
    def _beside(self) -> Iterator[None]:
        self.aside = True
        yield
        self.aside = False

    def join(self) -> None:
        if self.steps is not None:
            self.steps.append(Step(False, (), ()))

    def describe(self) -> str:
        return "no GPU at all"

    def free_memory(self) -> int:
        return self.free

    def errors(self) -> Any:
        return nullcontext()


class Seen(Array):
    """An array that says, as CuPy's do, that it lies on a GPU."""

    __cuda_array_interface__: ClassVar[dict[str, Any]] = {}


def on_gpu(host: NDArray) -> Any:
    """An array as a user has it who works on the GPU."""
    return np.array(host).view(Seen)


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """Inside, the backend "cupy" is usable, and computes on the CPU."""
    device = StandIn()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch_cupy, "engine", Engine())
        patch.setattr(device_cupy, "why_not", lambda: "")
        patch.setattr(device_cupy, "device", lambda: device)
        yield device
