"""A model on a GPU: one mini-batch as a chain of kernels, the inner loop as one graph.

`OnDevice.adapt`, `gradients`, `outputs` and `gradients_r` do what `reptile.adapt` and the methods
of `Model` do layer by layer on the host. All arrays of a call stay on the device; what it launches
is recorded when a size is first met and replayed from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..devices.base import Array, Device
from ..errors import InputError
from ..layers import BatchNorm, Conv2D, Dense, Flatten, Layer, MaxPool, ReLU, Tanh
from ..optim import SGD, Optimizer, State

if TYPE_CHECKING:
    from ..loops import Loops, Snapshot
    from ..model import Model, Slot, Step
    from ..tasks.base import Tasks

KNOWN = (Conv2D, Dense, BatchNorm, ReLU, Tanh, MaxPool, Flatten)
KEPT = 8  # recorded calls of different sizes; training and evaluation take turns with a few


@dataclass(frozen=True)
class _Norm(BatchNorm):
    """Batch normalisation as the device has it: with a ReLU behind it, and dx only on demand."""

    relu: bool = False

    def forward(self, k: Any, y: Array, x: Array, p: Any, s: Any) -> None:
        normalise = k.batchnorm_relu_forward if self.relu else k.batchnorm_forward
        normalise(y, s["mean"], s["rstd"], x, p["gamma"], p["beta"], self.eps)

    def backward(self, k: Any, dx: Array, dp: Any, dy: Array, x: Array, y: Array, p: Any, s: Any) -> None:  # fmt: skip  # noqa: E501
        written, read = (dx, dp["gamma"], dp["beta"]), (x, s["mean"], s["rstd"], p["gamma"])
        if self.relu:
            k.batchnorm_relu_backward(*written, dy, y, *read)
        else:
            k.batchnorm_backward(*written, dy, *read)


class Stage(NamedTuple):
    """A layer with its arrays (T, B, ...); x and dx are None where the input is the data."""

    layer: Layer
    x: Array
    dx: Array
    y: Array
    dy: Array
    saved: dict[str, Array]
    slots: dict[str, Slot]
    in_shape: tuple[int, ...]


class Network:
    """A model's arrays on a device for mini-batches (T, B), and the kernels that fill them.

    `out` and `dout` are the last outputs and their gradient. `fused`: a ReLU behind a batch
    normalisation is one stage with it.
    """

    def __init__(
        self, model: Model, device: Device, T: int, B: int, dtype: np.dtype, fused: bool = True
    ) -> None:
        self.model, self.device, self.T, self.B, self.dtype = model, device, T, B, dtype
        self.kernels = device.kernels(model.tf32)
        self.scale = 1 / B if model.reduction == "mean" else 1.0
        self.loss = getattr(self.kernels, model.loss)
        self.stages: list[Stage] = []
        x: Array = None
        dx: Array = None
        plan = list(model.plan)
        for i, step in enumerate(plan):
            previous = plan[i - 1].layer if i else None
            if fused and type(step.layer) is ReLU and type(previous) is BatchNorm:
                continue  # the two in one
            shape = (T, B, *step.out_shape)
            if type(step.layer) is Flatten:
                if x is not None:
                    x, dx = x.reshape(shape), dx.reshape(shape)
                continue
            layer = step.layer
            if isinstance(layer, BatchNorm):
                behind = plan[i + 1].layer if i + 1 < len(plan) else None
                layer = _Norm(layer.eps, fused and type(behind) is ReLU)
            host = layer.saved(T, B, step.in_shape, dtype)
            scratch = {"cols": self._scratch(step)} if host.pop("cols", None) is not None else {}
            saved = self._like(host) | scratch
            y, dy = device.empty(shape, dtype), device.empty(shape, dtype)
            self.stages.append(Stage(layer, x, dx, y, dy, saved, step.slots, step.in_shape))
            x, dx = y, dy
        if not self.stages:
            raise InputError("a model of Flatten alone has nothing to compute on a GPU")
        self.out, self.dout = x, dx

    def _like(self, arrays: dict[str, NDArray]) -> dict[str, Array]:
        """Arrays of the device in the shapes and types of the host's."""
        return {name: self.device.empty(a.shape, a.dtype) for name, a in arrays.items()}

    def _scratch(self, step: Step) -> Array:
        """Room for parts of a convolution's dw, where the device's kernels want it."""
        room = getattr(self.kernels, "scratch", None)
        rows, columns, n = step.out_shape
        K = prod(step.slots["weight"].param.shape[:3])
        size = room(self.T, K, n, self.B * rows * columns) if room else 0
        return self.device.empty((size,), self.dtype) if size else None

    def views(self, vectors: Array) -> list[dict[str, Array]]:
        """The parameters in vectors (T, P), stage by stage."""
        return [
            {
                key: self.device.view(vectors, slot.start, slot.param.shape)
                for key, slot in stage.slots.items()
            }
            for stage in self.stages
        ]

    def forward(self, parameters: list[dict[str, Array]], x: Array) -> Array:
        """Launch a forward pass on x (T, B, ...); the outputs will be in what is returned."""
        for stage, p in zip(self.stages, parameters, strict=True):
            stage.layer.forward(self.kernels, stage.y, self.input_of(stage, x), p, stage.saved)
        return self.out

    def input_of(self, stage: Stage, x: Array) -> Array:
        """What a stage reads where x is the data."""
        return x.reshape(self.T, self.B, *stage.in_shape) if stage.x is None else stage.x

    def gradients(
        self, loss: Array, parameters: list[dict], gradients: list[dict], x: Array, y: Array
    ) -> None:
        """Launch a forward and a backward pass; writes loss (T,) and the gradients."""
        out = self.forward(parameters, x)
        self.loss(loss, self.dout, out, y, self.scale)
        stages = list(zip(self.stages, parameters, gradients, strict=True))
        for stage, p, dp in reversed(stages):
            values = self.input_of(stage, x), stage.y, p, stage.saved
            stage.layer.backward(self.kernels, stage.dx, dp, stage.dy, *values)
        self.device.join()


