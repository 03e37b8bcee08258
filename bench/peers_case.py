"""The meta-iterations that all frameworks compute, and the check that they compute the same.

`reference` is what minireptile's NumPy kernels give; another theta must not be further from it
than `tolerance` allows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import minireptile as mr
from minireptile.optim import Optimizer
from minireptile.reptile import adapt_tasks

from .measure import Mismatch, rounding
from .settings import MINIIMAGENET, OMNIGLOT, QUICK, SINE, Setting

# By how much of an update others' libraries may be off on a GPU in double precision: on an H200,
# JAX's were off by 2e-8, and PyTorch's by less.
LIBRARIES = 1e-6
TF32 = ", TF32"  # behind the name of a variant that rounds operands of products to it
RESIDENT = ", on the device"


@dataclass(frozen=True)
class Case:
    """N meta-iterations, one after another: k steps on each of T tasks, then the outer update."""

    model: mr.Model
    optimizer: Optimizer  # its state starts from zero in every task, or in the first one
    theta: NDArray  # (P,)
    x: NDArray  # (N, k, T, B, ...)
    y: NDArray  # (N, k, T, B) labels, or (N, k, T, B, n_out) targets
    epsilon: float = 0.5  # outer step size; theta + epsilon (mean of phi - theta)
    # The tasks follow one another and hand on the optimizer's state, as in the paper's code.
    carry: bool = False


def case_of(setting: Setting, iterations: int = 1) -> Case:
    """Meta-iterations of a setting, each with data of its own."""
    xs, ys = zip(*(setting.data(it) for it in range(iterations)), strict=True)
    model = setting.model()
    return Case(model, setting.optimizer, model.init(0), np.stack(xs), np.stack(ys))


CASES: dict[str, Callable[[], Case]] = {
    str(OMNIGLOT): lambda: case_of(OMNIGLOT),
    str(MINIIMAGENET): lambda: case_of(MINIIMAGENET),
    str(SINE): lambda: case_of(SINE),
    str(replace(SINE, tasks=5)): lambda: case_of(replace(SINE, tasks=5)),
    f"{SINE}, 1000 in a row": lambda: case_of(SINE, 1000),
    # On a GPU alone.
    f"{OMNIGLOT}, carry": lambda: replace(case_of(OMNIGLOT), carry=True),
    str(QUICK): lambda: case_of(QUICK),
}


def meta_iteration(case: Case, model: mr.Model, theta: NDArray, x: NDArray, y: NDArray) -> NDArray:
    """Theta after one meta-iteration: x (k, T, B, ...), y (k, T, B, ...)."""
    phi = np.repeat(theta[None], x.shape[1], axis=0)
    if case.carry:
        adapt_tasks(model, phi, x, y, case.optimizer, case.optimizer.init(theta), "carry")
    else:
        mr.adapt(model, phi, x, y, case.optimizer)
    return theta + case.epsilon * (phi.mean(0) - theta)


def reference(case: Case) -> NDArray:
    """What all are held to: theta (P,) by the NumPy kernels."""
    return build(case, "numpy").run()


class Built(NamedTuple):
    """A variant made ready: `run` computes its theta, `flat` turns that into minireptile's (P,)."""

    run: Callable[[], Any]
    flat: Callable[[Any], NDArray]


def build(case: Case, variant: str, threads: int = 1, gpu: bool = False) -> Built:
    """minireptile itself: a backend's name, perhaps with these behind it.

    on the device   all arrays are on the GPU before and after, as the frameworks have them
    TF32            convolutions round their operands to it
    """
    name = variant.removesuffix(TF32)
    plain, backend = case.model, name.removesuffix(RESIDENT)
    shape = plain.layers, plain.input_shape, plain.loss, plain.reduction
    model = mr.Model(*shape, backend, plain.dtype, tf32=variant != name)
    if name.endswith(RESIDENT):
        return import_module("bench.gpu.card").resident(case, model)

    def run() -> NDArray:
        theta = case.theta
        for x, y in zip(case.x, case.y, strict=True):
            theta = meta_iteration(case, model, theta, x, y)
        return theta

    return Built(run, lambda theta: theta)


def difference(case: Case, theta: NDArray, wanted: NDArray) -> float:
    """||theta - wanted|| / ||wanted - start||; infinite for another shape.

    Biases under batch norm are left out: their gradient is zero up to rounding, and Adam makes
    steps of full length from that.
    """
    if theta.shape != wanted.shape:
        return math.inf
    counted = np.ones(case.model.size, bool)
    for step, after in zip(case.model.plan.steps, case.model.plan.steps[1:], strict=False):
        if "bias" in step.slots and isinstance(after.layer, mr.BatchNorm):
            counted[step.slots["bias"].start : step.slots["bias"].stop] = False
    apart, moved = (a[counted].astype(float) for a in (theta - wanted, wanted - case.theta))
    return float(np.linalg.norm(apart) / np.linalg.norm(moved))


def tolerance(case: Case, wanted: NDArray) -> float:
    """The largest difference that rounding explains.

    Every step rounds the parameters to eps of their size: eps sqrt(N k) ||theta|| in all, and that
    over the length of the update.

    In single precision now and then a ReLU is on in one program and off in the other, and that task
    goes another way from there; Adam's first step is sign(g), which flips where g is nothing but
    rounding; and PyTorch's epsilon stands elsewhere (kernels/adam.md, eq. 6), which is worth 5 %
    of the update. So these are held tightly in double precision only (`in_double`), where Adam's
    epsilon of 1e-12 still counts beside gradients of 1e-7.
    """
    single, adam = case.theta.dtype == np.float32, isinstance(case.optimizer, mr.Adam)
    if single and (adam or any(isinstance(layer, mr.ReLU) for layer in case.model.layers)):
        return 0.3
    steps = case.x.shape[0] * case.x.shape[1]
    moved = float(np.linalg.norm(wanted - case.theta) / np.linalg.norm(case.theta))
    return rounding(case.theta.dtype, steps) / moved + (1e-5 if adam else 0.0)


def check(name: str, case: Case, theta: NDArray, wanted: NDArray, allowed: float = 0.0) -> float:
    """The `difference`; `Mismatch` where it is beyond the `tolerance`, and beyond what is
    `allowed`."""
    apart = difference(case, theta, wanted)
    if not apart <= max(tolerance(case, wanted), allowed):  # nor if it is NaN
        how = f"{type(case.optimizer).__name__}, {case.theta.dtype}"
        raise Mismatch(f"{name}: theta is off by {apart:.1e} of the update ({how})")
    return apart


def in_double(case: Case) -> list[Case]:
    """The case in double precision, with SGD, and with Adam for an epsilon so small that it does
    not matter where it stands."""
    theta, x = case.theta.astype(float), case.x.astype(float)
    y = case.y.astype(float) if case.y.dtype.kind == "f" else case.y
    double = replace(case, theta=theta, x=x, y=y)
    optimizers = (mr.SGD(0.01), mr.Adam(1e-3, beta1=0.0, eps=1e-12))
    return [replace(double, optimizer=optimizer) for optimizer in optimizers]
