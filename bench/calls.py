"""The kernel calls of training, noted while a model takes one inner step.

A `Recorder` stands where the model expects its kernels, so the arguments are the ones that training
passes: shapes, strides and values.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import minireptile as mr
from minireptile.backend import kernels
from minireptile.engine import Walked
from minireptile.kernels.operations import OPERATIONS, SCRATCH, Arguments
from minireptile.optim import Optimizer
from minireptile.plan import fuse

from .measure import close, rounding
from .products import inside

Kernel = Callable[..., None]

RANDOM = ("dy", "grad")


@dataclass(frozen=True)
class Call:
    """One call of a kernel."""

    operation: str
    # By name, in the kernel's order. Outputs are overwritten by whoever makes the call.
    arguments: Arguments
    times: int = 1  # how often the inner step makes a call of these shapes

    @property
    def flops(self) -> int:
        """Floating-point operations of the call, as its formula has them."""
        return OPERATIONS[self.operation].flops(self.arguments)

    @property
    def done(self) -> float:
        """Those that have to be done: without a convolution's taps on the padding."""
        a = self.arguments
        if not self.operation.startswith("conv2d"):
            return self.flops
        out = a["y"] if "y" in a else a["dy"]
        sizes = a["w"].shape[1:3], a["x"].shape[2:4], out.shape[2:4]
        return self.flops * inside(*sizes, a["stride"], a["pad"])

    @property
    def traffic(self) -> int:
        """Bytes that it must move."""
        return OPERATIONS[self.operation].traffic(self.arguments)

    @property
    def shapes(self) -> str:
        """The example's shape, and the output's where it differs: "28x28x1->14x14x64"."""
        lead = 1 if "phi" in self.arguments else 2  # without (T, B), and without T
        ends = [
            next((a.shape[lead:] for n in names if (a := self.arguments.get(n)) is not None), ())
            for names in (("x", "dx", "logits", "out", "phi", "y"), ("y", "dy"))
        ]
        texts = ["x".join(map(str, shape)) for shape in dict.fromkeys(ends) if shape]
        return "->".join(texts)


@dataclass
class Recorder:
    """The NumPy kernels, noting each call before they make it."""

    calls: list[Call] = field(default_factory=list)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def __getattr__(self, operation: str) -> Kernel:
        kernel = getattr(kernels("numpy"), operation)
        if operation not in OPERATIONS:  # add, which is no operation of its own
            return kernel
        names = list(inspect.signature(kernel).parameters)

        def note(*arguments: Any) -> None:
            named = dict(zip(names, arguments, strict=True))
            for name in RANDOM:
                # The gradient of a sum of normalised values is zero but for rounding, and no two
                # versions round alike. Random numbers in its place give sums that can be compared.
                if name in named:
                    named[name][...] = self.rng.standard_normal(named[name].shape)
            before = {name: named[name].copy() for name in _updated(operation, named)}
            kernel(*arguments)
            self.calls.append(Call(operation, {**named, **before}))

        return note


def calls_of(
    model: mr.Model, optimizer: Optimizer, T: int, B: int, wanted: Collection[str] = OPERATIONS
) -> list[Call]:
    """The calls of one inner step on T tasks with mini-batches of B, equal shapes counted once; of
    these operations alone, if not of all."""
    recorder = Recorder()
    rng = recorder.rng
    phi = np.repeat(model.init(0)[None], T, axis=0)
    x = rng.standard_normal((T, B, *model.input_shape)).astype(phi.dtype)
    if model.loss == "squared_error":
        y = rng.standard_normal((T, B, model.n_out)).astype(phi.dtype)
    else:
        y = rng.integers(0, model.n_out, (T, B))
    _, grad = Walked(model.plan, recorder).gradients(phi, x, y)
    optimizer.step(phi, grad, optimizer.init(phi), recorder)
    # Of a Hessian-vector product, what an inner step does not have.
    second = Recorder(rng=rng)
    v = rng.standard_normal(phi.shape).astype(phi.dtype)
    if any(name.endswith("_r") for name in wanted):
        Walked(model.plan, second).products(phi, x, y, v)
    recorder.calls += [call for call in second.calls if call.operation.endswith("_r")]
    # Of the plan in fewer steps, those that are two in one.
    third = Recorder(rng=rng)
    if any("_relu_" in name for name in wanted):
        Walked(fuse(model.plan), third).gradients(phi, x, y)
    recorder.calls += [call for call in third.calls if "_relu_" in call.operation]
    counted: dict[tuple, Call] = {}
    for call in (call for call in recorder.calls if call.operation in wanted):
        shapes = tuple(getattr(a, "shape", a) for a in call.arguments.values())
        key = call.operation, shapes
        earlier = counted.get(key)
        counted[key] = replace(earlier, times=earlier.times + 1) if earlier else call
    return list(counted.values())


