"""The meta-iteration in JAX, on the processor.

jit vmap   all tasks at once, the inner steps in a scan: one compiled call a meta-iteration
jit map    one task after another within that call
jit scan   jit vmap, and many meta-iterations in a scan: one call for all of them
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

import minireptile as mr
from minireptile.errors import InputError

from .peers_case import Built, Case

Array = Any
Params = dict[str, Any]


def build(case: Case, variant: str, threads: int = 1) -> Built:
    """One of the variants above; `InputError` for another. The number of threads is JAX's own: it
    is fixed when JAX starts (NPROC)."""
    variants = ("jit vmap", "jit map", "jit scan")
    if variant not in variants:
        raise InputError(f"there is no variant {variant!r}: choose one of {', '.join(variants)}")
    if case.theta.dtype == np.float64:
        with jax.enable_x64(True):
            built = _build(case, variant)
        return Built(jax.enable_x64(True)(built.run), built.flat)
    return _build(case, variant)


def _build(case: Case, variant: str) -> Built:
    once = meta_iteration(case, one_by_one=variant == "jit map")
    theta = {k: jnp.asarray(p) for k, p in case.model.unflatten(case.theta).items()}
    x, y = jnp.asarray(case.x), jnp.asarray(case.y)
    if variant == "jit scan":

        @jax.jit
        def many(theta: Params, x: Array, y: Array) -> Params:
            return lax.scan(lambda theta, xy: (once(theta, *xy), None), theta, (x, y))[0]

    elif len(x) == 1:
        many, x, y = jax.jit(once), x[0], y[0]
    else:
        raise InputError(f"{variant} computes one meta-iteration: several are for jit scan")
    return Built(
        lambda: jax.block_until_ready(many(theta, x, y)),
        lambda theta: to_flat(case.model, theta),
    )


def to_flat(model: mr.Model, theta: Params) -> NDArray:
    """Theta (P,); the layout of each parameter is minireptile's already."""
    names = model.unflatten(np.empty(model.size, np.float32))
    return np.concatenate([np.ravel(theta[name]) for name in names])


def meta_iteration(case: Case, one_by_one: bool) -> Callable[[Params, Array, Array], Params]:
    """Theta after one meta-iteration, as a function of theta, x (k, T, B, ...) and y."""
    loss, optimizer = loss_of(case.model), case.optimizer

    def step(carry: tuple, xy: tuple) -> tuple[tuple, None]:
        phi, v, t = carry
        grad = jax.grad(loss)(phi, *xy)
        if isinstance(optimizer, mr.SGD):
            return (jax.tree.map(lambda p, g: p - optimizer.lr * g, phi, grad), v, t), None
        assert isinstance(optimizer, mr.Adam)
        assert optimizer.beta1 == 0
        t, beta2 = t + 1, optimizer.beta2
        rate = optimizer.lr * jnp.sqrt(1 - beta2**t)
        v = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, v, grad)
        phi = jax.tree.map(
            lambda p, g, v: p - rate * g / (jnp.sqrt(v) + optimizer.eps), phi, grad, v
        )
        return (phi, v, t), None

    def adapt(theta: Params, x: Array, y: Array) -> Params:
        v = () if isinstance(optimizer, mr.SGD) else jax.tree.map(jnp.zeros_like, theta)
        return lax.scan(step, (theta, v, 0.0), (x, y))[0][0]

    def meta(theta: Params, x: Array, y: Array) -> Params:
        if one_by_one:
            tasks = jnp.swapaxes(x, 0, 1), jnp.swapaxes(y, 0, 1)
            phi = lax.map(lambda xy: adapt(theta, *xy), tasks)
        else:
            phi = jax.vmap(adapt, in_axes=(None, 1, 1))(theta, x, y)
        return jax.tree.map(lambda a, b: a + case.epsilon * (b.mean(0) - a), theta, phi)

    return meta


def loss_of(model: mr.Model) -> Callable[[Params, Array, Array], Array]:
    """The mean loss as a function of phi, x (B, ...) and y (B, ...)."""

    def loss(phi: Params, x: Array, y: Array) -> Array:
        out = forward(model, phi, x)
        if model.loss == "squared_error":
            return ((out - y) ** 2).sum() / len(x)
        return -jnp.take_along_axis(jax.nn.log_softmax(out), y[:, None], axis=1).mean()

    return loss


def forward(model: mr.Model, phi: Params, x: Array) -> Array:
    """The network's outputs (B, n_out). Channels are last, as in minireptile; XLA's "SAME" padding
    is TensorFlow's."""
    for step in model.plan.steps:
        layer = step.layer
        p = {key: phi[f"{step.name}.{key}"] for key in step.slots}
        if isinstance(layer, mr.Conv2D):
            strides = (layer.stride,) * 2 if isinstance(layer.stride, int) else layer.stride
            x = lax.conv_general_dilated(
                x, p["weight"], strides, layer.padding.upper(),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )  # fmt: skip
            x = x + p["bias"] if layer.bias else x
        elif isinstance(layer, mr.BatchNorm):
            axes = tuple(range(x.ndim - 1))
            x = (x - x.mean(axes)) * lax.rsqrt(x.var(axes) + layer.eps) * p["gamma"] + p["beta"]
        elif isinstance(layer, mr.Dense):
            x = x @ p["weight"] + p["bias"] if layer.bias else x @ p["weight"]
        elif isinstance(layer, mr.Flatten):
            x = x.reshape(len(x), -1)
        else:
            x = {mr.ReLU: jax.nn.relu, mr.Tanh: jnp.tanh}[type(layer)](x)
    return x
