"""What every layer is, and what several share: products, parameters and windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..backend import Kernels
from ..errors import InputError
from ..kernels.window import output_size

Shape = tuple[int, ...]


class Param(NamedTuple):
    """A parameter of a layer: its shape, and how it starts.

    Parameters
    ----------
    shape : tuple of int
        Without the task axis.
    init : {"zeros", "ones", "glorot_uniform", "he_normal", "fan_in_uniform"}
        The initialiser.
    fan_in : int
        Inputs of each output, where the initialiser asks.
    fan_out : int
        Outputs of each input, where the initialiser asks.
    """

    shape: Shape
    init: str = "zeros"
    fan_in: int = 0
    fan_out: int = 0


class Stage(NamedTuple):
    """The arrays of one layer in one pass; or, under the same names, their tangents.

    Attributes
    ----------
    x, y : array (T, B, ...)
        Input and output.
    dx, dy : array (T, B, ...)
        Their gradients. dx is None where nobody wants it.
    p, dp : dict of arrays (T, ...)
        Parameters and their gradients by name. A gradient that nobody wants is None.
    saved : dict of arrays
        What the forward pass leaves to the backward one, and scratch.
    """

    x: Any
    y: Any
    dx: Any
    dy: Any
    p: Mapping[str, Any]
    dp: Mapping[str, Any]
    saved: Mapping[str, Any]


@dataclass(frozen=True)
class Layer:
    """What every layer answers; the defaults suit one without parameters or saved arrays.

    Notes
    -----
    A layer is a frozen dataclass that derives from this class and holds no state. It has `forward`
    and `backward`, and what it needs of the rest; layers/README.md makes one, and
    `testing.check_gradients` proves it.
    """

    # Whether its passes call kernels alone, so that a GPU can record them; a class speaks for
    # itself, and not for those derived from it.
    recorded: ClassVar[bool] = False

    @property
    def kind(self) -> str:
        """The layer's name in parameter names and messages: "conv", "dense", ..."""
        return type(self).__name__.lower()

    def out_shape(self, shape: Shape) -> Shape:
        """Give the shape of one example's output.

        Parameters
        ----------
        shape : tuple of int
            Of the input, without (T, B).

        Returns
        -------
        tuple of int
            Of the output, without (T, B).

        Raises
        ------
        InputError
            If the layer does not take an input of this shape.
        """
        return shape

    def params(self, shape: Shape) -> dict[str, Param]:
        """Give the parameters by name.

        Parameters
        ----------
        shape : tuple of int
            Of the input, without (T, B).

        Returns
        -------
        dict of Param
            In the order in which they lie in phi.
        """
        return {}

    def saved(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        """Make the arrays that `forward` fills for `backward`, and scratch.

        Parameters
        ----------
        T : int
            Tasks.
        B : int
            Examples of each.
        shape : tuple of int
            Of the input, without (T, B).
        dtype : dtype
            Of the input.

        Returns
        -------
        dict of arrays
            By name; the layer finds them in ``a.saved``.
        """
        return {}

    def forward(self, k: Kernels, a: Stage) -> None:
        """Write a.y, and a.saved, from the input a.x and the parameters a.p.

        Parameters
        ----------
        k : namespace of kernels
            Those of the model's backend: ``k.dense_forward`` and others.
        a : Stage
            The arrays x (T, B, ...), y (T, B, ...), p by name (T, ...), and saved.
        """
        raise NotImplementedError

    def backward(self, k: Kernels, a: Stage) -> None:
        """Write a.dx and the parameters' gradients a.dp from a.dy.

        Parameters
        ----------
        k : namespace of kernels
            Those of the model's backend.
        a : Stage
            As `forward` left it, with dy (T, B, ...), dx (T, B, ...) and dp by name (T, ...). What
            is None nobody wants; without parameters, a layer is called where dx is wanted.
        """
        raise NotImplementedError

    # A layer may lack what follows: then `Model.hvp` takes the complex step. r holds R{.}, the
    # derivatives along the direction r.p of the parameters (Pearlmutter, 1994), under the names
    # that the stage has. To add a second term there is k.add, and k.add_gradient for r.dp: a GPU
    # has no other way within a recorded call.

    # What the R pass reads that it may otherwise find to be None: the tangent of the input, where
    # nothing before depends on phi (zeros then), and the gradients of the parameters.
    reads_r: ClassVar[tuple[str, ...]] = ("x", "dp")

    def saved_r(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        """Make the arrays that `forward_r` fills for `backward_r`, and scratch.

        Parameters
        ----------
        T : int
            Tasks.
        B : int
            Examples of each.
        shape : tuple of int
            Of the input, without (T, B).
        dtype : dtype
            Of the input.

        Returns
        -------
        dict of arrays
            By name; the layer finds them in ``r.saved``.
        """
        return {}

    def forward_r(self, k: Kernels, a: Stage, r: Stage) -> None:
        """Write the tangent r.y from r.x and r.p, and r.saved, after `forward`.

        Parameters
        ----------
        k : namespace of kernels
            Those of the model's backend.
        a : Stage
            As `forward` left it.
        r : Stage
            The tangents of its arrays along the direction r.p, in their shapes.
        """
        raise NotImplementedError

    def backward_r(self, k: Kernels, a: Stage, r: Stage) -> None:
        """Write r.dx and r.dp, the tangents of a.dx and a.dp, from r.dy, after `backward`.

        Parameters
        ----------
        k : namespace of kernels
            Those of the model's backend.
        a : Stage
            As `backward` left it.
        r : Stage
            As `forward_r` left it, with dy; what is None nobody wants.
        """
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


class Product(Layer):
    """A layer y = x w + b: linear in x and in w, so that a tangent is the sum of two of the same
    products, of each factor with the other's tangent (kernels/conv2d.md, eq. 11 to 14)."""

    def _product(self, k: Kernels, a: Stage, y: Any, x: Any, w: Any, b: Any) -> None:
        """Write y = x w + b; a is the layer's stage, whose scratch may be used."""
        raise NotImplementedError

    def _gradients(
        self, k: Kernels, a: Stage, dx: Any, dw: Any, db: Any, dy: Any, x: Any, w: Any
    ) -> None:
        """Write those of dx, dw and db that are not None."""
        raise NotImplementedError

    def forward(self, k: Kernels, a: Stage) -> None:
        self._product(k, a, a.y, a.x, a.p["weight"], a.p.get("bias"))

    def backward(self, k: Kernels, a: Stage) -> None:
        dp = a.dp
        self._gradients(k, a, a.dx, dp["weight"], dp.get("bias"), a.dy, a.x, a.p["weight"])

    reads_r = ()

    def saved_r(self, T: int, B: int, shape: Shape, dtype: DTypeLike) -> dict[str, NDArray]:
        # Room for the second of the two products that ry, rdx and rdw are the sum of.
        arrays = {"y": (B, *self.out_shape(shape)), "x": (B, *shape)}
        arrays["weight"] = self.params(shape)["weight"].shape
        return {name: np.empty((T, *array), dtype) for name, array in arrays.items()}

    def forward_r(self, k: Kernels, a: Stage, r: Stage) -> None:
        self._product(k, a, r.y, a.x, r.p["weight"], r.p.get("bias"))
        if r.x is not None:
            self._product(k, a, r.saved["y"], r.x, a.p["weight"], None)
            k.add(r.y, r.saved["y"])

    def backward_r(self, k: Kernels, a: Stage, r: Stage) -> None:
        rdw = r.dp["weight"]
        self._gradients(k, a, r.dx, rdw, r.dp.get("bias"), r.dy, a.x, a.p["weight"])
        if r.x is not None:
            dx, dw = r.saved["x"] if r.dx is not None else None, r.saved["weight"]
            self._gradients(k, a, dx, dw, None, a.dy, r.x, r.p["weight"])
            k.add_gradient(rdw, dw)
            if r.dx is not None:
                k.add(r.dx, dx)


def bias_of(wanted: bool, n: int, init: str, fan_in: int, fan_out: int) -> dict[str, Param]:
    """The parameter of an offset for each of n outputs, if it is wanted."""
    return {"bias": Param((n,), init, fan_in, fan_out)} if wanted else {}


def pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def window_of(
    shape: Shape, kernel: Any, stride: Any, padding: str
) -> tuple[int, int, tuple[int, int]]:
    """Rows and columns of the output, and the padding before the first row and column."""
    if len(shape) != 3:
        raise InputError(f"expected an image input (H, W, C), got {shape}")
    (rows, top), (columns, left) = (
        output_size(n, k, s, padding)
        for n, k, s in zip(shape[:2], pair(kernel), pair(stride), strict=True)
    )
    if rows < 1 or columns < 1:
        raise InputError(
            f"a window of {pair(kernel)} does not fit an image of {shape[:2]}: "
            'use padding="same" or a smaller window'
        )
    return rows, columns, (top, left)
