"""The meta-iteration in PyTorch, in the ways that its users write it; on a GPU, bench/gpu/torch.py.

eager                 a module, backward(), an optimizer; one task after another
foreach               the same, with the optimizer that updates all parameters in a call
channels last, fused  images and weights channels last, and the optimizer's one fused kernel
vmap                  torch.func: all tasks at once, gradients by torch.func.grad
compiled              torch.compile of a whole inner step; one task after another
compiled vmap         torch.compile of a whole inner step of all tasks
two processes         eager, the tasks split over two processes that stay alive
"""

# mypy: disable-error-code="import-not-found"

from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
import torch.multiprocessing
from numpy.typing import NDArray
from torch import nn

import minireptile as mr
from minireptile.errors import InputError
from minireptile.kernels.window import output_size
from minireptile.optim import Optimizer
from minireptile.weights import laid_out

from .peers_case import Built, Case

Tensor = Any
Tensors = list[Any]
Named = dict[str, Any]

PLAIN: dict[type, Any] = {mr.ReLU: nn.ReLU, mr.Tanh: nn.Tanh, mr.Flatten: nn.Flatten}


def build(case: Case, variant: str, threads: int = 1, gpu: bool = False) -> Built:
    """One of the variants above; `InputError` for another."""
    torch.set_num_threads(threads)
    if len(case.x) != 1:
        raise InputError("PyTorch's variants compute one meta-iteration")
    if gpu:
        return import_module("bench.gpu.torch").build(case, variant)
    makers: dict[str, Callable[[Case], Callable[[], Tensors]]] = {
        "eager": eager,
        "foreach": lambda case: eager(case, foreach=True),
        "channels last, fused": lambda case: eager(case, torch.channels_last, fused=True),
        "vmap": vmap,
        "compiled": lambda case: one_by_one(case, torch.compile),
        "compiled vmap": lambda case: vmap(case, torch.compile),
        "two processes": two_processes,
    }
    if variant not in makers:
        raise InputError(f"there is no variant {variant!r}: choose one of {', '.join(makers)}")
    return Built(makers[variant](case), lambda tensors: to_flat(case.model, tensors))


# ----------------------------------------------------------------------- network, parameters, data


def network(model: mr.Model) -> Any:
    """The model's layers as a module; its parameters come in the same order."""
    modules: list[Any] = []
    for step in model.plan.steps:
        layer, shape = step.layer, step.in_shape
        if isinstance(layer, mr.Conv2D):
            modules += _convolution(layer, shape)
        elif isinstance(layer, mr.BatchNorm):
            modules.append(nn.BatchNorm2d(shape[-1], layer.eps, track_running_stats=False))
        elif isinstance(layer, mr.MaxPool):
            assert layer.size == layer.stride == 2
            modules.append(nn.MaxPool2d(2, ceil_mode=layer.padding == "same"))
        elif isinstance(layer, mr.Dense):
            modules.append(nn.Linear(shape[0], layer.units, layer.bias))
        else:
            modules.append(PLAIN[type(layer)]())
    return nn.Sequential(*modules)


def _convolution(layer: mr.Conv2D, shape: tuple[int, ...]) -> list[Any]:
    """A square convolution; TensorFlow's "same" padding wants a module of its own where it is
    not symmetric."""
    kernel, stride = layer.kernel_size, layer.stride
    assert isinstance(kernel, int)
    assert isinstance(stride, int)
    before, after = [], []
    for n in shape[:2]:
        size, pad = output_size(n, kernel, stride, layer.padding)
        before.append(pad)
        after.append(max((size - 1) * stride + kernel - n - pad, 0))
    even = before == after
    sides = before[1], after[1], before[0], after[0]  # left, right, top, bottom
    padding: Any = tuple(before) if even else 0
    conv = nn.Conv2d(shape[-1], layer.filters, kernel, stride, padding, bias=layer.bias)
    return [conv] if even else [nn.ZeroPad2d(sides), conv]


def to_tensors(model: mr.Model, theta: NDArray) -> Tensors:
    """Theta (P,) as PyTorch's parameters: channels first, outputs before inputs."""
    return [torch.tensor(np.ascontiguousarray(a)) for a in laid_out(model, theta, "torch").values()]


def to_flat(model: mr.Model, tensors: Tensors) -> NDArray:
    """Back to theta (P,)."""
    theta = np.empty(model.size, tensors[0].numpy(force=True).dtype)
    places = laid_out(model, np.arange(model.size), "torch").values()
    for place, tensor in zip(places, tensors, strict=True):
        theta[place] = tensor.numpy(force=True)
    return theta