def step(
    k: Any, optimizer: Optimizer, phi: Array, grad: Array, state: dict[str, Array], ahead: int
) -> None:
    """Launch an optimizer's step on phi (T, P); `ahead` of Adam's t, which stays: see `count`."""
    if isinstance(optimizer, SGD):
        k.sgd_step(phi, state.get("velocity"), grad, optimizer.lr, optimizer.momentum)
    else:
        numbers = optimizer.lr, optimizer.beta1, optimizer.beta2, optimizer.eps
        k.adam_ahead(phi, state.get("m"), state["v"], state["t"], grad, *numbers, ahead)


def inner_loop(
    network: Network, optimizer: Optimizer, phi: Array, grad: Array, x: Array, y: Array,
    loss: Array, state: dict[str, Array], count: bool = True,
) -> None:  # fmt: skip
    """Launch the inner loop of `reptile.adapt`: x (k, T, B, ...), y (k, T, ...), loss (k, T)."""
    k, parameters, gradients = network.kernels, network.views(phi), network.views(grad)
    for i in range(len(x)):
        if optimizer.weight_decay_rate != 1:
            k.decay(phi, optimizer.weight_decay_rate)
        network.gradients(loss[i], parameters, gradients, x[i], y[i])
        step(k, optimizer, phi, grad, state, i + 1)
    if count and "t" in state:
        k.count_steps(state["t"], len(x), phi.dtype)


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


