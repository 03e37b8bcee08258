"""Calls that are larger than a block, a warp or a tile in every direction, or fit exactly: of what
works in tiles or sums up. The contract's calls are enlarged for all else (host.py).

The numbers that count: tiles of 16 and 32, blocks of 32, 64, 128 and 256, 8 channels and 64 lanes
of a sum over rows, and sums that a block's 8 warps share 8 terms at a time, that is, 64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from minireptile.backend import versions
from minireptile.kernels.window import Pair, output_size
from tests.kernels.contract import Call, Gradient, Parameter, Scratch, Updated, Written, make
from tests.kernels.contract_calls import batchnorm_r_call, largest, uniform

WEAK = 0.1  # of gradients that many terms are summed of, so that the tolerance stays small


def _linear(operation: str, arguments: tuple[Any, ...], terms: int) -> Call:
    """A call of a kernel whose outputs are sums of products: their magnitude is what the reference
    gives for the absolute values."""

    def positive(a: Any) -> Any:
        if isinstance(a, Parameter):
            return Parameter(abs(a.array))
        return abs(a) if isinstance(a, np.ndarray) else a

    absolute = Call(tuple(map(positive, arguments)), terms, 1.0)
    outputs = make(versions(operation)["v1"], absolute, np.float64)
    return Call(arguments, terms, max(float(output.max()) for output in outputs))


# T, B, image, channels, filters, kernel, stride, padding
CONVOLUTIONS: tuple[tuple[int, int, Pair, int, int, Pair, Pair, str], ...] = (
    (2, 3, (9, 9), 10, 40, (3, 3), (1, 1), "same"),
    (1, 1, (16, 16), 16, 32, (2, 2), (1, 1), "same"),  # sizes 256, 32 and 64: whole tiles
    (2, 2, (13, 11), 3, 17, (3, 3), (2, 2), "same"),
    (1, 3, (20, 19), 33, 5, (3, 2), (3, 3), "valid"),
    (2, 2, (17, 22), 9, 34, (2, 2), (3, 4), "same"),  # a stride above the kernel
    (1, 2, (12, 12), 70, 3, (1, 1), (1, 1), "valid"),
    (1, 1, (28, 28), 1, 64, (3, 3), (2, 2), "same"),
)


def conv2d(backward: bool) -> list[Call]:
    calls = []
    for number, (T, B, size, c, n, kernel, stride, padding) in enumerate(CONVOLUTIONS):
        axes = [output_size(*axis, padding) for axis in zip(size, kernel, stride, strict=True)]
        out, pad = tuple(axis[0] for axis in axes), tuple(axis[1] for axis in axes)
        rng = np.random.default_rng(number)
        shapes = (T, B, *size, c), (T, *kernel, c, n), (T, n), (T, B, *out, n)
        x, w, b, dy = (uniform(rng, *shape) for shape in shapes)
        cols = Scratch((1, 1, *out, *kernel, c))
        bias = number % 3 > 0
        if backward:
            written = Written(x.shape), Gradient(w.shape), Gradient(b.shape) if bias else None
            arguments: Any = (*written, cols, WEAK * dy, x, Parameter(w), stride, pad)
            terms = max(prod(kernel) * n, B * prod(out))
            calls.append(_linear("conv2d_backward", arguments, terms))
        else:
            offset = Parameter(b) if bias else None
            arguments = Written(dy.shape), cols, x, Parameter(w), offset, stride, pad
            calls.append(_linear("conv2d_forward", arguments, prod(kernel) * c + 1))
    return calls


def dense(backward: bool) -> list[Call]:
    calls = []
    sizes = (3, 5, 70, 20), (2, 25, 300, 5), (1, 33, 17, 65), (2, 16, 64, 32), (1, 257, 40, 3)
    for number, (T, B, m, n) in enumerate(sizes):
        rng = np.random.default_rng(number)
        shapes = (T, B, m), (T, m, n), (T, n), (T, B, n)
        x, w, b, dy = (uniform(rng, *shape) for shape in shapes)
        bias = number % 3 > 0
        if backward:
            written = Written(x.shape), Gradient(w.shape), Gradient(b.shape) if bias else None
            arguments: Any = (*written, WEAK * dy, x, Parameter(w))
            calls.append(_linear("dense_backward", arguments, max(B, n)))
        else:
            arguments = Written(dy.shape), x, Parameter(w), Parameter(b) if bias else None
            calls.append(_linear("dense_forward", arguments, m + 1))
    return calls


NORMALISED = (2, 3, 10, 10, 9), (1, 64, 8), (3, 65, 7), (1, 2, 9, 8, 70)


def batchnorm(backward: bool) -> list[Call]:
    calls = []
    for number, shape in enumerate(NORMALISED):
        rng = np.random.default_rng(number)
        T, c, m = shape[0], shape[-1], prod(shape[1:-1])
        x, dy = uniform(rng, 2, *shape)
        gamma, beta = uniform(rng, 2, T, c)
        axes, eps = tuple(range(1, x.ndim - 1)), 0.1
        mean, rstd = x.mean(axes), (x.var(axes) + eps) ** -0.5
        xhat = 1 + (largest(x) + largest(mean)) * largest(rstd)  # as in contract_calls.py
        if backward:
            written = Written(shape), Gradient((T, c)), Gradient((T, c))
            size = abs(WEAK * dy).sum(axes).max() * xhat
            arguments: Any = (*written, WEAK * dy, x, mean, rstd, Parameter(gamma))
            calls.append(Call(arguments, m, size * (1 + 2 * largest(gamma, rstd) / m)))
        else:
            y = largest(gamma) * xhat + largest(beta)
            outputs = Written(shape), Written((T, c)), Written((T, c))
            arguments = *outputs, x, Parameter(gamma), Parameter(beta), eps
            calls.append(Call(arguments, m, max(y, largest(rstd) * xhat)))
    return calls


def batchnorm_relu_backward() -> list[Call]:
    """The calls of `batchnorm_backward`, with what a ReLU gave: 0 here and there."""
    calls = []
    for call in batchnorm(backward=True):
        *written, dy, x, mean, rstd, gamma = call.arguments
        arguments = *written, dy, np.maximum(x, 0), x, mean, rstd, gamma
        calls.append(replace(call, arguments=arguments))
    return calls


def batchnorm_r(backward: bool) -> list[Call]:
    calls = []
    for number, shape in enumerate(NORMALISED):
        rng = np.random.default_rng(number)
        batch, rates = uniform(rng, 4, *shape), uniform(rng, 3, shape[0], shape[-1])
        batch[2:] *= WEAK
        calls.append(batchnorm_r_call(backward, batch, rates, 0.1))
    return calls


def elementwise(inputs: int) -> list[Call]:
    calls = []
    for number, shape in enumerate(((1, 256), (2, 128, 1), (3, 5, 9, 9, 2))):
        arrays = uniform(np.random.default_rng(number), inputs, *shape)
        calls.append(Call((Written(shape), *arrays), 1, 1 + max(map(largest, arrays))))
    return calls


def maxpool(backward: bool) -> list[Call]:
    calls = []
    cases: tuple[tuple[int, int, Pair, int, Pair, Pair, str], ...] = (
        (2, 3, (9, 9), 10, (2, 2), (2, 2), "valid"),
        (1, 2, (16, 8), 4, (3, 3), (1, 1), "same"),
        (2, 1, (13, 15), 6, (2, 3), (3, 2), "same"),
    )
    for number, (T, B, size, c, kernel, stride, padding) in enumerate(cases):
        axes = [output_size(*axis, padding) for axis in zip(size, kernel, stride, strict=True)]
        out, pad = tuple(axis[0] for axis in axes), tuple(axis[1] for axis in axes)
        rng = np.random.default_rng(number)
        x, y = rng.integers(-9, 9, (T, B, *size, c)).astype(float), (T, B, *out, c)
        forward = (Written(y), Written(y, integer=True), x, kernel, stride, pad)
        if backward:
            reference = versions("maxpool_forward")["v1"]
            _, winner = make(reference, Call(forward, 1, 1.0), np.float64)
            dy, terms = uniform(rng, *y), prod(kernel)
            arguments = (Written(x.shape), dy, winner.astype(np.int32), kernel, stride, pad)
            calls.append(Call(arguments, terms, terms * largest(dy)))
        else:
            calls.append(Call(forward, 1, largest(x)))
    return calls


def maxpool_r() -> list[Call]:
    calls = []
    for call in maxpool(backward=True):
        dx, dy, *others = call.arguments
        rx = uniform(np.random.default_rng(0), *dx.shape)
        calls.append(Call((Written(dy.shape), rx, *others), 1, largest(rx)))
    return calls


def loss_r(labels: bool) -> list[Call]:
    calls = []
    for T, B, n in ((2, 64, 5), (3, 300, 20), (1, 130, 2), (2, 1, 300)):
        out, rout = uniform(np.random.default_rng(B), 2, T, B, n)
        size = 2 * largest(rout) * (1 + 2 * largest(out) if labels else 1)
        calls.append(Call((Written(out.shape), rout, out, 1 / B), n, size / B))
    return calls


def loss(labels: bool) -> list[Call]:
    calls = []
    for number, (T, B, n) in enumerate(((2, 64, 5), (3, 65, 20), (1, 130, 2), (2, 1, 300))):
        rng = np.random.default_rng(number)
        out, target = uniform(rng, 2, T, B, n)
        y = rng.integers(0, n, (T, B)) if labels else target
        scale = 1 / B if labels else 1 / (B * n)
        size = 2 * largest(out) + np.log(n) if labels else n * (largest(out) + largest(target)) ** 2
        arguments = Written((T,)), Written(out.shape), out, y, scale
        calls.append(Call(arguments, B + n, scale * B * size + 2))
    return calls


def sgd() -> list[Call]:
    calls = []
    for T, P in ((1, 256), (3, 300)):
        phi, velocity, grad = uniform(np.random.default_rng(P), 3, T, P)
        for state, momentum in ((None, 0.0), (Updated(velocity), 0.9)):
            calls.append(Call((Updated(phi), state, grad, 0.02, momentum), 2, 4.0))
    return calls


def adam() -> list[Call]:
    calls = []
    for T, P in ((1, 256), (5, 1300)):  # of which a block takes 1024
        rng = np.random.default_rng(P)
        phi, m, v, grad = uniform(rng, 4, T, P)
        for moment, beta1 in ((None, 0.0), (Updated(m), 0.9)):
            state = moment, Updated(v * v + 0.1), Updated(rng.integers(0, 2000, T))
            calls.append(Call((Updated(phi), *state, grad, 0.01, beta1, 0.999, 1e-8), 2, 9.0))
    return calls


LARGE: dict[str, Callable[[], list[Call]]] = {
    "conv2d_forward": lambda: conv2d(backward=False),
    "conv2d_backward": lambda: conv2d(backward=True),
    "dense_forward": lambda: dense(backward=False),
    "dense_backward": lambda: dense(backward=True),
    "batchnorm_forward": lambda: batchnorm(backward=False),
    "batchnorm_backward": lambda: batchnorm(backward=True),
    "batchnorm_relu_forward": lambda: batchnorm(backward=False),
    "batchnorm_relu_backward": batchnorm_relu_backward,
    "batchnorm_forward_r": lambda: batchnorm_r(backward=False),
    "batchnorm_backward_r": lambda: batchnorm_r(backward=True),
    "relu_forward": lambda: elementwise(1),
    "relu_backward": lambda: elementwise(2),
    "maxpool_forward": lambda: maxpool(backward=False),
    "maxpool_backward": lambda: maxpool(backward=True),
    "maxpool_forward_r": maxpool_r,
    "softmax_cross_entropy_r": lambda: loss_r(labels=True),
    "squared_error_r": lambda: loss_r(labels=False),
    "softmax_cross_entropy": lambda: loss(labels=True),
    "squared_error": lambda: loss(labels=False),
    "sgd_step": sgd,
    "adam_step": adam,
}
