"""The fully connected layer; derived in kernels/dense.md."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import DTypeLike, NDArray

from ..backend import Kernels
from ..errors import InputError
from .base import Layer, Param, Shape, Views, bias_of, check_choice, check_positive, second_products
from .initialisers import INITIALISERS


@dataclass(frozen=True)
class Dense(Layer):
    """Fully connected layer (kernels/dense.md).

    Parameters
    ----------
    units : int
        Outputs.
    bias : bool
        Whether each output has an offset.
    init, bias_init : str
        Initialisers of the weights and of the bias.
    """

    units: int
    bias: bool = True
    init: str = "glorot_uniform"
    bias_init: str = "zeros"

    def __post_init__(self) -> None:
        check_positive(self, "units", pairs=False)
        check_choice(self, "init", tuple(INITIALISERS))
        check_choice(self, "bias_init", tuple(INITIALISERS))

    def out_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise InputError(f"expected a flat input (n,), got {shape}: put Flatten() before it")
        return (self.units,)

    def params(self, shape: Shape) -> dict[str, Param]:
        fans = shape[0], self.units
        weight = Param((shape[0], self.units), self.init, *fans)
        return {"weight": weight, **bias_of(self.bias, self.units, self.bias_init, *fans)}

    def forward(self, k: Kernels, y: NDArray, x: NDArray, p: Views, s: Views) -> None:
        k.dense_forward(y, x, p["weight"], p.get("bias"))

    def backward(
        self, k: Kernels, dx: NDArray | None, dp: Views, dy: NDArray,
        x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        k.dense_backward(dx, dp["weight"], dp.get("bias"), dy, x, p["weight"])

    def saved_r(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        return second_products(self, T, B, shape, dtype)

    def forward_r(
        self, k: Kernels, ry: NDArray, rx: NDArray | None, rp: Views, rs: Views,
        y: NDArray, x: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        k.dense_forward(ry, x, rp["weight"], rp.get("bias"))
        if rx is not None:
            k.dense_forward(rs["y"], rx, p["weight"], None)
            k.add(ry, rs["y"])

    def backward_r(
        self, k: Kernels, rdx: NDArray | None, rdp: Views, rdy: NDArray,
        rx: NDArray | None, ry: NDArray, rp: Views, rs: Views,
        dp: Views, dy: NDArray, x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        rdw = rdp["weight"]
        k.dense_backward(rdx, rdw, rdp.get("bias"), rdy, x, p["weight"])
        if rx is not None and rdx is not None:
            k.dense_backward(rs["x"], rs["weight"], None, dy, rx, rp["weight"])
            k.add_gradient(rdw, rs["weight"])
            k.add(rdx, rs["x"])
