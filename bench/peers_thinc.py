"""The sine meta-iteration in Thinc.

Thinc has neither a convolution with a stride nor batch normalisation, so its case is the sine
network: its `Linear`, its `chain`, its `SGD`. It has no tanh layer either; the one here is made as
its documentation tells users to make layers, by a forward function that returns its callback.
"""

# mypy: disable-error-code="import-not-found"

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from thinc.api import SGD, Linear, Model, chain

import minireptile as mr
from minireptile.errors import InputError

from .peers_case import Built, Case

VARIANT = "Linear, own tanh"


def build(case: Case, variant: str = VARIANT, threads: int = 1, gpu: bool = False) -> Built:
    """The one variant; `InputError` for another, or a case that Thinc's layers do not make. The
    number of threads is its BLAS's own (BLIS_NUM_THREADS)."""
    if variant != VARIANT:
        raise InputError(f"there is no variant {variant!r}: the one there is, is {VARIANT!r}")
    optimizer = case.optimizer
    if not isinstance(optimizer, mr.SGD) or case.model.loss != "squared_error":
        raise InputError("Thinc's variant is for SGD on squared errors")
    if len(case.x) != 1:
        raise InputError("Thinc's variant computes one meta-iteration")
    net = network(case.model)
    linear = [node for node in net.walk() if node.name == "linear"]
    theta = [(p["W"], p["b"]) for p in _arrays(case.model, case.theta)]
    sgd = SGD(optimizer.lr, grad_clip=0.0, use_averages=False)
    x, y = (np.swapaxes(a[0], 0, 1) for a in (case.x, case.y))  # the tasks first
    tasks = [list(zip(*task, strict=True)) for task in zip(x, y, strict=True)]

    def run() -> list[tuple[NDArray, NDArray]]:
        sums = [(np.zeros_like(W), np.zeros_like(b)) for W, b in theta]
        for task in tasks:
            for node, (W, b) in zip(linear, theta, strict=True):
                node.set_param("W", W.copy())
                node.set_param("b", b.copy())
            for x, y in task:
                out, backprop = net.begin_update(x)
                backprop((out - y) * (2 / len(x)))
                net.finish_update(sgd)
            for node, (W, b) in zip(linear, sums, strict=True):
                W += node.get_param("W")
                b += node.get_param("b")
        mean = [(W / len(tasks), b / len(tasks)) for W, b in sums]
        return [
            (W + case.epsilon * (W_phi - W), b + case.epsilon * (b_phi - b))
            for (W, b), (W_phi, b_phi) in zip(theta, mean, strict=True)
        ]

    return Built(run, _to_flat)


def network(model: mr.Model) -> Any:
    """The model's layers, chained."""
    layers = []
    for step in model.plan.steps:
        if isinstance(step.layer, mr.Dense) and step.layer.bias:
            layers.append(Linear(step.layer.units, step.in_shape[0]))
        elif isinstance(step.layer, mr.Tanh):
            layers.append(Model("tanh", _tanh))
        else:
            raise InputError(f"Thinc's variant has no layer for {step.name}")
    return chain(*layers)


def _tanh(model: Any, x: NDArray, is_train: bool) -> tuple[NDArray, Callable[[NDArray], NDArray]]:
    y = np.tanh(x)
    return y, lambda dy: dy * (1 - y * y)


def _arrays(model: mr.Model, theta: NDArray) -> list[dict[str, NDArray]]:
    """The parameters of each Linear: W (n_out, n_in) and b (n_out,)."""
    views = model.unflatten(theta)
    dense = [step.name for step in model.plan.steps if step.slots]
    return [
        {"W": np.ascontiguousarray(views[f"{name}.weight"].T), "b": views[f"{name}.bias"].copy()}
        for name in dense
    ]


def _to_flat(theta: list[tuple[NDArray, NDArray]]) -> NDArray:
    return np.concatenate([part for W, b in theta for part in (W.T.ravel(), b)])
