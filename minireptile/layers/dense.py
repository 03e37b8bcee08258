"""The fully connected layer; derived in kernels/dense.md."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import DTypeLike, NDArray

from ..backend import Kernels
from ..checks import choice, flag, settle, whole
from ..errors import InputError
from .base import Layer, Param, Shape, Stage, bias_of, second_products
from .initialisers import INITIALISERS


@dataclass(frozen=True)
class Dense(Layer):
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

    def forward(self, k: Kernels, a: Stage) -> None:
        k.dense_forward(a.y, a.x, a.p["weight"], a.p.get("bias"))

    def backward(self, k: Kernels, a: Stage) -> None:
        k.dense_backward(a.dx, a.dp["weight"], a.dp.get("bias"), a.dy, a.x, a.p["weight"])

    reads_r = ()

    def saved_r(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        return second_products(self, T, B, shape, dtype)

    def forward_r(self, k: Kernels, a: Stage, r: Stage) -> None:
        k.dense_forward(r.y, a.x, r.p["weight"], r.p.get("bias"))
        if r.x is not None:
            k.dense_forward(r.saved["y"], r.x, a.p["weight"], None)
            k.add(r.y, r.saved["y"])

    def backward_r(self, k: Kernels, a: Stage, r: Stage) -> None:
        rdw = r.dp["weight"]
        k.dense_backward(r.dx, rdw, r.dp.get("bias"), r.dy, a.x, a.p["weight"])
        if r.x is not None:
            dx, dw = r.saved["x"] if r.dx is not None else None, r.saved["weight"]
            k.dense_backward(dx, dw, None, a.dy, r.x, r.p["weight"])
            k.add_gradient(rdw, dw)
            if r.dx is not None:
                k.add(r.dx, dx)