class OnDevice:
    """A model's calls on a device, with what was recorded for the last sizes it saw."""

    def __init__(self, model: Model, device: Device) -> None:
        self.model, self.device = model, device
        self._recorded: dict[tuple, Recorded] = {}

    def adapt(self, phi: Any, x: Any, y: Any, optimizer: Optimizer, state: State) -> Any:
        """`reptile.adapt` as one graph; raises as `Model.loss_and_grad` does.

        Arrays of the device are taken as they are, and then the losses stay there too.
        """
        if not len(x):
            return np.empty((0, *phi.shape[:-1]), phi.dtype)
        single, phi_t, x, y = self.model.checked_steps(phi, x, y)
        with self.device.errors():
            k, T, B = x.shape[:3]
            call = self._call("adapt", k, T, B, phi_t.dtype, optimizer)
            states = {name: array[None] if single else array for name, array in state.items()}
            self._write(call, phi_t, x, y)
            for name, array in states.items():
                self.device.write(call.state[name], array)
            call.replay()
            self._back(phi, call.phi, single)
            for name, array in state.items():
                self._back(array, call.state[name], single)
            loss = self._result(call.loss, phi)
        return loss[:, 0] if single else loss

    def gradients(self, phi: Any, x: Any, y: Any) -> tuple[Any, Any]:
        """`Model.gradients` as one graph."""
        with self.device.errors():
            call = self._call("gradients", 1, len(phi), x.shape[1], phi.dtype)
            self._write(call, phi, x[None], y[None])
            call.replay()
            return self._result(call.loss, phi)[0], self._result(call.out, phi)

    def gradients_r(self, phi: Any, x: Any, y: Any, v: Any) -> Any:
        """`Model.gradients_r` as one graph."""
        if not self.model.size:
            return self.device.copy(phi) if self.device.owns(phi) else phi.copy()  # (T, 0)
        with self.device.errors():
            call = self._call("gradients_r", 1, len(phi), x.shape[1], phi.dtype)
            self._write(call, phi, x[None], y[None])
            self.device.write(call.v, v)
            call.replay()
            return self._result(call.out, phi)

    def outputs(self, phi: Any, x: Any) -> Any:
        """`Model.outputs` as one graph."""
        with self.device.errors():
            call = self._call("outputs", 1, len(phi), x.shape[1], phi.dtype)
            self._write(call, phi, x[None], None)
            call.replay()
            return self._result(call.out, phi)

    def check_memory(self, k: int, T: int, B: int, second: bool = False) -> None:
        """`InputError` if T tasks of k mini-batches of B do not fit into the device's memory;
        `second`: with the tangents of a Hessian-vector product."""
        with self.device.errors():
            check_memory(self.model, self.device, k, T, B, self.model.dtype, second)

    def reptile(
        self, tasks: Tasks, optimizer: Optimizer, loops: Loops, start: Snapshot
    ) -> Iterator[Snapshot]:
        """The loops of `reptile.reptile`, the outer one on the device as well."""
        from .outer import reptile

        return reptile(self.model, self.device, tasks, optimizer, loops, start)

    # ------------------------------------------------------------------------------------ inside

    def _write(self, call: Recorded, phi: Any, x: Any, y: Any) -> None:
        self.device.write(call.phi, phi)
        self.device.write(call.x, x)
        if y is not None:
            self.device.write(call.y, y)

    def _back(self, array: Any, values: Array, single: bool) -> None:
        """Values of the device into an array of the caller's."""
        if self.device.owns(array):
            self.device.write(array, values[0] if single else values)
        else:
            host = self.device.read(values)
            array[...] = host[0] if single else host

    def _result(self, array: Array, asked: Any) -> Any:
        """An array of the device, or of the host where the caller's arrays are."""
        return self.device.copy(array) if self.device.owns(asked) else self.device.read(array)

    def _call(
        self, kind: str, k: int, T: int, B: int, dtype: np.dtype, optimizer: Optimizer | None = None
    ) -> Recorded:
        key = kind, k, T, B, dtype, optimizer
        if key not in self._recorded:
            if dtype not in (np.float32, np.float64):
                name = self.model.backend
                raise InputError(f"the {name} backend computes in float32 or float64, not {dtype}")
            if len(self._recorded) == KEPT:
                self._recorded.pop(next(iter(self._recorded)))
            check_memory(self.model, self.device, k, T, B, dtype, kind == "gradients_r")
            self._recorded[key] = self._record(kind, k, T, B, dtype, optimizer)
        return self._recorded[key]

    def _record(
        self, kind: str, k: int, T: int, B: int, dtype: np.dtype, optimizer: Optimizer | None
    ) -> Recorded:
        from .graph_hvp import Tangents

        device, model, second = self.device, self.model, kind == "gradients_r"
        # Zeros, since recording makes the call: labels must be labels.
        zeros = np.zeros((T, model.size), dtype)
        phi, grad = device.upload(zeros), device.upload(zeros)
        v, hv = (device.upload(zeros), device.upload(zeros)) if second else (None, None)
        x = device.upload(np.zeros((k, T, B, *model.input_shape), dtype))
        y = device.upload(np.zeros(*targets_of(model, k, T, B, dtype)))
        loss = device.upload(np.zeros((k, T), dtype))
        host_state = optimizer.init(zeros) if optimizer else {}
        state = {name: device.upload(array) for name, array in host_state.items()}
        network = (Tangents if second else Network)(model, device, T, B, dtype)
        parameters, gradients = network.views(phi), network.views(grad)
        directions, products = (network.views(v), network.views(hv)) if second else ([], [])
        out = {"outputs": network.out, "gradients_r": hv}.get(kind, grad)

        def call() -> None:
            if kind == "outputs":
                network.forward(parameters, x[0])
            elif isinstance(network, Tangents):
                network.products(loss[0], parameters, directions, gradients, products, x[0], y[0])
            elif kind == "gradients":
                network.gradients(loss[0], parameters, gradients, x[0], y[0])
            else:
                assert optimizer
                inner_loop(network, optimizer, phi, grad, x, y, loss, state)

        return Recorded(phi, v, x, y, loss, out, state, device.capture(call))


