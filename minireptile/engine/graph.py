"""A plan on a GPU: one mini-batch as a chain of kernels, the inner loop as one graph.

All arrays of a call stay on the device. What the walk launches is recorded when a size is first
met, and replayed from then on.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..devices.base import Array, Device
from ..errors import InputError
from ..layers import Layer
from ..loops import Loops, Snapshot
from ..optim import Optimizer, State
from ..plan import Plan
from ..tasks.base import Tasks
from .base import Engine
from .launches import check_memory, inner_loop, takes, targets_of
from .outer import reptile
from .walk import Walk

KEPT = 8  # recorded calls of different sizes; training and evaluation take turns with a few


def knows(layer: Layer) -> bool:
    """Whether a layer's passes can be recorded."""
    return bool(vars(type(layer)).get("recorded"))


class Recorded(NamedTuple):
    """A call of one size: where its arguments go, how it is made, where its results are."""

    phi: Array
    v: Array
    x: Array
    y: Array
    loss: Array
    out: Array
    state: dict[str, Array]
    replay: Callable[[], None]


class Graph(Engine):
    """A plan's calls on a device, with what was recorded for the last sizes they saw.

    Arrays of the device are taken as they are, and then the results stay there too.
    """

    def __init__(self, plan: Plan, device: Device, kernels: Any) -> None:
        self.plan, self.device, self.kernels = plan, device, kernels
        self._recorded: dict[tuple, Recorded] = {}

    def adapt(self, phi: Any, x: Any, y: Any, optimizer: Optimizer, state: State) -> Any:
        if not takes(self.kernels, optimizer):
            return NotImplemented
        with self.device.errors():
            k, T, B = x.shape[:3]
            call = self._call("adapt", k, T, B, phi.dtype, optimizer)
            self._write(call, phi, x, y)
            for name, array in state.items():
                self.device.write(call.state[name], array)
            call.replay()
            self._back(phi, call.phi)
            for name, array in state.items():
                self._back(array, call.state[name])
            return self._result(call.loss, phi)

    def gradients(self, phi: Any, x: Any, y: Any) -> tuple[Any, Any]:
        with self.device.errors():
            call = self._call("gradients", 1, len(phi), x.shape[1], phi.dtype)
            self._write(call, phi, x[None], y[None])
            call.replay()
            return self._result(call.loss, phi)[0], self._result(call.out, phi)

    def products(self, phi: Any, x: Any, y: Any, v: Any) -> Any:
        if not self.plan.size:
            return self.device.copy(phi) if self.device.owns(phi) else phi.copy()  # (T, 0)
        with self.device.errors():
            call = self._call("products", 1, len(phi), x.shape[1], phi.dtype)
            self._write(call, phi, x[None], y[None])
            self.device.write(call.v, v)
            call.replay()
            return self._result(call.out, phi)

    def outputs(self, phi: Any, x: Any) -> Any:
        with self.device.errors():
            call = self._call("outputs", 1, len(phi), x.shape[1], phi.dtype)
            self._write(call, phi, x[None], None)
            call.replay()
            return self._result(call.out, phi)

    def check_memory(self, k: int, T: int, B: int, dtype: Any, second: bool = False) -> None:
        with self.device.errors():
            check_memory(self.plan, self.device, k, T, B, dtype, second)

    def outer(
        self, algorithm: str, tasks: Tasks, optimizer: Optimizer, loops: Loops, start: Snapshot
    ) -> Iterator[Snapshot]:
        """Reptile's outer iterations as one graph each (outer.py)."""
        if algorithm != "reptile" or loops.outer or not takes(self.kernels, optimizer):
            return NotImplemented
        return reptile(self.plan, self.device, self.kernels, tasks, optimizer, loops, start)

    # ------------------------------------------------------------------------------------ inside

    def _write(self, call: Recorded, phi: Any, x: Any, y: Any) -> None:
        self.device.write(call.phi, phi)
        self.device.write(call.x, x)
        if y is not None:
            self.device.write(call.y, y)

    def _back(self, array: Any, values: Array) -> None:
        """Values of the device into an array of the caller's."""
        if self.device.owns(array):
            self.device.write(array, values)
        else:
            array[...] = self.device.read(values)

    def _result(self, array: Array, asked: Any) -> Any:
        """An array of the device, or of the host where the caller's arrays are."""
        return self.device.copy(array) if self.device.owns(asked) else self.device.read(array)

    def _call(
        self, kind: str, k: int, T: int, B: int, dtype: np.dtype, optimizer: Optimizer | None = None
    ) -> Recorded:
        key = kind, k, T, B, dtype, optimizer
        if key not in self._recorded:
            if dtype not in (np.float32, np.float64):
                name = self.device.name
                raise InputError(f"the {name} backend computes in float32 or float64, not {dtype}")
            if len(self._recorded) == KEPT:
                self._recorded.pop(next(iter(self._recorded)))
            check_memory(self.plan, self.device, k, T, B, dtype, kind == "products")
            self._recorded[key] = self._record(kind, k, T, B, dtype, optimizer)
        return self._recorded[key]

    def _record(
        self, kind: str, k: int, T: int, B: int, dtype: np.dtype, optimizer: Optimizer | None
    ) -> Recorded:
        device, plan, second = self.device, self.plan, kind == "products"
        # Zeros, since recording makes the call: labels must be labels.
        zeros = np.zeros((T, plan.size), dtype)
        phi, grad = device.upload(zeros), device.upload(zeros)
        v, hv = (device.upload(zeros), device.upload(zeros)) if second else (None, None)
        x = device.upload(np.zeros((k, T, B, *plan.input_shape), dtype))
        y = device.upload(np.zeros(*targets_of(plan, k, T, B, dtype)))
        loss = device.upload(np.zeros((k, T), dtype))
        host_state = optimizer.init(zeros) if optimizer else {}
        state = {name: device.upload(array) for name, array in host_state.items()}
        walk = Walk(plan, device, self.kernels, T, B, dtype)
        p, dp = walk.views(phi), walk.views(grad)
        p_v, p_hv = (walk.views(v), walk.views(hv)) if second else ([], [])
        out = {"outputs": walk.out, "products": hv}.get(kind, grad)
        if second:
            walk.tangents  # noqa: B018  (allocated before anything is recorded)

        def call() -> None:
            if kind == "outputs":
                walk.outputs(p, x[0])
            elif kind == "products":
                walk.products(loss[0], p, p_v, dp, p_hv, x[0], y[0])
            elif kind == "gradients":
                walk.gradients(loss[0], p, dp, x[0], y[0])
            else:
                assert optimizer
                inner_loop(walk, optimizer, phi, grad, x, y, loss, state)

        return Recorded(phi, v, x, y, loss, out, state, device.capture(call))
