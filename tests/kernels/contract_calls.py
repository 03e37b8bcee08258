"""Random calls of every operation: small shapes, with all outputs (WHOLE) or some (CALLS)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields, replace
from functools import cache
from math import prod
from typing import Any

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from minireptile.backend import versions
from minireptile.errors import InputError
from minireptile.kernels.operations import OPERATIONS
from minireptile.optim import OPTIMIZERS, Optimizer
from minireptile.testing.strategies import convolutions, few, geometries, seeds

from .contract import (
    Call,
    Gradient,
    Parameter,
    Scratch,
    Updated,
    Written,
    is_compiled,
    make,
    shape_of,
)

REFERENCES = {operation: versions(operation, "numpy")["v1"] for operation in OPERATIONS}


def uniform(rng: np.random.Generator, *shape: int, size: float = 1.0) -> NDArray:
    return size * rng.uniform(-1, 1, shape)


def sizes(*among: float) -> st.SearchStrategy[float]:
    """How large a kernel's inputs are; what is linear in them sees 1 alone."""
    return st.sampled_from((1.0, *among))


def largest(*arrays: NDArray | None) -> float:
    """The product of the largest absolute values."""
    return prod([float(np.max(abs(a))) for a in arrays if a is not None])


@st.composite
def conv2d_calls(draw: st.DrawFn, backward: bool) -> Call:
    g = draw(convolutions())
    T, B, c, n = (draw(few) for _ in range(4))
    rng = np.random.default_rng(draw(seeds))
    shapes = (T, B, *g.in_size, c), (T, *g.kernel, c, n), (T, n), (T, B, *g.out_size, n)
    x, w, b, dy = (uniform(rng, *shape) for shape in shapes)
    # Room for some images of one task, or for some tasks with all their images.
    images = draw(st.integers(1, B))
    tasks = draw(st.integers(1, T)) if images == B else 1
    cols = Scratch((tasks, images, *g.out_size, *g.kernel, c))
    if not backward:
        offset = Parameter(b) if draw(st.booleans()) else None
        arguments = Written(dy.shape), cols, x, Parameter(w), offset, g.stride, g.pad
        terms = prod(g.kernel) * c + 1
        return Call(arguments, terms, terms * max(largest(x, w), largest(b)))
    # Tiles of 2 x 2 outputs may hang over the edge (winograd.md, section 3).
    terms = max(prod(g.kernel) * n, B * prod(size + size % 2 for size in g.out_size))
    written = Written(x.shape), Gradient(w.shape), Gradient(b.shape)
    return Call(
        (*written, cols, dy, x, Parameter(w), g.stride, g.pad),
        terms,
        terms * max(largest(dy, x), largest(dy, w), largest(dy)),
    )


@st.composite
def dense_calls(draw: st.DrawFn, backward: bool) -> Call:
    T, B, m, n = (draw(st.integers(1, 5)) for _ in range(4))
    rng = np.random.default_rng(draw(seeds))
    shapes = (T, B, m), (T, m, n), (T, n), (T, B, n)
    x, w, b, dy = (uniform(rng, *shape) for shape in shapes)
    if not backward:
        offset = Parameter(b) if draw(st.booleans()) else None
        arguments = Written(dy.shape), x, Parameter(w), offset
        return Call(arguments, m + 1, (m + 1) * max(largest(x, w), largest(b)))
    terms = max(B, n)
    return Call(
        (Written(x.shape), Gradient(w.shape), Gradient(b.shape), dy, x, Parameter(w)),
        terms,
        terms * max(largest(dy, x), largest(dy, w), largest(dy)),
    )


@st.composite
def batchnorm_calls(draw: st.DrawFn, backward: bool, relu: bool = False) -> Call:
    T, B, c = draw(few), draw(few), draw(few)
    inner = draw(st.lists(st.integers(1, 4), max_size=2))
    rng = np.random.default_rng(draw(seeds))
    x, dy, y = uniform(rng, 3, T, B, *inner, c)
    x *= draw(sizes(1e-2, 30.0))
    gamma, beta = uniform(rng, 2, T, c)
    eps = draw(st.sampled_from((0.1, 1.0)))  # far smaller, and rounding of x becomes large
    axes = tuple(range(1, x.ndim - 1))
    mean, rstd = x.mean(axes), (x.var(axes) + eps) ** -0.5
    m = B * prod(inner)
    # An error eps |x| of a difference x - mean becomes eps |x| rstd of xhat.
    xhat = 1 + (largest(x) + largest(mean)) * largest(rstd)
    if not backward:
        arguments = (
            Written(x.shape), Written((T, c)), Written((T, c)),
            x, Parameter(gamma), Parameter(beta), eps,
        )  # fmt: skip
        bound = largest(gamma) * np.sqrt(m) * xhat + largest(beta)
        return Call(arguments, m, max(bound, largest(x), largest(rstd) * xhat))
    mask = [np.maximum(y, 0)] if relu else []  # what the ReLU behind gave, 0 for half of dy
    return Call(
        (
            Written(x.shape), Gradient((T, c)), Gradient((T, c)),
            dy, *mask, x, mean, rstd, Parameter(gamma),
        ),
        m,
        largest(dy) * max(m * xhat, largest(gamma) * largest(rstd) * (2 + 2 * xhat * np.sqrt(m))),
    )  # fmt: skip


