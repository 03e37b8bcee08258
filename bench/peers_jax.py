"""The meta-iteration in JAX, on the processor or on a GPU.

jit vmap             all tasks at once, the inner steps in a scan: one compiled call
jit map              one task after another within that call
jit scan             jit vmap, and many meta-iterations in a scan: one call for all of them
jit scan over tasks  one task after another in a scan, which carries the optimizer's state

A name that ends in ", TF32" lets products and convolutions round their operands to TF32, which is
what JAX does on a GPU unless told otherwise; the others compute in single precision throughout.
"""

# mypy: disable-error-code="import-not-found"

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

import minireptile as mr
from minireptile.errors import InputError

from .peers_case import TF32, Built, Case

SCAN = "jit scan over tasks"

Array = Any
Params = dict[str, Any]


def build(case: Case, variant: str, threads: int = 1, gpu: bool = False) -> Built:
    """One of the variants above; `InputError` for another. The number of threads and the device are
    JAX's own: they are fixed when JAX starts (NPROC, JAX_PLATFORMS)."""
    name = variant.removesuffix(TF32)
    variants = (SCAN,) if case.carry else ("jit vmap", "jit map", "jit scan")
    if name not in variants:
        raise InputError(f"there is no variant {variant!r}: choose one of {', '.join(variants)}")
    exact = case.theta.dtype == np.float64
    with jax.enable_x64(True) if exact else nullcontext():
        built = _build(case, name)
    run = jax.enable_x64(True)(built.run) if exact else built.run
    if gpu:
        run = jax.default_matmul_precision("highest" if name == variant else "tensorfloat32")(run)
    return Built(run, built.flat)


def _build(case: Case, variant: str) -> Built:
    once = meta_iteration(case, variant)
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


def meta_iteration(case: Case, variant: str) -> Callable[[Params, Array, Array], Params]:
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

    def zero(theta: Params) -> tuple:
        return () if isinstance(optimizer, mr.SGD) else jax.tree.map(jnp.zeros_like, theta), 0.0

    def adapt(theta: Params, x: Array, y: Array) -> Params:
        return lax.scan(step, (theta, *zero(theta)), (x, y))[0][0]

    def meta(theta: Params, x: Array, y: Array) -> Params:
        tasks = jnp.swapaxes(x, 0, 1), jnp.swapaxes(y, 0, 1)

        def task(state: tuple, xy: tuple) -> tuple[tuple, Params]:
            phi, *after = lax.scan(step, (theta, *state), xy)[0]
            return tuple(after), phi

        if variant == SCAN:
            phi = lax.scan(task, zero(theta), tasks)[1]
        elif variant == "jit map":
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