def data(case: Case) -> tuple[Tensor, Tensor]:
    """x (T, k, B, C, H, W) or (T, k, B, n) and y (T, k, B, ...)."""
    x, y = (np.swapaxes(a[0], 0, 1) for a in (case.x, case.y))
    if x.ndim == 6:
        x = np.moveaxis(x, -1, 3)
    return torch.tensor(np.ascontiguousarray(x)), torch.tensor(np.ascontiguousarray(y))


def loss_of(case: Case) -> Any:
    """The mean loss; squared errors have one output here, so their mean is over B alone."""
    classes = case.model.loss == "softmax_cross_entropy"
    return nn.functional.cross_entropy if classes else nn.functional.mse_loss


def outer(theta: Tensors, phi_sums: Tensors, tasks: int, epsilon: float) -> Tensors:
    """theta + epsilon (mean of phi - theta)."""
    return [torch.lerp(a, b / tasks, epsilon) for a, b in zip(theta, phi_sums, strict=True)]


# ------------------------------------------------------------------------------- with an optimizer


class Learner:
    """A module and an optimizer that adapt to one task after another.

    x (T, k, B, ...) and y (T, k, B, ...) are its tasks; `options` go to the optimizer.
    """

    def __init__(
        self, case: Case, x: Tensor, y: Tensor,
        memory_format: Any = torch.contiguous_format, **options: bool,
    ) -> None:  # fmt: skip
        self.carry = case.carry
        self.net = network(case.model).to(dtype=x.dtype, memory_format=memory_format)
        self.parameters = list(self.net.parameters())
        self.optimizer = optimizer_of(case.optimizer, self.parameters, options)
        self.loss = loss_of(case)
        like: dict[str, Any] = {"memory_format": memory_format} if x.ndim == 6 else {}
        self.tasks = [
            [(x_i.contiguous(**like), y_i) for x_i, y_i in zip(*task, strict=True)]
            for task in zip(x, y, strict=True)
        ]

    def sums(self, theta: Tensors) -> Tensors:
        """The sums over the tasks of phi, each adapted from theta."""
        sums = [torch.zeros_like(start) for start in theta]
        for i, task in enumerate(self.tasks):
            with torch.no_grad():
                for p, start in zip(self.parameters, theta, strict=True):
                    p.copy_(start)
            if i == 0 or not self.carry:
                self.optimizer.state.clear()
            for x, y in task:
                self.optimizer.zero_grad()
                self.loss(self.net(x), y).backward()
                self.optimizer.step()
            with torch.no_grad():
                for p, total in zip(self.parameters, sums, strict=True):
                    total.add_(p)
        return sums


def optimizer_of(optimizer: Optimizer, parameters: Tensors, options: dict[str, bool]) -> Any:
    """PyTorch's own."""
    if isinstance(optimizer, mr.SGD):
        return torch.optim.SGD(parameters, lr=optimizer.lr, **options)
    assert isinstance(optimizer, mr.Adam)
    betas = optimizer.beta1, optimizer.beta2
    return torch.optim.Adam(parameters, optimizer.lr, betas, optimizer.eps, **options)


def eager(
    case: Case, memory_format: Any = torch.contiguous_format, **options: bool
) -> Callable[[], Tensors]:
    """Module, backward(), optimizer."""
    learner = Learner(case, *data(case), memory_format, **options)
    theta = to_tensors(case.model, case.theta)
    tasks = len(learner.tasks)
    return lambda: outer(theta, learner.sums(theta), tasks, case.epsilon)


# ----------------------------------------------------------------------------- functions, no module


