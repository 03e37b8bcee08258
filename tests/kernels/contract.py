"""A call of a kernel, and what the contract asks of it: memory, and how near the numbers must be.

Tolerance: |result - reference| <= 4 (n + 8) eps magnitude, where the reference is computed in
double precision from the inputs rounded to the type under test, eps is that type's, n the number
of terms of the longest sum, and the magnitude bounds the sum of the absolute values of the terms
of any output. n eps magnitude bounds the error of a sum in any order (Higham, Accuracy and
Stability of Numerical Algorithms, section 4.2); 4 and 8 pay for the few operations around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

GAP = 3  # numbers between two parameters of a vector that belong to nobody


class Written(NamedTuple):
    """An output: (T, B, ...), contiguous."""

    shape: tuple[int, ...]
    integer: bool = False


class Scratch(NamedTuple):
    """Memory that a kernel may use as it likes."""

    shape: tuple[int, ...]


class Gradient(NamedTuple):
    """An output that lies in the (T, P) vector of gradients."""

    shape: tuple[int, ...]


class Parameter(NamedTuple):
    """An input that lies in the (T, P) vector of parameters."""

    array: NDArray


class Updated(NamedTuple):
    """Read and written in place."""

    array: NDArray


@dataclass(frozen=True)
class Call:
    """Arguments in the kernel's order: the records above, arrays (T, ...) that are inputs, and
    numbers. `terms` and `magnitude` as in the tolerance."""

    arguments: tuple[Any, ...]
    terms: int
    magnitude: float

    def task(self, t: int) -> Call:
        """The same call for task t alone."""

        def one(a: Any) -> Any:
            if isinstance(a, np.ndarray):
                return a[t : t + 1]
            if isinstance(a, (Parameter, Updated)):
                return type(a)(a.array[t : t + 1])
            if isinstance(a, (Written, Scratch, Gradient)):
                return a._replace(shape=(1, *a.shape[1:]))
            return a

        return replace(self, arguments=tuple(one(a) for a in self.arguments))

    def paired(self) -> Call:
        """The same call for two tasks or more: one is there twice."""

        def one(a: Any) -> Any:
            if isinstance(a, np.ndarray):
                return np.repeat(a, 2, axis=0)
            if isinstance(a, (Parameter, Updated)):
                return type(a)(np.repeat(a.array, 2, axis=0))
            if isinstance(a, (Written, Scratch, Gradient)):
                return a._replace(shape=(2, *a.shape[1:]))
            return a

        if max(shape[0] for a in self.arguments if (shape := shape_of(a))) > 1:
            return self
        return replace(self, arguments=tuple(map(one, self.arguments)))

    def with_axes(self, n: int) -> Call:
        """The same call whose data have n axes, some of them of length 1 before the last."""
        data = shape_of(self.arguments[0])
        shape = (*data[:-1], *[1] * (n - len(data)), data[-1])

        def one(a: Any) -> Any:
            if shape_of(a) != data:
                return a
            return a.reshape(shape) if isinstance(a, np.ndarray) else a._replace(shape=shape)

        return replace(self, arguments=tuple(map(one, self.arguments)))

    def outputs(self) -> list[int]:
        """The places of the arguments that are written, each of which may be None."""
        return [i for i, a in enumerate(self.arguments) if isinstance(a, (Written, Gradient))]

    def repeated(self, n: int) -> Call:
        """The same call with its examples, or parameters, n times: axis 1 of every array."""

        def one(a: Any) -> Any:
            if len(shape_of(a)) < 2:
                return a
            if isinstance(a, Written):
                return a._replace(shape=(a.shape[0], n * a.shape[1], *a.shape[2:]))
            array = np.concatenate([a.array if isinstance(a, Updated) else a] * n, axis=1)
            return Updated(array) if isinstance(a, Updated) else array

        assert not any(isinstance(a, (Parameter, Gradient, Scratch)) for a in self.arguments)
        assert all(len(a.shape) > 1 for a in self.arguments if isinstance(a, Written))
        return replace(self, arguments=tuple(map(one, self.arguments)))

    def without(self, places: set[int]) -> Call:
        """The same call where nobody wants these outputs."""
        left = (None if i in places else a for i, a in enumerate(self.arguments))
        return replace(self, arguments=tuple(left))

    def rounded(self, dtype: type) -> Call:
        """The same call with every real number that a `dtype` array holds rounded to it."""

        def cast(a: Any) -> Any:
            if isinstance(a, (Parameter, Updated)):
                return type(a)(cast(a.array))
            real = isinstance(a, np.ndarray) and a.dtype.kind == "f"
            return a.astype(dtype).astype(np.float64) if real else a

        return replace(self, arguments=tuple(cast(a) for a in self.arguments))


def shape_of(a: Any) -> tuple[int, ...]:
    """The shape of an argument, () for a number or None."""
    return getattr(a.array if isinstance(a, (Parameter, Updated)) else a, "shape", ())


def is_compiled(kernel: Any) -> bool:
    """Whether Numba compiles it, or what it calls."""
    return str(getattr(kernel, "__module__", "")).endswith("_numba")


def make(kernel: Callable[..., None], call: Call, dtype: type) -> list[NDArray]:
    """Make the call in `dtype`, check what the contract says of memory, and return the outputs.

    Outputs and scratch hold NaN before, or -1 where they are integers.
    """
    T = next(shape[0] for a in call.arguments if (shape := shape_of(a)))
    params = _Vector([a.array.shape for a in call.arguments if isinstance(a, Parameter)], T, dtype)
    grads = _Vector([a.shape for a in call.arguments if isinstance(a, Gradient)], T, dtype)
    arguments: list[Any] = []
    outputs: list[NDArray] = []
    inputs: list[NDArray] = []
    for a in call.arguments:
        if isinstance(a, Parameter):
            view = next(params.views)
            view[...] = a.array
            inputs.append(view)
            arguments.append(view)
        elif isinstance(a, np.ndarray):
            inputs.append(np.array(a, dtype if a.dtype.kind == "f" else a.dtype, order="C"))
            arguments.append(inputs[-1])
        elif isinstance(a, Updated):
            outputs.append(a.array.astype(dtype if a.array.dtype.kind == "f" else a.array.dtype))
            arguments.append(outputs[-1])
        elif isinstance(a, Gradient):
            outputs.append(next(grads.views))
            arguments.append(outputs[-1])
        elif isinstance(a, Written):
            fill, kind = (-1, np.int32) if a.integer else (np.nan, dtype)
            outputs.append(np.full(a.shape, fill, kind))
            arguments.append(outputs[-1])
        elif isinstance(a, Scratch):
            arguments.append(np.full(a.shape, np.nan, dtype))
        else:
            arguments.append(a)
    before = [array.copy() for array in inputs]
    # For Numba these would be other types than a model's, and everything compiled once more.
    for array in inputs if not is_compiled(kernel) else []:
        array.setflags(write=False)

    kernel(*arguments)

    for was, array in zip(before, inputs, strict=True):
        np.testing.assert_array_equal(array, was, "an input was changed")
    results = [array.copy() for array in outputs]
    for array in results:
        assert np.isfinite(array).all(), "an output was not written, or read before"
        assert array.dtype.kind == "f" or (array >= 0).all(), "an output was not written"
    grads.check_gaps()
    params.check_gaps()
    return results


class _Vector:
    """A (T, P) vector of NaN, and views of these shapes in it, with gaps around them."""

    def __init__(self, shapes: list[tuple[int, ...]], T: int, dtype: type) -> None:
        sizes = [prod(shape[1:]) for shape in shapes]
        self.array: NDArray = np.full((T, sum(sizes) + GAP * (len(sizes) + 1)), np.nan, dtype)
        self.gaps = np.ones(self.array.shape[1], bool)
        start, views = GAP, []
        for shape, size in zip(shapes, sizes, strict=True):
            view = self.array[:, start : start + size].reshape(shape)
            assert np.shares_memory(view, self.array)
            views.append(view)
            self.gaps[start : start + size] = False
            start += size + GAP
        self.views: Iterator[NDArray] = iter(views)

    def check_gaps(self) -> None:
        assert np.isnan(self.array[:, self.gaps]).all(), "what lies beside a view was written"


def close(got: list[NDArray], expected: list[NDArray], call: Call, dtype: type) -> None:
    tolerance = 4 * (call.terms + 8) * float(np.finfo(dtype).eps) * call.magnitude
    assert tolerance < (2e-2 if dtype is np.float32 else 1e-10), "the test would be blind"
    for result, reference in zip(got, expected, strict=True):
        if result.dtype.kind == "f":
            assert result.dtype == dtype
            np.testing.assert_allclose(result, reference, rtol=0, atol=tolerance)
        else:
            np.testing.assert_array_equal(result, reference)
