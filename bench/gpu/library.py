"""The same operations by PyTorch's libraries (cuDNN, cuBLAS): what years of tuning reach.

They compute on channels-last images where that suits them, allocate their outputs, and pad on both
sides alike, so their numbers are not compared: the amount of work is the same.

task by task   the operation of one task after another
grouped        all tasks as the groups of one convolution
"""

# mypy: disable-error-code="import-not-found"

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ..calls import Call

Tensor = Any
Made = Callable[[], object]
aten = torch.ops.aten

HALO = 1  # of a 3 x 3 window, on each side


def variants(call: Call, device: str) -> dict[str, Made]:
    """The ways to make a call with a library, by name; {} if there is none."""
    a = {k: tensor(v, device) for k, v in call.arguments.items() if isinstance(v, np.ndarray)}
    numbers = {k: v for k, v in call.arguments.items() if not isinstance(v, np.ndarray)}
    maker = MAKERS.get(call.operation)
    return maker(a, numbers) if maker else {}


def tensor(array: NDArray, device: str) -> Tensor:
    """An array on the device, contiguous."""
    return torch.tensor(np.ascontiguousarray(array), device=device)


def _images(x: Tensor) -> Tensor:
    """(T, B, H, W, C) as (T, B, C, H, W) without moving anything: channels last."""
    return x.permute(0, 1, 4, 2, 3)


def _grouped(x: Tensor) -> Tensor:
    """(T, B, H, W, C) as (B, T C, H, W)."""
    T, B, H, W, C = x.shape
    return x.permute(1, 0, 4, 2, 3).reshape(B, T * C, H, W).contiguous()


def _filters(w: Tensor) -> Tensor:
    """(T, kh, kw, C, N) as (T, N, C, kh, kw), channels last."""
    return w.permute(0, 4, 1, 2, 3).contiguous().permute(0, 1, 4, 2, 3)


def _conv(a: dict[str, Tensor], numbers: dict[str, Any]) -> dict[str, Made]:
    stride, bias = list(numbers["stride"]), a.get("b")
    x, w = _images(a["x"]), _filters(a["w"])
    if not _symmetric(x.shape[3:], a["y"].shape[2:4], w.shape[3:], stride):
        return {}
    biases = [None] * len(x) if bias is None else list(bias)
    wide, flat = _grouped(a["x"]), w.reshape(-1, *w.shape[2:]).contiguous()
    long = None if bias is None else bias.reshape(-1)
    return {
        "task by task": lambda: [
            F.conv2d(x_t, w_t, b_t, stride, HALO)
            for x_t, w_t, b_t in zip(x, w, biases, strict=True)
        ],
        "grouped": lambda: F.conv2d(wide, flat, long, stride, HALO, groups=len(x)),
    }


def _conv_backward(a: dict[str, Tensor], numbers: dict[str, Any]) -> dict[str, Made]:
    stride, x, w, dy = list(numbers["stride"]), _images(a["x"]), _filters(a["w"]), _images(a["dy"])
    if not _symmetric(x.shape[3:], dy.shape[3:], w.shape[3:], stride):
        return {}
    wanted = "dx" in a, True, "db" in a
    wide, wide_dy = _grouped(a["x"]), _grouped(a["dy"])
    flat = w.reshape(-1, *w.shape[2:]).contiguous()

    def back(dy: Tensor, x: Tensor, w: Tensor, groups: int) -> object:
        halo, one, none = [HALO] * 2, [1] * 2, [0] * 2
        sizes = [len(w)] if "db" in a else None
        return aten.convolution_backward(
            dy, x, w, sizes, stride, halo, one, False, none, groups, wanted
        )

    return {
        "task by task": lambda: [
            back(dy_t, x_t, w_t, 1) for dy_t, x_t, w_t in zip(dy, x, w, strict=True)
        ],
        "grouped": lambda: back(wide_dy, wide, flat, len(x)),
    }