def inner_step(
    case: Case, every_task: bool
) -> Callable[[Named, Named, Tensor, Tensor], tuple[Named, Named]]:
    """One inner step as a function: phi and the optimizer's state before, then after. For one task,
    or for all with a task axis in front."""
    net, loss_fn, optimizer = network(case.model), loss_of(case), case.optimizer

    def loss(phi: Named, x: Tensor, y: Tensor) -> Tensor:
        return loss_fn(torch.func.functional_call(net, phi, (x,)), y)

    def total(phi: Named, x: Tensor, y: Tensor) -> Tensor:  # its gradient is that of each task
        return torch.func.vmap(loss)(phi, x, y).sum()

    gradient = torch.func.grad(total if every_task else loss)

    def step(phi: Named, state: Named, x: Tensor, y: Tensor) -> tuple[Named, Named]:
        grad = gradient(phi, x, y)
        if isinstance(optimizer, mr.SGD):
            return {name: p - optimizer.lr * grad[name] for name, p in phi.items()}, state
        assert isinstance(optimizer, mr.Adam)
        assert optimizer.beta1 == 0
        t, beta2 = state["t"] + 1, optimizer.beta2
        rate = optimizer.lr * torch.sqrt(1 - beta2**t)
        v = {name: beta2 * state[name] + (1 - beta2) * g * g for name, g in grad.items()}
        new = {
            name: p - rate * grad[name] / (torch.sqrt(v[name]) + optimizer.eps)
            for name, p in phi.items()
        }
        return new, {"t": t, **v}

    return step


def start_of(case: Case, *tasks: int) -> tuple[Tensors, Named, Named]:
    """Theta, and the phi and state that an adaptation starts from, each with a task axis if any."""
    names = [name for name, _ in network(case.model).named_parameters()]
    theta = to_tensors(case.model, case.theta)
    phi = {
        name: p.expand(*tasks, *p.shape).contiguous() for name, p in zip(names, theta, strict=True)
    }
    if isinstance(case.optimizer, mr.SGD):
        return theta, phi, {}
    zeros = {name: torch.zeros_like(p) for name, p in phi.items()}
    return theta, phi, {"t": torch.zeros((), dtype=theta[0].dtype), **zeros}


def one_by_one(
    case: Case, transform: Callable[[Any], Any] = lambda function: function
) -> Callable[[], Tensors]:
    """The inner step as a function; one task after another."""
    step = transform(inner_step(case, every_task=False))
    theta, start, zero = start_of(case)
    tasks = [list(zip(*task, strict=True)) for task in zip(*data(case), strict=True)]

    def run() -> Tensors:
        sums, state = [torch.zeros_like(p) for p in theta], zero
        for task in tasks:
            phi, state = start, state if case.carry else zero
            for x, y in task:
                phi, state = step(phi, state, x, y)
            for total, p in zip(sums, phi.values(), strict=True):
                total.add_(p)
        return outer(theta, sums, len(tasks), case.epsilon)

    return run


def vmap(
    case: Case, transform: Callable[[Any], Any] = lambda function: function
) -> Callable[[], Tensors]:
    """The inner step of all tasks at once."""
    step = transform(inner_step(case, every_task=True))
    x, y = data(case)
    theta, start, zero = start_of(case, len(x))
    batches = [
        (x_i.contiguous(), y_i.contiguous())
        for x_i, y_i in zip(x.unbind(1), y.unbind(1), strict=True)
    ]

    def run() -> Tensors:
        phi, state = start, zero
        for x_i, y_i in batches:
            phi, state = step(phi, state, x_i, y_i)
        return outer(theta, [p.sum(0) for p in phi.values()], len(x), case.epsilon)

    return run


# ------------------------------------------------------------------------------------ two processes


def two_processes(case: Case) -> Callable[[], Tensors]:
    """Two processes with a thread each, which read theta and leave their sums in shared memory."""
    context = torch.multiprocessing.get_context("spawn")
    x, y = data(case)
    theta = [p.share_memory_() for p in to_tensors(case.model, case.theta)]
    workers = []
    for rank in range(min(2, len(x))):
        sums = [torch.zeros_like(p).share_memory_() for p in theta]
        here, there = context.Pipe()
        args = case, x[rank::2].clone(), y[rank::2].clone(), theta, sums, there
        context.Process(target=_work, args=args, daemon=True).start()
        there.close()  # so that each side sees when the other has gone
        workers.append((here, sums))

    def run() -> Tensors:
        for pipe, _ in workers:
            pipe.send("go")
        for pipe, _ in workers:
            pipe.recv()
        total = [sum(parts) for parts in zip(*(sums for _, sums in workers), strict=True)]
        return outer(theta, total, len(x), case.epsilon)

    return run


def _work(
    case: Case, x: Tensor, y: Tensor, theta: Tensors, sums: Tensors, pipe: Connection
) -> None:
    torch.set_num_threads(1)
    learner = Learner(case, x, y)
    try:
        while pipe.recv():
            for shared, total in zip(sums, learner.sums(theta), strict=True):
                shared.copy_(total)
            pipe.send("done")
    except EOFError:
        return