def batchnorm_r_call(backward: bool, batch: NDArray, rates: NDArray, eps: float) -> Call:
    """batch: x, rx, dy and rdy (4, T, B, ..., C); rates: gamma, rgamma and rbeta (3, T, C)."""
    x, rx, dy, rdy = batch
    T, c, m, axes = x.shape[0], x.shape[-1], prod(x.shape[1:-1]), tuple(range(1, x.ndim - 1))

    def over(a: NDArray) -> NDArray:
        return a.mean(axes, keepdims=True)

    mean, rmean, rstd = over(x), over(rx), (x.var(axes, keepdims=True) + eps) ** -0.5
    d, rd = x - mean, rx - rmean
    rrstd, dgamma, dbeta = -(rstd**3) * over(d * rd), m * over(dy * d * rstd), m * over(dy)
    given = [a.reshape(T, c) for a in (mean, rstd, rmean, rrstd, dgamma, dbeta)]
    gamma, rgamma, rbeta = (abs(a).reshape(rstd.shape) for a in rates)
    # From here on, what terms add up to without their signs.
    dgamma, dbeta, dy, rdy = abs(dgamma), abs(dbeta), abs(dy), abs(rdy)
    d, rd = abs(x) + abs(mean), abs(rx) + over(abs(rx))
    rrstd = rstd**3 * over(d * rd)
    xhat, rxhat, tilt = d * rstd, rd * rstd + d * rrstd, rgamma * rstd + gamma * rrstd
    p_gamma, p_rgamma, p_rbeta = map(Parameter, rates)
    if not backward:
        ry = gamma * rstd * rd + tilt * d + rbeta
        written: tuple[Any, ...] = Written(x.shape), Written((T, c)), Written((T, c))
        read: tuple[Any, ...] = rx, p_rgamma, p_rbeta, x, *given[:2], p_gamma
        return Call((*written, *read), m, max(largest(a) for a in (ry, rrstd, rx)))
    rdbeta, rdgamma = m * over(rdy), m * over(rdy * xhat + dy * rxhat)
    plain = dy + (dbeta + xhat * dgamma) / m
    tangent = rdy + (rdbeta + rxhat * dgamma + xhat * rdgamma) / m
    rdx = tilt * plain + gamma * rstd * tangent
    written = Written(x.shape), Gradient((T, c)), Gradient((T, c))
    before = Parameter(given[4]), Parameter(given[5]), batch[2]
    read = batch[3], rx, *given[2:4], p_rgamma, *before, x, *given[:2], p_gamma
    return Call((*written, *read), m, max(largest(a) for a in (rdx, rdbeta, rdgamma)))


@st.composite
def batchnorm_r_calls(draw: st.DrawFn, backward: bool) -> Call:
    T, B, c = draw(few), draw(few), draw(few)
    inner = draw(st.lists(st.integers(1, 4), max_size=2))
    rng = np.random.default_rng(draw(seeds))
    batch, rates = uniform(rng, 4, T, B, *inner, c), uniform(rng, 3, T, c)
    batch[0] *= draw(sizes(1e-2))  # far larger, and the tolerance would be blind where M = 1
    return batchnorm_r_call(backward, batch, rates, draw(st.sampled_from((0.1, 1.0))))


@st.composite
def elementwise_calls(draw: st.DrawFn, inputs: int) -> Call:
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=2, max_size=5)))
    rng = np.random.default_rng(draw(seeds))
    arrays = uniform(rng, inputs, *shape, size=draw(sizes(1e-2, 30.0)))
    arrays *= rng.random(arrays.shape) < 0.9  # 0 here and there, where a ReLU has its kink
    return Call((Written(shape), *arrays), 1, max(map(largest, arrays)))


@st.composite
def tanh_calls(draw: st.DrawFn) -> Call:
    call = draw(elementwise_calls(1))
    return replace(call, magnitude=min(call.magnitude, 1.0))


