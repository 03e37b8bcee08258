"""The layers: records that know shapes and parameters, and which kernels to call.

A layer holds no state. It answers four questions: the shape it makes of its input, its parameters,
the arrays its forward kernel leaves for the backward one, and how its kernels are called. The last
two it may answer again for the tangents of a Hessian-vector product. Shapes here leave out the
leading (T, B); arrays have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .backend import Kernels
from .errors import InputError
from .initialisers import INITIALISERS
from .kernels.window import output_size

COLS_BYTES = 2**21  # a convolution's scratch: what stays in a core's cache

Shape = tuple[int, ...]
Views = Mapping[str, NDArray]


class Param(NamedTuple):
    """A parameter of a layer: its shape, and how it starts."""

    shape: Shape
    init: str = "zeros"
    fan_in: int = 0
    fan_out: int = 0


@dataclass(frozen=True)
class Layer:
    """What every layer answers; the defaults suit one without parameters or saved arrays."""

    @property
    def kind(self) -> str:
        """The layer's name in parameter names and messages: "conv", "dense", ..."""
        return type(self).__name__.lower()

    def out_shape(self, shape: Shape) -> Shape:
        """Shape of the output for an input of `shape`; `InputError` where it does not fit."""
        return shape

    def params(self, shape: Shape) -> dict[str, Param]:
        """Parameters by name, for an input of `shape`."""
        return {}

    def saved(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        """Fresh arrays that the forward kernel fills for the backward one, and scratch."""
        return {}

    def forward(self, k: Kernels, y: NDArray, x: NDArray, p: Views, s: Views) -> None:
        """Write y from the input x, the parameters p and the saved arrays s."""
        raise NotImplementedError

    def backward(
        self, k: Kernels, dx: NDArray | None, dp: Views, dy: NDArray,
        x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        """Write dx (unless None) and the parameters' gradients dp, from dy."""
        raise NotImplementedError

    # A layer may lack what follows: then `Model.hvp` takes the complex step. rz is R{z}, the
    # derivative of z along a direction of the parameters (Pearlmutter, 1994). The tangents come in
    # the order of forward and backward, then what these were called with and have written. rx and
    # rdx are None where no layer before has parameters, for then R{x} = 0; a layer without
    # parameters is not called there.

    def saved_r(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        """Fresh arrays that `forward_r` fills for `backward_r`, and scratch."""
        return {}

    def forward_r(
        self, k: Kernels, ry: NDArray, rx: NDArray | None, rp: Views, rs: Views,
        y: NDArray, x: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        """Write ry from rx and rp, the direction in the parameters p; rs is `saved_r`."""
        raise NotImplementedError

    def backward_r(
        self, k: Kernels, rdx: NDArray | None, rdp: Views, rdy: NDArray,
        rx: NDArray | None, ry: NDArray, rp: Views, rs: Views,
        dp: Views, dy: NDArray, x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        """Write rdx (unless None) and rdp, the tangents of dx and dp, from rdy."""
        raise NotImplementedError


def has_r(layer: Layer) -> bool:
    """Whether a layer has `forward_r` and `backward_r`, and they are those of its other passes.

    A class that replaces forward or backward but inherits the R pass has one of another function.
    """
    kinds = type(layer).__mro__

    def depth(name: str) -> int:
        found = (i for i, kind in enumerate(kinds) if name in vars(kind) and kind is not Layer)
        return next(found, len(kinds))

    second = max(depth("forward_r"), depth("backward_r"))
    return second <= min(depth("forward"), depth("backward"))


@dataclass(frozen=True)
class Conv2D(Layer):
    """2-D convolution, channels last (kernels/conv2d.md).

    Parameters
    ----------
    filters : int
        Output channels.
    kernel_size, stride : int or (int, int)
        Rows and columns.
    padding : {"same", "valid"}
        "same" pads as TensorFlow does.
    bias : bool
        Whether each filter has an offset.
    init, bias_init : str
        Initialisers of the weights and of the bias.
    """

    filters: int
    kernel_size: int | tuple[int, int]
    stride: int | tuple[int, int] = 1
    padding: str = "same"
    bias: bool = True
    init: str = "glorot_uniform"
    bias_init: str = "zeros"

    def __post_init__(self) -> None:
        _check_positive(self, "filters", pairs=False)
        _check_positive(self, "kernel_size", "stride")
        _check_choice(self, "padding", ("same", "valid"))
        _check_choice(self, "init", tuple(INITIALISERS))
        _check_choice(self, "bias_init", tuple(INITIALISERS))

    @property
    def kind(self) -> str:
        return "conv"

    def out_shape(self, shape: Shape) -> Shape:
        rows, columns, _ = _window(self, shape, self.kernel_size, self.stride, self.padding)
        return rows, columns, self.filters

    def params(self, shape: Shape) -> dict[str, Param]:
        taps, c_in, n = prod(_pair(self.kernel_size)), shape[-1], self.filters
        fans = taps * c_in, taps * n
        weight = Param((*_pair(self.kernel_size), c_in, n), self.init, *fans)
        return {"weight": weight, **_bias(self.bias, n, self.bias_init, *fans)}

    def saved(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        rows, columns, _ = self.out_shape(shape)
        image = (rows, columns, *_pair(self.kernel_size), shape[-1])
        room = COLS_BYTES // (prod(image) * np.dtype(dtype).itemsize)
        b = min(max(room, 1), B)
        t = min(max(room // B, 1), T) if b == B else 1
        return {"cols": np.empty((t, b, *image), dtype)}

    def _geometry(self, x: NDArray) -> tuple[tuple[int, int], tuple[int, int]]:
        _, _, pad = _window(self, x.shape[2:], self.kernel_size, self.stride, self.padding)
        return _pair(self.stride), pad

    def forward(self, k: Kernels, y: NDArray, x: NDArray, p: Views, s: Views) -> None:
        k.conv2d_forward(y, s["cols"], x, p["weight"], p.get("bias"), *self._geometry(x))

    def backward(
        self, k: Kernels, dx: NDArray | None, dp: Views, dy: NDArray,
        x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        dw, db = dp["weight"], dp.get("bias")
        k.conv2d_backward(dx, dw, db, s["cols"], dy, x, p["weight"], *self._geometry(x))

    def saved_r(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        return _second_products(self, T, B, shape, dtype)

    def forward_r(
        self, k: Kernels, ry: NDArray, rx: NDArray | None, rp: Views, rs: Views,
        y: NDArray, x: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        at, cols = self._geometry(x), s["cols"]
        k.conv2d_forward(ry, cols, x, rp["weight"], rp.get("bias"), *at)
        if rx is not None:
            k.conv2d_forward(rs["y"], cols, rx, p["weight"], None, *at)
            ry += rs["y"]

    def backward_r(
        self, k: Kernels, rdx: NDArray | None, rdp: Views, rdy: NDArray,
        rx: NDArray | None, ry: NDArray, rp: Views, rs: Views,
        dp: Views, dy: NDArray, x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        at, cols, rdw = self._geometry(x), s["cols"], rdp["weight"]
        k.conv2d_backward(rdx, rdw, rdp.get("bias"), cols, rdy, x, p["weight"], *at)
        if rx is not None and rdx is not None:
            k.conv2d_backward(rs["x"], rs["weight"], None, cols, dy, rx, rp["weight"], *at)
            rdw += rs["weight"]
            rdx += rs["x"]


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
        _check_positive(self, "units", pairs=False)
        _check_choice(self, "init", tuple(INITIALISERS))
        _check_choice(self, "bias_init", tuple(INITIALISERS))

    def out_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise InputError(f"expected a flat input (n,), got {shape}: put Flatten() before it")
        return (self.units,)

    def params(self, shape: Shape) -> dict[str, Param]:
        fans = shape[0], self.units
        weight = Param((shape[0], self.units), self.init, *fans)
        return {"weight": weight, **_bias(self.bias, self.units, self.bias_init, *fans)}

    def forward(self, k: Kernels, y: NDArray, x: NDArray, p: Views, s: Views) -> None:
        k.dense_forward(y, x, p["weight"], p.get("bias"))

    def backward(
        self, k: Kernels, dx: NDArray | None, dp: Views, dy: NDArray,
        x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        k.dense_backward(dx, dp["weight"], dp.get("bias"), dy, x, p["weight"])

    def saved_r(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        return _second_products(self, T, B, shape, dtype)

    def forward_r(
        self, k: Kernels, ry: NDArray, rx: NDArray | None, rp: Views, rs: Views,
        y: NDArray, x: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        k.dense_forward(ry, x, rp["weight"], rp.get("bias"))
        if rx is not None:
            k.dense_forward(rs["y"], rx, p["weight"], None)
            ry += rs["y"]

    def backward_r(
        self, k: Kernels, rdx: NDArray | None, rdp: Views, rdy: NDArray,
        rx: NDArray | None, ry: NDArray, rp: Views, rs: Views,
        dp: Views, dy: NDArray, x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        rdw = rdp["weight"]
        k.dense_backward(rdx, rdw, rdp.get("bias"), rdy, x, p["weight"])
        if rx is not None and rdx is not None:
            k.dense_backward(rs["x"], rs["weight"], None, dy, rx, rp["weight"])
            rdw += rs["weight"]
            rdx += rs["x"]


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation, always with the statistics of the batch (kernels/batchnorm.md).

    There are no moving averages: in training and in evaluation alike, every output depends on the
    other examples of its batch, as in the paper's code.

    Parameters
    ----------
    eps : float
        Added to the variance; 1e-3 is TensorFlow's.
    """

    eps: float = 1e-3

    def __post_init__(self) -> None:
        if not self.eps > 0:
            raise InputError(f"BatchNorm: eps must be positive, not {self.eps}")

    def params(self, shape: Shape) -> dict[str, Param]:
        return {"gamma": Param((shape[-1],), "ones"), "beta": Param((shape[-1],))}

    def saved(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        return {name: np.empty((T, shape[-1]), dtype) for name in ("mean", "rstd")}

    def forward(self, k: Kernels, y: NDArray, x: NDArray, p: Views, s: Views) -> None:
        k.batchnorm_forward(y, s["mean"], s["rstd"], x, p["gamma"], p["beta"], self.eps)

    def backward(
        self, k: Kernels, dx: NDArray | None, dp: Views, dy: NDArray,
        x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        dx = np.empty_like(x) if dx is None else dx  # only where it is the first layer
        k.batchnorm_backward(dx, dp["gamma"], dp["beta"], dy, x, s["mean"], s["rstd"], p["gamma"])

    def saved_r(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        return self.saved(T, B, shape, dtype)

    def forward_r(
        self, k: Kernels, ry: NDArray, rx: NDArray | None, rp: Views, rs: Views,
        y: NDArray, x: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        rx = np.zeros_like(x) if rx is None else rx  # only where it is the first layer
        k.batchnorm_forward_r(
            ry, rs["mean"], rs["rstd"], rx, rp["gamma"], rp["beta"],
            x, s["mean"], s["rstd"], p["gamma"],
        )  # fmt: skip

    def backward_r(
        self, k: Kernels, rdx: NDArray | None, rdp: Views, rdy: NDArray,
        rx: NDArray | None, ry: NDArray, rp: Views, rs: Views,
        dp: Views, dy: NDArray, x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        rx = np.zeros_like(x) if rx is None else rx
        rdx = np.empty_like(x) if rdx is None else rdx
        k.batchnorm_backward_r(
            rdx, rdp["gamma"], rdp["beta"], rdy, rx, rs["mean"], rs["rstd"], rp["gamma"],
            dp["gamma"], dp["beta"], dy, x, s["mean"], s["rstd"], p["gamma"],
        )  # fmt: skip


@dataclass(frozen=True)
class ReLU(Layer):
    """max(x, 0) (kernels/relu.md)."""

    def forward(self, k: Kernels, y: NDArray, x: NDArray, p: Views, s: Views) -> None:
        k.relu_forward(y, x)

    def backward(
        self, k: Kernels, dx: NDArray | None, dp: Views, dy: NDArray,
        x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        if dx is not None:
            k.relu_backward(dx, dy, x)

    def forward_r(
        self, k: Kernels, ry: NDArray, rx: NDArray | None, rp: Views, rs: Views,
        y: NDArray, x: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        k.relu_backward(ry, rx, x)

    def backward_r(
        self, k: Kernels, rdx: NDArray | None, rdp: Views, rdy: NDArray,
        rx: NDArray | None, ry: NDArray, rp: Views, rs: Views,
        dp: Views, dy: NDArray, x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        k.relu_backward(rdx, rdy, x)


@dataclass(frozen=True)
class Tanh(Layer):
    """The hyperbolic tangent (kernels/tanh.md)."""

    def forward(self, k: Kernels, y: NDArray, x: NDArray, p: Views, s: Views) -> None:
        k.tanh_forward(y, x)

    def backward(
        self, k: Kernels, dx: NDArray | None, dp: Views, dy: NDArray,
        x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        if dx is not None:
            k.tanh_backward(dx, dy, y)

    def forward_r(
        self, k: Kernels, ry: NDArray, rx: NDArray | None, rp: Views, rs: Views,
        y: NDArray, x: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        k.tanh_backward(ry, rx, y)

    def backward_r(
        self, k: Kernels, rdx: NDArray | None, rdp: Views, rdy: NDArray,
        rx: NDArray | None, ry: NDArray, rp: Views, rs: Views,
        dp: Views, dy: NDArray, x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        k.tanh_backward_r(rdx, rdy, ry, dy, y)


@dataclass(frozen=True)
class MaxPool(Layer):
    """Max pooling, channels last (kernels/maxpool.md).

    Parameters
    ----------
    size : int or (int, int)
        Rows and columns of the window.
    stride : int or (int, int), optional
        The size, if not given.
    padding : {"same", "valid"}
        "same" pads as TensorFlow does; the padding never wins.
    """

    size: int | tuple[int, int] = 2
    stride: int | tuple[int, int] | None = None
    padding: str = "same"

    def __post_init__(self) -> None:
        if self.stride is None:
            object.__setattr__(self, "stride", self.size)
        _check_positive(self, "size", "stride")
        _check_choice(self, "padding", ("same", "valid"))

    def out_shape(self, shape: Shape) -> Shape:
        rows, columns, _ = _window(self, shape, self.size, self.stride, self.padding)
        return rows, columns, shape[-1]

    def saved(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        return {"winner": np.empty((T, B, *self.out_shape(shape)), np.int32)}

    def _geometry(self, x: NDArray) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        _, _, pad = _window(self, x.shape[2:], self.size, self.stride, self.padding)
        return _pair(self.size), _pair(self.stride), pad

    def forward(self, k: Kernels, y: NDArray, x: NDArray, p: Views, s: Views) -> None:
        k.maxpool_forward(y, s["winner"], x, *self._geometry(x))

    def backward(
        self, k: Kernels, dx: NDArray | None, dp: Views, dy: NDArray,
        x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        if dx is not None:
            k.maxpool_backward(dx, dy, s["winner"], *self._geometry(x))

    def forward_r(
        self, k: Kernels, ry: NDArray, rx: NDArray | None, rp: Views, rs: Views,
        y: NDArray, x: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        k.maxpool_forward_r(ry, rx, s["winner"], *self._geometry(x))

    def backward_r(
        self, k: Kernels, rdx: NDArray | None, rdp: Views, rdy: NDArray,
        rx: NDArray | None, ry: NDArray, rp: Views, rs: Views,
        dp: Views, dy: NDArray, x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        k.maxpool_backward(rdx, rdy, s["winner"], *self._geometry(x))


@dataclass(frozen=True)
class Flatten(Layer):
    """Each example as one row; there is nothing to compute, so there is no kernel."""

    def out_shape(self, shape: Shape) -> Shape:
        return (prod(shape),)

    def forward(self, k: Kernels, y: NDArray, x: NDArray, p: Views, s: Views) -> None:
        y[...] = x.reshape(y.shape)

    def backward(
        self, k: Kernels, dx: NDArray | None, dp: Views, dy: NDArray,
        x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        if dx is not None:
            dx[...] = dy.reshape(dx.shape)

    def forward_r(
        self, k: Kernels, ry: NDArray, rx: NDArray | None, rp: Views, rs: Views,
        y: NDArray, x: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        assert rx is not None
        ry[...] = rx.reshape(ry.shape)

    def backward_r(
        self, k: Kernels, rdx: NDArray | None, rdp: Views, rdy: NDArray,
        rx: NDArray | None, ry: NDArray, rp: Views, rs: Views,
        dp: Views, dy: NDArray, x: NDArray, y: NDArray, p: Views, s: Views,
    ) -> None:  # fmt: skip
        assert rdx is not None
        rdx[...] = rdy.reshape(rdx.shape)


def _bias(wanted: bool, n: int, init: str, fan_in: int, fan_out: int) -> dict[str, Param]:
    return {"bias": Param((n,), init, fan_in, fan_out)} if wanted else {}


def _second_products(
    layer: Layer, T: int, B: int, shape: Shape, dtype: DTypeLike
) -> dict[str, NDArray]:
    """Room for the second of the two products that ry, rdx and rdw of x w are the sum of."""
    arrays = {"y": (B, *layer.out_shape(shape)), "x": (B, *shape)}
    arrays["weight"] = layer.params(shape)["weight"].shape
    return {name: np.empty((T, *array), dtype) for name, array in arrays.items()}


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _window(
    layer: Layer, shape: Shape, kernel: Any, stride: Any, padding: str
) -> tuple[int, int, tuple[int, int]]:
    """Rows and columns of the output, and the padding before the first row and column."""
    if len(shape) != 3:
        raise InputError(f"expected an image input (H, W, C), got {shape}")
    (rows, top), (columns, left) = (
        output_size(n, k, s, padding)
        for n, k, s in zip(shape[:2], _pair(kernel), _pair(stride), strict=True)
    )
    if rows < 1 or columns < 1:
        raise InputError(
            f"a window of {_pair(kernel)} does not fit an image of {shape[:2]}: "
            'use padding="same" or a smaller window'
        )
    return rows, columns, (top, left)


def _check_positive(layer: Layer, *names: str, pairs: bool = True) -> None:
    for name in names:
        value = getattr(layer, name)
        numbers = value if pairs and isinstance(value, tuple) and len(value) == 2 else (value,)
        if not all(isinstance(n, int) and n > 0 for n in numbers):
            raise InputError(
                f"{type(layer).__name__}: {name} must be a positive whole number"
                f"{' or a pair of them' if pairs else ''}, not {value!r}"
            )


def _check_choice(layer: Layer, name: str, choices: tuple[str, ...]) -> None:
    value = getattr(layer, name)
    if value not in choices:
        raise InputError(
            f"{type(layer).__name__}: {name} must be one of {', '.join(choices)}, not {value!r}"
        )
