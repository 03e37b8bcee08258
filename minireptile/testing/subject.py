"""What is checked: a pair of functions, an object, or a layer, behind one face."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import kernels
from ..checks import shown
from ..errors import InputError, require
from ..layers import Layer, Stage
from .adapter import Adapter
from .arguments import doubles, given_names, known_names
from .foreign import double, host, is_array, on_device
from .numeric import Arrays

__tracebackhide__ = True


UPSTREAM = ""  # what the upstream gradient is called among the arrays


@dataclass(frozen=True)
class Subject:
    """Something with a forward and a backward pass."""

    name: str
    arrays: Arrays  # inputs and parameters by name
    forward: Callable[[Arrays], NDArray]  # takes such a dict, returns the output
    # Takes the upstream gradient and such a dict, returns the gradients by name.
    backward: Callable[[NDArray, Arrays], dict[str, Any]]
    check: str = "check_gradients"  # by which it is checked
    # Of a backward pass in less than double precision: an array as it can hold it, and the part of
    # a gradient's largest entry that rounding explains.
    rounded: Callable[[str, NDArray], NDArray] = lambda name, array: array
    limit: Callable[[str], float | None] = lambda name: None
    explained: Callable[[], str] = lambda: ""  # that part, in words


def subject_of(
    what: Any, inputs: Sequence[Any], params: Sequence[str], name: str | None, seed: int,
    backend: str = "numpy", names: Sequence[str] | None = None,
) -> Subject:  # fmt: skip
    """Make a `Subject` of what a user hands in; see `check_gradients`."""
    names = given_names(names, len(inputs))
    if name is not None and not isinstance(name, str):
        raise InputError(f"name must be a string, not {shown(name)}")
    if isinstance(what, type):
        raise InputError(f"{what.__name__} is a class: give an instance, {what.__name__}(...)")
    if isinstance(what, Adapter):
        return _of_adapter(what, inputs, params, name, names)
    if isinstance(what, Layer):
        if names is not None:
            raise InputError("names are for functions and objects: a layer's input is x")
        return _of_layer(what, inputs, params, name, seed, backend)
    if isinstance(what, tuple) and len(what) == 2 and all(map(callable, what)):
        known_names(params, (), "a pair of functions, whose parameters are inputs too,")
        return _of_functions(what[0], what[1], inputs, name, names)
    if callable(getattr(what, "forward", None)) and callable(getattr(what, "backward", None)):
        return _of_object(what, inputs, params, name, names)
    raise InputError(
        "give a pair of functions (forward, backward), an object with forward and backward, "
        f"or a layer, not {type(what).__name__}"
    )


def _through_device(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function between NumPy arrays, computed on CuPy's. Changes to inputs are copied back."""

    def call(*arrays: Any) -> Any:
        cupy = require("cupy", "cuda12")
        lent = [cupy.asarray(a) if isinstance(a, np.ndarray) else a for a in arrays]
        result = host(function(*lent))
        for array, copy in zip(arrays, lent, strict=True):
            if isinstance(array, np.ndarray):
                array[...] = host(copy)
        return result

    return call


