"""The cupy backend without a GPU: its kernels' sources on the CPU, behind CuPy's place.

What is not CuPy itself runs as it does on a GPU: launchers, networks, recorded calls, outer loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from minireptile.devices import cupy as device_cupy
from minireptile.devices.base import kernels_of
from minireptile.kernels import launch_cupy

from .cuda_on_cpu import Array, Device, Engine


class StandIn(Device):
    """The device that is not there, with all that `minireptile.devices.base.Device` asks for."""

    name = "cupy"

    def __init__(self) -> None:
        self.free, self.captured, self.made = 2**40, 0, 0
        self.late: list[Callable[[], None]] = []  # launches beside the rest, which wait for `join`

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
        call()
        self.captured += 1

        def replay() -> None:
            self.made += 1
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(launch_cupy, "beside", self._beside)
                call()
            assert not self.late, "launched beside the rest, and never joined"

        return replay

    @contextmanager
    def _beside(self) -> Iterator[None]:
        """As late as a second stream may be: what runs inside is put off until `join`."""
        engine = launch_cupy.engine
        launch_cupy.engine = SimpleNamespace(launch=self._put_off(engine))
        yield
        launch_cupy.engine = engine

    def _put_off(self, engine: Any) -> Callable[..., None]:
        return lambda *arguments: self.late.append(partial(engine.launch, *arguments))

    def join(self) -> None:
        for launch in self.late:
            launch()
        self.late.clear()

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
