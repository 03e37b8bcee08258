"""A model: layers over one vector of parameters, and the face of what computes them.

Parameters are views into phi, gradients are views into one vector of the same length, so an
algorithm sees vectors only. A model checks what it is given, once, and hands it to its engine.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .backend import kernels
from .checks import choice
from .devices.host import HOST
from .doors import Place, cast, checked_architecture, one_batch, read
from .engine import Engine, Walked, engine_for, walked
from .errors import InputError
from .layers import Layer, Shape, has_r
from .layers.initialisers import INITIALISERS
from .plan import make_plan
from .rng import Stream, generator
from .summary import Summary, summary_of

HVP_METHODS = ("auto", "r", "complex")
COMPLEX_STEP = 1e-20


class Model:
    """A stack of layers and a loss.

    Parameters
    ----------
    layers : sequence of Layer
        From the input to the outputs; the last one gives a row of n_out numbers.
    input_shape : tuple of int
        Shape of one example, such as (28, 28, 1).
    loss : {"softmax_cross_entropy", "squared_error"}
        Cross-entropy takes integer labels (T, B); squared error takes targets (T, B, n_out).
    reduction : {"mean", "sum"}
        Over the mini-batch. "sum" is what the paper's code does.
    backend : {"numpy", "numba", "cupy", "numba-cuda", "auto"}
        Where the kernels come from: "numpy", the reference; "numba", compiled when first used and
        kept; "cupy" or "numba-cuda", on a GPU, from which arrays come back to the host unless phi
        is an array of the GPU. "auto": the fastest that can be used here, as the command line
        chooses it, cupy for images alone.
    dtype : {"float32", "float64"}
        Type of `init`'s vector; the methods compute in the type of the phi they are given.
    tf32 : bool
        For cupy: convolutions on tensor cores, which round both operands to 10 bits of mantissa.

    Attributes
    ----------
    layers : tuple of Layer
        As given.
    input_shape : tuple of int
        As given.
    n_out : int
        Outputs of an example.
    size : int
        Number of parameters, P.
    backend : str
        Whose kernels compute; never "auto".
    dtype : numpy.dtype
        Of `init`'s vector.
    plan : Plan
        The network as numbers: names, shapes, and where parameters lie in phi.

    Raises
    ------
    InputError
        If a layer does not fit its input, which names both, or an argument is something else.
    MissingPackage
        If the backend needs a package that is not installed.

    Notes
    -----
    A model keeps the arrays of the last (T, B, dtype) it saw, so one model belongs to one thread.
    The gradients are derived by hand (kernels/loss_and_grad.md).

    Examples
    --------
    >>> import minireptile as mr
    >>> model = mr.Model([mr.Dense(8), mr.Tanh(), mr.Dense(1)], (1,), "squared_error")
    >>> model
    Model of 25 parameters, squared_error
      dense1: (1,) -> (8,)
      tanh1: (8,) -> (8,)
      dense2: (8,) -> (1,)
    >>> theta = model.init(seed=0)
    >>> loss, grad = model.loss_and_grad(theta, [[0.5], [1.0]], [[1.0], [2.0]])
    >>> loss.shape, grad.shape
    ((), (25,))
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        input_shape: Shape,
        loss: str = "softmax_cross_entropy",
        reduction: str = "mean",
        backend: str = "numpy",
        dtype: DTypeLike = "float32",
        tf32: bool = False,
    ) -> None:
        self.layers, self.input_shape, self.backend, self.dtype = checked_architecture(
            layers, input_shape, loss, reduction, backend, dtype, tf32
        )
        self.tf32 = tf32
        self.plan = make_plan(self.layers, self.input_shape, loss, reduction)
        self.n_out, self.size = self.plan.n_out, self.plan.size
        self.kernels = kernels(self.backend)
        self.engine: Engine = engine_for(self.plan, self.backend, tf32)
        self._warned = False

    @property
    def loss(self) -> str:
        """What is minimised: "softmax_cross_entropy" or "squared_error"."""
        return self.plan.loss

    @property
    def reduction(self) -> str:
        """How losses of a mini-batch's examples become one: "mean" or "sum"."""
        return self.plan.reduction

    @property
    def place(self) -> Place:
        """Where the arrays may lie that the methods are given."""
        device = self.engine.device
        return Place(self.backend, None if device is HOST else device)

    def __repr__(self) -> str:
        rows = [f"  {s.name}: {s.in_shape} -> {s.out_shape}" for s in self.plan.steps]
        return "\n".join([f"Model of {self.size} parameters, {self.loss}", *rows])

    def summary(self) -> Summary:
        """The layers as a table: shapes, parameters and work.

        Returns
        -------
        Summary
            Prints as a plain table, in colour where rich prints it, and as HTML in a notebook. Its
            `layers` hold the numbers: for each, name, out_shape, parameters and operations, which
            are the floating-point operations of one example's forward pass.

        Examples
        --------
        >>> import minireptile as mr
        >>> print(mr.sine_mlp().summary())
        Model of 4,353 parameters, input 1, squared_error
        <BLANKLINE>
        layer   output  parameters  operations  share
        ---------------------------------------------
        dense1  64             128         128   1.5%
        tanh1   64               0          64   0.7%
        dense2  64           4,160       8,192  95.5%
        tanh2   64               0          64   0.7%
        dense3  1               65         128   1.5%
        ---------------------------------------------
        total                4,353       8,576
        operations of one example's forward pass; a multiplication and an addition are two
        """
        return summary_of(self.plan, self.dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled as what it was made of: an engine's arrays are views of one another,
        which copies would not be."""
        options = self.loss, self.reduction, self.backend, str(self.dtype), self.tf32
        return type(self), (self.layers, self.input_shape, *options)

    # ------------------------------------------------------------------------------ parameters

    def init(self, seed: int = 0) -> NDArray:
        """Draw the initial parameters.

        Parameters
        ----------
        seed : int
            From 0 to 2**64 - 1. Layer l depends on (seed, l) alone.

        Returns
        -------
        array (P,)
            In the model's dtype; each layer's as its initialisers say.

        Raises
        ------
        InputError
            If the seed is no such number.
        """
        theta = np.empty(self.size, self.dtype)
        for i, step in enumerate(self.plan.steps):
            rng = generator(seed, Stream.INIT, task=i)
            for slot in step.slots.values():
                start = INITIALISERS[slot.param.init]
                values = start(rng, slot.param.shape, slot.param.fan_in, slot.param.fan_out)
                theta[slot.start : slot.stop] = values.ravel()
        return theta

    def unflatten(self, phi: NDArray) -> dict[str, NDArray]:
        """See each parameter in phi by its name and in its shape.

        Parameters
        ----------
        phi : array (T, P), or (P,)
            The parameters.

        Returns
        -------
        dict of arrays (T, ...), or (...)
            Views into phi: {"conv1.weight": (T, kh, kw, C_in, C_out), ...}.

        Raises
        ------
        InputError
            If the last axis of phi has another length.
        """
        phi = read(phi, "phi", "bifc", self.place)
        if phi.shape[-1:] != (self.size,):
            raise InputError(f"phi must end in {self.size} parameters, got shape {phi.shape}")
        return {
            f"{step.name}.{key}": phi[..., slot.start : slot.stop].reshape(
                *phi.shape[:-1], *slot.param.shape
            )
            for step in self.plan.steps
            for key, slot in step.slots.items()
        }

    # ------------------------------------------------------------------------- forward, backward

    def forward(self, phi: NDArray, x: NDArray) -> NDArray:
        """Compute the outputs of the last layer.

        Parameters
        ----------
        phi : array (T, P), or (P,)
            Parameters of each task, float32 or float64.
        x : array (T, B, *input_shape), or (B, *input_shape)
            Examples of each task, taken in phi's type.

        Returns
        -------
        array (T, B, n_out), or (B, n_out)
            Logits, or the values of a regression, in phi's type.

        Raises
        ------
        InputError
            If shapes disagree or a type cannot be computed in.
        """
        single, phi, x, _ = one_batch(self, phi, x)
        out = self.engine.outputs(phi, x)
        return out[0] if single else out

    def loss_and_grad(self, phi: NDArray, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
        """Compute the loss of each task on one mini-batch, and its gradient.

        Parameters
        ----------
        phi : array (T, P), or (P,)
            Parameters of each task, float32 or float64.
        x : array (T, B, *input_shape), or (B, *input_shape)
            Examples of each task, taken in phi's type.
        y : array (T, B) of int, or (T, B, n_out) of float
            Labels or targets; without T where phi has none.

        Returns
        -------
        loss : array (T,), or ()
            In phi's type, as the gradient.
        grad : array (T, P), or (P,)
            The derivative of the loss by phi (kernels/loss_and_grad.md).

        Raises
        ------
        InputError
            If shapes disagree or a label is outside [0, n_out).
        """
        single, phi, x, y = one_batch(self, phi, x, y)
        loss, grad = self.engine.gradients(phi, x, y)
        return (loss[0], grad[0]) if single else (loss, grad)

    def hvp(
        self, phi: NDArray, x: NDArray, y: NDArray, v: NDArray, method: str = "auto"
    ) -> NDArray:
        """Compute the Hessian of the loss times v, exact to rounding.

        Parameters
        ----------
        phi : array (T, P), or (P,)
            Parameters of each task, float32 or float64.
        x : array (T, B, *input_shape), or (B, *input_shape)
            Examples of each task, taken in phi's type.
        y : array (T, B) of int, or (T, B, n_out) of float
            Labels or targets; without T where phi has none.
        v : array (T, P), or (P,)
            A direction for each task.
        method : {"auto", "r", "complex"}
            "r", the R pass: R{grad}, the derivative of the gradient along v, from tangents that
            every layer propagates forward and backward, by the model's kernels in phi's type
            (Pearlmutter, Neural Computation 1994). "complex", the complex step: Im grad(phi + i h
            v) / h, in double precision by the NumPy kernels; these are analytic, so nothing is
            subtracted and h can be 1e-20 (Squire & Trapp, SIAM Review 1998). "auto": the R pass,
            or the complex step, with a warning, if a layer has no R pass.

        Returns
        -------
        array (T, P), or (P,)
            In phi's type.

        Raises
        ------
        InputError
            As `loss_and_grad`; if v has not phi's shape; if the method cannot be used.
        """
        choice(method, "hvp: method", HVP_METHODS)
        if isinstance(phi, np.ndarray) and phi.dtype.kind == "c" and not self.exotic:
            return self._reference.hvp(phi, x, y, v, method)
        v = read(v, "v", "bifc", self.place)
        single, at, x_t, y_t = one_batch(self, phi, x, y)
        shape = at.shape[1:] if single else at.shape
        if v.shape != shape:
            raise InputError(f"v must have phi's shape {shape}, not {v.shape}")
        if v.dtype.kind == "c" and at.dtype.kind != "c":
            raise InputError("v must be real where phi is")
        if method == "complex" or not self._has_r(method):
            return self._by_complex_step(phi, x, y, v)
        v = cast(v, "v", at.dtype).reshape(at.shape)
        hv = self.engine.products(at, x_t, y_t, v)
        if hv is NotImplemented:
            hv = self._walked.products(at, x_t, y_t, v)
        return hv[0] if single else hv

    def _by_complex_step(self, phi: Any, x: Any, y: Any, v: Any) -> Any:
        """By NumPy's kernels, which alone know complex numbers; so through the host from a GPU."""
        device, there = self.engine.device, hasattr(phi, "__cuda_array_interface__")
        phi, x, y, v = (
            device.read(a) if hasattr(a, "__cuda_array_interface__") else np.asarray(a)
            for a in (phi, x, y, v)
        )
        if phi.dtype.kind != "f":
            raise InputError(f"the complex step needs a real phi, not {phi.dtype}")
        _, grad = self._reference.loss_and_grad(phi + 1j * COMPLEX_STEP * np.float64(v), x, y)
        hv = (grad.imag / COMPLEX_STEP).astype(phi.dtype)
        return device.upload(hv) if there else hv

    @cached_property
    def _walked(self) -> Walked:
        """For what the engine declines."""
        return walked(self.plan, self.backend)

    @cached_property
    def _reference(self) -> Model:
        return self if self.backend == "numpy" else self.on("numpy")

    def _has_r(self, method: str) -> bool:
        """Whether there is an R pass; `InputError` if not and it was asked for, or a warning."""
        steps = self.plan.steps[self.plan.first :]
        lacking = [step.name for step in steps if not has_r(step.layer)]
        if not lacking:
            return True
        reason = f"{', '.join(lacking)}: no R pass, which is forward_r and backward_r of its own"
        if method == "r":
            raise InputError(f'{reason}; write them, or use method="complex"')
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{reason}, so Hessian-vector products take the complex step, slower and in NumPy",
                stacklevel=3,
            )
        return False

    def on(self, backend: str) -> Model:
        """Make the same model on another backend.

        Parameters
        ----------
        backend : {"numpy", "numba", "cupy", "numba-cuda", "auto"}
            As for `Model`.

        Returns
        -------
        Model
            With the same parameters in the same places, so that phi serves both.

        Raises
        ------
        InputError
            If there is no such backend, or no such GPU.
        MissingPackage
            If it needs a package that is not installed.
        """
        tf32 = self.tf32 and backend == "cupy"
        options = self.loss, self.reduction, backend, self.dtype, tf32
        return Model(self.layers, self.input_shape, *options)

    @property
    def exotic(self) -> bool:
        """Whether complex and extended precision are computed in: by the reference alone."""
        return self.backend == "numpy"