def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """What a function takes; those in C may not say it."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def names_of(signature: inspect.Signature | None, count: int) -> list[str]:
    found = []
    if signature is not None:
        found = [
            p.name for p in signature.parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]  # fmt: skip
        try:
            signature.bind(*range(count))
        except TypeError as error:
            raise InputError(f"forward{signature} and {count} inputs: {error}") from error
    if len(found) >= count:
        return found[:count]
    return ["x"] if count == 1 else [f"input{i}" for i in range(count)]


def by_name(gradients: Any, names: Sequence[str]) -> dict[str, Any]:
    if gradients is None:  # a forgotten return
        return dict.fromkeys(names)
    if not isinstance(gradients, tuple | list):
        gradients = (gradients,)
    if len(gradients) != len(names):
        raise InputError(
            f"backward returned {len(gradients)} gradients for {len(names)} inputs "
            f"({', '.join(names)}): return one for each, None for an input without one"
        )
    return dict(zip(names, gradients, strict=True))


def _of_functions(
    forward: Callable[..., Any], backward: Callable[..., Any], inputs: Sequence[Any],
    name: str | None, names: list[str] | None,
) -> Subject:  # fmt: skip
    names = names or names_of(signature_of(forward), len(inputs))
    name = name or str(getattr(forward, "__name__", "function"))
    if any(map(on_device, inputs)):
        forward, backward = _through_device(forward), _through_device(backward)
    return Subject(
        name,
        {n: double(x, n) for n, x in zip(names, inputs, strict=True)},
        lambda arrays: np.asarray(forward(*arrays.values())),
        lambda dy, arrays: by_name(backward(dy, *arrays.values()), names),
    )


def _parameters(layer: Any, inputs: Sequence[str], asked: Any) -> list[str]:
    """Attributes that may be parameters: of floats, but for gradients, inputs and what is kept of
    them; and those asked for that are there in another way, such as properties."""
    own = [n for n, value in getattr(layer, "__dict__", {}).items() if _is_float(value)]
    if isinstance(asked, Sequence):
        own += [n for n in asked if isinstance(n, str) and _is_float(getattr(layer, n, None))]
    gradients = [f"d{n}" for n in own]
    return [n for n in dict.fromkeys(own) if n not in inputs and n not in gradients]


def _is_float(value: Any) -> bool:
    try:
        return np.asarray(host(value)).dtype.kind == "f"
    except ValueError:  # a ragged list
        return False


def _of_object(
    layer: Any, inputs: Sequence[Any], params: Sequence[str], name: str | None,
    names: list[str] | None,
) -> Subject:  # fmt: skip
    names = names or names_of(signature_of(layer.forward), len(inputs))
    params = known_names(params, _parameters(layer, names, params), type(layer).__name__)
    every = [*names, *params]
    device = any(on_device(x) for x in [*inputs, *(getattr(layer, p) for p in params)])

    def with_params(function: Callable[..., Any]) -> Callable[..., Any]:
        """The function of inputs and parameters, which are put into the layer for its duration."""

        def call(*arrays: Any) -> Any:
            lead, given = arrays[: -len(params) or None], arrays[len(arrays) - len(params) :]
            kept = {p: getattr(layer, p) for p in params}
            try:
                for p, value in zip(params, given, strict=True):
                    setattr(layer, p, value)
                return function(*lead)
            finally:
                for p in params:
                    setattr(layer, p, kept[p])

        return _through_device(call) if device else call

    def run_backward(dy: Any, *lead: Any) -> tuple[Any, ...]:
        layer.forward(*lead)
        gradients = by_name(layer.backward(dy), names)
        return (*gradients.values(), *(getattr(layer, f"d{p}", None) for p in params))

    forward, backward = with_params(layer.forward), with_params(run_backward)
    values = {n: double(x, n) for n, x in zip(names, inputs, strict=True)}
    return Subject(
        name or type(layer).__name__,
        values | {p: double(getattr(layer, p), p) for p in params},
        lambda arrays: np.asarray(forward(*(arrays[n] for n in every))),
        lambda dy, arrays: dict(zip(every, backward(dy, *(arrays[n] for n in every)), strict=True)),
    )


def named(adapter: Adapter, inputs: Sequence[Any], names: list[str] | None) -> dict[str, Any]:
    """The inputs and parameters of a framework's function, by name."""
    names = names or names_of(adapter.signature, len(inputs))
    return dict(zip(names, inputs, strict=True)) | adapter.params


def _of_adapter(
    adapter: Adapter, inputs: Sequence[Any], params: Any, name: str | None,
    names: list[str] | None,
) -> Subject:  # fmt: skip
    chosen = known_names(params, tuple(adapter.params), adapter.name) or tuple(adapter.params)
    every = named(adapter, inputs, names)
    values = {n: double(x, n) if is_array(x) else x for n, x in every.items()}
    wanted = [*list(every)[: len(inputs)], *chosen]

    def args(arrays: Arrays) -> list[Any]:
        return [arrays.get(n, x) for n, x in values.items()]

    return Subject(
        name or adapter.name,
        {n: x for n, x in values.items() if n in wanted and is_array(x)},
        lambda arrays: adapter.forward(*args(arrays)),
        lambda dy, arrays: dict(zip(every, adapter.backward(dy, *args(arrays)), strict=True)),
    )


def _of_layer(
    layer: Layer, inputs: Sequence[Any], params: Sequence[str], name: str | None, seed: int,
    backend: str,
) -> Subject:  # fmt: skip
    if len(inputs) != 1:
        raise InputError(f"a layer takes one input, x (T, B, ...), not {len(inputs)}")
    x = doubles(host(inputs[0]), "x")
    if x.ndim < 3:
        raise InputError(f"a layer takes x (T, B, ...), not an array of shape {x.shape}")
    known_names(params, tuple(layer.params(x.shape[2:])), repr(layer))
    rng, T, B, shape = np.random.default_rng(seed), x.shape[0], x.shape[1], x.shape[2:]
    k = kernels(backend)
    p = {n: rng.standard_normal((T, *param.shape)) for n, param in layer.params(shape).items()}

    def run(arrays: Arrays) -> Stage:
        dtype = np.result_type(*arrays.values())
        cast = {n: a.astype(dtype) for n, a in arrays.items()}
        x_now = cast.pop("x")
        y = np.full((T, B, *layer.out_shape(shape)), np.nan, dtype)
        saved = layer.saved(T, B, shape, dtype)
        here = k if dtype.kind == "f" else kernels("numpy")  # complex numbers are the reference's
        stage = Stage(x_now, y, None, None, cast, {}, saved)
        layer.forward(here, stage)
        return stage

    def backward(dy: NDArray, arrays: Arrays) -> dict[str, Any]:
        a = run(arrays)
        dx, dp = (np.full_like(a.x, np.nan), {n: np.full_like(p, np.nan) for n, p in a.p.items()})
        layer.backward(k, a._replace(dx=dx, dp=dp, dy=dy))
        return {"x": dx, **dp}

    return Subject(name or repr(layer), {"x": x, **p}, lambda arrays: run(arrays).y, backward)
