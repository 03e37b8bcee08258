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
from .doors import Place, checked_architecture, read
from .engine import Engine, Walked, engine_for, walked
from .errors import InputError
from .layers import Layer, Shape, has_r
from .layers.initialisers import INITIALISERS
from .plan import LOSSES, REDUCTIONS, make_plan
from .rng import Stream, generator

HVP_METHODS = ("auto", "r", "complex")
COMPLEX_STEP = 1e-20


class Model:
    """A stack of layers and a loss.

    Parameters
    ----------
    layers : sequence of layers
    input_shape : tuple of int
        Shape of one example, such as (28, 28, 1).
    loss : {"softmax_cross_entropy", "squared_error"}
        Cross-entropy takes integer labels (T, B); squared error takes targets (T, B, n_out).
    reduction : {"mean", "sum"}
        Over the mini-batch. "sum" is what the paper's code does.
    backend : str
        Where the kernels come from: "numpy", the reference; "numba", compiled; "cupy" or
        "numba-cuda", on a GPU. Arrays come back to the host unless phi is an array of the GPU.
    dtype : {"float32", "float64"}
        Type of `init`'s vector; the methods compute in the type of the phi they are given.
    tf32 : bool
        cupy: convolutions on tensor cores, which round both operands to 10 bits of mantissa.

    Attributes
    ----------
    size : int
        Number of parameters, P.

    Notes
    -----
    A model keeps the arrays of the last (T, B, dtype) it saw, so one model belongs to one thread.
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
        self.layers, self.input_shape, self.dtype = checked_architecture(
            layers, input_shape, loss, reduction, backend, dtype, tf32
        )
        self.loss, self.reduction, self.backend, self.tf32 = loss, reduction, backend, tf32
        self.plan = make_plan(self.layers, self.input_shape, loss, reduction)
        self.n_out, self.size = self.plan.n_out, self.plan.size
        self.kernels = kernels(backend)
        self.engine: Engine = engine_for(self.plan, backend, tf32)
        self._warned = False

    def __repr__(self) -> str:
        rows = [f"  {s.name}: {s.in_shape} -> {s.out_shape}" for s in self.plan.steps]
        return "\n".join([f"Model of {self.size} parameters, {self.loss}", *rows])

    # ------------------------------------------------------------------------------ parameters

    def init(self, seed: int = 0) -> NDArray:
        """Initial parameters, (P,). Layer l depends on (seed, l) alone."""
        theta = np.empty(self.size, self.dtype)
        for i, step in enumerate(self.plan.steps):
            rng = generator(seed, Stream.INIT, task=i)
            for slot in step.slots.values():
                start = INITIALISERS[slot.param.init]
                values = start(rng, slot.param.shape, slot.param.fan_in, slot.param.fan_out)
                theta[slot.start : slot.stop] = values.ravel()
        return theta

    def unflatten(self, phi: NDArray) -> dict[str, NDArray]:
        """Views into phi by name: {"conv1.weight": (kh, kw, C_in, C_out), ...}.

        Given (T, P), each view has the task axis first.
        """
        phi = read(phi, "phi", "bifc", Place(self.backend, self.gpu.device if self.gpu else None))
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
        """The outputs of the last layer.

        Parameters
        ----------
        phi : (T, P), or (P,)
        x : (T, B, *input_shape), or (B, *input_shape)

        Returns
        -------
        (T, B, n_out), or (B, n_out)
        """
        single, phi, x = self.checked(phi, x)
        out = self.engine.outputs(phi, x)
        return out[0] if single else out

    def loss_and_grad(self, phi: NDArray, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
        """The loss of each task on one mini-batch, and its gradient.

        Parameters
        ----------
        phi : (T, P), or (P,)
        x : (T, B, *input_shape), or (B, *input_shape)
        y : labels (T, B) or targets (T, B, n_out); without T where phi has none

        Returns
        -------
        loss : (T,), or a scalar array
        grad : (T, P), or (P,)

        Raises
        ------
        InputError
            If shapes disagree or a label is outside [0, n_out).
        """
        single, phi, x = self.checked(phi, x)
        y = self._array(y)[None] if single else self._array(y)
        y = self.checked_targets(y, x, phi.dtype)
        loss, grad = self.engine.gradients(phi, x, y)
        return (loss[0], grad[0]) if single else (loss, grad)

    def hvp(
        self, phi: NDArray, x: NDArray, y: NDArray, v: NDArray, method: str = "auto"
    ) -> NDArray:
        """The Hessian of the loss times v, exact to rounding.

        Parameters
        ----------
        phi, v : (T, P), or (P,)
        x, y : as in `loss_and_grad`
        method : {"auto", "r", "complex"}
            "r", the R pass: R{grad}, the derivative of the gradient along v, from tangents that
            every layer propagates forward and backward, by the model's kernels in phi's type
            (Pearlmutter, Neural Computation 1994). "complex", the complex step: Im grad(phi + i h
            v) / h, in double precision by the NumPy kernels; these are analytic, so nothing is
            subtracted and h can be 1e-20 (Squire & Trapp, SIAM Review 1998). "auto": the R pass,
            or the complex step, with a warning, if a layer has no R pass.

        Returns
        -------
        (T, P), or (P,), in phi's type

        Raises
        ------
        InputError
            As `loss_and_grad`; if v has not phi's shape; if the method cannot be used.
        """
        if method not in HVP_METHODS:
            raise InputError(f"method must be one of {', '.join(HVP_METHODS)}, not {method!r}")
        phi = self._array(phi)
        if np.shape(v) != phi.shape:
            raise InputError(f"v must have phi's shape {phi.shape}, not {np.shape(v)}")
        if np.iscomplexobj(v) and phi.dtype.kind != "c":
            raise InputError("v must be real where phi is")
        by_tangents = method != "complex" and self._has_r(method)
        if by_tangents and phi.dtype.kind == "f":
            return self._by_tangents(self.engine, phi, x, y, v)
        # Only NumPy's kernels know complex numbers: those of a complex step, or of a complex phi.
        device = self.engine.device
        there = not isinstance(phi, np.ndarray)
        if device.name != "host":
            phi, x, y, v = (device.read(a) if device.owns(a) else a for a in (phi, x, y, v))
        if by_tangents:
            hv = self._by_tangents(self._reference, phi, x, y, v)
        else:
            hv = self._by_complex_step(phi, x, y, v)
        return device.upload(hv) if there else hv

    def _by_tangents(self, engine: Engine, phi: Any, x: Any, y: Any, v: Any) -> Any:
        single, phi, x = self.checked(phi, x)
        y = self.checked_targets(self._array(y)[None] if single else self._array(y), x, phi.dtype)
        v = self._array(v, phi.dtype).reshape(phi.shape)
        hv = engine.products(phi, x, y, v)
        if hv is NotImplemented:
            hv = self._walked.products(phi, x, y, v)
        return hv[0] if single else hv

    def _by_complex_step(self, phi: NDArray, x: NDArray, y: NDArray, v: NDArray) -> NDArray:
        if phi.dtype.kind != "f":
            raise InputError(f"the complex step needs a real phi, not {phi.dtype}")
        stepped = phi + 1j * COMPLEX_STEP * np.asarray(v, np.float64)
        single, at, x = self.checked(stepped, x)
        y = self._array(y)[None] if single else self._array(y)
        _, grad = self._reference.gradients(at, x, self.checked_targets(y, x, at.dtype))
        hv = (grad.imag / COMPLEX_STEP).astype(phi.dtype)
        return hv[0] if single else hv

    @cached_property
    def _walked(self) -> Walked:
        """For what the engine declines."""
        return walked(self.plan, self.backend)

    @cached_property
    def _reference(self) -> Walked:
        return walked(self.plan, "numpy")

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
        """The same model on another backend."""
        tf32 = self.tf32 and backend == "cupy"
        options = self.loss, self.reduction, backend, self.dtype, tf32
        return Model(self.layers, self.input_shape, *options)

    # ------------------------------------------------------------------------------------ inside

    def checked(self, phi: NDArray, x: NDArray) -> tuple[bool, NDArray, NDArray]:
        """Whether there was no task axis, and phi (T, P) and x (T, B, ...) with one.

        Raises
        ------
        InputError
            If a shape or a type does not fit.
        """
        phi = self._array(phi)
        if phi.dtype.kind not in "fc":
            raise InputError(f"phi must hold floating-point numbers, not {phi.dtype}")
        single = phi.ndim == 1
        if single:
            phi, x = phi[None], self._array(x)[None]
        phi = self._array(phi, phi.dtype)  # a task's parameters side by side, as the kernels want
        if phi.ndim != 2 or phi.shape[1] != self.size:
            raise InputError(f"phi must be (T, {self.size}) or ({self.size},), got {phi.shape}")
        if not len(phi):
            raise InputError("phi holds no task: its first axis is empty")
        x = self._array(x, phi.dtype)
        if x.shape[0] != phi.shape[0] or x.shape[2:] != self.input_shape or x.shape[1] < 1:
            expected = ", ".join(str(n) for n in self.input_shape)
            t = "" if single else f"{phi.shape[0]}, "
            got = x.shape[1:] if single else x.shape
            raise InputError(f"x must be ({t}B, {expected}), got {got}")
        return single, phi, x

    def checked_steps(
        self, phi: NDArray, x: NDArray, y: NDArray
    ) -> tuple[bool, NDArray, NDArray, NDArray]:
        """As `checked`, for k > 0 mini-batches: x (k, T, B, ...), y (k, T, B) or (..., n_out)."""
        x, y = self._array(x), self._array(y)
        if len(x) != len(y):
            raise InputError(f"x has {len(x)} mini-batches and y has {len(y)}")
        single, phi_t, _ = self.checked(phi, x[0])
        k, T, B = len(x), len(phi_t), x.shape[1 if single else 2]
        x = self._array(x.reshape(k * T, B, *self.input_shape), phi.dtype)
        y = y[:, None] if single else y
        y = self.checked_targets(y.reshape(k * T, *y.shape[2:]), x, phi.dtype)
        return single, phi_t, x.reshape(k, T, *x.shape[1:]), y.reshape(k, T, *y.shape[1:])

    def _array(self, values: Any, dtype: DTypeLike | None = None) -> Any:
        """An array of the host, contiguous if a type is given; or one of the device, as it is."""
        if not hasattr(values, "__cuda_array_interface__"):
            return np.asarray(values, dtype, order=None if dtype is None else "C")
        if not self.engine.device.owns(values):
            raise InputError(
                f"an array lies on a GPU, and the {self.backend} backend cannot read it there: "
                "take it to the host first, with its get() or copy_to_host()"
            )
        contiguous = values.flags["C_CONTIGUOUS"]
        if dtype is not None and (values.dtype != dtype or not contiguous):
            raise InputError(f"arrays on the GPU must be contiguous and of type {np.dtype(dtype)}")
        return values

    def checked_targets(self, y: NDArray, x: NDArray, dtype: np.dtype) -> NDArray:
        """y (T, B), or (T, B, n_out), beside x (T, B, ...); `InputError` if it does not fit."""
        expected = x.shape[:2] + ((self.n_out,) if self.loss == "squared_error" else ())
        if y.shape != expected:
            raise InputError(f"y must be {expected} beside this x, got {y.shape}")
        if self.loss == "squared_error":
            return self._array(y, dtype)
        if y.dtype.kind not in "iu":
            raise InputError(f"labels must be integers, not {y.dtype}")
        if y.min() < 0 or y.max() >= self.n_out:
            raise InputError(
                f"labels must lie in [0, {self.n_out}), and these go from {y.min()} to {y.max()}"
            )
        return y if hasattr(y, "__cuda_array_interface__") else np.asarray(y, np.int64)
