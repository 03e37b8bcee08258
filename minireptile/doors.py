"""The doors of a model and of its loops: what a person passes is made sure of here, once.

Behind them nothing is checked again. A sentence names the argument, what was expected and what
came, and is the same on every backend. Arrays may lie on the host or, where a backend computes on
a GPU, there; `Place` says which can be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from .backend import settled
from .checks import array, choice, counts, flag, shown, whole
from .devices.base import Device
from .errors import InputError
from .layers import Layer, Shape
from .optim import OUTER
from .plan import LOSSES, REDUCTIONS

DTYPES = np.dtype(np.float32), np.dtype(np.float64)
# What NumPy's reference, which is analytic, computes besides: exact derivatives and their checks.
EXOTIC = (
    *DTYPES, np.dtype(np.complex128), np.dtype(np.longdouble), np.dtype(np.clongdouble)
)  # fmt: skip


class Place(NamedTuple):
    """Where a backend finds arrays: on the host, and on its device if it has one."""

    backend: str = "numpy"
    device: Device | None = None


HOST = Place()
NOTHING: Any = object()  # no targets, which is another thing than None for targets


# ------------------------------------------------------------------------------------- a model


def checked_architecture(
    layers: Sequence[Layer], input_shape: Shape, loss: str, reduction: str, backend: str,
    dtype: DTypeLike, tf32: bool = False,
) -> tuple[tuple[Layer, ...], Shape, str, np.dtype]:  # fmt: skip
    """A model's layers, the shape of one example, its backend and its type; `InputError` if it
    cannot be."""
    if isinstance(layers, str) or not isinstance(layers, Sequence):
        raise InputError(
            f"Model: layers must be a list, such as [Flatten(), Dense(5)], not {shown(layers)}"
        )
    if not layers:
        raise InputError("Model: layers must hold at least one layer")
    for i, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            hint = f": write {layer.__name__}(...)" if isinstance(layer, type) else ""
            raise InputError(f"Model: layers[{i}] must be a layer, not {shown(layer)}{hint}")
    input_shape = counts(input_shape, "Model: input_shape")
    choice(loss, "Model: loss", LOSSES)
    choice(reduction, "Model: reduction", REDUCTIONS)
    backend = settled(backend, images=len(input_shape) == 3)
    found = _dtype(dtype)
    if flag(tf32, "Model: tf32") and (backend != "cupy" or found != np.dtype(np.float32)):
        raise InputError("Model: tf32 is for the cupy backend in float32: leave it out")
    return tuple(layers), input_shape, backend, found


def _dtype(value: Any) -> np.dtype:
    """float32 or float64, by name, class or dtype: None, which NumPy would take, is neither."""
    try:
        found = np.dtype(value) if isinstance(value, str | type | np.dtype) else None
    except (TypeError, ValueError, SyntaxError):
        found = None
    if found is None or found not in DTYPES:  # NumPy calls None equal to float64
        raise InputError(f"Model: dtype must be float32 or float64, not {shown(value)}")
    return found


# ------------------------------------------------------------------- what a method is called with


def read(value: Any, what: str, kinds: str = "bif", place: Place = HOST) -> Any:
    """An array to be read: `checks.array`, or one of the place's device as it is."""
    if not _on_device(value):
        return array(value, what, kinds)
    if place.device is None or not place.device.owns(value):
        raise InputError(
            f"{what}: an array lies on a GPU, and the {place.backend} backend cannot read it "
            "there: take it to the host first, with its get() or copy_to_host()"
        )
    if value.dtype.kind.replace("u", "i") not in kinds:
        raise InputError(f"{what} must not hold {value.dtype}")
    return value


def cast(found: Any, what: str, dtype: np.dtype) -> Any:
    """A read array, contiguous and of a type, which one of a device has to have already."""
    if not _on_device(found):
        return np.ascontiguousarray(found, dtype)
    contiguous = found.flags["C_CONTIGUOUS"]
    if found.dtype != dtype or not (contiguous or hasattr(found, "copy")):  # Numba's have none
        raise InputError(f"{what}: arrays on the GPU must be contiguous and of type {dtype}")
    return found if contiguous else found.copy()


def parameters(
    phi: Any, size: int, exotic: bool = False, place: Place = HOST, what: str = "phi"
) -> Any:  # fmt: skip
    """phi (T, P) or (P,), the parameters of a task side by side. The numpy backend takes exotic
    types too."""
    found = read(phi, what, "bifc", place)
    if found.dtype.kind not in "fc":
        raise InputError(f"{what} must hold floating-point numbers, not {found.dtype}")
    _check_dtype(found, what, EXOTIC if exotic else DTYPES)
    if found.ndim not in (1, 2) or found.shape[-1] != size:
        raise InputError(f"{what} must be (T, {size}) or ({size},), got {found.shape}")
    if not len(found) and found.ndim == 2:
        raise InputError(f"{what} holds no task: its first axis is empty")
    return cast(found, what, found.dtype)