def _symmetric(size: Any, out: Any, kernel: Any, stride: list[int]) -> bool:
    """Whether a halo on each side gives outputs of these sizes."""
    return all(
        (n + 2 * HALO - k) // s + 1 == o
        for n, o, k, s in zip(size, out, kernel, stride, strict=True)
    )


def _dense(a: dict[str, Tensor], numbers: dict[str, Any]) -> dict[str, Made]:
    if "b" not in a:
        return {"batched": lambda: torch.bmm(a["x"], a["w"])}
    return {"batched": lambda: torch.baddbmm(a["b"][:, None], a["x"], a["w"])}


def _dense_backward(a: dict[str, Tensor], numbers: dict[str, Any]) -> dict[str, Made]:
    x, w, dy = a["x"], a["w"], a["dy"]

    def back() -> object:
        dx = torch.bmm(dy, w.transpose(1, 2)) if "dx" in a else None
        return dx, torch.bmm(x.transpose(1, 2), dy), dy.sum(1)

    return {"batched": back}


def _norm(a: dict[str, Tensor], numbers: dict[str, Any]) -> dict[str, Made]:
    x, gamma, beta = _grouped(a["x"]), a["gamma"].reshape(-1), a["beta"].reshape(-1)
    eps = numbers["eps"]
    return {"grouped": lambda: aten.native_batch_norm(x, gamma, beta, None, None, True, 0.0, eps)}


def _norm_backward(a: dict[str, Tensor], numbers: dict[str, Any]) -> dict[str, Made]:
    x, dy = _grouped(a["x"]), _grouped(a["dy"])
    gamma, mean, rstd = (a[name].reshape(-1) for name in ("gamma", "mean", "rstd"))
    every = True, True, True
    return {
        "grouped": lambda: aten.native_batch_norm_backward(
            dy, x, gamma, None, None, mean, rstd, True, 0.0, every
        )
    }


def _pool(a: dict[str, Tensor], numbers: dict[str, Any]) -> dict[str, Made]:
    x, size, stride = _grouped(a["x"]), list(numbers["size"]), list(numbers["stride"])
    return {"grouped": lambda: F.max_pool2d(x, size, stride, return_indices=True)}


def _plain(function: Callable[..., Tensor], *names: str) -> Callable[..., dict[str, Made]]:
    """One call of PyTorch's on these arguments as they are."""

    def make(a: dict[str, Tensor], numbers: dict[str, Any]) -> dict[str, Made]:
        chosen = [a[name] for name in names]
        return {"one call": lambda: function(*chosen)}

    return make


def _cross_entropy(a: dict[str, Tensor], numbers: dict[str, Any]) -> dict[str, Made]:
    logits, labels = a["logits"], a["labels"].long()

    def call() -> object:  # the loss, and softmax - onehot
        logp = torch.log_softmax(logits, -1)
        loss = -logp.gather(-1, labels[..., None]).sum((1, 2))
        return loss, logp.exp().scatter_add(-1, labels[..., None], -torch.ones_like(logp[..., :1]))

    return {"a few calls": call}


MAKERS: dict[str, Callable[..., dict[str, Made]]] = {
    "conv2d_forward": _conv,
    "conv2d_backward": _conv_backward,
    "dense_forward": _dense,
    "dense_backward": _dense_backward,
    "batchnorm_forward": _norm,
    "batchnorm_backward": _norm_backward,
    "maxpool_forward": _pool,
    "relu_forward": _plain(torch.relu, "x"),
    "relu_backward": _plain(lambda dy, y: aten.threshold_backward(dy, y, 0), "dy", "x"),
    "tanh_forward": _plain(torch.tanh, "x"),
    "tanh_backward": _plain(aten.tanh_backward, "dy", "y"),
    "softmax_cross_entropy": _cross_entropy,
}


def captured(call: Made) -> Made:
    """The call as a CUDA graph; what it computes is thrown away."""
    aside = torch.cuda.Stream()
    with torch.cuda.stream(aside):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call()

    def replay(_kept: object = (call, result)) -> None:  # as long as the graph, which has addresses
        graph.replay()

    return replay