@st.composite
def tanh_backward_calls(draw: st.DrawFn) -> Call:
    dx, dy, x = draw(elementwise_calls(2)).arguments
    return Call((dx, dy, np.tanh(x)), 1, largest(dy))


@st.composite
def tanh_backward_r_calls(draw: st.DrawFn) -> Call:
    rdx, rdy, ry, dy, x = draw(elementwise_calls(4)).arguments
    y = np.tanh(x)
    return Call((rdx, rdy, ry, dy, y), 1, largest(rdy) + 2 * largest(y, ry, dy))


@st.composite
def maxpool_calls(draw: st.DrawFn, backward: bool, tangent: bool = False) -> Call:
    g = draw(geometries(5))
    T, B, c = (draw(few) for _ in range(3))
    rng = np.random.default_rng(draw(seeds))
    x, y = (T, B, *g.in_size, c), (T, B, *g.out_size, c)
    if not backward:
        image = rng.integers(-2, 3, x) if draw(st.booleans()) else uniform(rng, *x)
        arguments = Written(y), Written(y, integer=True), image.astype(float)
        return Call((*arguments, g.kernel, g.stride, g.pad), 1, largest(image))
    # Any tap inside the image may have won.
    winner = np.empty(y, np.int32)
    for t, b, o, p, ch in np.ndindex(y):
        tap = []
        for axis, out in enumerate((o, p)):
            start = out * g.stride[axis] - g.pad[axis]
            low, high = max(start, 0), min(start + g.kernel[axis], g.in_size[axis])
            tap.append(rng.integers(low, high) - start)
        winner[t, b, o, p, ch] = tap[0] * g.kernel[1] + tap[1]
    if tangent:
        rx = uniform(rng, *x)
        return Call((Written(y), rx, winner, g.kernel, g.stride, g.pad), 1, largest(rx))
    dy = uniform(rng, *y)
    terms = prod(g.kernel)
    return Call((Written(x), dy, winner, g.kernel, g.stride, g.pad), terms, terms * largest(dy))


@st.composite
def loss_calls(draw: st.DrawFn, labels: bool) -> Call:
    T, B, n = (draw(st.integers(1, 4)) for _ in range(3))
    rng = np.random.default_rng(draw(seeds))
    out, target = uniform(rng, 2, T, B, n, size=draw(sizes(200.0) if labels else sizes(1e-2, 3.0)))
    scale = draw(st.sampled_from((1 / B, 1.0)))
    y = rng.integers(0, n, (T, B)) if labels else target
    arguments = Written((T,)), Written(out.shape), out, y, scale
    if labels:  # log sum_n exp z - z <= 2 max |z| + log n
        return Call(arguments, B + n, scale * B * (2 * largest(out) + n + 2))
    apart = largest(out) + largest(target)
    return Call(arguments, B * n, scale * max(B * n * apart**2, 2 * apart))


@st.composite
def loss_r_calls(draw: st.DrawFn, labels: bool) -> Call:
    T, B, n = (draw(st.integers(1, 4)) for _ in range(3))
    rng = np.random.default_rng(draw(seeds))
    out, rout = uniform(rng, 2, T, B, n)
    out *= draw(sizes(200.0))
    scale = draw(st.sampled_from((1 / B, 1.0)))
    # p is as accurate as its exponent, z less the largest.
    size = 2 * largest(rout) * (1 + 2 * largest(out) if labels else 1)
    return Call((Written(out.shape), rout, out, scale), n, scale * size)


@st.composite
def records(draw: st.DrawFn, kind: type[Optimizer]) -> Optimizer:
    """An optimizer with its own numbers, with 0.9, and with 0 where a slot is then not kept."""
    optimizer = kind(lr=draw(st.sampled_from((0.02, 1.5))))  # type: ignore[call-arg]
    for field in fields(optimizer):  # type: ignore[arg-type]
        if field.name not in ("lr", "weight_decay_rate"):  # which is no number of the kernel
            others = [field.default, 0.9]
            with suppress(InputError):
                zero = replace(optimizer, **{field.name: 0.0})  # type: ignore[type-var]
                others += [0.0] * (not all(map(zero.keeps, zero.slots)))
            value = draw(st.sampled_from(others))
            optimizer = replace(optimizer, **{field.name: value})  # type: ignore[type-var]
    return optimizer


