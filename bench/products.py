"""The matrix products of an inner step, alone: what no implementation can leave out.

For each layer with weights y = x w, dw = x' dy and, but for the first, dx = dy w', at the shapes
that im2col gives them, by `numpy.matmul`.

The nominal work of a convolution counts every tap of every output. On the padding a tap multiplies
by zero, and who leaves these out does less: the work really done.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

import minireptile as mr
from minireptile.kernels.window import Pair, Sizes, taps
from minireptile.layers.base import pair, window_of


def products(model: mr.Model, T: int, B: int, seed: int = 0) -> Callable[[], None]:
    """A function that computes the products of one inner step on T tasks, B examples each."""
    rng = np.random.default_rng(seed)
    calls = []
    for step in model.plan.steps:
        if "weight" not in step.slots:
            continue
        *taps, n = step.slots["weight"].param.shape
        k, m = prod(taps), B * prod(step.out_shape[:-1])
        x, w, y = (rng.random((T, *shape), np.float32) for shape in ((m, k), (k, n), (m, n)))
        calls.append((x, w, y))
        calls.append((x.swapaxes(1, 2), y, np.empty_like(w)))
        if step is not model.plan.steps[0]:
            calls.append((y, w.swapaxes(1, 2), np.empty_like(x)))

    def run() -> None:
        for a, b, out in calls:
            np.matmul(a, b, out=out)

    return run


def work(model: mr.Model, T: int, B: int) -> tuple[float, float]:
    """Floating-point operations of the products of one inner step: nominal, and really done."""
    nominal = done = 0.0
    for step in model.plan.steps:
        if "weight" in step.slots:
            weights, places = prod(step.slots["weight"].param.shape), prod(step.out_shape[:-1])
            each = 2.0 * T * B * places * weights * (3 if step is not model.plan.steps[0] else 2)
            nominal, done = nominal + each, done + each * _inside(step.layer, step.in_shape)
    return nominal, done


def _inside(layer: Any, shape: tuple[int, ...]) -> float:
    if not isinstance(layer, mr.Conv2D):
        return 1.0
    size, stride = layer.kernel_size, layer.stride
    rows, columns, pad = window_of(shape, size, stride, layer.padding)
    return inside(pair(size), shape, (rows, columns), pair(stride), pad)


def inside(kernel: Sizes, image: Sizes, out: Sizes, stride: Pair, pad: Pair) -> float:
    """The share of a convolution's taps that lie inside the image."""
    outputs = (places for _, _, places, _ in taps(kernel, image, out, stride, pad))
    met = sum(prod(part.stop - part.start for part in places[2:]) for places in outputs)
    return met / (prod(kernel) * prod(out))
