"""A network as numbers: its layers, the shapes between them, and where parameters lie in theta.

A plan is what an engine computes. It knows layers and nothing else: no arrays, no backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

from .errors import InputError
from .layers import BatchNorm, BatchNormReLU, Flatten, Layer, Param, ReLU, Shape

LOSSES = ("softmax_cross_entropy", "squared_error")
REDUCTIONS = ("mean", "sum")


class Slot(NamedTuple):
    """Where a parameter lies in theta: theta[start:stop], seen with its shape."""

    start: int
    stop: int
    param: Param


class Step(NamedTuple):
    """One layer of the plan: its name, its shapes (without T and B) and its parameters' slots."""

    name: str
    layer: Layer
    in_shape: Shape
    out_shape: Shape
    slots: dict[str, Slot]


@dataclass(frozen=True)
class Plan:
    """What there is to compute.

    Attributes
    ----------
    steps : tuple of Step
        The layers in order.
    input_shape : tuple of int
        Of one example.
    n_out : int
        Outputs of an example.
    loss, reduction : str
        One of `LOSSES` and of `REDUCTIONS`.
    size : int
        Number of parameters, P.
    """

    steps: tuple[Step, ...]
    input_shape: Shape
    n_out: int
    loss: str
    reduction: str
    size: int

    @property
    def first(self) -> int:
        """The first step with parameters; the number of steps if there is none."""
        return next((i for i, step in enumerate(self.steps) if step.slots), len(self.steps))

    def scale(self, B: int) -> float:
        """What each example's loss is multiplied by: 1 / B for the mean, 1 for the sum."""
        return 1 / B if self.reduction == "mean" else 1.0


def make_plan(layers: Sequence[Layer], input_shape: Shape, loss: str, reduction: str) -> Plan:
    """Name the layers, infer the shapes, and lay the parameters out in one vector. `InputError` if
    a layer does not fit its input: names the layer, what it expected and what it got."""
    steps: list[Step] = []
    counts: dict[str, int] = {}
    shape, start = tuple(input_shape), 0
    for layer in layers:
        counts[layer.kind] = counts.get(layer.kind, 0) + 1
        name = f"{layer.kind}{counts[layer.kind]}"
        try:
            out_shape = layer.out_shape(shape)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        slots = {}
        for key, param in layer.params(shape).items():
            slots[key] = Slot(start, start + prod(param.shape), param)
            start = slots[key].stop
        steps.append(Step(name, layer, shape, out_shape, slots))
        shape = out_shape
    if len(shape) != 1:
        raise InputError(
            f"{steps[-1].name}: the last layer must give a row of outputs, "
            f"not {shape}: end with Flatten() and Dense(n_out)"
        )
    return Plan(tuple(steps), tuple(input_shape), shape[0], loss, reduction, start)


def fuse(plan: Plan) -> Plan:
    """The same function in fewer steps: a batch normalisation and the ReLU behind it are one, and
    a Flatten is none, since the next step sees the same numbers in its own shape."""
    steps: list[Step] = []
    for step in plan.steps:
        if type(step.layer) is Flatten:
            continue
        before = steps[-1] if steps else None
        if before and type(step.layer) is ReLU and type(before.layer) is BatchNorm:
            steps[-1] = before._replace(layer=BatchNormReLU(before.layer.eps))
        else:
            steps.append(step)
    return replace(plan, steps=tuple(steps)) if steps else plan