@st.composite
def step_calls(draw: st.DrawFn, kind: type[Optimizer]) -> Call:
    """kernel(phi, *slots, grad, *numbers), whatever the optimizer."""
    shape, optimizer = (draw(few), draw(st.integers(1, 9))), draw(records(kind))
    rng = np.random.default_rng(draw(seeds))
    phi, grad = uniform(rng, 2, *shape)
    grad *= draw(sizes(1e-3, 30.0))
    slots = [
        None if not optimizer.keeps(slot)
        else Updated(rng.integers(0, 2000, shape[0]) if slot == "t" else rng.uniform(0.1, 1, shape))
        for slot in optimizer.slots
    ]  # fmt: skip
    call = Call((Updated(phi), *slots, grad, *optimizer.numbers), 2, 1.0)
    after = make(REFERENCES[kind.kernel], call, np.float64)
    # A step is at most the way that phi goes; a slot holds the gradient or its square.
    floats = [array for array in after if array.dtype.kind == "f"]
    size = sum(map(largest, floats)) + 2 * largest(phi) + largest(grad) + largest(grad) ** 2
    return replace(call, magnitude=size)


# With every output; CALLS, which the tests draw from, leave some out.
WHOLE: dict[str, st.SearchStrategy[Call]] = {
    "conv2d_forward": conv2d_calls(backward=False),
    "conv2d_backward": conv2d_calls(backward=True),
    "dense_forward": dense_calls(backward=False),
    "dense_backward": dense_calls(backward=True),
    "batchnorm_forward": batchnorm_calls(backward=False),
    "batchnorm_backward": batchnorm_calls(backward=True),
    "batchnorm_relu_forward": batchnorm_calls(backward=False),
    "batchnorm_relu_backward": batchnorm_calls(backward=True, relu=True),
    "batchnorm_forward_r": batchnorm_r_calls(backward=False),
    "batchnorm_backward_r": batchnorm_r_calls(backward=True),
    "relu_forward": elementwise_calls(1),
    "relu_backward": elementwise_calls(2),
    "tanh_forward": tanh_calls(),
    "tanh_backward": tanh_backward_calls(),
    "tanh_backward_r": tanh_backward_r_calls(),
    "maxpool_forward": maxpool_calls(backward=False),
    "maxpool_backward": maxpool_calls(backward=True),
    "maxpool_forward_r": maxpool_calls(backward=True, tangent=True),
    "softmax_cross_entropy": loss_calls(labels=True),
    "softmax_cross_entropy_r": loss_r_calls(labels=True),
    "squared_error": loss_calls(labels=False),
    "squared_error_r": loss_r_calls(labels=False),
    **{kind.kernel: step_calls(kind) for kind in OPTIMIZERS.values()},
}


@st.composite
def with_some_outputs(draw: st.DrawFn, calls: st.SearchStrategy[Call]) -> Call:
    """A call of which somebody wants at least one output."""
    call = draw(calls)
    outputs = call.outputs()
    if len(outputs) < 2:
        return call
    return call.without(draw(st.sets(st.sampled_from(outputs), max_size=len(outputs) - 1)))


@cache
def enlarged(operation: str, least: int) -> list[Call]:
    """Three calls of an operation that has no sum over its examples, with `least` numbers or more
    in what each task writes."""
    drawn: list[tuple[int, Call]] = []

    @settings(max_examples=20, derandomize=True, database=None, phases=[Phase.generate])
    @given(WHOLE[operation])
    def note(call: Call) -> None:
        first = next(a for a in call.arguments if isinstance(a, (Written, Updated)))
        drawn.append((prod(shape_of(first)[1:]), call))

    note()
    largest_first = sorted(drawn, key=lambda pair: -pair[0])[:3]
    return [call.repeated(-(-least // size)) for size, call in largest_first]


CALLS = {operation: with_some_outputs(calls) for operation, calls in WHOLE.items()}
ANY_AXES = ("batchnorm", "relu", "tanh")  # whose arrays have as many axes as they like


def compiled_calls(operation: str, kernel: Any) -> st.SearchStrategy[Call]:
    """Calls for a kernel of Numba, which compiles it anew, for a second or two, for every type of
    its arguments: an array's number of axes, whether it is contiguous, as a parameter is where
    T = 1, and each None. The source is one, so these have one type: a pair of tasks or more, five
    axes, all outputs. A function that calls what is compiled brings the last two to one type."""
    if not hasattr(kernel, "py_func"):
        return CALLS[operation].map(Call.paired)
    calls = WHOLE[operation].map(Call.paired)
    return calls.map(lambda call: call.with_axes(5)) if operation.startswith(ANY_AXES) else calls


def calls_for(operation: str, kernel: Any) -> st.SearchStrategy[Call]:
    return compiled_calls(operation, kernel) if is_compiled(kernel) else CALLS[operation]