def refresh(call: Call) -> None:
    """Random gradients again: where they lie, the call before this one, of the same network, has
    just left what it computes."""
    rng = np.random.default_rng(0)
    for name in RANDOM:
        if name in call.arguments:
            call.arguments[name][...] = rng.standard_normal(call.arguments[name].shape)


def check(call: Call, variants: dict[str, Kernel], reference: Kernel) -> None:
    """Compare what each variant writes into NaN-filled outputs with what `reference` writes.
    `Mismatch` if a number differs by more than the rounding of the call's longest sums, of itself
    and of the largest of its array."""
    refresh(call)
    wanted = outputs(call, reference)
    for name, kernel in variants.items():
        compare(name, call, outputs(call, kernel), wanted)


def compare(
    name: str, call: Call, got: Mapping[str, NDArray], wanted: Mapping[str, NDArray]
) -> None:
    """Hold what a variant wrote in a call to what the reference did, as `check` does."""
    longest = terms(call)
    for output, array in wanted.items():
        exact = array.dtype.kind != "f"
        tolerance = 0.0 if exact else rounding(array.dtype, longest)
        largest = float(np.abs(array).max())
        what = f"{name}, {output} of {call.operation} {call.shapes}"
        close(what, got[output], array, tolerance, tolerance * largest)


def terms(call: Call) -> float:
    """How many terms the longest sum of a call may have: the operations for an entry of its largest
    output, or its largest array over its smallest output, which that one may be summed up to."""
    arrays = [a for a in call.arguments.values() if isinstance(a, np.ndarray)]
    operation = OPERATIONS[call.operation]
    outputs = [call.arguments[name] for name in (*operation.written, *operation.updated)]
    sizes = [a.size for a in outputs if a is not None and a.dtype.kind == "f"]
    if not sizes:  # none is a sum
        return 1
    work = operation.flops(call.arguments)
    return max(work / max(sizes), max(a.size for a in arrays) / min(sizes))


def outputs(call: Call, kernel: Kernel) -> dict[str, NDArray]:
    """Make the call with fresh values in what it writes, and copy that."""
    before = {
        name: call.arguments[name].copy() for name in _updated(call.operation, call.arguments)
    }
    blank(call)
    kernel(*call.arguments.values())
    written = [n for n in OPERATIONS[call.operation].written if call.arguments[n] is not None]
    results = {name: call.arguments[name].copy() for name in [*written, *before]}
    for name, array in before.items():
        call.arguments[name][...] = array
    return results


def blank(call: Call) -> None:
    """NaN in what the call writes, and in its scratch memory; -1 in integers."""
    for name in (*OPERATIONS[call.operation].written, *SCRATCH):
        array = call.arguments.get(name)
        if array is not None:
            array[...] = np.nan if array.dtype.kind == "f" else -1


def alone(call: Call) -> Call:
    """The call with arrays of its own, in memory as before: a parameter is a view of a vector."""
    copies: dict[int, tuple[NDArray, NDArray]] = {}

    def own(array: Any) -> Any:
        if not isinstance(array, np.ndarray):
            return array
        whole = whole_of(array)
        _, copy = copies.setdefault(id(whole), (whole, whole.copy()))
        start = array.ctypes.data - whole.ctypes.data
        return np.ndarray(array.shape, array.dtype, copy, start, array.strides)

    return replace(call, arguments={name: own(a) for name, a in call.arguments.items()})


def whole_of(array: NDArray) -> NDArray:
    """The array that this one is a view of, or itself."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _updated(operation: str, arguments: Arguments) -> Iterator[str]:
    return (n for n in OPERATIONS[operation].updated if arguments[n] is not None)