def targets_of(model: Model, k: int, T: int, B: int, dtype: Any) -> tuple[tuple[int, ...], Any]:
    """Shape and type of the targets of k mini-batches."""
    if model.loss == "squared_error":
        return (k, T, B, model.n_out), dtype
    return (k, T, B), np.int64


def bytes_per_task(model: Model, k: int, B: int, dtype: Any, second: bool = False) -> int:
    """What a call needs on the device for each task, at most; `second`: with the tangents."""
    data = k * B * (prod(model.input_shape) + model.n_out + 1)
    network = sum(2 * B * prod(s.out_shape) for s in model.plan) + B * prod(model.input_shape)
    vectors = 4
    if second:  # the tangents of the same, and a layer's second products: ry, rdx and rdw once more
        network += sum(B * (3 * prod(s.out_shape) + prod(s.in_shape)) for s in model.plan)
        vectors = 6
    return int((data + network + vectors * model.size) * np.dtype(dtype).itemsize)


def check_memory(
    model: Model, device: Device, k: int, T: int, B: int, dtype: Any, second: bool = False
) -> None:
    """`InputError` if the tasks do not fit into the device's memory, with how many would."""
    each, free = bytes_per_task(model, k, B, dtype, second), device.free_memory()
    if T * each > free:
        raise InputError(
            f"{T} tasks at once need about {T * each / 2**30:.1f} GiB on the GPU, and "
            f"{free / 2**30:.1f} are free: lower --meta-batch to {free // each} or less"
        )


def on_device(model: Model) -> OnDevice | None:
    """The model's calls on its backend's device; None on the host, or with an unknown layer."""
    from ..backend import device_of

    device = device_of(model.backend)
    if device is None or any(type(layer) not in KNOWN for layer in model.layers):
        return None
    return OnDevice(model, device)
