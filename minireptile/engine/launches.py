"""What a GPU's graphs are made of besides the walk: the optimizer's steps, and the inner loop; and
what they need of its memory."""

from math import prod
from typing import Any

import numpy as np

from ..devices.base import Array, Device
from ..errors import InputError
from ..optim import Optimizer
from ..plan import Plan
from .walk import Walk


def step(
    k: Any, optimizer: Optimizer, phi: Array, grad: Array, state: dict[str, Array], ahead: int
) -> None:
    """Launch an optimizer's step on phi (T, P), so many steps `ahead` of its t, if it has one:
    t stays as it is until all are launched (`count_steps`)."""
    kept = [state.get(name) for name in optimizer.slots]
    more = (ahead,) if "t" in state else ()
    getattr(k, _launched(optimizer))(phi, *kept, grad, *optimizer.numbers, *more)


def takes(kernels: Any, optimizer: Optimizer) -> bool:
    """Whether the device has the optimizer's kernel."""
    return bool(optimizer.operation) and hasattr(kernels, _launched(optimizer))


def _launched(optimizer: Optimizer) -> str:
    """adam_step counts on the host, adam_ahead does not."""
    counts = "t" in optimizer.slots
    return optimizer.operation.replace("_step", "_ahead") if counts else optimizer.operation


def inner_loop(
    walk: Walk, optimizer: Optimizer, phi: Array, grad: Array, x: Array, y: Array,
    loss: Array, state: dict[str, Array], count: bool = True,
) -> None:  # fmt: skip
    """Launch the inner loop of `reptile.adapt`: x (k, T, B, ...), y (k, T, ...), loss (k, T)."""
    k, p, dp = walk.k, walk.views(phi), walk.views(grad)
    for i in range(len(x)):
        if optimizer.weight_decay_rate != 1:
            k.decay(phi, optimizer.weight_decay_rate)
        walk.gradients(loss[i], p, dp, x[i], y[i])
        step(k, optimizer, phi, grad, state, i + 1)
    if count and "t" in state:
        k.count_steps(state["t"], len(x), phi.dtype)


def targets_of(plan: Plan, k: int, T: int, B: int, dtype: Any) -> tuple[tuple[int, ...], Any]:
    """Shape and type of the targets of k mini-batches."""
    if plan.loss == "squared_error":
        return (k, T, B, plan.n_out), dtype
    return (k, T, B), np.int64


def bytes_per_task(plan: Plan, k: int, B: int, dtype: Any, second: bool = False) -> int:
    """What a call needs on the device for each task, at most; `second`: with the tangents."""
    data = k * B * (prod(plan.input_shape) + plan.n_out + 1)
    network = sum(2 * B * prod(s.out_shape) for s in plan.steps) + B * prod(plan.input_shape)
    vectors = 4
    if second:  # the tangents of the same, and a layer's second products: ry, rdx and rdw once more
        network += sum(B * (3 * prod(s.out_shape) + prod(s.in_shape)) for s in plan.steps)
        vectors = 6
    return int((data + network + vectors * plan.size) * np.dtype(dtype).itemsize)


def check_memory(
    plan: Plan, device: Device, k: int, T: int, B: int, dtype: Any, second: bool = False
) -> None:
    """`InputError` if the tasks do not fit into the device's memory, with how many would."""
    each, free = bytes_per_task(plan, k, B, dtype, second), device.free_memory()
    if T * each > free:
        raise InputError(
            f"{T} tasks at once need about {T * each / 2**30:.1f} GiB on the GPU, and "
            f"{free / 2**30:.1f} are free: lower --meta-batch to {free // each} or less"
        )
