"""The meta-iteration in JAX on a GPU.

jit vmap             all tasks at once, the inner steps in a scan: one compiled call
jit scan over tasks  one task after another in a scan, which carries the optimizer's state

A name that ends in ", TF32" lets products and convolutions round their operands to TF32, which is
what JAX does on a GPU unless told otherwise; the others compute in single precision throughout.
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import minireptile as mr
from minireptile.errors import InputError

from .. import peers_jax
from ..peers_case import Built, Case
from ..peers_jax import loss_of, to_flat
from .case import TF32, Carried

Params = dict[str, Any]


def build(case: Case, variant: str, threads: int = 1) -> Built:
    """One of the variants above; `InputError` for another."""
    names = {False: "jit vmap", True: "jit scan over tasks"}
    name = names[isinstance(case, Carried)]
    if variant.removesuffix(TF32) != name:
        raise InputError(f"there is no variant {variant!r} of this case: the one is {name!r}")
    precision = jax.default_matmul_precision(
        "tensorfloat32" if variant.endswith(TF32) else "highest"
    )
    if not isinstance(case, Carried):
        built = peers_jax.build(case, name)
    elif case.theta.dtype == np.float64:
        with jax.enable_x64(True):
            built = carried(case)
        built = Built(jax.enable_x64(True)(built.run), built.flat)
    else:
        built = carried(case)
    return Built(precision(built.run), built.flat)


def carried(case: Case) -> Built:
    """One meta-iteration of a case that carries the optimizer's state."""
    if len(case.x) != 1:
        raise InputError("JAX's variants compute one meta-iteration")
    once = jax.jit(meta_iteration(case))
    theta = {k: jnp.asarray(p) for k, p in case.model.unflatten(case.theta).items()}
    x, y = (jnp.swapaxes(jnp.asarray(a[0]), 0, 1) for a in (case.x, case.y))
    return Built(
        lambda: jax.block_until_ready(once(theta, x, y)), lambda after: to_flat(case.model, after)
    )


def meta_iteration(case: Case) -> Callable[[Params, Any, Any], Params]:
    """Theta after one, as a function of theta, x (T, k, B, ...) and y (T, k, B, ...)."""
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
        change = jax.tree.map(lambda g, v: rate * g / (jnp.sqrt(v) + optimizer.eps), grad, v)
        return (jax.tree.map(jnp.subtract, phi, change), v, t), None

    def meta(theta: Params, x: Any, y: Any) -> Params:
        def task(carry: tuple, xy: tuple) -> tuple[tuple, Params]:
            phi, v, t = lax.scan(step, (theta, *carry), xy)[0]
            return (v, t), phi

        zero = jax.tree.map(jnp.zeros_like, theta), 0.0
        phi = lax.scan(task, zero, (x, y))[1]
        return jax.tree.map(lambda a, b: a + case.epsilon * (b.mean(0) - a), theta, phi)

    return meta
