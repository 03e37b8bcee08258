"""Custom operations of JAX as people write them, right and wrong in one way each.

python -m tests.testing.jax_ops       # what the kit and check_grads say to each
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from minireptile.errors import InputError
from minireptile.testing import GradientError, check_gradients, from_jax


@dataclass(frozen=True)
class Case:
    """One version of an operation: `points_at` is what the kit must say, "" if it is right."""

    name: str
    function: Callable[..., Any]
    inputs: tuple[Any, ...]
    points_at: str = ""


def custom(forward: Any, backward: Any, keep: Any) -> Any:
    """A function with a gradient of its own, which `backward` makes of what is kept."""
    function = jax.custom_vjp(forward)
    function.defvjp(lambda *args: (function(*args), keep(*args)), backward)
    return function


# -------------------------------------------------------------------------------------- softplus


def log1pexp(x: Any) -> Any:
    return jnp.log1p(jnp.exp(x))


def sigmoid_minus_a_bit(x: Any, dy: Any) -> Any:
    return (dy * (1 - 1 / (1 + jnp.exp(x))) * 1.0001,)


def overflows(x: Any, dy: Any) -> Any:
    return (dy * jnp.exp(x) / (1 + jnp.exp(x)),)


# -------------------------------- y = x + a tanh(y), by iterations, and its implicit derivative


def fixed_point(x: Any, a: Any) -> Any:
    return jax.lax.fori_loop(0, 60, lambda i, y: x + a * jnp.tanh(y), x)


def implicit(kept: Any, dy: Any) -> Any:
    y, a = kept
    t = jnp.tanh(y)
    d = dy / (1 - a * (1 - t * t))
    return d, d * t


def last_iteration_only(kept: Any, dy: Any) -> Any:
    return dy, dy * jnp.tanh(kept[0])


def keep_point(x: Any, a: Any) -> Any:
    return fixed_point(x, a), a


# ----------------------------------------------------------------------- clipped on the way back


def clipped(kept: Any, dy: Any) -> Any:
    return (jnp.clip(dy, -0.1, 0.1),)


x = np.random.default_rng(0).standard_normal(5)
a = np.array([0.1, -0.3, 0.2, 0.5, -0.4])
CASES = (
    Case("log1pexp", custom(log1pexp, lambda x, dy: (dy * jax.nn.sigmoid(x),), lambda x: x), (x,)),
    Case("log1pexp, one part in 10,000", custom(log1pexp, sigmoid_minus_a_bit, lambda x: x), (x,),
         "ratio 1.0001 everywhere"),
    Case("log1pexp, exp(x) / (1 + exp(x))", custom(jax.nn.softplus, overflows, lambda x: x),
         (np.array([1.0, 800.0]),), r"1 entries are NaN or infinite, the first at \(1,\)"),
    Case("fixed point", custom(fixed_point, implicit, keep_point), (x, a)),
    Case("fixed point, through its last iteration only",
         custom(fixed_point, last_iteration_only, keep_point), (x, a), "dx: is wrong in 5 of 5"),
    Case("clipped gradient", custom(lambda x: x, clipped, lambda x: None), (x,),
         "dx: is not linear in the upstream gradient"),
)  # fmt: skip


def kit(case: Case) -> str:
    """What the kit says: "" if it passes."""
    try:
        check_gradients(from_jax(case.function), *case.inputs)
    except (GradientError, InputError) as error:
        return str(error)
    return ""


def checked(case: Case) -> str:
    """What JAX's own check says: "" if it passes."""
    try:
        check_grads(case.function, tuple(map(jnp.asarray, case.inputs)), order=1, modes=["rev"])
    except AssertionError as error:
        return str(error).strip()
    return ""


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    for case in CASES:
        print(f"# {case.name}")
        for name, check in (("kit", kit), ("check_grads", checked)):
            start = time.perf_counter()
            said = check(case)
            if name == "check_grads" and said:
                lines = said.split("\n")
                said = f"{lines[0]} ... {len(lines)} lines"
            print(f"{name:12}{said or 'right'} [{time.perf_counter() - start:.2f} s]")
        print()


if __name__ == "__main__":
    main()
