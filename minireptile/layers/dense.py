"""The fully connected layer; derived in kernels/dense.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..backend import Kernels
from ..checks import choice, flag, settle, whole
from ..errors import InputError
from .base import Param, Product, Shape, Stage, bias_of
from .initialisers import INITIALISERS


@dataclass(frozen=True)
class Dense(Product):
    """Fully connected layer (kernels/dense.md).

    From (T, B, n) to (T, B, units), by weight (T, n, units) and bias (T, units).

    Parameters
    ----------
    units : int
        Outputs.
    bias : bool
        Whether each output has an offset.
    init : {"glorot_uniform", "he_normal", "fan_in_uniform", "zeros", "ones"}
        How the weights start.
    bias_init : as init
        How the bias starts.

    Raises
    ------
    InputError
        If an argument is out of range or of another kind.
    """

    recorded = True

    units: int
    bias: bool = True
    init: str = "glorot_uniform"
    bias_init: str = "zeros"

    def __post_init__(self) -> None:
        settle(self, whole, "units")
        settle(self, flag, "bias")
        settle(self, choice, "init", "bias_init", choices=tuple(INITIALISERS))

    def out_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise InputError(f"expected a flat input (n,), got {shape}: put Flatten() before it")
        return (self.units,)

    def params(self, shape: Shape) -> dict[str, Param]:
        fans = shape[0], self.units
        weight = Param((shape[0], self.units), self.init, *fans)
        return {"weight": weight, **bias_of(self.bias, self.units, self.bias_init, *fans)}

    def _product(self, k: Kernels, a: Stage, y: Any, x: Any, w: Any, b: Any) -> None:
        k.dense_forward(y, x, w, b)

    def _gradients(
        self, k: Kernels, a: Stage, dx: Any, dw: Any, db: Any, dy: Any, x: Any, w: Any
    ) -> None:
        k.dense_backward(dx, dw, db, dy, x, w)