def examples(
    x: Any, lead: tuple[int, ...], input_shape: Shape, dtype: np.dtype, place: Place = HOST
) -> Any:
    """x (*lead, B, ...) in phi's type, with B > 0; lead is (T,), (k, T), or without T."""
    found = read(x, "x", "bifc" if dtype.kind == "c" else "bif", place)
    at = len(lead)  # of B
    shape = found.shape
    if shape[:at] != lead or len(shape) == at or not shape[at] or shape[at + 1 :] != input_shape:
        expected = ", ".join([*map(str, lead), "B", *map(str, input_shape)])
        raise InputError(f"x must be ({expected}), got {shape}")
    return cast(found, "x", dtype)


def targets(
    y: Any, lead: tuple[int, ...], n_out: int, loss: str, dtype: np.dtype, place: Place = HOST
) -> Any:
    """Labels (*lead), as int64, or targets (*lead, n_out) in phi's type; lead ends in B."""
    regression = loss == "squared_error"
    found = read(y, "y", "bifc" if regression and dtype.kind == "c" else "bif", place)
    expected = (*lead, n_out) if regression else lead
    if found.shape != expected:
        raise InputError(f"y must be {expected} beside this x, got {found.shape}")
    if regression:
        return cast(found, "y", dtype)
    if found.dtype.kind not in "iu":
        raise InputError(f"labels must be integers, not {found.dtype}")
    if found.size and (found.min() < 0 or found.max() >= n_out):
        raise InputError(
            f"labels must lie in [0, {n_out}), and these go from {found.min()} to {found.max()}"
        )
    return cast(found, "y", found.dtype if _on_device(found) else np.dtype(np.int64))


def mini_batches(
    x: Any, y: Any, lead: tuple[int, ...], input_shape: Shape, n_out: int, loss: str,
    dtype: np.dtype, place: Place = HOST,
) -> tuple[Any, Any]:  # fmt: skip
    """x (k, *lead, B, ...) and y (k, *lead, B), or (..., n_out), of an inner loop of k steps;
    lead is (T,), or () beside a phi without T."""
    x, y = read(x, "x", "bifc", place), read(y, "y", "bifc", place)
    k, ky = (len(a) if a.ndim else 0 for a in (x, y))
    if k != ky:
        raise InputError(f"x has {k} mini-batches and y has {ky}")
    x = examples(x, (k, *lead), input_shape, dtype, place)
    y = targets(y, x.shape[: len(lead) + 2], n_out, loss, dtype, place)
    return x, y


def one_batch(model: Any, phi: Any, x: Any, y: Any = NOTHING) -> tuple[bool, Any, Any, Any]:
    """phi (T, P), x (T, B, ...) and targets as a model's method takes them, contiguous and in phi's
    type; and whether a person gave them without T."""
    phi = parameters(phi, model.size, model.exotic, model.place)
    lead = phi.shape[:-1]
    x = examples(x, lead, model.input_shape, phi.dtype, model.place)
    if y is not NOTHING:
        batch = x.shape[: len(lead) + 1]
        y = targets(y, batch, model.n_out, model.loss, phi.dtype, model.place)
    if lead:
        return False, phi, x, y
    return True, phi[None], x[None], y if y is NOTHING else y[None]


def k_batches(model: Any, phi: Any, x: Any, y: Any) -> tuple[bool, Any, Any, Any]:
    """The same of k > 0 mini-batches, x (k, T, B, ...)."""
    phi = parameters(phi, model.size, model.exotic, model.place)
    numbers = model.input_shape, model.n_out, model.loss, phi.dtype, model.place
    x, y = mini_batches(x, y, phi.shape[:-1], *numbers)
    return (False, phi, x, y) if phi.ndim == 2 else (True, phi[None], x[:, None], y[:, None])


def in_place(found: Any, what: str, exotic: bool = False, place: Place = HOST) -> Any:
    """The array itself, which is to be changed: of a type that is computed in, and writeable."""
    if _on_device(found):
        found = read(found, what, "bifc", place)
    elif not isinstance(found, np.ndarray) or isinstance(found, np.ma.MaskedArray | np.matrix):
        raise InputError(
            f"{what} is changed in place, so it must be a NumPy array, not {shown(found)}"
        )
    _check_dtype(found, what, EXOTIC if exotic else DTYPES)
    _check_writeable(found, what)
    return found


# ------------------------------------------------------------------------------------- a run


def check_optimizer(optimizer: Any) -> None:
    """`InputError` unless it is a record such as SGD(...), of the library or of one's own."""
    methods = (getattr(optimizer, name, None) for name in ("init", "step"))
    if isinstance(optimizer, type) or not all(map(callable, methods)):
        raise InputError(f"optimizer must be SGD(...) or Adam(...), not {shown(optimizer)}")


def check_model(model: Any) -> None:
    """`InputError` unless it is a model."""
    if isinstance(model, type) or not callable(getattr(model, "loss_and_grad", None)):
        raise InputError(f"model must be a Model(...), not {shown(model)}")


def check_parts(model: Any, tasks: Any, optimizer: Any) -> None:
    """`InputError` unless there are a model, something that draws tasks, and an optimizer."""
    check_model(model)
    if isinstance(tasks, type) or not callable(getattr(tasks, "draw", None)):
        raise InputError(
            f"tasks must draw tasks, as FewShot(data, way) and Sine() do, not {shown(tasks)}"
        )
    check_optimizer(optimizer)


def check_state(
    optimizer: Any, state: Any, phi: Any, writeable: bool = True, place: Place = HOST
) -> None:  # fmt: skip
    """`InputError` unless a state is such as ``optimizer.init(phi)``, to be changed in place."""
    what = "the optimizer's state"
    _check_arrays(state, _kept(optimizer, phi), what, place)
    for name, found in state.items() if writeable else ():
        _check_writeable(found, f"{what}: {name!r}")


def initialisation(
    model: Any, theta: Any, state: Any, optimizer: Any, what: str = "theta"
) -> tuple[Any, Any]:
    """theta (P,), and the inner optimizer's shared state, {} for a fresh one: of a `Snapshot`'s,
    without what an outer optimizer keeps."""
    theta = parameters(theta, model.size, what=what)
    if theta.ndim != 1:
        raise InputError(f"{what} must be ({model.size},), one for all tasks, got {theta.shape}")
    if isinstance(state, Mapping):
        state = {name: a for name, a in state.items() if not str(name).startswith(OUTER)}
    if not isinstance(state, dict) or state:
        check_state(optimizer, state, theta, writeable=False)
    return theta, state


def check_snapshot(start: Any, size: int, optimizer: Any, loops: Any) -> None:
    """`InputError` unless a run of these loops, by a model of that size, can go on from `start`."""
    parts = ("iteration", "theta", "state", "loss")
    if isinstance(start, type) or not all(hasattr(start, part) for part in parts):
        raise InputError(f"start must be a Snapshot, as the loops yield them, not {shown(start)}")
    iteration = whole(start.iteration, "start: iteration", 0)
    if iteration > loops.iterations:
        raise InputError(
            f"start has {iteration} iterations done, and the loops end after {loops.iterations}: "
            "raise iterations"
        )
    theta = start.theta
    plain = isinstance(theta, np.ndarray) and not isinstance(theta, np.ma.MaskedArray)
    if not plain or theta.shape != (size,):
        raise InputError(
            f"start: theta must be an array of shape ({size},), as this model has it, "
            f"not {shown(theta)}"
        )
    _check_dtype(theta, "start: theta", DTYPES)
    outer = _kept(loops.outer, theta) if loops.outer else {}
    expected = _kept(optimizer, theta) | {f"{OUTER}{name}": kept for name, kept in outer.items()}
    _check_arrays(start.state, expected, "start: the optimizer's state", HOST)


def _kept(optimizer: Any, phi: Any) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shapes and types of ``optimizer.init(phi)``, from what it makes of no parameters at all."""
    none = np.empty((*phi.shape[:-1], 0), phi.dtype)
    kept = optimizer.init(none).items()
    return {n: (phi.shape if a.shape == none.shape else a.shape, a.dtype) for n, a in kept}


def _check_arrays(
    found: Any, expected: Mapping[str, tuple[tuple[int, ...], np.dtype]], what: str, place: Place
) -> None:  # fmt: skip
    """The same names, shapes and types, and no gaps in memory."""
    if not isinstance(found, Mapping):
        raise InputError(
            f"{what} must be a dictionary of arrays, as optimizer.init(phi) gives, "
            f"not {shown(found)}"
        )
    for name in expected:
        if name not in found:
            raise InputError(f"{what} lacks {name!r}: begin with optimizer.init(phi)")
    for name, given in found.items():
        if name not in expected:
            raise InputError(f"{what} has {shown(name)}, which this optimizer does not keep")
        (shape, dtype), label = expected[name], f"{what}: {name!r}"
        if _on_device(given):
            read(given, label, "bif", place)
        elif not isinstance(given, np.ndarray) or isinstance(given, np.ma.MaskedArray):
            raise InputError(f"{label} must be a NumPy array, not {shown(given)}")
        if given.shape != shape:
            rows = ": one row a task" if len(shape) == 2 else ""
            raise InputError(f"{label} has shape {given.shape} where {shape} is needed{rows}")
        if given.dtype != dtype:
            raise InputError(f"{label} is of type {given.dtype} where {dtype} is needed")
        if not given.flags["C_CONTIGUOUS"]:
            raise InputError(f"{label} must be contiguous: pass numpy.ascontiguousarray of it")


def _check_dtype(found: Any, what: str, allowed: tuple[np.dtype, ...]) -> None:
    if found.dtype not in allowed:
        order = "" if found.dtype.isnative else " in this machine's byte order"
        raise InputError(f"{what} must be float32 or float64{order}, not {found.dtype}")


def _check_writeable(found: Any, what: str) -> None:
    if isinstance(found, np.ndarray) and not found.flags.writeable:
        raise InputError(f"{what} is changed in place, and this array is read-only: pass a copy")


def _on_device(value: Any) -> bool:
    return hasattr(value, "__cuda_array_interface__")
